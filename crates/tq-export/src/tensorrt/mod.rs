//! TensorRT: an ONNX file that obeys its rules, and its calibration cache.
//!
//! What TensorRT demands of codes is asked for when a model is prepared
//! (`QuantConfig::default().backend(Backend::TensorRt)`: signed, symmetric, no zero points). What it likes of their places
//! is brought about here: pairs stand before what computes on codes and nowhere else, a sum with a skip connection has one
//! on the skip alone, weights are floats behind pairs, biases are floats.
//!
//! No TensorRT can run in the tests of this project; the rules are those of its open parser and of NVIDIA's own tool
//! (ModelOpt), and the linter holds every file to them.

mod placement;
mod precision;

pub use precision::Precision;
pub use tq_passes::{CacheAlgorithm, CalibrationCache};

use crate::{ExportError, LintReport, Target, TargetOptions, export_for, lint};
use std::path::Path;
use tq_graph::{Graph, infer};

/// A model for TensorRT.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorRtModel {
    /// The graph, with its pairs where TensorRT wants them.
    pub graph: Graph,
    /// What it is to be computed in.
    pub precision: Precision,
    /// The version it is for.
    pub target: Target,
    /// The scales of all its activations, which for integers of 8 bits alone mean something.
    pub cache: CalibrationCache,
    /// What was moved or replaced on the way, a line each.
    pub notes: Vec<String>,
}

impl TensorRtModel {
    /// How the file is written: biases as floats, weights as floats behind pairs, those of 4 bits as codes.
    #[must_use]
    pub fn options(&self) -> TargetOptions {
        let mut options = TargetOptions::new(self.target);
        options.onnx.weights = self.precision.weights();
        options
    }

    /// Writes the ONNX file.
    ///
    /// # Errors
    /// As [`export_for`].
    pub fn save(&self, path: &Path) -> Result<LintReport, ExportError> {
        Ok(export_for(&self.graph, path, &self.options())?.lint)
    }
}

/// A quantized model as TensorRT wants it, and its calibration cache, which is written to `calibration_cache` where a path
/// is given.
///
/// Nothing is quantized here: a model has the codes of its precision already, or is refused. `Backend::TensorRt` gives those
/// of [`Precision::Int8`], with `w4_qconfig` those of [`Precision::Int4WeightOnly`], and `fp16_qconfig` the weights of
/// [`Precision::Fp16`].
///
/// # Errors
/// [`ExportError::Refused`] when the model has codes that TensorRT does not take or that are not of this precision: it has to
/// be prepared for it. [`ExportError::Precision`] when a cache is asked for and the precision has none, and when a model
/// without any codes is to be computed in integers.
/// [`ExportError::Pass`] when the cache cannot be written.
pub fn export_tensorrt(
    model: &Graph,
    precision: Precision,
    calibration_cache: Option<&Path>,
) -> Result<TensorRtModel, ExportError> {
    let target = precision.target();
    if calibration_cache.is_some() && precision != Precision::Int8 {
        let message = "calibration caches hold scales of 8-bit integers alone".to_owned();
        return Err(ExportError::Precision { precision, message });
    }
    let pairs = |n: &tq_graph::Node| {
        matches!(n.op, tq_graph::Op::QuantizeLinear { .. } | tq_graph::Op::DequantizeLinear { .. })
    };
    if precision == Precision::Int8 && !model.nodes.iter().any(pairs) {
        let message = "the model has no codes: it has to be quantized for TensorRT first".to_owned();
        return Err(ExportError::Precision { precision, message });
    }
    let (graph, notes) = for_tensorrt(model)?;
    // Biases become floats in the file: as codes they would be refused here.
    let options = tq_onnx::ExportOptions { bias: Some(tq_onnx::BiasForm::Float), ..Default::default() };
    let (formed, _) = tq_onnx::formed(&graph, &options)?;
    let report = lint(&formed, &target)?;
    let mut refused: Vec<_> = report.refused().cloned().collect();
    refused.extend(precision.refused(&graph));
    if !refused.is_empty() {
        return Err(ExportError::Refused { target: format!("{target} in {precision}"), nodes: refused });
    }
    // All that was calibrated, also where no pair is left: TensorRT reads a cache beside the float model.
    let mut calibrated = model.clone();
    placement::replace_zero_scales(&mut calibrated, &mut Vec::new())?;
    let cache = CalibrationCache::of_graph(&calibrated);
    if let Some(path) = calibration_cache {
        cache.save(path)?;
    }
    Ok(TensorRtModel { graph, precision, target, cache, notes })
}

/// The graph with pairs where TensorRT wants them: scales of zero replaced, zero points written, pairs before operators
/// that do not compute on codes and behind outputs left out, and of a sum with a skip connection only the skip quantized.
/// The second part says what was changed, a line each.
///
/// # Errors
/// [`ExportError::Graph`] for a graph that is not valid.
pub fn for_tensorrt(model: &Graph) -> Result<(Graph, Vec<String>), ExportError> {
    let mut graph = model.clone(); // data is shared, so this is cheap
    infer::infer(&mut graph)?;
    let mut notes = Vec::new();
    placement::replace_zero_scales(&mut graph, &mut notes)?;
    placement::write_zero_points(&mut graph)?;
    placement::move_pairs(&mut graph, &mut notes);
    graph.compact();
    infer::infer(&mut graph)?;
    Ok((graph, notes))
}
