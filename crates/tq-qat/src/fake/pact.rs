//! PACT (Choi et al., 2018): activations clipped to `0..=alpha`, where `alpha` is trained.

use super::straight_through;
use crate::{CustomRule, QatError};
use rayon::prelude::*;
use tq_graph::Tensor;
use tq_qtypes::affine::choose_qparams;
use tq_qtypes::{AffineParams, Granularity, QScheme, QuantSpec, Rounding};

/// The parameters of codes of `bits` bits, 2 to 8, for values of `0..=alpha`: scale `alpha / (2^bits - 1)`, zero point 0.
///
/// # Errors
/// [`QatError::Quantize`] for another width, and for an `alpha` that is not finite and positive.
pub fn params(alpha: f32, bits: u32) -> Result<AffineParams, QatError> {
    let spec = QuantSpec::bits(false, bits, QScheme::Affine, Granularity::PerTensor)?;
    // No smallest scale: an alpha that is zero is an error below.
    let (scale, zero_point) = choose_qparams(0.0, alpha, &spec, 0.0)?;
    let QuantSpec { dtype, quant_min, quant_max, granularity, .. } = spec;
    let (scale, zero_point) = (vec![scale], vec![zero_point]);
    let params = AffineParams { dtype, quant_min, quant_max, granularity, scale, zero_point };
    params.validate()?;
    Ok(params)
}

/// `x` clipped to `0..=alpha` and quantized with [`params`]. NaN stays NaN.
///
/// # Errors
/// As [`params`].
pub fn forward(x: &Tensor, alpha: f32, bits: u32) -> Result<Tensor, QatError> {
    straight_through::forward(x, &params(alpha, bits)?.into(), Rounding::Divide)
}

/// The gradients of `x` (that of the result where `0 <= x < alpha`, zero elsewhere) and of `alpha` (the sum of that of the
/// result where `x >= alpha`).
///
/// # Errors
/// [`QatError::Graph`] when one of the tensors is no f32.
pub fn backward(x: &Tensor, alpha: f32, gradient: &Tensor) -> Result<(Tensor, f32), QatError> {
    const LEN: usize = 1 << 14;
    let (data, g) = (x.as_slice::<f32>()?, gradient.as_slice::<f32>()?);
    let mut dx = vec![0.0; data.len()];
    let chunks = data.par_chunks(LEN).zip(g.par_chunks(LEN)).zip(dx.par_chunks_mut(LEN));
    let sums: Vec<f64> = chunks
        .map(|((x, g), dx)| {
            let mut above = 0.0;
            for ((dx, x), g) in dx.iter_mut().zip(x).zip(g) {
                if *x >= alpha {
                    above += f64::from(*g);
                } else if *x >= 0.0 || x.is_nan() {
                    *dx = *g;
                }
            }
            above
        })
        .collect();
    Ok((Tensor::new(x.dims(), dx)?, sums.iter().sum::<f64>() as f32))
}

/// [`backward`] on a tape: inputs are `x` and `alpha`.
pub(super) struct Pact {
    pub(super) x: Tensor,
    pub(super) alpha: f32,
}

impl CustomRule for Pact {
    fn name(&self) -> &'static str {
        "PACT"
    }

    fn backward(&self, gradient: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>, QatError> {
        let (dx, dalpha) = backward(&self.x, self.alpha, &gradient)?;
        Ok(vec![Some(dx), Some(Tensor::vector(vec![dalpha]))])
    }
}
