//! From a float graph to a quantized one.
//!
//! * [`QuantConfig`]: what is asked for, as plain data.
//! * [`fold_constants`]: computes what depends on constants only.
//! * [`fuse()`]: batch normalization, constant factors and paddings into convolutions and linear layers; hard-swish
//!   patterns into one operator; a [`FusionReport`] of what fused, what did not, and why.
//! * [`prepare_static`]: decides what runs in integers and which tensors are observed; [`Prepared::forward`]
//!   calibrates.
//! * [`convert()`]: the graph with Quantize and Dequantize pairs, and a [`ConvertReport`] in which nothing is left in
//!   float without its reason.
#![forbid(unsafe_code)]

pub mod config;
pub mod convert;
pub mod error;
pub mod fold;
pub mod fuse;
mod names;
mod place;
pub mod prepare;

pub use config::{Backend, QuantConfig};
pub use convert::{BiasAdjustment, ConvertReport, NodeReport, Quantized, convert};
pub use error::PassError;
pub use fold::fold_constants;
pub use fuse::{FusionEntry, FusionOutcome, FusionReport, fuse};
pub use place::Placement;
pub use prepare::{Prepared, prepare_static};
