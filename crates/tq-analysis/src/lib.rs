//! What quantization did to a model: accuracy, output error, size and latency against the float original.
//!
//! * [`Dataset`]: arrays, or rows read when they are needed ([`RowSource`]), taken in batches, with [`Preprocess`] for
//!   stored bytes.
//! * [`Accuracy`], [`evaluate`]: top-1 and top-5 of a model on labelled data.
//! * [`OutputError`]: SQNR, cosine and largest error between two outputs.
//! * [`Latency`], [`measure`], [`measure_pair`]: median and percentiles of run times.
//! * [`compare_models`]: all of these for a float and a quantized model.
#![forbid(unsafe_code)]

mod accuracy;
mod compare;
mod data;
mod error;
mod latency;
mod metrics;
mod preprocess;
mod rows;
mod runner;
mod source;

pub use accuracy::{Accuracy, EvalOptions, Evaluation, evaluate};
pub use compare::{
    CompareOptions, Comparison, ModelFigures, compare_models, compare_with_progress, parameter_bytes,
};
pub use data::{Batch, Dataset};
pub use error::AnalysisError;
pub use latency::{Latency, LatencyOptions, measure, measure_pair};
pub use metrics::OutputError;
pub use preprocess::Preprocess;
pub use rows::{concat_rows, take_rows};
pub use runner::Runner;
pub use source::{RowSource, Source};
