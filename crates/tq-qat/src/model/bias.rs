//! Biases as the accumulator of integers takes them.

use crate::{CustomRule, QatError, Var};
use tq_graph::Tensor;
use tq_qtypes::requantize::quantize_bias;

/// The gradient of a rounding of which one unit is far below what matters: as if there was none.
struct Straight;

impl CustomRule for Straight {
    fn name(&self) -> &'static str {
        "bias"
    }

    fn backward(&self, gradient: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>, QatError> {
        Ok(vec![Some(gradient)])
    }
}

/// A bias, one value a channel, in units of `f32(input * weight)` scales, as [`quantize_bias`] rounds it.
pub(super) fn fake_bias(node: &str, bias: &Var, input: f32, weights: &[f32]) -> Result<Var, QatError> {
    let values = bias.value().as_slice::<f32>()?;
    let per_channel: Vec<f32> = match weights {
        [one] => vec![*one],
        all => all.iter().copied().cycle().take(values.len()).collect(),
    };
    let codes = quantize_bias(values, input, &per_channel);
    let scale = |c: usize| input * per_channel.get(c).or(per_channel.first()).copied().unwrap_or(1.0);
    let rounded = codes.values.iter().enumerate().map(|(c, code)| *code as f32 * scale(c)).collect();
    let value = Tensor::new::<f32>(bias.shape(), rounded)?;
    bias.tape().custom(node, value, &[bias], Straight)
}
