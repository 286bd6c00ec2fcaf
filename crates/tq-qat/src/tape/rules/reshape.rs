//! What leaves elements and their order as they are.

use super::{Call, Gradient, Gradients};

/// The gradient in the shape of the first input.
pub(super) struct Reshape;

impl Gradient for Reshape {
    fn backward(&self, mut call: Call<'_>) -> Gradients {
        let gradient = call.gradient()?.reshape(&call.input_dims[0])?;
        call.first(gradient)
    }
}
