//! What quantization did to a model: accuracy, output error, size and latency against the float original.
//!
//! * [`Dataset`]: arrays, or rows read when they are needed ([`RowSource`]), taken in batches, with [`Preprocess`] for
//!   stored bytes.
//! * [`Accuracy`], [`evaluate`]: top-1 and top-5 of a model on labelled data.
//! * [`RocAuc`], [`evaluate_auc`]: area under the ROC curve of a detector.
//! * [`spearman`], [`evaluate_pairs`]: rank correlation of similarities of embeddings with gold scores.
//! * [`Fidelity`], [`evaluate_against`]: agreement and cosine with another model, without labels.
//! * [`OutputError`]: SQNR, cosine and largest error between two outputs.
//! * [`Latency`], [`measure`], [`measure_pair`]: median and percentiles of run times.
//! * [`compare_models`]: all of these for a float and a quantized model; [`compare_with_metrics`]: with a [`Metric`] of one's own.
//! * [`QuantizationDebugger`]: the error of every layer, its own and what it inherits.
//! * [`Histogram`], [`weight_ranges`]: where activations and weights lie, and what their codes can say.
//! * [`advise`]: findings in words, each with its evidence and the setting to change.
//! * [`sensitivity_analysis`]: what a model comes to when one layer of it is quantized.
//! * [`estimate_sensitivity`]: the same in a moment, from the noise that each layer puts into the output of few rows.
//! * [`mixed_precision_search`]: bits layer by layer, under a budget of lost answers, bytes or time.
//! * [`overflow_certificates`], [`forecast_peers`]: what is proved of every sum, and what kernels that saturate would answer.
//! * [`recommend()`]: which configuration keeps a model what it is at the least cost, told on calibration data alone.
//! * [`Report`]: all of it on one page.
#![forbid(unsafe_code)]

mod accuracy;
mod advice;
mod answers;
mod auc;
mod beyond;
mod calibrated;
mod compare;
mod constants;
mod data;
mod distributions;
mod error;
mod evaluate;
mod fidelity;
mod finite;
mod held;
mod latency;
mod layers;
mod metrics;
mod mixed_search;
mod origin;
mod peers;
mod plot;
mod preprocess;
mod product;
mod recommend;
mod report;
mod rows;
mod runner;
mod sensitivity;
mod sequences;
mod source;
mod spearman;
mod user_metric;

pub use accuracy::{Accuracy, EvalOptions, Evaluation, evaluate};
pub use advice::{Advice, AdviceOptions, Evidence, Finding, FindingKind, Unexplained, advise};
pub use auc::RocAuc;
pub use compare::{
    CompareOptions, Comparison, ModelFigures, compare_models, compare_with_metrics, compare_with_progress,
    parameter_bytes,
};
pub use data::{Batch, Dataset};
pub use distributions::{
    ChannelRange, Histogram, WeightRanges, observer_histograms, plot_histograms, plot_weight_ranges,
    weight_ranges,
};
pub use error::AnalysisError;
pub use evaluate::{AucFigures, PairFigures, evaluate_against, evaluate_auc, evaluate_pairs};
pub use fidelity::{Fidelity, FidelityFigures};
pub use latency::{Latency, LatencyOptions, measure, measure_pair};
pub use layers::{LayerError, LayerErrors, QuantizationDebugger, Unmatched};
pub use metrics::{EXACT_DB, OutputError};
pub use mixed_search::{Budget, Candidate, MixedSearch, SearchOptions, SearchPoint, mixed_precision_search};
pub use peers::{
    LayerForecast, OverflowCertificate, PairCounts, Peer, PeerForecast, forecast_peers, overflow_certificates,
};
pub use preprocess::Preprocess;
pub use recommend::{RecommendOptions, Recommendation, Trial, TrialFigures, Verdict, recommend};
pub use report::{
    ExecutionFacts, FloatLayer, LayerKernel, Network, NetworkNode, NodeKind, Report, ReportOptions,
    ReportStage,
};
pub use rows::{concat_rows, take_rows};
pub use runner::Runner;
pub use sensitivity::{
    EstimatedSensitivity, LayerSensitivity, Sensitivity, SensitivityEstimate, SensitivityOptions, TensorKind,
    estimate_sensitivity, sensitivity_analysis, sensitivity_with_progress,
};
pub use sequences::zeros_of;
pub use source::{RowSource, Source};
pub use spearman::{PairSimilarity, spearman};
pub use user_metric::{Metric, MetricComparison, MetricError};
