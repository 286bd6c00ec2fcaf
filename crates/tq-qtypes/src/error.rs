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
    /// A scale that is not finite and positive.
    #[error("scale {scale} at index {index} is not finite and positive")]
    BadScale {
        /// Index into the list of scales.
        index: usize,
        /// The offending scale.
        scale: f32,
    },
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
