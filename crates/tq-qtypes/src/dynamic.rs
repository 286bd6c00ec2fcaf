//! Parameters chosen while a network runs, from the range of the data at hand.

use crate::affine::quantize_f32;
use crate::{DType, QTypeError, Rounding};
use serde::{Deserialize, Serialize};

/// How scale and zero point of u8 codes follow from the range of the data at hand.
///
/// ```
/// use tq_qtypes::dynamic::DynamicFormula;
/// assert_eq!(DynamicFormula::Onnx.qparams(-1.0, 2.0)?, (0.011_764_706, 85));
/// let pytorch = DynamicFormula::Fbgemm { reduce_range: true };
/// assert_eq!(pytorch.qparams(-1.0, 2.0)?, (0.023_622_047, 42));
/// # Ok::<(), tq_qtypes::QTypeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DynamicFormula {
    /// [`dynamic_qparams`], and codes by division: ONNX's DynamicQuantizeLinear.
    #[default]
    Onnx,
    /// [`fbgemm_qparams`], and codes by multiplication with the reciprocal: PyTorch's dynamically quantized layers.
    Fbgemm {
        /// Whether the range is laid over the codes 0..=127, as PyTorch does on x86. Codes above it may occur all the
        /// same: only the scale changes.
        reduce_range: bool,
    },
}

impl DynamicFormula {
    const ALL: [DynamicFormula; 3] = [
        DynamicFormula::Onnx,
        DynamicFormula::Fbgemm { reduce_range: false },
        DynamicFormula::Fbgemm { reduce_range: true },
    ];

    /// The name used in messages and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            DynamicFormula::Onnx => "onnx",
            DynamicFormula::Fbgemm { reduce_range: false } => "fbgemm",
            DynamicFormula::Fbgemm { reduce_range: true } => "fbgemm-reduce-range",
        }
    }

    /// The formula of this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|f| f.name() == name)
    }

    /// Scale and zero point for data within `min..=max`.
    ///
    /// # Errors
    /// FBGEMM's takes finite ranges only: [`QTypeError::BadFloatRange`].
    pub fn qparams(self, min: f32, max: f32) -> Result<(f32, i32), QTypeError> {
        match self {
            DynamicFormula::Onnx => Ok(dynamic_qparams(min, max)),
            DynamicFormula::Fbgemm { reduce_range } => {
                fbgemm_qparams(min, max, 0, if reduce_range { 127 } else { 255 })
            }
        }
    }

    /// How the quotient by the scale is computed.
    #[must_use]
    pub const fn rounding(self) -> Rounding {
        match self {
            DynamicFormula::Onnx => Rounding::Divide,
            DynamicFormula::Fbgemm { .. } => Rounding::Reciprocal,
        }
    }

    /// The code of `x`, 0..=255; 0 for what is no number.
    #[must_use]
    pub fn code(self, x: f32, scale: f32, zero_point: i32) -> u8 {
        // Clamped to the codes of u8.
        quantize_f32(x, scale, zero_point, 0, 255, self.rounding()) as u8
    }
}

/// Scale and zero point of ONNX DynamicQuantizeLinear for the range `min..=max`: u8, range widened to zero,
/// `s = (max - min) / 255`, `z = saturate(round_half_even(-min / s))`; an all-zero range gives `(1, 0)`.
#[must_use]
pub fn dynamic_qparams(min: f32, max: f32) -> (f32, i32) {
    let (qmin, qmax) = DType::U8.quant_range().unwrap_or((0, 255));
    let (min, max) = (min.min(0.0), max.max(0.0));
    let scale = (max - min) / (qmax - qmin) as f32;
    if scale == 0.0 {
        return (1.0, 0);
    }
    let z = (qmin as f32 - min / scale).clamp(qmin as f32, qmax as f32).round_ties_even();
    (scale, z as i32)
}

/// Scales below this are raised to it by [`fbgemm_qparams`]: about the smallest normal f16 number.
const FBGEMM_SMALLEST_SCALE: f32 = 6.1e-5;

/// Scale and zero point as PyTorch's dynamically quantized layers choose them: FBGEMM's `ChooseQuantizationParams`
/// (`_choose_qparams_per_tensor`), for compatibility. With `reduce_range` PyTorch asks for codes 0..=127.
///
/// The range is widened to contain zero. All arithmetic is in f64 and the scale is rounded to f32 at the end:
/// * `s = (max - min) / (qmax - qmin)`, or 0.1 where that or its reciprocal is not a number that f32 has;
/// * a scale below 6.1e-5 is raised to it, and the range is widened in proportion;
/// * `z = qmin - min / s` or `qmax - max / s`, whichever has the smaller of `|qmin| - |min / s|` and
///   `|qmax| - |max / s|`, rounded half to even and clamped to the codes.
///
/// # Errors
/// [`QTypeError::BadFloatRange`] when an end is not finite or `min > max`, [`QTypeError::BadRange`] when
/// `quant_min >= quant_max`.
///
/// ```
/// use tq_qtypes::dynamic::fbgemm_qparams;
/// assert_eq!(fbgemm_qparams(-1.0, 2.0, 0, 255)?, (0.011_764_706, 85));
/// assert_eq!(fbgemm_qparams(0.0, 0.0, 0, 255)?, (0.1, 0));
/// # Ok::<(), tq_qtypes::QTypeError>(())
/// ```
pub fn fbgemm_qparams(min: f32, max: f32, quant_min: i32, quant_max: i32) -> Result<(f32, i32), QTypeError> {
    if !(min.is_finite() && max.is_finite() && min <= max) {
        return Err(QTypeError::BadFloatRange { min: f64::from(min), max: f64::from(max) });
    }
    if quant_min >= quant_max {
        return Err(QTypeError::BadRange { dtype: DType::I32, quant_min, quant_max });
    }
    let (qmin, qmax) = (f64::from(quant_min), f64::from(quant_max));
    let levels = qmax - qmin;
    let (mut min, mut max) = (min.min(0.0), max.max(0.0));
    let mut scale = (f64::from(max) - f64::from(min)) / levels;
    if scale as f32 == 0.0 || (1.0 / scale as f32).is_infinite() {
        scale = 0.1;
    }
    if scale < f64::from(FBGEMM_SMALLEST_SCALE) {
        if min == 0.0 {
            max = FBGEMM_SMALLEST_SCALE * levels as f32;
        } else if max == 0.0 {
            min = -FBGEMM_SMALLEST_SCALE * levels as f32;
        } else {
            let amplifier = FBGEMM_SMALLEST_SCALE / scale as f32;
            min *= amplifier;
            max *= amplifier;
        }
        scale = f64::from(FBGEMM_SMALLEST_SCALE);
    }
    let (low, high) = (f64::from(min) / scale, f64::from(max) / scale);
    let exact = if qmin.abs() - low.abs() < qmax.abs() - high.abs() { qmin - low } else { qmax - high };
    let zero_point = exact.clamp(qmin, qmax).round_ties_even() as i32;
    Ok((scale as f32, zero_point))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fbgemm_values_of_pytorch() {
        // torch._choose_qparams_per_tensor([-1, 2]) without and with reduce_range, and of zeros.
        assert_eq!(fbgemm_qparams(-1.0, 2.0, 0, 255), Ok((0.011_764_706, 85)));
        assert_eq!(fbgemm_qparams(-1.0, 2.0, 0, 127), Ok((0.023_622_047, 42)));
        assert_eq!(fbgemm_qparams(0.0, 0.0, 0, 255), Ok((0.1, 0)));
    }

    #[test]
    fn formulas_are_known_by_their_names_and_codes_go_beyond_a_reduced_range() {
        for formula in DynamicFormula::ALL {
            assert_eq!(DynamicFormula::by_name(formula.name()), Some(formula));
        }
        assert_eq!(DynamicFormula::by_name("pytorch"), None);
        let reduced = DynamicFormula::Fbgemm { reduce_range: true };
        assert_eq!([reduced.code(200.0, 1.0, 0), reduced.code(f32::NAN, 1.0, 7)], [200, 0]);
        // A reciprocal that rounds the other way: 0.1's is 10.
        assert_eq!(
            DynamicFormula::Onnx.code(0.25, 0.1, 0),
            quantize_f32(0.25, 0.1, 0, 0, 255, Rounding::Divide) as u8
        );
        assert!(reduced.qparams(0.0, f32::INFINITY).is_err());
    }

    #[test]
    fn small_ranges_get_the_smallest_scale_and_keep_their_proportion() {
        assert_eq!(fbgemm_qparams(0.0, 1e-6, 0, 255), Ok((6.1e-5, 0)));
        assert_eq!(fbgemm_qparams(-1e-6, 0.0, 0, 255), Ok((6.1e-5, 255)));
        assert_eq!(fbgemm_qparams(-1e-6, 2e-6, 0, 255), Ok((6.1e-5, 85)));
        // The reciprocal of the scale is infinite: 0.1, to which the range is nothing.
        assert_eq!(fbgemm_qparams(-1e-40, 0.0, 0, 255), Ok((0.1, 0)));
        assert_eq!(fbgemm_qparams(f32::MIN, f32::MAX, 0, 255).unwrap().1, 128);
    }

    #[test]
    fn what_has_no_range_is_an_error() {
        for (min, max) in [(f32::NAN, 1.0), (0.0, f32::INFINITY), (2.0, 1.0)] {
            assert!(matches!(fbgemm_qparams(min, max, 0, 255), Err(QTypeError::BadFloatRange { .. })));
        }
        assert!(matches!(fbgemm_qparams(0.0, 1.0, 5, 5), Err(QTypeError::BadRange { .. })));
    }
}
