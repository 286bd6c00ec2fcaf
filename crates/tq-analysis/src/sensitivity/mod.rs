//! Which layer takes quantization worst: measured, one layer at a time.

mod estimate;
mod noise;
mod single;

pub use estimate::{EstimatedSensitivity, SensitivityEstimate, estimate_sensitivity};
pub use single::TensorKind;

use crate::accuracy::check_label_count;
use crate::answers::{Answers, Kept, labelled};
use crate::{AnalysisError, Batch, Dataset, Runner};
use rayon::prelude::*;
use serde::Serialize;
use single::Single;
use std::sync::atomic::{AtomicUsize, Ordering};
use tq_graph::Graph;
use tq_passes::{Configuration, Placement, prepare_static};

pub(crate) use estimate::few_rows;
pub(crate) use noise::{LayerNoise, Noises};
pub(crate) use single::alone;

/// What is measured.
#[derive(Debug, Clone, PartialEq)]
pub struct SensitivityOptions {
    /// What each layer is quantized with; its global rule counts, or where there is
    /// none that for the layer's type.
    pub configuration: Configuration,
    /// Which tensors of a layer are quantized. Each is a measurement of its own.
    pub kinds: Vec<TensorKind>,
    /// Rows a batch, where the model leaves that free.
    pub batch: Option<usize>,
    /// Name of the output that is looked at; the first one when not given.
    pub output: Option<String>,
    /// Decision threshold of outputs that are no rows of classes.
    pub threshold: f64,
}

impl Default for SensitivityOptions {
    fn default() -> Self {
        Self {
            configuration: Configuration::from(tq_passes::int8_qconfig()),
            kinds: vec![TensorKind::Both],
            batch: Some(8),
            output: None,
            threshold: 0.5,
        }
    }
}

/// What a model comes to when one layer of it is quantized and all else is float.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerSensitivity {
    /// What of the layer is quantized.
    pub kind: TensorKind,
    /// Its operator, as ONNX names it.
    pub op: String,
    /// The share of right answers that is lost, 0 to 1, negative where some are gained: of the top-1 accuracy where there
    /// are labels, else of the float model's own decisions.
    pub accuracy_drop: f64,
    /// The standard error of that share, from the rows on which the two models differ.
    pub drop_error: f64,
    /// Signal to quantization noise of the output in dB.
    pub sqnr_db: f64,
    /// Percent of decisions that are those of the float model.
    pub agreement: f64,
}

/// The answer of [`sensitivity_analysis`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sensitivity {
    /// Rows that every measurement was made on.
    pub rows: usize,
    /// Name of each layer with its figures, the one that does most harm first: by the noise of the output, which tells
    /// layers apart where no answer changes yet.
    pub layers: Vec<(String, LayerSensitivity)>,
    /// Nodes that the configuration quantizes, but that cannot be quantized alone, each with the reason.
    pub skipped: Vec<(String, String)>,
}

impl IntoIterator for Sensitivity {
    type Item = (String, LayerSensitivity);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.layers.into_iter()
    }
}

/// Quantizes each layer by itself, calibrated on `calibration`, and measures what that does to the model's output on `test`.
///
/// Layers are measured in parallel, each by a real session on integer kernels; the figures do not depend on the number of
/// threads. `labels` are the classes of the rows of `test`; without them the float model's decisions are the right ones.
///
/// # Errors
/// [`AnalysisError::Pass`] when the model is quantized already or the configuration is wrong, [`AnalysisError::Labels`] when
/// labels do not fit, and what running the float model says.
pub fn sensitivity_analysis(
    model: &Graph,
    calibration: &Dataset,
    test: &Dataset,
    labels: Option<&[i64]>,
    options: &SensitivityOptions,
) -> Result<Sensitivity, AnalysisError> {
    sensitivity_with_progress(model, calibration, test, labels, options, |_, _| ())
}

/// [`sensitivity_analysis`] that tells the measurements done and those there are, after each.
///
/// # Errors
/// As [`sensitivity_analysis`].
pub fn sensitivity_with_progress(
    model: &Graph,
    calibration: &Dataset,
    test: &Dataset,
    labels: Option<&[i64]>,
    options: &SensitivityOptions,
    progress: impl Fn(usize, usize) + Sync,
) -> Result<Sensitivity, AnalysisError> {
    if let Some(labels) = labels {
        check_label_count(test, labels)?;
    }
    let prepared = prepare_static(model.clone(), options.configuration.clone())?;
    let placements = prepared.placements();
    let layers = placements.iter().filter(|n| matches!(n.placement, Placement::Integer { .. }));
    let singles: Vec<Single<'_>> = layers
        .flat_map(|layer| options.kinds.iter().map(move |kind| (layer, *kind)))
        .filter_map(|(layer, kind)| Single::new(&placements, layer, kind, &options.configuration))
        .collect();
    let bench = Bench::new(model, calibration, test, labels, options)?;
    let done = AtomicUsize::new(0);
    let measured: Vec<Result<Kept, AnalysisError>> = singles
        .par_iter()
        .map(|single| {
            let result = bench.measure(single);
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, singles.len());
            result
        })
        .collect();
    // Where no layer at all could be measured it is not the layers that are at fault.
    let all_failed = measured.iter().all(Result::is_err);
    let (mut layers, mut skipped) = (Vec::new(), Vec::new());
    for placed in &placements {
        if let Placement::Dequantized { reason } = &placed.placement {
            skipped.push((placed.node.clone(), format!("quantized, but computed in float: {reason}")));
        }
    }
    for (single, result) in singles.iter().zip(measured) {
        let name = single.layer.node.clone();
        match result {
            Ok(kept) => {
                let figures = kept.fidelity.figures();
                let (accuracy_drop, drop_error) = kept.changed().drop();
                layers.push((
                    name,
                    LayerSensitivity {
                        kind: single.kind,
                        op: single.layer.op.clone(),
                        accuracy_drop,
                        drop_error,
                        sqnr_db: figures.sqnr_db,
                        agreement: figures.agreement,
                    },
                ));
            }
            Err(e) if all_failed => return Err(e),
            // What only passes codes on does no harm of its own.
            Err(e) => skipped.push((name, e.to_string())),
        }
    }
    let order = |s: f64| if s.is_nan() { f64::NEG_INFINITY } else { s };
    layers.sort_by(|a, b| order(a.1.sqnr_db).total_cmp(&order(b.1.sqnr_db)));
    Ok(Sensitivity { rows: bench.answers.rows, layers, skipped })
}

/// The float model with its answers.
struct Bench<'a> {
    model: &'a Graph,
    calibration: Vec<Batch>,
    answers: Answers<'a>,
    threshold: f64,
}

impl<'a> Bench<'a> {
    fn new(
        model: &'a Graph,
        calibration: &Dataset,
        test: &'a Dataset,
        labels: Option<&'a [i64]>,
        options: &SensitivityOptions,
    ) -> Result<Self, AnalysisError> {
        let answers = Answers::new(model, options.output.as_deref(), labelled(test, labels, options.batch))?;
        let calibration = calibration.finite_batches(options.batch).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { model, calibration, answers, threshold: options.threshold })
    }

    fn measure(&self, single: &Single<'_>) -> Result<Kept, AnalysisError> {
        let graph = single.graph(self.model, &self.calibration)?;
        let mut kept = Kept::new(self.threshold);
        self.answers.judge(&Runner::session(&graph)?, &mut kept)?;
        Ok(kept)
    }
}
