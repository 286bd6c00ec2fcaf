//! Affine quantization: choosing parameters, quantizing, dequantizing.
//!
//! `code = clamp(round_half_even(x / scale) + zero_point, quant_min, quant_max)` and
//! `x = scale * (code - zero_point)`. NaN becomes `quant_min`, infinities saturate.

pub use crate::dynamic::dynamic_qparams;
pub use crate::index::{ParamIndex, Run};
use crate::{AffineParams, Granularity, QScheme, QTypeError, QuantSpec, Rounding};

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

/// The zero point that a real one stands for, as one that is trained: rounded half to even and clamped to the codes. NaN
/// becomes `quant_min`.
///
/// ```
/// use tq_qtypes::affine::round_zero_point;
/// assert_eq!([2.5, -7.0, 300.0].map(|z| round_zero_point(z, 0, 255)), [2, 0, 255]);
/// ```
#[must_use]
pub fn round_zero_point(zero_point: f32, quant_min: i32, quant_max: i32) -> i32 {
    let (lo, hi) = (f64::from(quant_min), f64::from(quant_max));
    f64::from(zero_point).round_ties_even().max(lo).min(hi) as i32
}

/// `round_half_even(x * (1 / scale) + zero_point)`, not clamped, where product and sum are rounded once before that to an
/// integer: how the backward pass of PyTorch's learnable quantizers finds codes. It decides otherwise than
/// [`quantize_f32`] what lies halfway between two codes.
#[must_use]
pub fn fused_code_f32(x: f32, scale: f32, zero_point: i32) -> f32 {
    libm::fmaf(x, 1.0 / scale, zero_point as f32).round_ties_even()
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

/// Code of one f32 value by stochastic rounding, where `uniform` is a random number of `0..1`.
///
/// With `v = x / scale` and `f` what `v` has above the integer below it, `v` is rounded up with probability
/// `clamp(1/2 + (f - 1/2) / temperature)`: at temperature 1 that is `f`, so that the expected value is `v` (Gupta et al.,
/// 2015, "Deep Learning with Limited Numerical Precision"); towards 0 it becomes rounding to the nearest, half to even
/// at 0 itself; towards infinity the toss of a coin. NaN becomes `quant_min`, infinities saturate.
#[must_use]
pub fn quantize_f32_stochastic(
    x: f32,
    scale: f32,
    zero_point: i32,
    quant_min: i32,
    quant_max: i32,
    temperature: f32,
    uniform: f32,
) -> i32 {
    if temperature == 0.0 {
        return quantize_f32(x, scale, zero_point, quant_min, quant_max, Rounding::Divide);
    }
    let z = i64::from(zero_point);
    let (qmin, qmax) = (i64::from(quant_min), i64::from(quant_max));
    let v = (x / scale).max((qmin - z) as f32).min((qmax - z) as f32);
    let below = v.floor();
    let up = uniform < 0.5 + (v - below - 0.5) / temperature;
    (below as i64 + i64::from(up) + z).clamp(qmin, qmax) as i32
}

/// Where a rounded value lies before it is clamped to the codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Side {
    /// Below the smallest code.
    Below,
    /// Among the codes: clamping does not change it.
    #[default]
    Inside,
    /// Above the largest code.
    Above,
}

/// The scaled values that are rounded to one of the codes. Thresholds need no rounding, so that compilers turn loops of
/// comparisons into vector code.
struct Inside {
    /// The smallest scaled value inside.
    lower: f32,
    /// The largest.
    upper: f32,
}

impl Inside {
    fn new(zero_point: i32, quant_min: i32, quant_max: i32) -> Self {
        let z = i64::from(zero_point);
        let (lo, hi) = (i64::from(quant_min) - z, i64::from(quant_max) - z);
        // Halves are rounded to even: the tie beside an even bound is inside, that beside an odd one is not.
        let tie = lo as f64 - 0.5;
        let mut lower = tie as f32;
        while f64::from(lower) < tie || (lo % 2 != 0 && f64::from(lower) == tie) {
            lower = lower.next_up();
        }
        let tie = hi as f64 + 0.5;
        let mut upper = tie as f32;
        while f64::from(upper) > tie || (hi % 2 != 0 && f64::from(upper) == tie) {
            upper = upper.next_down();
        }
        Self { lower, upper }
    }

    fn side(&self, scaled: f32) -> Side {
        if scaled < self.lower {
            Side::Below
        } else if scaled > self.upper {
            Side::Above
        } else {
            Side::Inside
        }
    }
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
    let index = params.index(dims, x.len())?;
    let mut codes = vec![0; x.len()];
    params.encode(&index, 0, x, rounding, &mut codes);
    Ok(codes)
}

/// Real values of row-major codes of a tensor of shape `dims`.
///
/// # Errors
/// As [`quantize`].
pub fn dequantize(codes: &[i32], dims: &[usize], params: &AffineParams) -> Result<Vec<f32>, QTypeError> {
    let index = params.index(dims, codes.len())?;
    let mut x = vec![0.0; codes.len()];
    params.decode(&index, 0, codes, &mut x);
    Ok(x)
}

impl AffineParams {
    /// The parameters that cover the smallest to the largest value of each set of elements that shares them; see
    /// [`choose_qparams`], which gets [`DEFAULT_EPS`]. A tensor without elements counts as one of zeros.
    ///
    /// # Errors
    /// [`QTypeError::NonFinite`] when a value is NaN or infinite; those of [`choose_qparams`] and of
    /// [`Granularity::param_count`]; [`QTypeError::Length`] when `x` and `dims` disagree.
    ///
    /// ```
    /// use tq_qtypes::{AffineParams, Granularity, QuantSpec};
    /// let spec = QuantSpec::i8_symmetric(Granularity::PerChannel { axis: 0 });
    /// let params = AffineParams::from_data(&[1.0, -2.0, 0.5, 0.25], &[2, 2], &spec)?;
    /// assert_eq!(params.scale, [2.0 / 127.0, 1.0 / 254.0]);
    /// # Ok::<(), tq_qtypes::QTypeError>(())
    /// ```
    pub fn from_data(x: &[f32], dims: &[usize], spec: &QuantSpec) -> Result<Self, QTypeError> {
        spec.validate()?;
        let count = spec.granularity.param_count(dims)?;
        let index = checked_index(spec.granularity, count, dims, x.len())?;
        check_finite(x)?;
        // Zero is in every range.
        let mut ranges = vec![(0f32, 0f32); count];
        for run in index.runs(0..x.len()) {
            let x = &x[run.elements];
            let widen = |range: &mut (f32, f32), x: f32| *range = (range.0.min(x), range.1.max(x));
            if run.shared {
                let range = &mut ranges[run.param];
                x.iter().for_each(|x| widen(range, *x));
            } else {
                ranges[run.param..].iter_mut().zip(x).for_each(|(range, x)| widen(range, *x));
            }
        }
        let (mut scale, mut zero_point) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for (min, max) in ranges {
            let (s, z) = choose_qparams(min, max, spec, DEFAULT_EPS)?;
            scale.push(s);
            zero_point.push(z);
        }
        let QuantSpec { dtype, quant_min, quant_max, granularity, .. } = *spec;
        Ok(Self { dtype, quant_min, quant_max, granularity, scale, zero_point })
    }

    /// Which parameters each of the `len` elements of a tensor of shape `dims` uses, after all checks.
    pub(crate) fn index(&self, dims: &[usize], len: usize) -> Result<ParamIndex, QTypeError> {
        self.validate()?;
        checked_index(self.granularity, self.scale.len(), dims, len)
    }

    /// Codes of elements `first..` of a tensor with this index.
    pub(crate) fn encode(
        &self,
        index: &ParamIndex,
        first: usize,
        x: &[f32],
        rounding: Rounding,
        codes: &mut [i32],
    ) {
        let (lo, hi) = (self.quant_min, self.quant_max);
        let small = self.dtype.bits() <= 16;
        for run in index.runs(first..first + x.len()) {
            let at = run.elements.start - first..run.elements.end - first;
            let (x, codes) = (&x[at.clone()], &mut codes[at]);
            if !run.shared {
                let params = self.scale[run.param..].iter().zip(&self.zero_point[run.param..]);
                let all = codes.iter_mut().zip(x).zip(params);
                match (small, rounding) {
                    (true, Rounding::Divide) => {
                        all.for_each(|((q, x), (s, z))| *q = Nearest::new(*z, lo, hi).code(x / s));
                    }
                    (true, Rounding::Reciprocal) => {
                        all.for_each(|((q, x), (s, z))| *q = Nearest::new(*z, lo, hi).code(x * (1.0 / s)));
                    }
                    (false, _) => {
                        all.for_each(|((q, x), (s, z))| *q = quantize_f32(*x, *s, *z, lo, hi, rounding));
                    }
                }
                continue;
            }
            let (s, z) = (self.scale[run.param], self.zero_point[run.param]);
            match (small, rounding) {
                (true, Rounding::Divide) => {
                    let near = Nearest::new(z, lo, hi);
                    codes.iter_mut().zip(x).for_each(|(q, x)| *q = near.code(x / s));
                }
                (true, Rounding::Reciprocal) => {
                    let (near, inverse) = (Nearest::new(z, lo, hi), 1.0 / s);
                    codes.iter_mut().zip(x).for_each(|(q, x)| *q = near.code(x * inverse));
                }
                (false, _) => {
                    let code = |x| quantize_f32(x, s, z, lo, hi, rounding);
                    codes.iter_mut().zip(x).for_each(|(q, x)| *q = code(*x));
                }
            }
        }
    }

    /// Values of elements `first..` of a tensor with this index once they were codes, as [`AffineParams::encode`] and
    /// [`AffineParams::decode`] give them one after the other; but NaN stays. False, and nothing done, for codes beyond 16
    /// bits.
    pub(crate) fn fake(
        &self,
        index: &ParamIndex,
        first: usize,
        x: &[f32],
        rounding: Rounding,
        y: &mut [f32],
    ) -> bool {
        if self.dtype.bits() > 16 {
            return false;
        }
        let (lo, hi) = (self.quant_min, self.quant_max);
        let keep_nan = |x: f32, y: f32| if x.is_nan() { x } else { y };
        for run in index.runs(first..first + x.len()) {
            let at = run.elements.start - first..run.elements.end - first;
            let all = y[at.clone()].iter_mut().zip(&x[at]);
            if run.shared {
                let (s, near) = (self.scale[run.param], Nearest::new(self.zero_point[run.param], lo, hi));
                match rounding {
                    Rounding::Divide => all.for_each(|(y, x)| *y = keep_nan(*x, near.steps(x / s) * s)),
                    Rounding::Reciprocal => {
                        let inverse = 1.0 / s;
                        all.for_each(|(y, x)| *y = keep_nan(*x, near.steps(x * inverse) * s));
                    }
                }
                continue;
            }
            let params = self.scale[run.param..].iter().zip(&self.zero_point[run.param..]);
            for ((y, x), (s, z)) in all.zip(params) {
                let scaled = match rounding {
                    Rounding::Divide => x / s,
                    Rounding::Reciprocal => x * (1.0 / s),
                };
                *y = keep_nan(*x, Nearest::new(*z, lo, hi).steps(scaled) * s);
            }
        }
        true
    }

    /// On which side of the codes elements `first..` of a tensor with this index fall.
    pub(crate) fn sides(
        &self,
        index: &ParamIndex,
        first: usize,
        x: &[f32],
        rounding: Rounding,
        sides: &mut [Side],
    ) {
        let scaled = |x: f32, s: f32| match rounding {
            Rounding::Divide => x / s,
            Rounding::Reciprocal => x * (1.0 / s),
        };
        for run in index.runs(first..first + x.len()) {
            let at = run.elements.start - first..run.elements.end - first;
            let (x, sides) = (&x[at.clone()], &mut sides[at]);
            let all = sides.iter_mut().zip(x);
            if run.shared {
                let s = self.scale[run.param];
                let inside = Inside::new(self.zero_point[run.param], self.quant_min, self.quant_max);
                all.for_each(|(side, x)| *side = inside.side(scaled(*x, s)));
            } else {
                let params = self.scale[run.param..].iter().zip(&self.zero_point[run.param..]);
                all.zip(params).for_each(|((side, x), (s, z))| {
                    *side = Inside::new(*z, self.quant_min, self.quant_max).side(scaled(*x, *s));
                });
            }
        }
    }

    /// Values of codes `first..` of a tensor with this index.
    pub(crate) fn decode(&self, index: &ParamIndex, first: usize, codes: &[i32], x: &mut [f32]) {
        // Such differences fit 32 bits, which convert faster than 64. Callers may hand in codes of any size.
        let small = self.dtype.bits() <= 16 && codes.iter().all(|q| q.unsigned_abs() < 1 << 24);
        let value = |q: i32, s: f32, z: i32| {
            if small { q.wrapping_sub(z) as f32 * s } else { dequantize_f32(q, s, z) }
        };
        for run in index.runs(first..first + codes.len()) {
            let at = run.elements.start - first..run.elements.end - first;
            let (codes, x) = (&codes[at.clone()], &mut x[at]);
            if run.shared {
                let (s, z) = (self.scale[run.param], self.zero_point[run.param]);
                x.iter_mut().zip(codes).for_each(|(x, q)| *x = value(*q, s, z));
            } else {
                let params = self.scale[run.param..].iter().zip(&self.zero_point[run.param..]);
                x.iter_mut().zip(codes).zip(params).for_each(|((x, q), (s, z))| *x = value(*q, *s, *z));
            }
        }
    }
}

/// Fails when a value is NaN or infinite.
pub(crate) fn check_finite(x: &[f32]) -> Result<(), QTypeError> {
    match x.iter().filter(|v| !v.is_finite()).count() {
        0 => Ok(()),
        count => Err(QTypeError::NonFinite { count, len: x.len() }),
    }
}

/// The index map of a tensor, after checking that it has `params` parameters and `len` elements.
pub(crate) fn checked_index(
    granularity: Granularity,
    params: usize,
    dims: &[usize],
    len: usize,
) -> Result<ParamIndex, QTypeError> {
    let expected = granularity.param_count(dims)?;
    if params != expected {
        return Err(QTypeError::Length { what: "scales", expected, got: params });
    }
    let numel = crate::index::numel(dims)?;
    if numel != len {
        return Err(QTypeError::Length { what: "elements", expected: numel, got: len });
    }
    ParamIndex::new(granularity, dims)
}

/// [`quantize_f32`] after the division, for codes of up to 16 bits, without a conversion that must be called:
/// compilers turn a loop of it into vector code for every processor.
struct Nearest {
    lo: f32,
    hi: f32,
    zero_point: i32,
}

impl Nearest {
    /// 1.5 * 2^23: f32 numbers near it are the integers near it, so that adding it rounds (half to even), and its
    /// lowest bits count from there.
    const SHIFT: f32 = 12_582_912.0;

    fn new(zero_point: i32, quant_min: i32, quant_max: i32) -> Self {
        Self { lo: (quant_min - zero_point) as f32, hi: (quant_max - zero_point) as f32, zero_point }
    }

    fn shifted(&self, scaled: f32) -> f32 {
        // `max` before `min`: a NaN becomes the lower bound. The bounds are far below 2^22.
        scaled.max(self.lo).min(self.hi) + Self::SHIFT
    }

    /// What the code has above the zero point.
    fn steps(&self, scaled: f32) -> f32 {
        self.shifted(scaled) - Self::SHIFT
    }

    fn code(&self, scaled: f32) -> i32 {
        let shifted = self.shifted(scaled);
        (shifted.to_bits() as i32).wrapping_sub(Self::SHIFT.to_bits() as i32).wrapping_add(self.zero_point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DType;
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

        /// Whole tensors take faster paths than single values: they must not differ in any bit.
        #[test]
        fn tensors_are_quantized_as_their_elements_are(
            bits in proptest::collection::vec(any::<u32>(), 40),
            values in proptest::collection::vec(-300.0f32..300.0, 40),
            dtype in proptest::sample::select(vec![DType::I4, DType::U8, DType::I8, DType::U16, DType::I32]),
            // Every positive finite number, subnormal ones included.
            scale in prop_oneof![0.01f32..10.0, (1u32..0x7F80_0000).prop_map(f32::from_bits)],
            zero_point: i32,
            codes in proptest::collection::vec(any::<i32>(), 80),
            per_group: bool,
        ) {
            let x: Vec<f32> = bits.into_iter().map(f32::from_bits).chain(values).collect();
            let (lo, hi) = dtype.quant_range().unwrap();
            let mut params = AffineParams::per_tensor(dtype, scale, zero_point.clamp(lo, hi)).unwrap();
            if per_group {
                params.granularity = Granularity::PerGroup { axis: 0, group_size: 32 };
                params.scale = vec![scale, 1.0, 0.1];
                params.zero_point = vec![params.zero_point[0], lo, hi];
            }
            let index = ParamIndex::new(params.granularity, &[80]).unwrap();
            for rounding in [Rounding::Divide, Rounding::Reciprocal] {
                let got = quantize(&x, &[80], &params, rounding).unwrap();
                for (i, (x, got)) in x.iter().zip(got).enumerate() {
                    let (s, z) = (params.scale[index.of(i)], params.zero_point[index.of(i)]);
                    prop_assert_eq!(got, quantize_f32(*x, s, z, lo, hi, rounding), "{} {}", x, s);
                }
            }
            // Codes that the type has, and codes that it has not.
            for codes in [codes.iter().map(|q| (*q).clamp(lo, hi)).collect(), codes.clone()] {
                let got = dequantize(&codes, &[80], &params).unwrap();
                for (i, (q, got)) in codes.iter().zip(got).enumerate() {
                    let (s, z) = (params.scale[index.of(i)], params.zero_point[index.of(i)]);
                    prop_assert_eq!(got.to_bits(), dequantize_f32(*q, s, z).to_bits());
                }
            }
        }

        #[test]
        fn rounding_up_to_a_power_of_two_is_the_least_that_is_enough(x in 1e-44f32..1e38) {
            let up = f64::from(power_of_two_at_least(x));
            prop_assert_eq!(up.log2().fract(), 0.0);
            prop_assert!(up >= f64::from(x) && up < 2.0 * f64::from(x));
        }

        /// The thresholds say what rounding says, which single values are asked for here.
        #[test]
        fn sides_are_those_of_the_rounded_value(
            bits in proptest::collection::vec(any::<u32>(), 40),
            steps in proptest::collection::vec(-600i32..600, 80),
            dtype in proptest::sample::select(vec![DType::I2, DType::I4, DType::U8, DType::I16, DType::I32]),
            zero_point: i32,
            per_channel: bool,
        ) {
            let (lo, hi) = dtype.quant_range().unwrap();
            let z = zero_point.clamp(lo, hi);
            // Ties at both ends, and beside them, are what matters; a scale of 1/2 keeps them exact.
            let (low, high) = ((i64::from(lo) - i64::from(z)) as f32, (i64::from(hi) - i64::from(z)) as f32);
            let near = steps.iter().map(|k| *k as f32 / 4.0);
            let x: Vec<f32> = bits.into_iter().map(f32::from_bits)
                .chain(near.clone().map(|d| (low + d) * 0.5))
                .chain(near.map(|d| (high + d) * 0.5))
                .collect();
            let mut params = AffineParams::per_tensor(dtype, 0.5, z).unwrap();
            if per_channel {
                params.granularity = Granularity::PerChannel { axis: 0 };
                params.scale = vec![0.5; x.len()];
                params.zero_point = vec![z; x.len()];
            }
            let index = params.index(&[x.len()], x.len()).unwrap();
            let mut sides = vec![Side::Below; x.len()];
            params.sides(&index, 0, &x, Rounding::Divide, &mut sides);
            for (x, side) in x.iter().zip(sides) {
                let rounded = f64::from((x / 0.5).round_ties_even()) + f64::from(z);
                let want = if rounded < f64::from(lo) {
                    Side::Below
                } else if rounded > f64::from(hi) {
                    Side::Above
                } else {
                    Side::Inside
                };
                prop_assert_eq!(side, want, "{}", x);
            }
        }

        #[test]
        fn stochastic_codes_are_neighbours_and_right_on_average(x in -200.0f32..200.0, z in -5i32..6) {
            let draw = |t, u| quantize_f32_stochastic(x, 1.0, z, -128, 127, t, u);
            let clamped = x.clamp((-128 - z) as f32, (127 - z) as f32);
            let draws = 1000;
            let mean = (0..draws).map(|i| draw(1.0, (i as f32 + 0.5) / draws as f32)).sum::<i32>() as f64
                / f64::from(draws);
            prop_assert!((mean - f64::from(clamped) - f64::from(z)).abs() <= 1.01e-3, "{} {}", x, mean);
            // At a low temperature the nearest, away from ties.
            if (x - x.floor() - 0.5).abs() > 0.01 {
                let nearest = quantize_f32(x, 1.0, z, -128, 127, Rounding::Divide);
                prop_assert_eq!(draw(1e-3, 0.3), nearest);
                prop_assert_eq!(draw(0.0, 0.9), nearest);
            }
            prop_assert_eq!(quantize_f32_stochastic(f32::NAN, 1.0, z, -128, 127, 1.0, 0.5), -128);
            prop_assert_eq!(quantize_f32_stochastic(f32::INFINITY, 1.0, z, -128, 127, 1.0, 0.5), 127);
        }

        #[test]
        fn f32_and_f64_agree_away_from_ties(x in -300.0f32..300.0, z in 0i32..256) {
            let a = quantize_f32(x, 0.37, z, 0, 255, Rounding::Divide);
            let b = quantize_f64(f64::from(x), f64::from(0.37f32), z, 0, 255);
            prop_assert!((a - b).abs() <= 1);
        }
    }
}
