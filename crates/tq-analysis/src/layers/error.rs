//! What a layer comes to.

use crate::beyond::is_beyond;
use crate::distributions::{Counting, Histogram};
use crate::plot::error_heatmap;
use crate::{AnalysisError, OutputError};
use serde::Serialize;
use std::io::Write as _;
use std::path::Path;
use tq_graph::Tensor;
use tq_graph::save::replace_file;
use tq_qtypes::{AffineParams, Rounding, affine};

/// The error of one layer, by all the data.
///
/// Errors are signal to quantization noise in dB, `20 log10(|x| / |x - y|)`, of the layer's result `x` in the float model:
/// 20 dB is an error of a tenth of the signal's amplitude, and a larger number is a smaller error.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerError {
    /// Name of the node.
    pub node: String,
    /// Its operator, as ONNX names it.
    pub op: String,
    /// Name of its result in the float model.
    pub tensor: String,
    /// The error that the layer makes itself: quantized, on the float model's data.
    pub introduced_db: f64,
    /// The error that it passes on: in float, on the quantized model's data.
    pub inherited_db: f64,
    /// The error of its result in the quantized model: both together.
    pub total_db: f64,
    /// Percent of the float result's values that lie beyond what its codes can say; none where it is not in codes.
    pub saturated: Option<f64>,
    /// Percent of the float result's values that are not zero and become the code of zero.
    pub underflow: Option<f64>,
    /// Percent of codes that no value of the data becomes.
    pub dead_codes: Option<f64>,
}

/// A layer of the quantized model that could not be matched with the float model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unmatched {
    /// Name of the node.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// Why not.
    pub reason: String,
}

/// The errors of all layers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerErrors {
    /// Rows that went through the models.
    pub rows: usize,
    /// Layers in the order of the model.
    pub layers: Vec<LayerError>,
    /// Layers without figures.
    pub unmatched: Vec<Unmatched>,
}

impl LayerErrors {
    /// The layers, the one with the largest error of its own first. A NaN counts as the largest of all.
    #[must_use]
    pub fn worst_first(&self) -> Vec<&LayerError> {
        let order =
            |l: &LayerError| if l.introduced_db.is_nan() { f64::NEG_INFINITY } else { l.introduced_db };
        let mut layers: Vec<&LayerError> = self.layers.iter().collect();
        layers.sort_by(|a, b| order(a).total_cmp(&order(b)));
        layers
    }

    /// Writes them as a picture: a PNG file with a row a layer, in the order of the model, and a column a figure, the darker
    /// the worse. The file is written whole or not at all.
    ///
    /// # Errors
    /// [`AnalysisError::Write`] when the file cannot be written.
    pub fn plot_heatmap(&self, path: impl AsRef<Path>) -> Result<(), AnalysisError> {
        let (png, path) = (error_heatmap(self)?, path.as_ref());
        replace_file(path, |file| file.write_all(&png))
            .map_err(|source| AnalysisError::Write { path: path.display().to_string(), source })
    }
}

/// Codes with one scale for all.
struct Grid {
    scale: f32,
    zero: i32,
    min: i32,
    max: i32,
    /// Whether a code, counted from `min`, has occurred.
    used: Vec<bool>,
}

/// Codes of at most so many values are counted one by one.
const MOST_CODES: usize = 1 << 16;

impl Grid {
    fn new(params: &AffineParams) -> Option<Self> {
        let (scale, zero) = params.uniform()?;
        let (min, max) = (params.quant_min, params.quant_max);
        let count = usize::try_from(i64::from(max) - i64::from(min) + 1).ok().filter(|n| *n <= MOST_CODES)?;
        Some(Self { scale, zero, min, max, used: vec![false; count] })
    }

    fn code(&self, x: f32) -> i32 {
        affine::quantize_f32(x, self.scale, self.zero, self.min, self.max, Rounding::Divide)
    }
}

/// Sums over batches.
pub(super) struct Tally {
    introduced: OutputError,
    inherited: OutputError,
    total: OutputError,
    grid: Option<Grid>,
    values: u64,
    saturated: u64,
    underflow: u64,
    /// Of the float model's result, where it is wanted.
    histogram: Option<Counting>,
}

impl Tally {
    pub(super) fn new(params: Option<&AffineParams>, histogram: bool) -> Self {
        Self {
            introduced: OutputError::default(),
            inherited: OutputError::default(),
            total: OutputError::default(),
            grid: params.and_then(Grid::new),
            values: 0,
            saturated: 0,
            underflow: 0,
            histogram: histogram.then(Counting::default),
        }
    }

    /// Takes in what a layer gives: in the float model, quantized on that model's data, in float on the quantized
    /// model's data, and in the quantized model.
    pub(super) fn add(
        &mut self,
        float: &Tensor,
        own: &Tensor,
        passed_on: &Tensor,
        quantized: &Tensor,
    ) -> Result<(), AnalysisError> {
        self.introduced.add(float, own)?;
        self.inherited.add(float, passed_on)?;
        self.total.add(float, quantized)?;
        let values = float.to_f32_vec().unwrap_or_default();
        if let Some(histogram) = &mut self.histogram {
            histogram.add(&values)?;
        }
        let Some(grid) = &mut self.grid else { return Ok(()) };
        for x in values {
            self.values += 1;
            self.saturated += u64::from(is_beyond(x, grid.scale, grid.zero, (grid.min, grid.max)));
            self.underflow += u64::from(x != 0.0 && grid.code(x) == grid.zero);
        }
        for x in quantized.to_f32_vec().unwrap_or_default() {
            let code = grid.code(x);
            if let Some(used) = usize::try_from(code - grid.min).ok().and_then(|i| grid.used.get_mut(i)) {
                *used = true;
            }
        }
        Ok(())
    }

    pub(super) fn histogram(
        &self,
        tensor: &str,
        params: Option<&AffineParams>,
    ) -> Result<Option<Histogram>, AnalysisError> {
        self.histogram.as_ref().map_or(Ok(None), |h| h.histogram(tensor, params))
    }

    pub(super) fn figures(&self, node: &str, op: &str, tensor: &str) -> LayerError {
        let percent = |n: u64, of: u64| if of == 0 { 0.0 } else { 100.0 * n as f64 / of as f64 };
        let dead = |g: &Grid| percent(g.used.iter().filter(|u| !**u).count() as u64, g.used.len() as u64);
        LayerError {
            node: node.to_owned(),
            op: op.to_owned(),
            tensor: tensor.to_owned(),
            introduced_db: self.introduced.sqnr_db(),
            inherited_db: self.inherited.sqnr_db(),
            total_db: self.total.sqnr_db(),
            saturated: self.grid.as_ref().map(|_| percent(self.saturated, self.values)),
            underflow: self.grid.as_ref().map(|_| percent(self.underflow, self.values)),
            dead_codes: self.grid.as_ref().map(dead),
        }
    }
}
