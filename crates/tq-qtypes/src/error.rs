//! Errors of this crate.

use crate::DType;

/// What can be wrong with a quantization request or with its parameters.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QTypeError {
    /// The type cannot hold quantized codes.
    #[error("{0} cannot hold quantized codes")]
    NotQuantized(DType),
    /// `quant_min` is not below `quant_max`, or one of them does not fit the type.
    #[error("quantization range {quant_min}..={quant_max} does not fit {dtype}")]
    BadRange {
        /// The type asked for.
        dtype: DType,
        /// Smallest code asked for.
        quant_min: i32,
        /// Largest code asked for.
        quant_max: i32,
    },
    /// A width of codes that is not between 2 and 8 bits.
    #[error("codes of {bits} bits: 2 to 8 are supported")]
    BadBits {
        /// The width asked for.
        bits: u32,
    },
    /// A width of packed codes that is not one of those supported.
    #[error("packed codes of {bits} bits: 2, 3, 4, 8, 16 and 32 are supported")]
    PackedBits {
        /// The width asked for.
        bits: u32,
    },
    /// A code outside the range of its type or of its parameters.
    #[error("code {code} at index {index} is outside {min}..={max}")]
    CodeRange {
        /// Index of the code.
        index: usize,
        /// The code.
        code: i32,
        /// Smallest code.
        min: i64,
        /// Largest code.
        max: i64,
    },
    /// Bits beyond the last packed code that are not zero.
    #[error("packed codes: bits beyond the last code are set")]
    Padding,
    /// The type is not one of the narrow floats: f16, bf16 and the 8-bit ones.
    #[error("{0} is not a narrow float (f16, bf16 or an 8-bit float)")]
    NotNarrowFloat(DType),
    /// Data without a range, because some of it is NaN or infinite.
    #[error("{count} of {len} values are not finite")]
    NonFinite {
        /// Values that are NaN or infinite.
        count: usize,
        /// All values.
        len: usize,
    },
    /// A shape that no memory holds.
    #[error("a tensor of shape {dims:?} does not fit memory")]
    TooLarge {
        /// The shape.
        dims: Vec<usize>,
    },
    /// Indices that an axis does not have.
    #[error("slice {start}..{end} of axis {axis}, which has {len} indices")]
    BadSlice {
        /// The axis.
        axis: usize,
        /// First index asked for.
        start: usize,
        /// Index after the last one asked for.
        end: usize,
        /// Length of the axis.
        len: usize,
    },
    /// A slice that begins inside a group and goes on into the next one, so that its groups would be of unequal length.
    #[error("slice {start}..{end} of axis {axis} cuts a group: it must begin at a multiple of {group_size}")]
    CutsGroup {
        /// The axis that is cut into groups.
        axis: usize,
        /// First index asked for.
        start: usize,
        /// Index after the last one asked for.
        end: usize,
        /// Indices a group.
        group_size: usize,
    },
    /// Bytes that are not a serialized tensor.
    #[error("serialized tensor: {0}")]
    Malformed(String),
    /// A scale that is not finite and positive.
    #[error("scale {scale} at index {index} is not finite and positive")]
    BadScale {
        /// Index into the list of scales.
        index: usize,
        /// The offending scale.
        scale: f32,
    },
    /// A range that is given by its bits and by its ends.
    #[error("bits, or quant_min and quant_max: not both")]
    RangeTwice,
    /// A zero point outside the codes of the type.
    #[error("zero point {zero_point} at index {index} is outside {quant_min}..={quant_max}")]
    BadZeroPoint {
        /// Index into the list of zero points.
        index: usize,
        /// The offending zero point.
        zero_point: i32,
        /// Smallest code.
        quant_min: i32,
        /// Largest code.
        quant_max: i32,
    },
    /// Scales, zero points and shape do not go together.
    #[error("{what}: expected {expected}, got {got}")]
    Length {
        /// What was counted.
        what: &'static str,
        /// How many there should be.
        expected: usize,
        /// How many there are.
        got: usize,
    },
    /// A range that is not finite, or whose minimum exceeds its maximum.
    #[error("cannot choose parameters for the range {min}..{max}")]
    BadFloatRange {
        /// Lower end.
        min: f64,
        /// Upper end.
        max: f64,
    },
    /// The axis of a per-channel or per-group granularity is not an axis of the tensor.
    #[error("axis {axis} is outside a tensor of rank {rank}")]
    BadAxis {
        /// The axis asked for.
        axis: usize,
        /// Rank of the tensor.
        rank: usize,
    },
    /// A group size of zero.
    #[error("group size must be at least 1")]
    EmptyGroup,
}
