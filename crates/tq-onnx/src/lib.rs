//! ONNX import and export.
//!
//! * [`import`] and [`import_bytes`] read a model of opset 13 to 21 into a [`tq_graph::Graph`] whose operators all
//!   have opset-21 semantics, whatever opset the file was written in.
//! * [`export`] and [`export_bytes`] write a graph at any of these opsets.
//! * [`read_tensor`] reads one serialized `TensorProto`.
//!
//! Files are untrusted: every length is checked before it is allocated, external data is read only from inside the
//! model's own folder, and whatever is wrong becomes an [`OnnxError`] that says so in one line.
#![forbid(unsafe_code)]

mod attributes;
mod error;
mod export;
mod external;
mod import;
mod names;
mod proto;
mod run_time;
mod tensor;
#[cfg(test)]
mod tests;
mod types;
mod versions;
mod wire;

pub use error::{OnnxError, UnsupportedItem};
pub use export::{ExportOptions, export, export_bytes};
pub use import::{import, import_bytes, read_tensor};

/// The lowest operator set that is read and written.
pub const MIN_OPSET: i64 = 13;

/// The highest operator set that is read and written.
pub const MAX_OPSET: i64 = 21;
