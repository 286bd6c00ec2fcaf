//! The native file of torsh-quantization, `.tq`.
//!
//! A `.tq` file is a safetensors file: any program that reads those finds the model's constants in it under their own
//! names. The graph around them is one metadata entry, canonical JSON with a version number. `docs/FORMATS.md` of the
//! project says what stands where.
//!
//! * [`save`] and [`write()`]: a graph to a file, a piece at a time; the same graph gives the same bytes.
//! * [`load`] and [`read`]: a file to a graph. The tensors are read into one aligned buffer and stay there.
//! * [`strip`]: a graph without what only people need, for devices.
//! * [`weights`]: constants to and from plain safetensors files, by name.
//!
//! How kernels want their weights is decided when a session is made, never stored: files fit every machine.
//!
//! ```
//! use tq_graph::{Graph, Op, op::UnaryOp};
//!
//! let mut graph = Graph::new("g");
//! let x = graph.add_input("x", tq_qtypes::DType::F32, vec![2usize.into()]);
//! let y = graph.add_node("relu", Op::Unary(UnaryOp::Relu), &[x], "y");
//! graph.outputs.push(y);
//! let mut bytes = Vec::new();
//! tq_format::write(&graph, &mut bytes)?;
//! assert_eq!(tq_format::read(&bytes)?, graph);
//! # Ok::<(), tq_format::FormatError>(())
//! ```
#![forbid(unsafe_code)]

mod data;
mod error;
mod file;
mod header;
mod packed;
mod source;
mod strip;
pub mod weights;
mod wire;

pub use error::FormatError;
pub use file::{load, read, save, write};
pub use strip::strip;

/// The version that files are written in. All versions up to this one are read.
pub const VERSION: u64 = 2;

/// Bytes of the header, in which the graph stands, that are written and read. A program takes some ten times as much
/// memory for it.
pub const MAX_HEADER: u64 = 32 << 20;
