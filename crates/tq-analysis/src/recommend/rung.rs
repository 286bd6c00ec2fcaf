//! Making and judging one configuration.

use super::ladder::Rung;
use super::{RecommendOptions, Trial, TrialFigures, Verdict, is_fatal};
use crate::accuracy::{find_output, nth};
use crate::{AnalysisError, Batch, Dataset, Fidelity, Runner, parameter_bytes};
use std::collections::HashSet;
use tq_graph::{Graph, Op, Tensor};
use tq_passes::{Configuration, PassError, Prepared, convert, prepare_static};
use tq_runtime::{Execution, Explanation, Session, SessionOptions};

/// A float multiplication costs this many in integers: the ratio of an 8-bit kernel's throughput to an f32 one's on
/// common processors.
const FLOAT_COST: u64 = 4;

/// Of the work of layers that quantize at run time this part comes on top: the range of the data is looked for in every
/// run, and results pass through float. Where calibrated ranges do as well, they are the better choice.
const RUN_TIME_PART: u64 = 4;

/// The float model with calibration data in two halves: each calibrates what the other judges.
pub(super) struct Bench<'a> {
    pub(super) graph: &'a Graph,
    options: &'a RecommendOptions,
    /// Batches with the float model's output on each.
    halves: Vec<Vec<(Batch, Tensor)>>,
    output: (usize, String),
}

/// How much of the data a trial sees.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    /// Which halves judge: the first so many.
    folds: usize,
    /// Batches of a half.
    batches: usize,
}

impl Extent {
    pub(super) const ALL: Self = Self { folds: 2, batches: usize::MAX };

    /// One half, and few batches of it.
    pub(super) const fn sample(batches: usize) -> Self {
        Self { folds: 1, batches }
    }
}

impl<'a> Bench<'a> {
    pub(super) fn new(
        graph: &'a Graph,
        data: &Dataset,
        options: &'a RecommendOptions,
    ) -> Result<Self, AnalysisError> {
        let (index, name) = find_output(graph, options.output.as_deref())?;
        let runner = Runner::session(graph)?;
        let with_output = |batch: Result<Batch, AnalysisError>| {
            let batch = batch?;
            let output = batch.trim(nth(&runner.run(&batch.inputs)?, index, name)?.clone())?;
            Ok((batch, output))
        };
        let half =
            |i| data.shard(options.batch, i, 2).map(with_output).collect::<Result<Vec<_>, AnalysisError>>();
        let mut halves = vec![half(0)?, half(1)?];
        halves.retain(|h| !h.is_empty());
        Ok(Self { graph, options, halves, output: (index, name.to_owned()) })
    }

    pub(super) fn rows(&self) -> usize {
        self.halves.iter().flatten().map(|(b, _)| b.rows).sum()
    }

    /// Whether the only half has to judge what it calibrates.
    pub(super) fn same_rows(&self) -> bool {
        self.halves.len() < 2
    }

    /// Tries a configuration. One that cannot be followed is a rejected trial, not an error.
    pub(super) fn trial(&self, rung: Rung) -> Result<Trial, AnalysisError> {
        let Rung { name, description, configuration } = rung;
        let (figures, verdict) = match self.figures(&configuration, Extent::ALL) {
            Ok(figures) => (Some(figures), Verdict::Rejected(String::new())),
            Err(AnalysisError::Pass(e)) if is_fatal(&e) => return Err(e.into()),
            Err(e) => (None, Verdict::Rejected(e.to_string())),
        };
        Ok(Trial { name, description, figures, verdict, configuration })
    }

    /// Calibrates with one half and judges on the other, then the other way round.
    pub(super) fn figures(
        &self,
        configuration: &Configuration,
        extent: Extent,
    ) -> Result<TrialFigures, AnalysisError> {
        let mut fidelity = Fidelity::new(self.options.threshold);
        let (mut integer, mut float, mut bytes, mut at_run_time) = (0u64, 0u64, 0, None);
        let (index, name) = (self.output.0, self.output.1.as_str());
        for (fold, held_out) in self.halves.iter().enumerate().take(extent.folds) {
            let fit = &self.halves[(fold + 1) % self.halves.len()];
            let quantized = convert(self.calibrated(configuration, fit, extent.batches)?)?.graph;
            let session = Session::new(&quantized, SessionOptions::default())?;
            for (batch, expected) in held_out.iter().take(extent.batches) {
                let outputs = session.run(&batch.inputs)?;
                let output = batch.trim(nth(&outputs, index, name)?.clone())?;
                fidelity.add(name, expected, &output, batch.rows)?;
            }
            let explanation = session.explain();
            (integer, float) = explanation.macs();
            at_run_time = work_at_run_time(&quantized, &explanation);
            bytes = parameter_bytes(&quantized);
        }
        let all = integer.saturating_add(float);
        let ranges = at_run_time.unwrap_or(0) / RUN_TIME_PART;
        Ok(TrialFigures {
            fidelity: fidelity.figures(),
            integer_share: if all == 0 { 0.0 } else { integer as f64 / all as f64 },
            parameter_bytes: bytes,
            work: float.saturating_mul(FLOAT_COST).saturating_add(integer).saturating_add(ranges),
            at_run_time: at_run_time.is_some(),
        })
    }

    /// The model prepared as the configuration says, having seen at most `limit` batches.
    fn calibrated(
        &self,
        configuration: &Configuration,
        fit: &[(Batch, Tensor)],
        limit: usize,
    ) -> Result<Prepared, PassError> {
        let prepared = prepare_static(self.graph.clone(), configuration.clone())?;
        if !prepared.observers().is_empty() {
            for (batch, _) in fit.iter().take(limit) {
                prepared.forward(batch)?;
            }
        }
        Ok(prepared)
    }
}

/// The integer multiplications of operators that choose the parameters of their data in every run, where there are any.
fn work_at_run_time(graph: &Graph, explanation: &Explanation) -> Option<u64> {
    let is_at_run_time = |op: &Op| match op {
        Op::MatMulInteger | Op::ConvInteger(_) => true,
        Op::Recurrent { attrs, .. } => attrs.dynamic.is_some(),
        _ => false,
    };
    let nodes: HashSet<&str> =
        graph.nodes.iter().filter(|n| is_at_run_time(&n.op)).map(|n| n.name.as_str()).collect();
    let integer = explanation.nodes.iter().filter(|n| n.execution == Execution::Integer);
    let work = integer.filter(|n| nodes.contains(n.node.as_str())).map(|n| n.macs);
    (!nodes.is_empty()).then(|| work.fold(0, u64::saturating_add))
}
