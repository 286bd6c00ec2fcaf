//! Fake quantization with a fixed scale: the gradient passes where the value is among the codes.

use super::chunks::{gradient_of_x, mapped};
use crate::{CustomRule, QatError};
use tq_graph::Tensor;
use tq_qtypes::affine::Side;
use tq_qtypes::fake_quantize::FakeQuantizer;
use tq_qtypes::{QParams, Rounding};

/// What a tensor becomes on its way through codes, of any scheme: [`tq_qtypes::fake_quantize::fake_quantize()`] by
/// several threads. NaN stays NaN, so that a diverging loss is seen.
///
/// # Errors
/// [`QatError::Quantize`] when the parameters are not those of such a tensor, [`QatError::Graph`] when it is no f32.
pub fn forward(x: &Tensor, params: &QParams, rounding: Rounding) -> Result<Tensor, QatError> {
    let data = x.as_slice::<f32>()?;
    let quantizer = FakeQuantizer::new(params, x.dims(), data.len(), rounding)?;
    let y = mapped(data, |first, x, y| quantizer.apply(first, x, y));
    Ok(Tensor::new(x.dims(), y)?)
}

/// The gradient of `x` for the gradient of what [`forward`] makes of it: the same where the rounded value is among the
/// codes before it is clamped, zero elsewhere (the straight-through estimator of Bengio et al., 2013, with PyTorch's
/// mask: after rounding). It passes everywhere for schemes that are not affine, whose scales follow the data.
///
/// # Errors
/// As [`forward`].
pub fn backward(
    x: &Tensor,
    params: &QParams,
    rounding: Rounding,
    gradient: &Tensor,
) -> Result<Tensor, QatError> {
    masked(x, params, rounding, gradient.clone())
}

/// [`backward`] over the gradient itself.
fn masked(x: &Tensor, params: &QParams, rounding: Rounding, gradient: Tensor) -> Result<Tensor, QatError> {
    let data = x.as_slice::<f32>()?;
    let quantizer = FakeQuantizer::new(params, x.dims(), data.len(), rounding)?;
    let passes = |first: usize, x: &[f32], inside: &mut [Side]| quantizer.sides(first, x, inside);
    gradient_of_x((data, x.dims()), gradient, passes)
}

/// [`backward`] on a tape.
pub(super) struct StraightThrough {
    pub(super) x: Tensor,
    pub(super) params: QParams,
    pub(super) rounding: Rounding,
}

impl CustomRule for StraightThrough {
    fn name(&self) -> &'static str {
        "FakeQuantize"
    }

    fn backward(&self, gradient: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>, QatError> {
        Ok(vec![Some(masked(&self.x, &self.params, self.rounding, gradient)?)])
    }
}
