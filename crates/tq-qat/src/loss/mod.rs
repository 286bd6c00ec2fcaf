//! Losses: one number of what a network gives and what it should give, with its gradient.
//!
//! All are means over rows (cross-entropy, distillation) or over elements, as PyTorch's. Sums are f64 in one fixed order,
//! and transcendental functions come from `libm`, so a loss is the same on every machine. A loss that is NaN or infinite
//! is an error, [`QatError::LossNotFinite`].
//!
//! ```
//! use tq_graph::Tensor;
//! use tq_qat::{Parameter, Tape, loss::cross_entropy};
//! let w = Parameter::new("w", Tensor::new(&[2, 3], vec![0.0f32; 6])?)?;
//! let loss = cross_entropy(&Tape::new().parameter(&w), &[2, 0])?;
//! assert!((loss.item()? - 3f32.ln()).abs() < 1e-6);
//! loss.backward()?;
//! assert!(w.gradient().is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod classes;
mod elements;

pub use classes::{cross_entropy, cross_entropy_smoothed, distillation};
pub use elements::{bce, bce_with_logits, mse};

use crate::{CustomRule, QatError, Var};
use tq_graph::Tensor;

/// Puts a loss on the tape of `x`, with its gradient there.
fn on_tape(name: &'static str, x: &Var, value: f64, gradient: Vec<f32>) -> Result<Var, QatError> {
    let narrow = value as f32;
    if !narrow.is_finite() {
        return Err(QatError::LossNotFinite { loss: name, value: narrow });
    }
    let rule = Scaled { name, gradient: Tensor::new(x.shape(), gradient)? };
    x.tape().custom(name, Tensor::scalar(narrow), &[x], rule)
}

/// The gradient of one number, found beforehand.
struct Scaled {
    name: &'static str,
    gradient: Tensor,
}

impl CustomRule for Scaled {
    fn name(&self) -> &'static str {
        self.name
    }

    fn backward(&self, gradient: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>, QatError> {
        let factor = gradient.as_slice::<f32>()?.first().copied().unwrap_or(0.0);
        if factor == 1.0 {
            return Ok(vec![Some(self.gradient.clone())]);
        }
        let scaled = self.gradient.as_slice::<f32>()?.iter().map(|g| g * factor).collect();
        Ok(vec![Some(Tensor::new(self.gradient.dims(), scaled)?)])
    }
}
