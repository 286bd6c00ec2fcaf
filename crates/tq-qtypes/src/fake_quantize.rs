//! Quantizing and dequantizing in one step: what a value becomes on its way through a quantized tensor.

use crate::{QParams, QTypeError, Rounding};

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
    let index = params.index(dims, x.len())?;
    let mut codes = vec![0; x.len().min(CHUNK)];
    let mut y = vec![0.0; x.len()];
    for (i, (x, y)) in x.chunks(CHUNK).zip(y.chunks_mut(CHUNK)).enumerate() {
        let codes = &mut codes[..x.len()];
        params.encode(&index, i * CHUNK, x, rounding, codes);
        params.decode(&index, i * CHUNK, codes, y);
        y.iter_mut().zip(x).filter(|(_, x)| x.is_nan()).for_each(|(y, x)| *y = *x);
    }
    Ok(y)
}
