//! PACT (Choi et al., 2018): activations clipped to `0..=alpha`, where `alpha` is trained.

use super::straight_through;
use crate::{CustomRule, QatError};
use rayon::prelude::*;
use tq_graph::Tensor;
use tq_qtypes::{AffineParams, DType, Granularity, QTypeError, Rounding};

/// The parameters of codes of `bits` bits, 2 to 8, for values of `0..=alpha`: scale `alpha / (2^bits - 1)`, zero point 0.
///
/// # Errors
/// [`QatError::Quantize`] for another width, and for an `alpha` that is not finite and positive.
pub fn params(alpha: f32, bits: u32) -> Result<AffineParams, QatError> {
    let dtype = match bits {
        2 => DType::U2,
        3 | 4 => DType::U4,
        5..=8 => DType::U8,
        _ => return Err(QTypeError::BadBits { bits }.into()),
    };
    let quant_max = (1 << bits) - 1;
    let params = AffineParams {
        dtype,
        quant_min: 0,
        quant_max,
        granularity: Granularity::PerTensor,
        scale: vec![alpha / quant_max as f32],
        zero_point: vec![0],
    };
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
