//! Optimisers: what a gradient does to a parameter.
//!
//! [`Sgd`] and [`Adam`] (AdamW too) are PyTorch's, in f32. A step looks at all gradients first: one that holds NaN or
//! infinities is [`QatError::GradientNotFinite`], and nothing is changed.
//!
//! ```
//! use tq_graph::Tensor;
//! use tq_qat::optim::{Optimizer, Sgd};
//! use tq_qat::{Parameter, Tape, loss::mse};
//! let w = Parameter::new("w", Tensor::vector(vec![1.0f32]))?;
//! let mut optimizer = Sgd::new([w.clone()], 0.1)?;
//! for _ in 0..50 {
//!     let loss = mse(&Tape::new().parameter(&w), &Tensor::vector(vec![3.0f32]))?;
//!     optimizer.zero_grad();
//!     loss.backward()?;
//!     optimizer.step()?;
//! }
//! assert!((w.value().as_slice::<f32>()?[0] - 3.0).abs() < 1e-3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod adam;
mod clip;
mod groups;
mod schedule;
mod sgd;

pub use adam::Adam;
pub use clip::{clip_grad_norm, clip_grad_value};
pub use groups::{Moments, OptimizerState};
pub use schedule::Schedule;
pub use sgd::Sgd;

use crate::{Parameter, QatError};

/// Changes parameters by their gradients.
pub trait Optimizer {
    /// The parameters.
    fn parameters(&self) -> Vec<Parameter>;

    /// Forgets the gradients of all parameters.
    fn zero_grad(&self) {
        self.parameters().iter().for_each(Parameter::zero_grad);
    }

    /// One step against the gradients. Parameters without one stay as they are.
    ///
    /// # Errors
    /// [`QatError::GradientNotFinite`] naming the first parameter whose gradient is not finite. Nothing is changed then.
    fn step(&mut self) -> Result<(), QatError>;

    /// Gives the parameters of a group ([`Parameter::in_group`]) a learning rate of their own.
    ///
    /// # Errors
    /// [`QatError::Hyperparameter`] when it is not finite or below 0.
    fn set_group_lr(&mut self, group: &str, lr: f32) -> Result<(), QatError>;

    /// Gives one parameter a learning rate of its own, whatever its group has.
    ///
    /// # Errors
    /// As [`Optimizer::set_group_lr`]; [`QatError::OptimizerState`] when there is no parameter of this name.
    fn set_parameter_lr(&mut self, name: &str, lr: f32) -> Result<(), QatError>;

    /// Sets all learning rates as `schedule` has them `step` steps (or epochs) after the beginning.
    fn schedule(&mut self, schedule: &Schedule, step: u64);

    /// The learning rate of a group, as the schedule has it now.
    fn lr(&self, group: &str) -> f32;

    /// What steps have left behind, by the name of the parameter.
    fn state_dict(&self) -> OptimizerState;

    /// Goes on from there.
    ///
    /// # Errors
    /// [`QatError::OptimizerState`] when it is not of these parameters. Nothing is changed then.
    fn load_state_dict(&mut self, state: &OptimizerState) -> Result<(), QatError>;
}
