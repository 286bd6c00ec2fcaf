//! What is asked of a quantizer: type, symmetry, granularity, range.

use crate::{DType, QTypeError, index};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Whether real zero must sit at the middle of the codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QScheme {
    /// Zero point fixed at the middle (0 for signed types).
    Symmetric,
    /// Zero point chosen from the range.
    Affine,
}

/// Which elements of a tensor share one scale and zero point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Granularity {
    /// One pair for the whole tensor.
    PerTensor,
    /// One pair per index of `axis`.
    PerChannel {
        /// The axis whose indices have their own parameters.
        axis: usize,
    },
    /// One pair per run of `group_size` indices of `axis` at each position of the other axes
    /// (ONNX block quantization); the last group may be shorter.
    PerGroup {
        /// The axis that is cut into groups.
        axis: usize,
        /// Indices a group.
        group_size: usize,
    },
}

impl fmt::Display for Granularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Granularity::PerTensor => write!(f, "per_tensor"),
            Granularity::PerChannel { axis } => write!(f, "per_channel (axis {axis})"),
            Granularity::PerGroup { axis, group_size } => {
                write!(f, "per_group (axis {axis}, {group_size} a group)")
            }
        }
    }
}

impl Granularity {
    /// Number of scale and zero-point pairs for a tensor of shape `dims`.
    ///
    /// # Errors
    /// [`QTypeError::BadAxis`] when the axis is not one of the tensor's, [`QTypeError::EmptyGroup`]
    /// for a group size of zero, [`QTypeError::TooLarge`] for a shape that no memory holds.
    pub fn param_count(&self, dims: &[usize]) -> Result<usize, QTypeError> {
        // So that no product below overflows.
        index::numel(dims)?;
        let check =
            |axis: usize| dims.get(axis).copied().ok_or(QTypeError::BadAxis { axis, rank: dims.len() });
        match *self {
            Granularity::PerTensor => Ok(1),
            Granularity::PerChannel { axis } => check(axis),
            Granularity::PerGroup { axis, group_size } => {
                let len = check(axis)?;
                if group_size == 0 {
                    return Err(QTypeError::EmptyGroup);
                }
                let others: usize =
                    dims.iter().enumerate().filter(|(i, _)| *i != axis).map(|(_, d)| d).product();
                Ok(others * len.div_ceil(group_size))
            }
        }
    }
}

/// How a real value becomes a code: the two conventions in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rounding {
    /// `round_half_even(x / s)`: ONNX QuantizeLinear, and this project's default.
    #[default]
    Divide,
    /// `round_half_even(x * (1 / s))`: PyTorch's `quantize_per_tensor` and fake quantization.
    Reciprocal,
}

/// What is asked of a quantizer for one tensor.
///
/// In files `dtype` alone is needed: the codes are then all of that type (symmetric signed ones leave out the smallest),
/// affine, per tensor. `bits` may stand in the place of `quant_min` and `quant_max`, for the codes of that width.
///
/// ```
/// use tq_qtypes::{DType, Granularity, QScheme, QuantSpec};
/// let spec: QuantSpec = serde_json::from_str(r#"{ "dtype": "i8", "scheme": "symmetric", "bits": 6 }"#)?;
/// assert_eq!((spec.quant_min, spec.quant_max), (-31, 31));
/// assert_eq!(serde_json::from_str::<QuantSpec>(r#"{ "dtype": "u8" }"#)?, QuantSpec::u8_affine());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "SpecFields")]
pub struct QuantSpec {
    /// Type of the codes.
    pub dtype: DType,
    /// Smallest code used.
    pub quant_min: i32,
    /// Largest code used.
    pub quant_max: i32,
    /// Symmetric or affine.
    pub scheme: QScheme,
    /// What shares a scale.
    pub granularity: Granularity,
    /// True where scales must be powers of two, so that targets without a multiplier can shift instead.
    /// A chosen scale is rounded up, so that the range stays covered.
    #[serde(default, skip_serializing_if = "is_false")]
    pub power_of_two: bool,
}

/// A [`QuantSpec`] as files write it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpecFields {
    dtype: DType,
    bits: Option<u32>,
    quant_min: Option<i32>,
    quant_max: Option<i32>,
    scheme: Option<QScheme>,
    granularity: Option<Granularity>,
    #[serde(default)]
    power_of_two: bool,
}

impl TryFrom<SpecFields> for QuantSpec {
    type Error = QTypeError;

    /// Fills in what is left out; the ends of the range are checked by [`QuantSpec::validate`].
    fn try_from(fields: SpecFields) -> Result<Self, QTypeError> {
        let SpecFields { dtype, bits, quant_min, quant_max, scheme, granularity, power_of_two } = fields;
        let scheme = scheme.unwrap_or(QScheme::Affine);
        let whole = || {
            let (lo, hi) = dtype.quant_range().ok_or(QTypeError::NotQuantized(dtype))?;
            Ok((if scheme == QScheme::Symmetric && lo < 0 { -hi } else { lo }, hi))
        };
        let (lo, hi) = match (bits, quant_min, quant_max) {
            (None, Some(lo), Some(hi)) => (lo, hi),
            (None, lo, hi) => {
                let all = whole()?;
                (lo.unwrap_or(all.0), hi.unwrap_or(all.1))
            }
            (Some(bits), None, None) => {
                let signed = whole()?.0 < 0;
                if !(2..=16).contains(&bits) || bits as usize > dtype.bits() {
                    return Err(QTypeError::BadBits { bits });
                }
                range_of_bits(signed, bits, scheme)
            }
            (Some(_), ..) => return Err(QTypeError::RangeTwice),
        };
        let granularity = granularity.unwrap_or(Granularity::PerTensor);
        Ok(Self { dtype, quant_min: lo, quant_max: hi, scheme, granularity, power_of_two })
    }
}

/// The codes of that many bits, at most 16; symmetric signed ones leave out the smallest.
const fn range_of_bits(signed: bool, bits: u32, scheme: QScheme) -> (i32, i32) {
    match (signed, scheme) {
        (false, _) => (0, (1 << bits) - 1),
        (true, QScheme::Symmetric) => (1 - (1 << (bits - 1)), (1 << (bits - 1)) - 1),
        (true, QScheme::Affine) => (-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
    }
}

fn is_false(flag: &bool) -> bool {
    !*flag
}

impl QuantSpec {
    /// Unsigned 8-bit, affine, per tensor, codes 0..=255: the default for activations.
    #[must_use]
    pub const fn u8_affine() -> Self {
        Self {
            dtype: DType::U8,
            quant_min: 0,
            quant_max: 255,
            scheme: QScheme::Affine,
            granularity: Granularity::PerTensor,
            power_of_two: false,
        }
    }

    /// Signed 8-bit, symmetric, codes -127..=127: the default for weights.
    #[must_use]
    pub const fn i8_symmetric(granularity: Granularity) -> Self {
        Self {
            dtype: DType::I8,
            quant_min: -127,
            quant_max: 127,
            scheme: QScheme::Symmetric,
            granularity,
            power_of_two: false,
        }
    }

    /// Codes of `bits` bits, 2 to 8, over the full range of that width; symmetric signed codes leave out the smallest
    /// one, as [`QuantSpec::i8_symmetric`] does. Codes are kept in the narrowest type of 2, 4 or 8 bits that holds
    /// them.
    ///
    /// # Errors
    /// [`QTypeError::BadBits`] for other widths; those of [`QuantSpec::validate`].
    ///
    /// ```
    /// use tq_qtypes::{DType, Granularity, QScheme, QuantSpec};
    /// let spec = QuantSpec::bits(true, 3, QScheme::Symmetric, Granularity::PerTensor)?;
    /// assert_eq!((spec.dtype, spec.quant_min, spec.quant_max), (DType::I4, -3, 3));
    /// # Ok::<(), tq_qtypes::QTypeError>(())
    /// ```
    pub fn bits(
        signed: bool,
        bits: u32,
        scheme: QScheme,
        granularity: Granularity,
    ) -> Result<Self, QTypeError> {
        let dtype = match (bits, signed) {
            (2, true) => DType::I2,
            (2, false) => DType::U2,
            (3 | 4, true) => DType::I4,
            (3 | 4, false) => DType::U4,
            (5..=8, true) => DType::I8,
            (5..=8, false) => DType::U8,
            _ => return Err(QTypeError::BadBits { bits }),
        };
        let (quant_min, quant_max) = range_of_bits(signed, bits, scheme);
        let spec = Self { dtype, quant_min, quant_max, scheme, granularity, power_of_two: false };
        spec.validate()?;
        Ok(spec)
    }

    /// Checks that the range is not empty and fits the type.
    ///
    /// # Errors
    /// [`QTypeError::NotQuantized`] or [`QTypeError::BadRange`].
    pub fn validate(&self) -> Result<(), QTypeError> {
        let (lo, hi) = self.dtype.quant_range().ok_or(QTypeError::NotQuantized(self.dtype))?;
        if self.quant_min >= self.quant_max || self.quant_min < lo || self.quant_max > hi {
            return Err(QTypeError::BadRange {
                dtype: self.dtype,
                quant_min: self.quant_min,
                quant_max: self.quant_max,
            });
        }
        if let Granularity::PerGroup { group_size: 0, .. } = self.granularity {
            return Err(QTypeError::EmptyGroup);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_of_two_to_eight_bits() {
        let bits = |signed, bits, scheme| {
            let s = QuantSpec::bits(signed, bits, scheme, Granularity::PerTensor).unwrap();
            (s.dtype, s.quant_min, s.quant_max)
        };
        assert_eq!(bits(true, 2, QScheme::Symmetric), (DType::I2, -1, 1));
        assert_eq!(bits(true, 2, QScheme::Affine), (DType::I2, -2, 1));
        assert_eq!(bits(false, 2, QScheme::Affine), (DType::U2, 0, 3));
        assert_eq!(bits(false, 3, QScheme::Symmetric), (DType::U4, 0, 7));
        assert_eq!(bits(true, 4, QScheme::Affine), (DType::I4, -8, 7));
        assert_eq!(bits(true, 5, QScheme::Symmetric), (DType::I8, -15, 15));
        assert_eq!(bits(false, 8, QScheme::Affine), (DType::U8, 0, 255));
        for wrong in [0, 1, 9, u32::MAX] {
            assert_eq!(
                QuantSpec::bits(true, wrong, QScheme::Affine, Granularity::PerTensor),
                Err(QTypeError::BadBits { bits: wrong })
            );
        }
    }
}
