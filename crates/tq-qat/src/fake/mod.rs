//! Fake quantization: values as they are after rounding to codes, with gradients.
//!
//! * As plain data, [`QuantizerConfig`]: [`FakeQuantize`] (observed scales), [`LearnableFakeQuantize`] (trained ones),
//!   [`StochasticQuantize`] (random rounding), [`Pact`] (a trained bound), or any [`tq_qtypes::QuantFormat`].
//! * With state, [`Quantizer`]: an observer that can be switched on and off, as the rounding can, and what is trained.
//! * As functions of tensors: [`straight_through`], [`learnable`], [`stochastic`], [`pact`].
//!
//! NaN stays NaN on its way through all of them.
//!
//! ```
//! use tq_graph::Tensor;
//! use tq_observers::MovingAverageMinMaxObserver;
//! use tq_qat::{LearnableFakeQuantize, QuantizerConfig, Tape};
//! let config: QuantizerConfig =
//!     LearnableFakeQuantize::new(MovingAverageMinMaxObserver::default(), -128, 127, 0.01, 0.01).into();
//! let quantizer = config.build("x")?;
//! let tape = Tape::new();
//! let x = tape.constant(Tensor::vector(vec![-1.0f32, 0.3, 1.55]));
//! let y = quantizer.forward(&x)?;
//! assert_eq!(quantizer.qparams()?.uniform(), Some((0.01, -28)));
//! y.sum()?.backward()?;
//! let scale = &quantizer.parameters()[0];
//! assert!(scale.gradient().is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod chunks;
mod config;
pub mod learnable;
pub mod pact;
mod quantizer;
pub mod stochastic;
pub mod straight_through;

pub(crate) use config::default_activation_observer;
pub use config::{FakeQuantize, LearnableFakeQuantize, Pact, QuantizerConfig, StochasticQuantize};
pub(crate) use quantizer::learned_scales;
pub use quantizer::{Quantizer, QuantizerState};
