//! Quantization-aware training.
//!
//! * [`Parameter`]: a tensor that is trained, with its gradient; shared by the model and the optimiser.
//! * [`Tape`], [`Var`]: what was computed, and the way back through it. Values are those of the reference evaluator
//!   ([`tq_eval`]); every operator of [`tq_graph::Op`] has one rule for its gradient.
//! * [`CustomRule`]: gradients of what is no operator of a graph: fake quantization, losses.
//! * [`fake`]: fake quantization with observed, trained and random rounding.
//! * [`loss`], [`optim`]: losses, and optimisers with schedules and gradient clipping.
//! * [`prepare_qat`], [`QatModel`]: a model that is trained as it will be quantized.
//! * [`train`]: the loop over batches and epochs, with validation and checkpoints.
#![forbid(unsafe_code)]

mod error;
pub mod fake;
pub mod loss;
mod model;
pub mod optim;
mod parallel;
mod parameter;
mod random;
mod tape;
pub mod train;

pub use error::QatError;
pub use fake::{
    FakeQuantize, LearnableFakeQuantize, Pact, Quantizer, QuantizerConfig, QuantizerState, StochasticQuantize,
};
pub use model::{
    Activation, BatchNorm, FixedConstant, ModelState, QatModel, QatOptions, prepare_qat, prepare_qat_with,
};
pub use parameter::Parameter;
pub use tape::{BatchStatistics, CustomRule, Tape, Var};
