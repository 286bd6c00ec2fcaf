//! Fake quantization that rounds at random, so that what is below half a step is not lost on average.

use super::chunks::mapped;
use crate::QatError;
use crate::random::uniform_at;
use tq_graph::Tensor;
use tq_qtypes::affine::{dequantize_f32, quantize_f32_stochastic};
use tq_qtypes::fake_quantize::FakeQuantizer;
use tq_qtypes::{AffineParams, QParams, Rounding};

/// What a tensor becomes when each value is rounded up or down at random, by
/// [`quantize_f32_stochastic`]; element `i` draws number `i` of the sequence of `seed`, so that the result does not
/// depend on the number of threads. NaN stays NaN.
///
/// The gradient is that of [`super::straight_through::backward`].
///
/// # Errors
/// [`QatError::Quantize`] when the parameters are not those of such a tensor.
pub fn forward(x: &Tensor, params: &AffineParams, temperature: f32, seed: u64) -> Result<Tensor, QatError> {
    let data = x.as_slice::<f32>()?;
    let wrapped = QParams::Affine(params.clone());
    let quantizer = FakeQuantizer::new(&wrapped, x.dims(), data.len(), Rounding::Divide)?;
    let (lo, hi) = (params.quant_min, params.quant_max);
    let y = mapped(data, |first, x, y| {
        for run in quantizer.runs(first..first + x.len()) {
            for i in run.elements.clone() {
                let param = run.param + if run.shared { 0 } else { i - run.elements.start };
                let (s, z) = (params.scale[param], params.zero_point[param]);
                let (v, u) = (x[i - first], uniform_at(seed, i as u64));
                let code = quantize_f32_stochastic(v, s, z, lo, hi, temperature, u);
                y[i - first] = if v.is_nan() { v } else { dequantize_f32(code, s, z) };
            }
        }
    });
    Ok(Tensor::new(x.dims(), y)?)
}
