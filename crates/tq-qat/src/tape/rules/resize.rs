//! Resize.

use super::{Call, Gradient, Gradients};
use tq_eval::adjoint::resize_input;
use tq_graph::Tensor;
use tq_graph::op::ResizeAttrs;

/// Resize; what the evaluator mixes goes back with the same weights.
pub(super) struct Resize<'a>(pub(super) &'a ResizeAttrs);

impl Gradient for Resize<'_> {
    fn keeps_input(&self, i: usize, _: &[bool]) -> bool {
        i > 0
    }

    fn backward(&self, mut call: Call<'_>) -> Gradients {
        let gradient = call.gradient()?;
        let dims = &call.input_dims[0];
        // Only its shape counts.
        let x = Tensor::new(dims, vec![false; dims.iter().product()])?;
        let inputs: Vec<Option<&Tensor>> =
            std::iter::once(Some(&x)).chain(call.inputs.iter().skip(1).map(Option::as_ref)).collect();
        call.first(resize_input(&inputs, &gradient, self.0)?)
    }
}
