//! Affine quantization: choosing parameters, quantizing, dequantizing.
//!
//! `code = clamp(round_half_even(x / scale) + zero_point, quant_min, quant_max)` and
//! `x = scale * (code - zero_point)`. NaN becomes `quant_min`, infinities saturate.

use crate::{AffineParams, DType, Granularity, QScheme, QTypeError, QuantSpec, Rounding};

/// The smallest scale that [`choose_qparams`] gives unless told otherwise: the f32 machine epsilon, as in PyTorch.
pub const DEFAULT_EPS: f32 = f32::EPSILON;

/// Scale and zero point for the range `min..=max`, in f32 arithmetic.
///
/// The range is first widened to contain zero.
/// * affine: `s = (max - min) / (qmax - qmin)`, `z = qmin - round_half_even(min / s)`, clamped to the codes;
/// * symmetric: `s = max(-min, max) / ((qmax - qmin) / 2)`, `z` the middle of the codes (0 for signed types).
///
/// `s` is at least `eps`. The formulas are PyTorch's (`UniformQuantizationObserverBase`). Where `spec.power_of_two`
/// is set, `s` is then rounded up to a power of two, and `z` is found with that.
///
/// # Errors
/// [`QTypeError::BadFloatRange`] when an end is not finite, when `min > max`, or when the scale would be beyond f32;
/// those of [`QuantSpec::validate`].
///
/// ```
/// use tq_qtypes::{QuantSpec, affine::{choose_qparams, DEFAULT_EPS}};
/// let (s, z) = choose_qparams(-1.0, 3.0, &QuantSpec::u8_affine(), DEFAULT_EPS)?;
/// assert_eq!((s, z), (4.0 / 255.0, 64));
/// # Ok::<(), tq_qtypes::QTypeError>(())
/// ```
pub fn choose_qparams(min: f32, max: f32, spec: &QuantSpec, eps: f32) -> Result<(f32, i32), QTypeError> {
    spec.validate()?;
    let bad_range = QTypeError::BadFloatRange { min: f64::from(min), max: f64::from(max) };
    if !(min.is_finite() && max.is_finite() && min <= max) {
        return Err(bad_range);
    }
    let finish = |raw: f32| {
        let scale = if spec.power_of_two { power_of_two_at_least(raw.max(eps)) } else { raw.max(eps) };
        if scale.is_finite() { Ok(scale) } else { Err(bad_range) }
    };
    let (qmin, qmax) = (i64::from(spec.quant_min), i64::from(spec.quant_max));
    let levels = (qmax - qmin) as f32;
    let min_neg = min.min(0.0);
    let max_pos = max.max(0.0);
    match spec.scheme {
        QScheme::Symmetric => {
            let scale = finish((-min_neg).max(max_pos) / (levels / 2.0))?;
            Ok((scale, symmetric_zero_point(spec)))
        }
        QScheme::Affine => {
            // A range of nearly all of f32 overflows in the difference: halve both ends first.
            let span = max_pos - min_neg;
            let raw = if span.is_finite() { span / levels } else { max_pos / levels - min_neg / levels };
            let scale = finish(raw)?;
            let z = qmin.saturating_sub((min_neg / scale).round_ties_even() as i64);
            Ok((scale, z.clamp(qmin, qmax) as i32))
        }
    }
}

/// The smallest power of two that is not below `x`: `x` itself where it is zero or infinite, infinity above 2^127.
fn power_of_two_at_least(x: f32) -> f32 {
    const MANTISSA: u32 = (1 << 23) - 1;
    let bits = x.to_bits();
    f32::from_bits(match (bits >> 23, bits & MANTISSA) {
        (_, 0) => bits,
        // Subnormal numbers are multiples of the smallest one.
        (0, units) => units.next_power_of_two(),
        (exponent, _) => (exponent + 1) << 23,
    })
}

/// The zero point of a symmetric quantization: 0 for signed types, the middle for unsigned ones
/// (128 for the full u8 range, `(qmin + qmax) / 2` rounded down for a custom one).
#[must_use]
pub fn symmetric_zero_point(spec: &QuantSpec) -> i32 {
    match spec.dtype.quant_range() {
        Some((lo, hi)) if lo == 0 => {
            if (spec.quant_min, spec.quant_max) == (lo, hi) {
                (hi + 1) / 2
            } else {
                (spec.quant_min + spec.quant_max).div_euclid(2)
            }
        }
        _ => 0,
    }
}

/// Code of one f32 value. `rounding` says whether `x` is divided by `scale` or multiplied by its reciprocal.
#[must_use]
pub fn quantize_f32(
    x: f32,
    scale: f32,
    zero_point: i32,
    quant_min: i32,
    quant_max: i32,
    rounding: Rounding,
) -> i32 {
    let scaled = match rounding {
        Rounding::Divide => x / scale,
        Rounding::Reciprocal => x * (1.0 / scale),
    };
    let z = i64::from(zero_point);
    let (qmin, qmax) = (i64::from(quant_min), i64::from(quant_max));
    // `max` before `min`: a NaN becomes the lower bound.
    let v = scaled.max((qmin - z) as f32).min((qmax - z) as f32).round_ties_even() as i64;
    (v + z).clamp(qmin, qmax) as i32
}

/// Code of one f64 value, dividing in f64: what the judge of this project uses.
#[must_use]
pub fn quantize_f64(x: f64, scale: f64, zero_point: i32, quant_min: i32, quant_max: i32) -> i32 {
    let z = i64::from(zero_point);
    let (qmin, qmax) = (i64::from(quant_min), i64::from(quant_max));
    let v = (x / scale).max((qmin - z) as f64).min((qmax - z) as f64).round_ties_even() as i64;
    (v + z) as i32
}

/// Real value of one code, in f32: `scale * (code - zero_point)`.
#[must_use]
pub fn dequantize_f32(code: i32, scale: f32, zero_point: i32) -> f32 {
    (i64::from(code) - i64::from(zero_point)) as f32 * scale
}

/// Real value of one code, exact in f64.
#[must_use]
pub fn dequantize_f64(code: i32, scale: f64, zero_point: i32) -> f64 {
    (i64::from(code) - i64::from(zero_point)) as f64 * scale
}

/// Index of the scale and zero point that element `index` (row-major) of a tensor uses.
///
/// Made once a tensor by [`ParamIndex::new`], so that loops need neither the shape nor the granularity.
#[derive(Debug, Clone, Copy)]
pub struct ParamIndex {
    /// Elements below the axis.
    inner: usize,
    /// Length of the axis.
    axis_len: usize,
    /// Indices of the axis that share parameters.
    group: usize,
    /// Parameters along the axis.
    groups: usize,
    /// False where all positions of the other axes share parameters.
    per_position: bool,
}

impl ParamIndex {
    /// The index map of `granularity` on a tensor of shape `dims`.
    ///
    /// # Errors
    /// As [`Granularity::param_count`].
    pub fn new(granularity: Granularity, dims: &[usize]) -> Result<Self, QTypeError> {
        granularity.param_count(dims)?;
        let inner = |axis: usize| dims[axis + 1..].iter().product::<usize>().max(1);
        Ok(match granularity {
            Granularity::PerTensor => {
                Self { inner: 1, axis_len: 1, group: 1, groups: 1, per_position: false }
            }
            Granularity::PerChannel { axis } => Self {
                inner: inner(axis),
                axis_len: dims[axis].max(1),
                group: 1,
                groups: dims[axis],
                per_position: false,
            },
            Granularity::PerGroup { axis, group_size } => Self {
                inner: inner(axis),
                axis_len: dims[axis].max(1),
                group: group_size,
                groups: dims[axis].div_ceil(group_size),
                per_position: true,
            },
        })
    }

    /// Which parameters element `index` uses.
    #[must_use]
    pub fn of(&self, index: usize) -> usize {
        let row = index / self.inner;
        let along = (row % self.axis_len) / self.group;
        if self.per_position {
            ((row / self.axis_len) * self.groups + along) * self.inner + index % self.inner
        } else {
            along
        }
    }
}

fn check_count(params: &AffineParams, dims: &[usize], len: usize) -> Result<ParamIndex, QTypeError> {
    params.validate()?;
    let expected = params.granularity.param_count(dims)?;
    if params.scale.len() != expected {
        return Err(QTypeError::Length { what: "scales", expected, got: params.scale.len() });
    }
    let numel: usize = dims.iter().product();
    if numel != len {
        return Err(QTypeError::Length { what: "elements", expected: numel, got: len });
    }
    ParamIndex::new(params.granularity, dims)
}

/// Codes of a row-major tensor of shape `dims`.
///
/// # Errors
/// Those of [`AffineParams::validate`] and [`QTypeError::Length`] when counts disagree.
pub fn quantize(
    x: &[f32],
    dims: &[usize],
    params: &AffineParams,
    rounding: Rounding,
) -> Result<Vec<i32>, QTypeError> {
    let index = check_count(params, dims, x.len())?;
    Ok(x.iter()
        .enumerate()
        .map(|(i, &v)| {
            let p = index.of(i);
            let (s, z) = (params.scale[p], params.zero_point[p]);
            quantize_f32(v, s, z, params.quant_min, params.quant_max, rounding)
        })
        .collect())
}

/// Real values of row-major codes of a tensor of shape `dims`.
///
/// # Errors
/// As [`quantize`].
pub fn dequantize(codes: &[i32], dims: &[usize], params: &AffineParams) -> Result<Vec<f32>, QTypeError> {
    let index = check_count(params, dims, codes.len())?;
    Ok(codes
        .iter()
        .enumerate()
        .map(|(i, &q)| {
            let p = index.of(i);
            dequantize_f32(q, params.scale[p], params.zero_point[p])
        })
        .collect())
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const U8: QuantSpec = QuantSpec::u8_affine();

    #[test]
    fn known_values_of_pytorch() {
        let choose = |lo, hi, spec: &QuantSpec| choose_qparams(lo, hi, spec, DEFAULT_EPS).unwrap();
        let i8_full = QuantSpec { quant_min: -128, ..QuantSpec::i8_symmetric(Granularity::PerTensor) };
        assert_eq!(choose(-0.3, 1.0, &i8_full), (0.007_843_138, 0));
        assert_eq!(choose(-0.3, 1.0, &QuantSpec::i8_symmetric(Granularity::PerTensor)), (0.007_874_016, 0));
        assert_eq!(choose(0.0, 0.0, &U8), (f32::EPSILON, 0));
        assert_eq!(choose(3.0, 3.0, &U8), (3.0 / 255.0, 0));
        assert_eq!(choose(-3.0, -3.0, &U8), (3.0 / 255.0, 255));
        assert_eq!(choose(-1.009_99, 1.03, &U8).1, 126);
    }

    #[test]
    fn non_finite_and_reversed_ranges_are_errors() {
        for (lo, hi) in [(f32::NAN, 1.0), (0.0, f32::INFINITY), (2.0, 1.0)] {
            assert!(matches!(
                choose_qparams(lo, hi, &U8, DEFAULT_EPS),
                Err(QTypeError::BadFloatRange { .. })
            ));
        }
        let (s, _) = choose_qparams(f32::MIN, f32::MAX, &U8, DEFAULT_EPS).unwrap();
        assert!(s.is_finite());
        // A subnormal range without a smallest scale: the quotient is beyond every integer.
        let (_, z) = choose_qparams(-f32::from_bits(1), 0.0, &U8, 0.0).unwrap();
        assert!((0..=255).contains(&z));
    }

    #[test]
    fn scales_round_up_to_powers_of_two() {
        let spec = QuantSpec { power_of_two: true, ..U8 };
        // 3/255 lies between 2^-7 and 2^-6; -1 is then 64 steps from zero.
        assert_eq!(choose_qparams(-1.0, 2.0, &spec, DEFAULT_EPS).unwrap(), (0.015_625, 64));
        // A power of two stays itself, the smallest scale too.
        assert_eq!(choose_qparams(0.0, 255.0 / 64.0, &spec, DEFAULT_EPS).unwrap(), (0.015_625, 0));
        assert_eq!(choose_qparams(0.0, 0.0, &spec, DEFAULT_EPS).unwrap(), (f32::EPSILON, 0));
        assert_eq!(choose_qparams(0.0, 0.0, &spec, 1e-6).unwrap().0, 2f32.powi(-19));
        for (x, up) in [(f32::from_bits(5), f32::from_bits(8)), (1.0, 1.0), (1.000_000_1, 2.0), (0.0, 0.0)] {
            assert_eq!(power_of_two_at_least(x), up);
        }
        // Above the largest power of two that f32 has.
        let two = QuantSpec { quant_max: 1, ..spec };
        let error = Err(QTypeError::BadFloatRange { min: 0.0, max: f64::from(f32::MAX) });
        assert_eq!(choose_qparams(0.0, f32::MAX, &two, DEFAULT_EPS), error);
    }

    #[test]
    fn special_values_become_the_ends() {
        let q = |x| quantize_f32(x, 0.5, 3, 0, 255, Rounding::Divide);
        assert_eq!((q(f32::NAN), q(f32::INFINITY), q(f32::NEG_INFINITY)), (0, 255, 0));
        assert_eq!((q(1e30), q(-1e30)), (255, 0));
        assert_eq!((q(0.25), q(0.75)), (3, 5)); // 0.5 -> 0, 1.5 -> 2
        assert_eq!(quantize_f32(3e9, 1.0, 0, i32::MIN, i32::MAX, Rounding::Divide), i32::MAX);
    }

    #[test]
    fn groups_follow_the_block_grid_with_a_ragged_end() {
        // Shape 2x5, groups of 2 along axis 1: three scales a row.
        let g = Granularity::PerGroup { axis: 1, group_size: 2 };
        assert_eq!(g.param_count(&[2, 5]).unwrap(), 6);
        let index = ParamIndex::new(g, &[2, 5]).unwrap();
        let got: Vec<usize> = (0..10).map(|i| index.of(i)).collect();
        assert_eq!(got, [0, 0, 1, 1, 2, 3, 3, 4, 4, 5]);
        // Along axis 0 each column has its own scales.
        let g = Granularity::PerGroup { axis: 0, group_size: 2 };
        let index = ParamIndex::new(g, &[3, 2]).unwrap();
        let got: Vec<usize> = (0..6).map(|i| index.of(i)).collect();
        assert_eq!(got, [0, 1, 0, 1, 2, 3]);
    }

    proptest! {
        #[test]
        fn round_trip_is_within_half_a_step(x in -10.0f32..10.0, lo in -10.0f32..0.0, hi in 0.001f32..10.0) {
            let (s, z) = choose_qparams(lo, hi, &U8, DEFAULT_EPS).unwrap();
            let x = x.clamp(lo, hi);
            let q = quantize_f32(x, s, z, 0, 255, Rounding::Divide);
            let back = dequantize_f32(q, s, z);
            // The zero point is rounded too, so the ends of the range may be half a step off.
            prop_assert!((back - x).abs() <= 1.001 * s, "{x} -> {q} -> {back}");
        }

        #[test]
        fn rounding_up_to_a_power_of_two_is_the_least_that_is_enough(x in 1e-44f32..1e38) {
            let up = f64::from(power_of_two_at_least(x));
            prop_assert_eq!(up.log2().fract(), 0.0);
            prop_assert!(up >= f64::from(x) && up < 2.0 * f64::from(x));
        }

        #[test]
        fn f32_and_f64_agree_away_from_ties(x in -300.0f32..300.0, z in 0i32..256) {
            let a = quantize_f32(x, 0.37, z, 0, 255, Rounding::Divide);
            let b = quantize_f64(f64::from(x), f64::from(0.37f32), z, 0, 255);
            prop_assert!((a - b).abs() <= 1);
        }
    }
}
