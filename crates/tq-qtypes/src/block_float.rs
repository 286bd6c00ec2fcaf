//! The MX formats: blocks of 32 narrow numbers that share a power of two.
//!
//! Formats and rules are those of the OCP Microscaling Formats (MX) Specification, version 1.0: a block is a scale `X`
//! of type E8M0 (5.4.1) and 32 elements `P` (5.3), and its values are `X * P` (5.1). Conversion is that of 6.3: `X` is
//! the largest power of two that is not above the largest magnitude of the block, divided by the largest power of two
//! of the element type; elements are `x / X`, rounded to nearest with ties to even, and what is beyond the largest
//! element becomes it.
//!
//! What the specification leaves to implementations is decided here as follows.
//! * Infinities count as the largest finite f32 number of their sign, in choosing `X` and as elements.
//! * NaN: the E4M3 and E5M2 elements have NaN codes, and `X` is chosen from the other elements. E2M1 and INT8 have none:
//!   a block that holds a NaN gets the scale NaN, which makes all of it read as NaN. Where the scale is given and the
//!   element type has no NaN, the element becomes the smallest one, as in every integer quantization here.
//! * A block of zeros, or of numbers too small for the smallest scale, has `X = 2^-127`.
//! * INT8 elements are -127..=127 sixty-fourths, so that the range is symmetric; -128 is read as -2.

use crate::affine::checked_index;
use crate::index::ParamIndex;
use crate::narrow_float::{float8_table, largest_magnitudes, with_scales};
use crate::packing::CodeWidth;
use crate::{DType, Granularity, QTypeError, float8};
use serde::{Deserialize, Serialize};

/// Elements a block: 32 in every concrete MX format.
pub const BLOCK_SIZE: usize = 32;

/// The E8M0 code that is not a number.
pub const SCALE_NAN: u8 = 0xFF;

/// The concrete MX formats that are supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum BlockFormat {
    /// MXFP4: elements E2M1 (0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives).
    MxFp4,
    /// MXFP8 with elements E4M3, up to 448.
    MxFp8E4M3,
    /// MXFP8 with elements E5M2, up to 57344.
    MxFp8E5M2,
    /// MXINT8: elements are 8-bit integers, in units of 1/64.
    MxInt8,
}

/// Magnitudes of the E2M1 codes.
const E2M1: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];

impl BlockFormat {
    /// The name used in messages and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            BlockFormat::MxFp4 => "mxfp4",
            BlockFormat::MxFp8E4M3 => "mxfp8e4m3",
            BlockFormat::MxFp8E5M2 => "mxfp8e5m2",
            BlockFormat::MxInt8 => "mxint8",
        }
    }

    /// Exponent of the largest power of two that is an element.
    const fn largest_exponent(self) -> i32 {
        match self {
            BlockFormat::MxFp4 => 2,
            BlockFormat::MxFp8E4M3 => 8,
            BlockFormat::MxFp8E5M2 => 15,
            BlockFormat::MxInt8 => 0,
        }
    }

    /// The 8-bit float that elements are, if they are one.
    const fn float8(self) -> Option<DType> {
        match self {
            BlockFormat::MxFp8E4M3 => Some(DType::F8E4M3FN),
            BlockFormat::MxFp8E5M2 => Some(DType::F8E5M2),
            BlockFormat::MxFp4 | BlockFormat::MxInt8 => None,
        }
    }

    /// The E8M0 code of the scale of a block whose largest magnitude is `amax`.
    ///
    /// ```
    /// use tq_qtypes::block_float::{BlockFormat, scale_value};
    /// // 5 lies in 4..8 = 2^2..2^3, and the largest power of two of E2M1 is 4.
    /// assert_eq!(scale_value(BlockFormat::MxFp4.scale_code(5.0)), 1.0);
    /// ```
    #[must_use]
    pub fn scale_code(self, amax: f32) -> u8 {
        if amax.is_nan() {
            return SCALE_NAN;
        }
        // The exponent field alone: subnormal numbers, zero included, are below what the smallest scale is for.
        let field = (amax.abs().min(f32::MAX).to_bits() >> 23) as i32;
        let code = (field - self.largest_exponent()).max(0);
        // At most 254, the field of the largest finite number.
        code as u8
    }

    fn width(self) -> CodeWidth {
        match self {
            BlockFormat::MxFp4 => CodeWidth::unsigned(4),
            BlockFormat::MxFp8E4M3 | BlockFormat::MxFp8E5M2 => CodeWidth::unsigned(8),
            BlockFormat::MxInt8 => CodeWidth::holding(-128, 127),
        }
    }

    /// Code of an element `v = x / X`.
    fn element(self, v: f32) -> i32 {
        match self {
            BlockFormat::MxFp4 => e2m1_code(v),
            BlockFormat::MxInt8 if v.is_nan() => -127,
            BlockFormat::MxInt8 => (v * 64.0).clamp(-127.0, 127.0).round_ties_even() as i32,
            BlockFormat::MxFp8E4M3 | BlockFormat::MxFp8E5M2 => {
                let dtype = self.float8().unwrap_or(DType::F8E4M3FN);
                i32::from(float8::encode(f64::from(v), dtype, true).unwrap_or_default())
            }
        }
    }
}

/// Code of the E2M1 number nearest to `v`, ties to even; NaN becomes the smallest number, -6.
fn e2m1_code(v: f32) -> i32 {
    if v.is_nan() {
        return 0xF;
    }
    let a = v.abs();
    // Half-way points belong to the even one of their two neighbours.
    let magnitude = i32::from(a > 0.25)
        + i32::from(a >= 0.75)
        + i32::from(a > 1.25)
        + i32::from(a >= 1.75)
        + i32::from(a > 2.5)
        + i32::from(a >= 3.5)
        + i32::from(a > 5.0);
    if v.is_sign_negative() { magnitude | 8 } else { magnitude }
}

/// Value of an E8M0 code: `2^(code - 127)`, NaN for 255.
#[must_use]
pub fn scale_value(code: u8) -> f32 {
    match code {
        SCALE_NAN => f32::NAN,
        // A subnormal f32 number.
        0 => f32::from_bits(1 << 22),
        _ => f32::from_bits(u32::from(code) << 23),
    }
}

/// Parameters of a tensor of MX blocks: `real = scale * element`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockFloatParams {
    /// What the elements are.
    pub format: BlockFormat,
    /// The axis that is cut into blocks of [`BLOCK_SIZE`]; the last block may be shorter.
    pub axis: usize,
    /// One E8M0 code a block, in row-major order of the block grid.
    pub scale: Vec<u8>,
}

impl BlockFloatParams {
    /// The scales of this data, as the module says.
    ///
    /// # Errors
    /// Those of [`Granularity::param_count`]; [`QTypeError::Length`] when `x` and `dims` disagree.
    ///
    /// ```
    /// use tq_qtypes::block_float::{BlockFloatParams, BlockFormat};
    /// let params = BlockFloatParams::from_data(&[5.0, -0.1, 3e-3], &[3], BlockFormat::MxFp4, 0)?;
    /// assert_eq!(params.scale, [127]); // 2^0
    /// # Ok::<(), tq_qtypes::QTypeError>(())
    /// ```
    pub fn from_data(
        x: &[f32],
        dims: &[usize],
        format: BlockFormat,
        axis: usize,
    ) -> Result<Self, QTypeError> {
        let granularity = Granularity::PerGroup { axis, group_size: BLOCK_SIZE };
        let largest = largest_magnitudes(x, dims, granularity)?;
        let mut scale: Vec<u8> = largest.into_iter().map(|amax| format.scale_code(amax)).collect();
        if format.float8().is_none() && x.iter().any(|v| v.is_nan()) {
            let index = checked_index(granularity, scale.len(), dims, x.len())?;
            for (i, _) in x.iter().enumerate().filter(|(_, v)| v.is_nan()) {
                scale[index.of(i)] = SCALE_NAN;
            }
        }
        Ok(Self { format, axis, scale })
    }

    /// Groups of [`BLOCK_SIZE`] along the axis.
    #[must_use]
    pub const fn granularity(&self) -> Granularity {
        Granularity::PerGroup { axis: self.axis, group_size: BLOCK_SIZE }
    }

    pub(crate) fn width(&self) -> CodeWidth {
        self.format.width()
    }

    /// Codes of elements `first..` of a tensor with this index.
    pub(crate) fn encode(&self, index: &ParamIndex, first: usize, x: &[f32], codes: &mut [i32]) {
        let code = |x: f32, scale: u8| match scale {
            // Whatever the element is, it reads as NaN.
            SCALE_NAN => 0,
            // Multiplying by the inverse power of two is exact where it matters: what it rounds in the subnormal
            // range or sends to infinity is far below the smallest or above the largest element.
            scale => self.format.element(x * scale_value(254 - scale)),
        };
        with_scales(index, first, &self.scale, x, codes, code);
    }

    /// Values of codes `first..` of a tensor with this index.
    pub(crate) fn decode(&self, index: &ParamIndex, first: usize, codes: &[i32], x: &mut [f32]) {
        match self.format {
            BlockFormat::MxFp4 => with_scales(index, first, &self.scale, codes, x, |q, s| {
                let magnitude = E2M1[(q & 7) as usize];
                (if q & 8 == 0 { magnitude } else { -magnitude }) * scale_value(s)
            }),
            BlockFormat::MxInt8 => with_scales(index, first, &self.scale, codes, x, |q, s| {
                f32::from(q as i8) / 64.0 * scale_value(s)
            }),
            BlockFormat::MxFp8E4M3 | BlockFormat::MxFp8E5M2 => {
                let table = float8_table(self.format.float8().unwrap_or(DType::F8E4M3FN));
                with_scales(index, first, &self.scale, codes, x, |q, s| {
                    table[usize::from(q as u8)] * scale_value(s)
                });
            }
        }
    }
}
