//! Writing quantized models for other programs, and saying beforehand what these will make of them.
//!
//! * [`Target`]: the programs, with what is known of each as data.
//! * [`lint()`]: node by node whether a target computes in integers, falls back to float, or refuses, and why.
//! * [`export_for`]: an ONNX file for a target, or the list of what it refuses; [`export_quantized_onnx`] in one line.
//! * [`io`] and [`preprocess`]: models that take and give codes, or pictures as they are stored.
//! * [`tensorrt`]: a file that obeys TensorRT's rules, and its calibration cache.
//! * [`optimize_for_mobile`]: a native file with what inference needs and nothing else.
//! * [`Provenance`]: what a file says of how it was made.
#![forbid(unsafe_code)]

mod error;
pub mod io;
pub mod lint;
mod mobile;
mod onnx;
pub mod preprocess;
mod provenance;
mod target;
pub mod tensorrt;
mod unsigned;

pub use error::ExportError;
pub use io::strip_borders;
pub use lint::{LintReport, NodeLint, Outcome, lint, lint_at};
pub use mobile::{MobileModel, optimize_for_mobile};
pub use onnx::{Exported, TargetOptions, export_for, export_quantized_onnx, forecast};
pub use preprocess::{InputScaling, fold_preprocess};
pub use provenance::Provenance;
pub use target::{Profile, Target, Version};
pub use tensorrt::{CalibrationCache, Precision, export_tensorrt, for_tensorrt};
