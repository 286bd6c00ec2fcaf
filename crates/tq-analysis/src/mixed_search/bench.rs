//! Making and measuring one assignment.

use super::SearchOptions;
use crate::accuracy::check_label_count;
use crate::answers::{Answers, Kept, labelled};
use crate::calibrated::calibrated;
use crate::{AnalysisError, Batch, Dataset, LatencyOptions, Runner, measure, parameter_bytes};
use tq_graph::{Graph, Tensor};
use tq_passes::{Configuration, convert};

/// The float model with data in two halves: each calibrates what the other judges.
pub(super) struct Bench<'a> {
    pub(super) model: &'a Graph,
    pub(super) options: &'a SearchOptions,
    halves: Vec<Answers<'a>>,
    /// Inputs of one row, or of the first batch where the model insists on more.
    one_row: Vec<Tensor>,
}

/// What an assignment comes to.
pub(super) struct Measured {
    pub(super) kept: Kept,
    pub(super) bytes: u64,
    pub(super) latency_ms: Option<f64>,
}

impl<'a> Bench<'a> {
    pub(super) fn new(
        model: &'a Graph,
        data: &'a Dataset,
        labels: Option<&'a [i64]>,
        options: &'a SearchOptions,
    ) -> Result<Self, AnalysisError> {
        if let Some(labels) = labels {
            check_label_count(data, labels)?;
        }
        let (mut even, mut odd) = (Vec::new(), Vec::new());
        for (i, batch) in labelled(data, labels, options.batch).enumerate() {
            if i % 2 == 0 { even.push(batch) } else { odd.push(batch) }
        }
        let halves = [even, odd].into_iter().filter(|half| !half.is_empty());
        let halves = halves.map(|half| Answers::new(model, options.output.as_deref(), half));
        let one_row = data.batches(Some(1)).next().ok_or(AnalysisError::Empty)??.inputs;
        Ok(Self { model, options, halves: halves.collect::<Result<_, _>>()?, one_row })
    }

    pub(super) fn rows(&self) -> usize {
        self.halves.iter().map(|h| h.rows).sum()
    }

    pub(super) fn same_rows(&self) -> bool {
        self.halves.len() < 2
    }

    /// All the data.
    pub(super) fn batches(&self) -> Vec<Batch> {
        self.halves.iter().flat_map(Answers::batches).cloned().collect()
    }

    /// The model quantized so, calibrated on these batches.
    pub(super) fn quantized<'b>(
        &self,
        configuration: &Configuration,
        batches: impl IntoIterator<Item = &'b Batch>,
    ) -> Result<Graph, AnalysisError> {
        Ok(convert(calibrated(self.model, configuration, batches)?)?.graph)
    }

    /// Calibrates with one half and judges on the other, then the other way round.
    pub(super) fn measure(
        &self,
        configuration: &Configuration,
        timed: bool,
    ) -> Result<Measured, AnalysisError> {
        let mut kept = Kept::new(self.options.threshold);
        let (mut bytes, mut latency_ms) = (0, None);
        for (i, judge) in self.halves.iter().enumerate() {
            let fit = &self.halves[(i + 1) % self.halves.len()];
            let graph = self.quantized(configuration, fit.batches())?;
            let runner = Runner::session(&graph)?;
            judge.judge(&runner, &mut kept)?;
            bytes = parameter_bytes(&graph);
            if timed && latency_ms.is_none() {
                latency_ms = Some(self.time(&runner)?);
            }
        }
        Ok(Measured { kept, bytes, latency_ms })
    }

    /// Milliseconds of a run of one row.
    fn time(&self, runner: &Runner) -> Result<f64, AnalysisError> {
        Ok(measure(&LatencyOptions::default(), || runner.run(&self.one_row).map(drop))?.median_ms)
    }
}
