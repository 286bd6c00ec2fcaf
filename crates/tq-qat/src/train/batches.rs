//! How samples are cut into steps and passes.

use super::options::TrainOptions;
use super::samples::Samples;
use crate::QatError;
use tq_graph::{Dim, Graph};

/// How samples are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Batches {
    /// Samples of a step.
    pub(super) step: usize,
    /// Samples of one forward and backward pass.
    pub(super) pass: usize,
    /// Whether every pass must be full, as the model takes no other number of samples.
    pub(super) whole: bool,
}

impl Batches {
    pub(super) fn of(graph: &Graph, options: &TrainOptions, samples: &Samples) -> Result<Self, QatError> {
        let own = Self::of_size(graph, options.pass.unwrap_or(options.batch).min(options.batch), samples)?;
        let step = if own.whole { (options.batch / own.pass).max(1) * own.pass } else { options.batch };
        Ok(Self { step, ..own })
    }

    /// Passes of so many samples, or of as many as the model insists on; of one where they are given one by one.
    pub(super) fn of_size(graph: &Graph, pass: usize, samples: &Samples) -> Result<Self, QatError> {
        if samples.is_one_by_one() {
            return Ok(Self { step: 1, pass: 1, whole: false });
        }
        let first = |v: &tq_graph::ValueId| graph.value(*v).shape.as_ref().and_then(|s| s.first().cloned());
        let fixed = graph.inputs.iter().find_map(|v| first(v).as_ref().and_then(Dim::known_usize));
        match fixed.unwrap_or(pass) {
            0 => Err(QatError::Training("the model takes batches of no samples".to_owned())),
            pass => Ok(Self { step: pass, pass, whole: fixed.is_some() }),
        }
    }

    /// How many of `n` samples an epoch takes: all, or as many as make full passes.
    pub(super) fn used(&self, n: usize) -> usize {
        if self.whole { n - n % self.pass } else { n }
    }

    /// Steps of an epoch of `n` samples.
    pub(super) fn steps(&self, n: usize) -> usize {
        self.used(n).div_ceil(self.step)
    }

    /// These samples as a model takes them that wants full passes: the last one again until they are enough.
    pub(super) fn filled(&self, rows: &[usize]) -> Vec<usize> {
        let mut rows = rows.to_vec();
        if let (true, Some(last)) = (self.whole, rows.last().copied()) {
            rows.resize(self.pass.max(rows.len()), last);
        }
        rows
    }
}
