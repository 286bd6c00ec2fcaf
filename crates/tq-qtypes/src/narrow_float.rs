//! Narrow floats as a storage format: f16, bf16 and the 8-bit floats, with or without scales.
//!
//! `code = nearest(x / scale)`, ties to even, and `x = scale * value(code)`. Nothing overflows: what is beyond the
//! largest finite number of the format, infinities included, becomes that number. NaN stays NaN.

use crate::affine::{check_finite, checked_index};
use crate::index::ParamIndex;
use crate::packing::CodeWidth;
use crate::{DType, Granularity, QTypeError, float8};
use half::{bf16, f16};
use serde::{Deserialize, Serialize};

/// Parameters of a tensor kept in a narrow float type: `real = scale * value(code)`.
///
/// A code is the bit pattern of the number, 8 or 16 bits, as an unsigned integer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FloatParams {
    /// f16, bf16 or one of the four 8-bit floats.
    pub dtype: DType,
    /// What shares a scale.
    pub granularity: Granularity,
    /// One scale per tensor, channel or group (groups in row-major order of the block grid).
    pub scale: Vec<f32>,
}

impl FloatParams {
    /// Without scaling: a cast to `dtype`.
    ///
    /// # Errors
    /// [`QTypeError::NotNarrowFloat`] for other types.
    pub fn cast(dtype: DType) -> Result<Self, QTypeError> {
        let params = Self { dtype, granularity: Granularity::PerTensor, scale: vec![1.0] };
        params.validate()?;
        Ok(params)
    }

    /// Scales that take the largest magnitude of each set of elements that shares one to the largest number of
    /// `dtype`: `max |x| / largest(dtype)`, 1 for zeros, and never below the smallest normal f32 number.
    ///
    /// # Errors
    /// [`QTypeError::NonFinite`] when a value is NaN or infinite, [`QTypeError::NotNarrowFloat`] for other types;
    /// those of [`Granularity::param_count`]; [`QTypeError::Length`] when `x` and `dims` disagree.
    ///
    /// ```
    /// use tq_qtypes::{DType, FloatParams, Granularity};
    /// let params = FloatParams::from_data(&[1.0, -896.0], &[2], DType::F8E4M3FN, Granularity::PerTensor)?;
    /// assert_eq!(params.scale, [2.0]); // the largest E4M3 number is 448
    /// # Ok::<(), tq_qtypes::QTypeError>(())
    /// ```
    pub fn from_data(
        x: &[f32],
        dims: &[usize],
        dtype: DType,
        granularity: Granularity,
    ) -> Result<Self, QTypeError> {
        let largest = largest(dtype).ok_or(QTypeError::NotNarrowFloat(dtype))?;
        check_finite(x)?;
        let to_scale = |amax: f32| if amax == 0.0 { 1.0 } else { (amax / largest).max(f32::MIN_POSITIVE) };
        let scale = largest_magnitudes(x, dims, granularity)?.into_iter().map(to_scale).collect();
        Ok(Self { dtype, granularity, scale })
    }

    /// Checks the type, the scales and their number (as far as it does not depend on a shape).
    ///
    /// # Errors
    /// [`QTypeError::NotNarrowFloat`], [`QTypeError::Length`] or [`QTypeError::BadScale`].
    pub fn validate(&self) -> Result<(), QTypeError> {
        largest(self.dtype).ok_or(QTypeError::NotNarrowFloat(self.dtype))?;
        check_scales(self.granularity, &self.scale)
    }

    pub(crate) fn width(&self) -> CodeWidth {
        CodeWidth::unsigned(if self.dtype.bits() == 16 { 16 } else { 8 })
    }

    /// Codes of elements `first..` of a tensor with this index.
    pub(crate) fn encode(&self, index: &ParamIndex, first: usize, x: &[f32], codes: &mut [i32]) {
        match self.dtype {
            DType::F16 => self.each(index, first, x, codes, |x, s| {
                // The order keeps a NaN: `min` and `max` would drop it.
                let h = f16::from_f32(x / s);
                i32::from(if h.is_infinite() { f16::MAX.copysign(h) } else { h }.to_bits())
            }),
            DType::BF16 => self.each(index, first, x, codes, |x, s| {
                let h = bf16::from_f32(x / s);
                i32::from(if h.is_infinite() { bf16::MAX.copysign(h) } else { h }.to_bits())
            }),
            dtype => self.each(index, first, x, codes, |x, s| {
                i32::from(float8::encode(f64::from(x / s), dtype, true).unwrap_or_default())
            }),
        }
    }

    /// Values of codes `first..` of a tensor with this index.
    pub(crate) fn decode(&self, index: &ParamIndex, first: usize, codes: &[i32], x: &mut [f32]) {
        match self.dtype {
            DType::F16 => self.each(index, first, codes, x, |q, s| f16::from_bits(q as u16).to_f32() * s),
            DType::BF16 => self.each(index, first, codes, x, |q, s| bf16::from_bits(q as u16).to_f32() * s),
            dtype => {
                let table = float8_table(dtype);
                self.each(index, first, codes, x, |q, s| table[usize::from(q as u8)] * s);
            }
        }
    }

    /// `to[i] = f(from[i], scale)`.
    fn each<A: Copy, B>(
        &self,
        index: &ParamIndex,
        first: usize,
        from: &[A],
        to: &mut [B],
        f: impl Fn(A, f32) -> B,
    ) {
        with_scales(index, first, &self.scale, from, to, f);
    }
}

/// `to[i] = f(from[i], parameter of element first + i)`.
pub(crate) fn with_scales<A: Copy, B, P: Copy>(
    index: &ParamIndex,
    first: usize,
    params: &[P],
    from: &[A],
    to: &mut [B],
    f: impl Fn(A, P) -> B,
) {
    for run in index.runs(first..first + from.len()) {
        let at = run.elements.start - first..run.elements.end - first;
        let pairs = to[at.clone()].iter_mut().zip(&from[at]);
        if run.shared {
            let p = params[run.param];
            pairs.for_each(|(b, a)| *b = f(*a, p));
        } else {
            pairs.zip(&params[run.param..]).for_each(|((b, a), p)| *b = f(*a, *p));
        }
    }
}

/// The largest magnitude of each set of elements that shares parameters; NaN counts for nothing.
pub(crate) fn largest_magnitudes(
    x: &[f32],
    dims: &[usize],
    granularity: Granularity,
) -> Result<Vec<f32>, QTypeError> {
    let count = granularity.param_count(dims)?;
    let index = checked_index(granularity, count, dims, x.len())?;
    let mut largest = vec![0f32; count];
    for run in index.runs(0..x.len()) {
        let x = &x[run.elements];
        if run.shared {
            let amax = x.iter().fold(largest[run.param], |m, x| m.max(x.abs()));
            largest[run.param] = amax;
        } else {
            largest[run.param..].iter_mut().zip(x).for_each(|(m, x)| *m = m.max(x.abs()));
        }
    }
    Ok(largest)
}

/// Every scale must be finite and positive; a per-tensor quantization has one.
pub(crate) fn check_scales(granularity: Granularity, scale: &[f32]) -> Result<(), QTypeError> {
    if granularity == Granularity::PerTensor && scale.len() != 1 {
        return Err(QTypeError::Length {
            what: "scales of a per-tensor quantization",
            expected: 1,
            got: scale.len(),
        });
    }
    match scale.iter().position(|s| !(s.is_finite() && *s > 0.0)) {
        None => Ok(()),
        Some(index) => Err(QTypeError::BadScale { index, scale: scale[index] }),
    }
}

/// The largest finite number of a narrow float type.
fn largest(dtype: DType) -> Option<f32> {
    Some(match dtype {
        DType::F16 => f16::MAX.to_f32(),
        DType::BF16 => bf16::MAX.to_f32(),
        dtype => float8::decode(float8::encode(f64::INFINITY, dtype, true)?, dtype)? as f32,
    })
}

/// The values of all codes of an 8-bit float, which f32 holds exactly.
pub(crate) fn float8_table(dtype: DType) -> [f32; 256] {
    std::array::from_fn(|code| float8::decode(code as u8, dtype).unwrap_or(f64::NAN) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: [DType; 6] =
        [DType::F16, DType::BF16, DType::F8E4M3FN, DType::F8E4M3FNUZ, DType::F8E5M2, DType::F8E5M2FNUZ];

    fn encode(params: &FloatParams, x: &[f32]) -> Vec<i32> {
        let index = ParamIndex::new(params.granularity, &[x.len()]).unwrap();
        let mut codes = vec![0; x.len()];
        params.encode(&index, 0, x, &mut codes);
        codes
    }

    fn decode(params: &FloatParams, codes: &[i32]) -> Vec<f32> {
        let index = ParamIndex::new(params.granularity, &[codes.len()]).unwrap();
        let mut x = vec![0.0; codes.len()];
        params.decode(&index, 0, codes, &mut x);
        x
    }

    #[test]
    fn largest_numbers() {
        let got = TYPES.map(|d| largest(d).unwrap());
        assert_eq!(got, [65_504.0, 3.389_531_4e38, 448.0, 240.0, 57_344.0, 57_344.0]);
        assert_eq!(FloatParams::cast(DType::F32), Err(QTypeError::NotNarrowFloat(DType::F32)));
    }

    #[test]
    fn nothing_overflows_and_nan_stays() {
        for dtype in TYPES {
            let params = FloatParams::cast(dtype).unwrap();
            let top = largest(dtype).unwrap();
            let x = [f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, f32::NAN, 0.0];
            let y = decode(&params, &encode(&params, &x));
            assert_eq!(y[..4], [top, -top, top, -top], "{dtype}");
            assert!(y[4].is_nan());
            assert_eq!(y[5].to_bits(), 0);
        }
    }

    #[test]
    fn every_number_of_a_format_is_kept() {
        for dtype in TYPES {
            let params = FloatParams::cast(dtype).unwrap();
            let all: Vec<i32> = (0..1 << dtype.bits()).collect();
            let values = decode(&params, &all);
            for (code, (x, back)) in all.iter().zip(values.iter().zip(encode(&params, &values))) {
                if x.is_finite() {
                    assert_eq!(back, *code, "{dtype} {x}");
                }
            }
        }
    }

    #[test]
    fn scales_take_the_largest_to_the_largest() {
        let x = [0.1, -3.0, 0.0, 0.0, 1e-44, 2e-44];
        let group = Granularity::PerGroup { axis: 0, group_size: 2 };
        let params = FloatParams::from_data(&x, &[6], DType::F8E5M2, group).unwrap();
        assert_eq!(params.scale, [3.0 / 57_344.0, 1.0, f32::MIN_POSITIVE]);
        let y = decode(&params, &encode(&params, &x));
        assert_eq!(y[1..4], [-3.0, 0.0, 0.0]);
        assert!((y[0] - 0.1).abs() <= 0.1 / 8.0);
        let error = FloatParams::from_data(&[f32::NAN, 1.0], &[2], DType::F16, Granularity::PerTensor);
        assert_eq!(error, Err(QTypeError::NonFinite { count: 1, len: 2 }));
    }
}
