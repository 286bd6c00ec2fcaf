//! Making and judging one configuration.

use super::judged::Judged;
use super::ladder::Rung;
use super::{RecommendOptions, Trial, TrialFigures, Verdict, is_fatal};
use crate::accuracy::nth;
use crate::calibrated::calibrated;
use crate::{AnalysisError, Batch, Dataset, Fidelity, Runner, parameter_bytes};
use std::collections::HashSet;
use tq_graph::{Graph, Op, Tensor};
use tq_passes::{Configuration, convert};
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
    /// Batches with what the float model gives for each.
    halves: Vec<Vec<(Batch, Given)>>,
    judged: Judged,
}

/// What a model gives for a batch.
struct Given {
    /// The tensors that it is judged by.
    judged: Vec<Tensor>,
    /// The outputs that are decisions.
    decisions: Vec<Tensor>,
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
        let judged = Judged::new(graph, options.output.as_deref())?;
        let runner = Runner::session(&judged.tapped(graph)?)?;
        let with_output = |batch: Result<Batch, AnalysisError>| {
            let batch = batch?;
            let given = Given::new(&judged, &batch, &runner.run(&batch.inputs)?)?;
            Ok((batch, given))
        };
        let half =
            |i| data.shard(options.batch, i, 2).map(with_output).collect::<Result<Vec<_>, AnalysisError>>();
        let mut halves = vec![half(0)?, half(1)?];
        halves.retain(|h| !h.is_empty());
        Ok(Self { graph, options, halves, judged })
    }

    pub(super) fn rows(&self) -> usize {
        self.halves.iter().flatten().map(|(b, _)| b.rows).sum()
    }

    /// Names of the tensors that trials are judged by.
    pub(super) fn judged_by(&self) -> Vec<String> {
        self.judged.places.iter().map(|p| p.name.clone()).collect()
    }

    /// Whether the only half has to judge what it calibrates.
    pub(super) fn same_rows(&self) -> bool {
        self.halves.len() < 2
    }

    /// Tries a configuration. One that cannot be followed is a rejected trial, not an error.
    pub(super) fn trial(&self, rung: Rung) -> Result<Trial, AnalysisError> {
        let Rung { name, description, configuration } = rung;
        let (figures, verdict) = match self.figures(&configuration, Extent::ALL) {
            Ok(figures) => {
                let why = format!("{} holds values that are not a number", figures.judged_by);
                (Some(figures), Verdict::Rejected(why))
            }
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
        let places = &self.judged.places;
        let mut fidelities = vec![Fidelity::new(self.options.threshold); places.len()];
        let mut decisions = Decisions::default();
        let (mut integer, mut float, mut bytes, mut at_run_time) = (0u64, 0u64, 0, None);
        for (fold, held_out) in self.halves.iter().enumerate().take(extent.folds) {
            let fit = &self.halves[(fold + 1) % self.halves.len()];
            let fit = fit.iter().take(extent.batches).map(|(batch, _)| batch);
            let quantized = convert(calibrated(self.graph, configuration, fit)?)?.graph;
            let session = Session::new(&self.judged.tapped(&quantized)?, SessionOptions::default())?;
            for (batch, expected) in held_out.iter().take(extent.batches) {
                let given = Given::new(&self.judged, batch, &session.run(&batch.inputs)?)?;
                let pairs = expected.judged.iter().zip(&given.judged);
                for ((fidelity, place), (x, y)) in fidelities.iter_mut().zip(places).zip(pairs) {
                    fidelity.add(&place.name, x, y, batch.rows)?;
                }
                expected.decisions.iter().zip(&given.decisions).for_each(|(x, y)| decisions.add(x, y));
            }
            let explanation = session.explain();
            (integer, float) = explanation.macs();
            at_run_time = work_at_run_time(&quantized, &explanation);
            bytes = parameter_bytes(&quantized);
        }
        let all = integer.saturating_add(float);
        let ranges = at_run_time.unwrap_or(0) / RUN_TIME_PART;
        let figures = fidelities.iter().map(Fidelity::figures).zip(places);
        // A NaN is worse than any number.
        let order = |s: f64| if s.is_nan() { f64::NEG_INFINITY } else { s };
        let worst = figures.min_by(|(a, _), (b, _)| order(a.sqnr_db).total_cmp(&order(b.sqnr_db)));
        let (fidelity, place) = worst.ok_or(AnalysisError::Empty)?;
        Ok(TrialFigures {
            fidelity,
            judged_by: place.name.clone(),
            decisions: decisions.percent(),
            integer_share: if all == 0 { 0.0 } else { integer as f64 / all as f64 },
            parameter_bytes: bytes,
            work: float.saturating_mul(FLOAT_COST).saturating_add(integer).saturating_add(ranges),
            at_run_time: at_run_time.is_some(),
        })
    }
}

impl Given {
    fn new(judged: &Judged, batch: &Batch, outputs: &[Tensor]) -> Result<Self, AnalysisError> {
        // What has no row for each row of the batch is compared whole: rows that fill a batch up are right rows too.
        let own = |t: &Tensor| batch.trim(t.clone()).unwrap_or_else(|_| t.clone());
        let decision = |(i, name): &(usize, String)| Ok(own(nth(outputs, *i, name)?));
        Ok(Self {
            judged: judged.pick(outputs)?.into_iter().map(own).collect(),
            decisions: judged.decisions.iter().map(decision).collect::<Result<_, AnalysisError>>()?,
        })
    }
}

/// How many decisions are the same.
#[derive(Default)]
struct Decisions {
    all: usize,
    alike: usize,
}

impl Decisions {
    /// Elements at the same place; those that only one has are not the same.
    fn add(&mut self, float: &Tensor, other: &Tensor) {
        let (x, y) = (float.to_i64_vec(), other.to_i64_vec());
        let (x, y) = (x.unwrap_or_default(), y.unwrap_or_default());
        self.all += x.len().max(y.len());
        self.alike += x.iter().zip(&y).filter(|(x, y)| x == y).count();
    }

    fn percent(&self) -> Option<f64> {
        (self.all > 0).then(|| 100.0 * self.alike as f64 / self.all as f64)
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
