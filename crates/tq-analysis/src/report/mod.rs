//! All that is known of a quantized model beside its float original, as facts and as a page.

mod facts;
mod html;
mod network;

pub use facts::{ExecutionFacts, FloatLayer, LayerKernel};
pub use network::{Network, NetworkNode, NodeKind};

use crate::distributions::{Histogram, WeightRanges, weight_ranges};
use crate::peers::{OverflowCertificate, PeerForecast, forecast_peers, overflow_certificates};
use crate::{
    Advice, AdviceOptions, AnalysisError, CompareOptions, Comparison, Dataset, LayerErrors,
    QuantizationDebugger, advise, compare_with_progress,
};
use serde::Serialize;
use std::io::Write as _;
use std::path::Path;
use tq_graph::Graph;
use tq_graph::save::replace_file;

/// What goes into a report.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportOptions {
    /// What the float and the quantized model are called on the page.
    pub names: (String, String),
    /// How the models are compared.
    pub compare: CompareOptions,
    /// Rows on which errors and histograms of layers are measured: those of all layers are in memory at once.
    pub layer_rows: usize,
    /// Rows for which other kernels are simulated.
    pub forecast_rows: usize,
    /// Rows on which causes are looked for, by [`advise`]; none to look for none.
    pub advice_rows: Option<usize>,
}

impl Default for ReportOptions {
    fn default() -> Self {
        Self {
            names: ("float".into(), "quantized".into()),
            compare: CompareOptions::default(),
            layer_rows: 256,
            forecast_rows: 64,
            advice_rows: Some(AdviceOptions::default().rows),
        }
    }
}

/// What a report is being made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReportStage {
    /// Both models run over all the data.
    Comparing,
    /// Errors and histograms are measured layer by layer.
    Layers,
    /// Causes of the error are looked for, and repaired one by one.
    Advice,
    /// Other kernels are simulated.
    Forecast,
}

/// A quantized model beside its float original: what changed, where, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What the float and the quantized model are called.
    pub names: (String, String),
    /// Accuracy, error, size and time.
    pub comparison: Comparison,
    /// What runs in integers and what in float.
    pub execution: ExecutionFacts,
    /// The errors of every layer.
    pub layers: LayerErrors,
    /// The values of every layer's result, and the range that its codes keep.
    pub histograms: Vec<Histogram>,
    /// Quantized weights by their channels.
    pub weights: Vec<WeightRanges>,
    /// What is proved of every sum.
    pub certificates: Vec<OverflowCertificate>,
    /// What kernels that saturate or round otherwise would answer.
    pub forecasts: Vec<PeerForecast>,
    /// The quantized model as a picture: its operators and what feeds them.
    pub network: Network,
    /// Causes of the error, and what to change; none where nobody has looked for them.
    pub advice: Option<Advice>,
}

impl Report {
    /// Measures everything. `progress` is told how many rows of a stage are done, and how many there are.
    ///
    /// # Errors
    /// As [`compare_with_progress`], [`QuantizationDebugger::calculate_layer_errors`], [`advise`] and [`forecast_peers`].
    ///
    /// ```
    /// # use tq_analysis::{AnalysisError, Dataset};
    /// # use tq_graph::Graph;
    /// # fn show(model: &Graph, quantized: &Graph, data: &Dataset) -> Result<(), AnalysisError> {
    /// use tq_analysis::{Report, ReportOptions};
    /// let report = Report::new(model, quantized, data, None, &ReportOptions::default(), |_, _, _| ())?;
    /// report.save_html("report.html")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(
        float: &Graph,
        quantized: &Graph,
        data: &Dataset,
        labels: Option<&[i64]>,
        options: &ReportOptions,
        mut progress: impl FnMut(ReportStage, usize, usize),
    ) -> Result<Self, AnalysisError> {
        let all = data.rows();
        let comparison = compare_with_progress(float, quantized, data, labels, &options.compare, |rows| {
            progress(ReportStage::Comparing, rows, all);
        })?;
        let (execution, explanation) = facts::execution(quantized, data)?;
        let layer_rows = options.layer_rows.min(all);
        let (layers, histograms) = QuantizationDebugger::new(float, quantized, data)?
            .rows(layer_rows)
            .calculate_all(|rows| progress(ReportStage::Layers, rows, layer_rows))?;
        let look = |rows: usize| {
            progress(ReportStage::Advice, 0, rows.min(all));
            let output = options.compare.output.clone();
            advise(float, quantized, data, &AdviceOptions { rows, output, ..AdviceOptions::default() })
        };
        let advice = options.advice_rows.map(look).transpose()?;
        let forecast_rows = options.forecast_rows.min(all);
        let output = options.compare.output.as_deref();
        let forecasts = forecast_peers(quantized, data, labels, output, forecast_rows, |rows| {
            progress(ReportStage::Forecast, rows, forecast_rows);
        })?;
        let network = Network::new(quantized, &explanation, &layers);
        Ok(Self {
            names: options.names.clone(),
            comparison,
            execution,
            layers,
            histograms,
            weights: weight_ranges(quantized),
            certificates: overflow_certificates(quantized),
            forecasts,
            network,
            advice,
        })
    }

    /// The report as one page that needs nothing beside itself: no script, style, font or picture from elsewhere.
    #[must_use]
    pub fn html(&self) -> String {
        html::page(self)
    }

    /// Writes [`Report::html`] to a file, which appears whole or not at all.
    ///
    /// # Errors
    /// [`AnalysisError::Write`] when the file cannot be written.
    pub fn save_html(&self, path: impl AsRef<Path>) -> Result<(), AnalysisError> {
        let path = path.as_ref();
        replace_file(path, |file| file.write_all(self.html().as_bytes()))
            .map_err(|source| AnalysisError::Write { path: path.display().to_string(), source })
    }
}
