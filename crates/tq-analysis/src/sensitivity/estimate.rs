//! Which layer takes quantization worst, estimated on few rows.

use super::noise::Noises;
use super::{Sensitivity, SensitivityOptions, TensorKind};
use crate::calibrated::calibrated;
use crate::{AnalysisError, Batch, Dataset, spearman};
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use tq_graph::Graph;
use tq_graph::qdq::QdqView;
use tq_observers::PlaceholderObserver;
use tq_passes::{Configuration, QConfig, Rule, convert, fuse};
use tq_qtypes::OperatorKind;

/// Rows that the estimate looks at.
pub(crate) const ESTIMATE_ROWS: usize = 64;

/// What quantizing a layer alone is expected to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EstimatedSensitivity {
    /// What of the layer is quantized.
    pub kind: TensorKind,
    /// Its operator, as ONNX names it.
    pub op: String,
    /// Signal to quantization noise of the layer's own result in dB.
    pub introduced_db: f64,
    /// Signal to quantization noise of the model's output in dB.
    pub sqnr_db: f64,
}

/// The answer of [`estimate_sensitivity`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SensitivityEstimate {
    /// Rows that were looked at.
    pub rows: usize,
    /// Name of each layer with its figures, the one that is expected to do most harm first.
    pub layers: Vec<(String, EstimatedSensitivity)>,
    /// Quantized nodes that could not be estimated, each with the reason.
    pub skipped: Vec<(String, String)>,
}

impl SensitivityEstimate {
    /// Spearman's correlation of the order of the layers with the measured one, by the noise of the output; over the layers
    /// that both have.
    ///
    /// # Errors
    /// [`AnalysisError::Labels`] where there are less than two such layers, or nothing orders them.
    pub fn rank_correlation(&self, measured: &Sensitivity) -> Result<f64, AnalysisError> {
        let true_noise: HashMap<(&str, TensorKind), f64> =
            measured.layers.iter().map(|(name, l)| ((name.as_str(), l.kind), l.sqnr_db)).collect();
        let both = self.layers.iter().filter_map(|(name, l)| {
            true_noise.get(&(name.as_str(), l.kind)).map(|truth| (l.sqnr_db, *truth))
        });
        let (estimated, truth): (Vec<f64>, Vec<f64>) = both.unzip();
        spearman(&estimated, &truth)
    }
}

/// The order of [`sensitivity_analysis`](super::sensitivity_analysis) without its measurements.
///
/// The model is calibrated and quantized once for every kind of tensor. Each layer of it then runs by itself on what the float
/// model computes for a few rows (the first batches that have 64 together), and the float model goes on from its result: the
/// noise that arrives at the output is the estimate. It leaves out what the true measurement has besides, that of more rows
/// and of decisions that change.
///
/// # Errors
/// As [`sensitivity_analysis`](super::sensitivity_analysis).
pub fn estimate_sensitivity(
    model: &Graph,
    calibration: &Dataset,
    options: &SensitivityOptions,
) -> Result<SensitivityEstimate, AnalysisError> {
    let mut float = model.clone();
    fuse(&mut float)?;
    let calibration = calibration.finite_batches(options.batch).collect::<Result<Vec<_>, _>>()?;
    let sample = few_rows(&calibration)?;
    let mut estimate = SensitivityEstimate { rows: 0, layers: Vec::new(), skipped: Vec::new() };
    for kind in &options.kinds {
        let quantized = quantized(model, &options.configuration, *kind, &calibration)?;
        let float_weights = *kind == TensorKind::Activations;
        let noises = Noises::measure(&float, &quantized, options.output.as_deref(), sample, float_weights)?;
        estimate.rows = noises.rows;
        let moving = moving(&quantized);
        let (moved, layers): (Vec<_>, Vec<_>) =
            noises.layers.into_iter().partition(|l| moving.contains(l.node.as_str()));
        let reason = "it moves codes, and errs no more than what gives them";
        estimate.skipped.extend(moved.into_iter().map(|l| (l.node, reason.to_owned())));
        estimate.layers.extend(layers.into_iter().map(|l| {
            let (introduced_db, sqnr_db) = (l.introduced.sqnr_db(), l.output.sqnr_db());
            (l.node, EstimatedSensitivity { kind: *kind, op: l.op, introduced_db, sqnr_db })
        }));
        estimate.skipped.extend(noises.unmatched.into_iter().map(|u| (u.node, u.reason)));
    }
    let order = |s: f64| if s.is_nan() { f64::NEG_INFINITY } else { s };
    estimate.layers.sort_by(|a, b| order(a.1.sqnr_db).total_cmp(&order(b.1.sqnr_db)));
    Ok(estimate)
}

/// Names of the nodes that move codes.
fn moving(quantized: &Graph) -> HashSet<&str> {
    let view = QdqView::new(quantized);
    let moving = view.operators.iter().filter(|o| o.kind == OperatorKind::Movement);
    moving.map(|o| quantized.node(o.node).name.as_str()).collect()
}

/// The first batches that have [`ESTIMATE_ROWS`] rows together.
pub(crate) fn few_rows(batches: &[Batch]) -> Result<&[Batch], AnalysisError> {
    let mut rows = 0;
    let enough = batches.iter().position(|b| {
        rows += b.rows;
        rows >= ESTIMATE_ROWS
    });
    match batches.get(..enough.map_or(batches.len(), |i| i + 1)) {
        None | Some([]) => Err(AnalysisError::Empty),
        Some(batches) => Ok(batches),
    }
}

/// The model with all its layers quantized, or the weights of all of them alone.
fn quantized(
    model: &Graph,
    configuration: &Configuration,
    kind: TensorKind,
    calibration: &[Batch],
) -> Result<Graph, AnalysisError> {
    let mut configuration = configuration.clone();
    if kind == TensorKind::Weights {
        let rules: Vec<(Rule, Option<QConfig>)> =
            configuration.dict.rules().map(|(rule, qconfig)| (rule, qconfig.cloned())).collect();
        for (rule, qconfig) in rules {
            let Some(qconfig) = qconfig.map(|q| q.activation(PlaceholderObserver::default())) else {
                continue;
            };
            let dict = configuration.dict.clone();
            configuration.dict = match rule {
                Rule::Global => dict.set_global(qconfig),
                Rule::ModuleType { name } => dict.set_module_type_name(name, qconfig),
                // Rules for single nodes say what these are to be.
                _ => dict,
            };
        }
    }
    Ok(convert(calibrated(model, &configuration, calibration)?)?.graph)
}
