//! Quantization-aware training.
//!
//! * [`Parameter`]: a tensor that is trained, with its gradient; shared by the model and the optimiser.
//! * [`Tape`], [`Var`]: what was computed, and the way back through it. Values are those of the reference evaluator
//!   ([`tq_eval`]); every operator of [`tq_graph::Op`] has one rule for its gradient.
//! * [`CustomRule`]: gradients of what is no operator of a graph: fake quantization, losses.
//! * [`loss`], [`optim`]: losses, and optimisers with schedules and gradient clipping.
#![forbid(unsafe_code)]

mod error;
pub mod loss;
pub mod optim;
mod parallel;
mod parameter;
mod tape;

pub use error::QatError;
pub use parameter::Parameter;
pub use tape::{BatchStatistics, CustomRule, Tape, Var};
