//! Casts between float types.

use super::{Call, Gradient, Gradients};

/// The gradient as it is: rounding to a narrower type counts as nothing.
pub(super) struct Cast;

impl Gradient for Cast {
    fn backward(&self, mut call: Call<'_>) -> Gradients {
        let gradient = call.gradient()?;
        call.first(gradient)
    }
}
