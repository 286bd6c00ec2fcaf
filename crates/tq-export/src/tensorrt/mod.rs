//! TensorRT: an ONNX file that obeys its rules, and its calibration cache.
//!
//! What TensorRT demands of codes is asked for when a model is prepared
//! (`QuantConfig::default().backend(Backend::TensorRt)`: signed, symmetric, no zero points). What it likes of their places
//! is brought about here: pairs stand before what computes on codes and nowhere else, a sum with a skip connection has one
//! on the skip alone, weights are floats behind pairs, biases are floats.
//!
//! No TensorRT can run in the tests of this project; the rules are those of its open parser and of NVIDIA's own tool
//! (ModelOpt), and the linter holds every file to them.

mod cache;
mod placement;

pub use cache::{CacheAlgorithm, CalibrationCache};

use crate::{ExportError, LintReport, Target, TargetOptions, export_for, lint};
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use tq_graph::{Graph, infer};

/// What TensorRT is to compute in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Precision {
    /// 8-bit integers.
    #[default]
    Int8,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("INT8")
    }
}

impl FromStr for Precision {
    type Err = ExportError;

    fn from_str(text: &str) -> Result<Self, ExportError> {
        match text {
            "INT8" | "int8" => Ok(Precision::Int8),
            _ => {
                Err(ExportError::Unknown { what: "precision", given: text.to_owned(), known: "INT8".into() })
            }
        }
    }
}

/// A model for TensorRT.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorRtModel {
    /// The graph, with its pairs where TensorRT wants them.
    pub graph: Graph,
    /// The version it is for.
    pub target: Target,
    /// The scales of all its activations.
    pub cache: CalibrationCache,
    /// What was moved or replaced on the way, a line each.
    pub notes: Vec<String>,
}

impl TensorRtModel {
    /// Writes the ONNX file: weights as floats behind pairs, biases as floats.
    ///
    /// # Errors
    /// As [`export_for`].
    pub fn save(&self, path: &Path) -> Result<LintReport, ExportError> {
        Ok(export_for(&self.graph, path, &TargetOptions::new(self.target))?.lint)
    }
}

/// A quantized model as TensorRT wants it, and its calibration cache, which is written to `calibration_cache` where a path
/// is given.
///
/// # Errors
/// [`ExportError::Refused`] when the model has codes that TensorRT does not take: it has to be prepared for it.
/// [`ExportError::Cache`] and [`ExportError::Io`] when the cache cannot be written.
pub fn export_tensorrt(
    model: &Graph,
    precision: Precision,
    calibration_cache: Option<&Path>,
) -> Result<TensorRtModel, ExportError> {
    let Precision::Int8 = precision;
    let target = Target::TENSORRT;
    let (graph, notes) = for_tensorrt(model)?;
    // Biases become floats in the file: as codes they would be refused here.
    let options = tq_onnx::ExportOptions { bias: Some(tq_onnx::BiasForm::Float), ..Default::default() };
    let (formed, _) = tq_onnx::formed(&graph, &options)?;
    let report = lint(&formed, &target)?;
    let refused: Vec<_> = report.refused().cloned().collect();
    if !refused.is_empty() {
        return Err(ExportError::Refused { target: target.to_string(), nodes: refused });
    }
    let cache = CalibrationCache::of_graph(&graph);
    if let Some(path) = calibration_cache {
        cache.save(path)?;
    }
    Ok(TensorRtModel { graph, target, cache, notes })
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
