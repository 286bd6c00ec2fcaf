//! The reference evaluator: every operator of [`tq_graph::Op`], on typed tensors, without planning.
//!
//! It answers what a graph means. Two precisions:
//!
//! * [`Precision::F32`]: the semantics of ONNX opset 21. Every tensor keeps its type; f16 and bf16 are computed in
//!   f32 and rounded once an operator, f64 stays f64.
//! * [`Precision::F64`]: the judge. Every float tensor (input, constant, attribute) is promoted to f64, `Cast` to a
//!   float type keeps f64, and nothing rounds between DequantizeLinear and QuantizeLinear.
//!
//! Results do not depend on the number of threads. Transcendental functions come from `libm` (sigmoid and tanh of
//! f32 are made of IEEE operations here), sums have one fixed
//! order; only matrix products and convolutions of floats depend on the processor, whose vectors and multiply-add they use.
#![forbid(unsafe_code)]

mod error;
mod evaluator;
mod number;
mod ops;
mod parallel;
mod shape;
mod squash;
mod vectors;
pub mod window;

pub use error::{EvalError, OpError};
pub use evaluator::Evaluator;
pub use ops::{DEFAULT_MAX_TENSOR_BYTES, eval_op};

/// What gradients need of operators that are linear in their data: the same work the other way round.
pub mod adjoint {
    pub use crate::ops::conv::conv_weights;
    pub use crate::ops::resize::resize_input;
}

/// LSTM, GRU and RNN with matrix products of the caller's own, such as integer ones.
pub mod recurrent {
    pub use crate::ops::recurrent::{Operand, Part, Products, Target, recurrent_following, recurrent_with};
}

/// The arithmetic of float operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// ONNX semantics: every float type as it is, f16 and bf16 computed in f32 and rounded once an operator.
    F32,
    /// Every float tensor is f64.
    F64,
}
