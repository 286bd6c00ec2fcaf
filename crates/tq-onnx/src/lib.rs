//! ONNX import and export.
//!
//! * [`import`] and [`import_bytes`] read a model of opset 7 to 25 into a [`tq_graph::Graph`] whose operators all
//!   have opset-21 semantics, whatever opset the file was written in. Operators on codes, those of ONNX Runtime's
//!   quantizer included, become Dequantize, operator, Quantize.
//! * [`export`] and [`export_bytes`] write a graph at opset 13 to 25, in the form that [`ExportOptions`] ask for.
//! * [`read_tensor`] reads one serialized `TensorProto`.
//!
//! Files are untrusted: every length is checked before it is allocated, external data is read only from inside the
//! model's own folder, and whatever is wrong becomes an [`OnnxError`] that says so in one line.
#![forbid(unsafe_code)]

mod attributes;
mod documentation;
mod error;
mod export;
mod external;
mod import;
mod names;
mod proto;
mod requantization;
mod run_time;
mod tensor;
#[cfg(test)]
mod tests;
mod types;
mod versions;
mod wire;

pub use error::{OnnxError, UnsupportedItem};
pub use export::{BiasForm, ExportOptions, OperatorForm, WeightForm, export, export_bytes, formed};
pub use import::{fold_constant_codes, import, import_bytes, opset_of, read_tensor};

/// The operator sets that are read.
pub const READ_OPSETS: std::ops::RangeInclusive<i64> = 7..=25;

/// The lowest operator set that is written.
pub const MIN_OPSET: i64 = 13;

/// The highest operator set that is written.
pub const MAX_OPSET: i64 = 25;
