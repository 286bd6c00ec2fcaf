//! Quantizing and dequantizing in one step: what a value becomes on its way through a quantized tensor.

use crate::affine::{Run, Side};
use crate::index::ParamIndex;
use crate::{QParams, QTypeError, Rounding};
use std::ops::Range;

/// Elements that are converted at a time, so that codes stay in the nearest cache.
pub(crate) const CHUNK: usize = 4096;

/// The values that a tensor of shape `dims` has after quantization, for every scheme.
///
/// `rounding` is for affine parameters; the other schemes divide by their scales. Infinities become the end of the
/// range that they point to. NaN stays NaN, although most codes cannot say it: what a network computed wrongly must
/// not look right after this. PyTorch maps NaN and values beyond 64-bit integers to the smallest code instead.
///
/// # Errors
/// Those of [`QParams::validate`]; [`QTypeError::Length`] when counts disagree.
///
/// ```
/// use tq_qtypes::{AffineParams, DType, Rounding, fake_quantize::fake_quantize};
/// let params = AffineParams::per_tensor(DType::U8, 0.5, 0)?.into();
/// let y = fake_quantize(&[0.6, -1.0, f32::INFINITY], &[3], &params, Rounding::Divide)?;
/// assert_eq!(y, [0.5, 0.0, 127.5]);
/// # Ok::<(), tq_qtypes::QTypeError>(())
/// ```
pub fn fake_quantize(
    x: &[f32],
    dims: &[usize],
    params: &QParams,
    rounding: Rounding,
) -> Result<Vec<f32>, QTypeError> {
    let mut y = vec![0.0; x.len()];
    FakeQuantizer::new(params, dims, x.len(), rounding)?.apply(0, x, &mut y);
    Ok(y)
}

/// [`fake_quantize()`] of one tensor in pieces, by several threads for example, after all checks.
///
/// ```
/// use tq_qtypes::affine::Side;
/// use tq_qtypes::{AffineParams, DType, Rounding, fake_quantize::FakeQuantizer};
/// let params = AffineParams::per_tensor(DType::U8, 0.5, 0)?.into();
/// let x = [0.6, -0.25, -0.26, 127.75];
/// let (mut y, mut sides) = ([0.0; 2], [Side::Inside; 4]);
/// let quantizer = FakeQuantizer::new(&params, &[4], x.len(), Rounding::Divide)?;
/// quantizer.apply(2, &x[2..], &mut y);
/// assert_eq!(y, [0.0, 127.5]);
/// // A tie is rounded before the side is told: -0.5 becomes code 0, and 255.5 code 256.
/// quantizer.sides(0, &x, &mut sides);
/// assert_eq!(sides, [Side::Inside, Side::Inside, Side::Below, Side::Above]);
/// # Ok::<(), tq_qtypes::QTypeError>(())
/// ```
#[derive(Debug)]
pub struct FakeQuantizer<'p> {
    params: &'p QParams,
    index: ParamIndex,
    rounding: Rounding,
}

impl<'p> FakeQuantizer<'p> {
    /// For a tensor of shape `dims` with `len` elements.
    ///
    /// # Errors
    /// As [`fake_quantize()`].
    pub fn new(
        params: &'p QParams,
        dims: &[usize],
        len: usize,
        rounding: Rounding,
    ) -> Result<Self, QTypeError> {
        Ok(Self { index: params.index(dims, len)?, params, rounding })
    }

    /// What elements `first..` of the tensor become.
    ///
    /// # Panics
    /// When `x` and `y` differ in length, or are beyond the tensor's end.
    pub fn apply(&self, first: usize, x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), y.len());
        if let QParams::Affine(p) = self.params
            && p.fake(&self.index, first, x, self.rounding, y)
        {
            return;
        }
        let mut codes = [0; CHUNK];
        for (i, (x, y)) in x.chunks(CHUNK).zip(y.chunks_mut(CHUNK)).enumerate() {
            let (codes, first) = (&mut codes[..x.len()], first + i * CHUNK);
            self.params.encode(&self.index, first, x, self.rounding, codes);
            self.params.decode(&self.index, first, codes, y);
            y.iter_mut().zip(x).filter(|(_, x)| x.is_nan()).for_each(|(y, x)| *y = *x);
        }
    }

    /// The codes of elements `first..` of the tensor; NaN has the smallest.
    ///
    /// # Panics
    /// As [`FakeQuantizer::apply`].
    pub fn codes(&self, first: usize, x: &[f32], codes: &mut [i32]) {
        assert_eq!(x.len(), codes.len());
        self.params.encode(&self.index, first, x, self.rounding, codes);
    }

    /// On which side of the codes elements `first..` fall once they are rounded, before they are clamped. A NaN counts
    /// as inside, and so does every value of a scheme that is not affine.
    ///
    /// # Panics
    /// As [`FakeQuantizer::apply`].
    pub fn sides(&self, first: usize, x: &[f32], sides: &mut [Side]) {
        assert_eq!(x.len(), sides.len());
        match self.params {
            QParams::Affine(p) => p.sides(&self.index, first, x, self.rounding, sides),
            _ => sides.fill(Side::Inside),
        }
    }

    /// The elements of `elements` by the parameters that they use.
    pub fn runs(&self, elements: Range<usize>) -> impl Iterator<Item = Run> + '_ {
        self.index.runs(elements)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AffineParams, DType, Granularity};
    use proptest::prelude::*;

    /// Halves of a step among them, and all that f32 has.
    fn value() -> impl Strategy<Value = f32> {
        prop_oneof![(-600i32..600).prop_map(|n| n as f32 * 0.5), -300f32..300.0, any::<f32>()]
    }

    proptest! {
        #[test]
        fn one_loop_gives_what_encoding_and_decoding_give(
            x in proptest::collection::vec(value(), 24),
            scale in proptest::collection::vec(prop_oneof![Just(1.0f32), Just(0.25), 1e-3f32..10.0], 3),
            zero_point in proptest::collection::vec(0i32..=255, 3),
            (axis, reciprocal) in (0usize..3, any::<bool>()),
        ) {
            let dims = [[3, 2, 4], [2, 3, 4], [2, 4, 3]][axis];
            let granularity = Granularity::PerChannel { axis };
            let params =
                AffineParams { dtype: DType::U8, quant_min: 0, quant_max: 255, granularity, scale, zero_point };
            let rounding = if reciprocal { Rounding::Reciprocal } else { Rounding::Divide };
            let got = fake_quantize(&x, &dims, &params.clone().into(), rounding).unwrap();
            let codes = crate::affine::quantize(&x, &dims, &params, rounding).unwrap();
            let expected = crate::affine::dequantize(&codes, &dims, &params).unwrap();
            for ((x, got), expected) in x.iter().zip(got).zip(expected) {
                let expected = if x.is_nan() { *x } else { expected };
                prop_assert_eq!(got.to_bits(), expected.to_bits(), "{}", x);
            }
        }
    }
}
