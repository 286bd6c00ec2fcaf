//! The intermediate representation: a directed acyclic graph of typed operators.
//!
//! * [`Tensor`]: typed arrays, for constants and for data.
//! * [`Dim`], [`Shape`]: dimensions that may be symbolic.
//! * [`Op`]: the closed set of operators, with their attributes; semantics are those of ONNX opset 21.
//! * [`Graph`], [`Node`], [`Value`]: the graph, in single-assignment form.
//! * [`infer`](mod@infer): types, shapes and symbolic values of everything in a graph.
//! * [`builder`]: models built from layers, with weights from safetensors files.
//! * [`save`]: writing a file so that nobody ever sees half of it.
//! * [`qdq`]: the view of a graph with Quantize/Dequantize pairs as quantized operators.
#![forbid(unsafe_code)]

pub mod builder;
pub mod dim;
pub mod error;
pub mod graph;
pub mod infer;
pub mod op;
pub mod qdq;
pub mod save;
pub mod tensor;
mod text;

pub use dim::{Dim, Shape};
pub use error::GraphError;
pub use graph::{Graph, Node, NodeId, Value, ValueId};
pub use op::Op;
pub use tensor::{Element, Tensor};
pub use text::one_line;
