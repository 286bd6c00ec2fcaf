//! The way onto the tape for what is no operator of a graph.

use crate::QatError;
use tq_graph::Tensor;

/// The rule for the gradient of one value, with whatever tensors it needs.
///
/// ```
/// use tq_graph::Tensor;
/// use tq_qat::{CustomRule, Parameter, QatError, Tape};
///
/// /// Rounds, and lets the gradient through as if it did not.
/// struct StraightThrough;
/// impl CustomRule for StraightThrough {
///     fn name(&self) -> &'static str {
///         "StraightThrough"
///     }
///     fn backward(&self, gradient: Tensor, _: &[bool]) -> Result<Vec<Option<Tensor>>, QatError> {
///         Ok(vec![Some(gradient)])
///     }
/// }
///
/// let w = Parameter::new("w", Tensor::vector(vec![0.4f32, 1.6]))?;
/// let tape = Tape::new();
/// let x = tape.parameter(&w);
/// let rounded = x.value().as_slice::<f32>()?.iter().map(|v| v.round()).collect();
/// let y = tape.custom("round", Tensor::vector::<f32>(rounded), &[&x], StraightThrough)?;
/// y.sum()?.backward()?;
/// assert_eq!(w.gradient().ok_or("no gradient")?.as_slice::<f32>()?, [1.0, 1.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait CustomRule: Send + Sync {
    /// What errors call it.
    fn name(&self) -> &'static str;

    /// The gradients of the inputs, in their order, for the gradient of the value, an f32 tensor of its shape; `None`
    /// stands for zero. `needs` tells which of them are used: the others need not be computed.
    ///
    /// # Errors
    /// Whatever is wrong; the backward pass ends with it.
    fn backward(&self, gradient: Tensor, needs: &[bool]) -> Result<Vec<Option<Tensor>>, QatError>;
}
