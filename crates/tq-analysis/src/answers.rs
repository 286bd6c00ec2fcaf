//! What a float model answers, and how many of its answers another model keeps.

use crate::accuracy::{find_output, nth};
use crate::finite::require_answers;
use crate::{Accuracy, AnalysisError, Batch, Dataset, Fidelity, Runner};
use tq_graph::{Graph, Tensor};

/// A batch with the labels of its rows, where there are any.
pub(crate) type Labelled<'a> = (Batch, Option<&'a [i64]>);

/// The batches of `data`, each with its part of `labels`.
pub(crate) fn labelled<'a>(
    data: &'a Dataset,
    labels: Option<&'a [i64]>,
    batch: Option<usize>,
) -> impl Iterator<Item = Result<Labelled<'a>, AnalysisError>> {
    let mut start = 0;
    data.finite_batches(batch).map(move |batch| {
        let batch = batch?;
        let own = labels.and_then(|l| l.get(start..start + batch.rows));
        start += batch.rows;
        Ok((batch, own))
    })
}

/// The answers of the float model for some data.
pub(crate) struct Answers<'a> {
    batches: Vec<(Batch, Tensor, Option<&'a [i64]>)>,
    output: (usize, String),
    pub(crate) rows: usize,
}

impl<'a> Answers<'a> {
    /// Runs the model; looks at the output of this name, or at the first.
    pub(crate) fn new(
        model: &Graph,
        output: Option<&str>,
        batches: impl IntoIterator<Item = Result<Labelled<'a>, AnalysisError>>,
    ) -> Result<Self, AnalysisError> {
        let (index, name) = find_output(model, output)?;
        let runner = Runner::session(model)?;
        let (mut answered, mut rows) = (Vec::new(), 0);
        for item in batches {
            let (batch, labels) = item?;
            let answer = batch.trim(nth(&runner.run(&batch.inputs)?, index, name)?.clone())?;
            require_answers(name, &answer, rows)?;
            rows += batch.rows;
            answered.push((batch, answer, labels));
        }
        if rows == 0 {
            return Err(AnalysisError::Empty);
        }
        Ok(Self { batches: answered, output: (index, name.to_owned()), rows })
    }

    /// The batches themselves.
    pub(crate) fn batches(&self) -> impl Iterator<Item = &Batch> {
        self.batches.iter().map(|(batch, _, _)| batch)
    }

    /// Adds what another model keeps of the answers.
    pub(crate) fn judge(&self, other: &Runner, kept: &mut Kept) -> Result<(), AnalysisError> {
        let (index, name) = (self.output.0, self.output.1.as_str());
        for (batch, float, labels) in &self.batches {
            let answer = batch.trim(nth(&other.run(&batch.inputs)?, index, name)?.clone())?;
            kept.fidelity.add(name, float, &answer, batch.rows)?;
            if let Some(labels) = labels {
                let right = |scores: &Tensor| Accuracy::hits(name, scores, labels);
                kept.right.add(&right(float)?, &right(&answer)?);
            }
        }
        Ok(())
    }
}

/// How many of a float model's answers are kept.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) fidelity: Fidelity,
    right: Changed,
}

impl Kept {
    pub(crate) fn new(threshold: f64) -> Self {
        Self { fidelity: Fidelity::new(threshold), right: Changed::default() }
    }

    /// Right answers that changed: by labels, or, where there are none, by the float model's decisions.
    pub(crate) fn changed(&self) -> Changed {
        if self.right.rows > 0 {
            return self.right;
        }
        let (rows, same) = self.fidelity.decisions();
        Changed { rows, lost: rows - same, gained: 0 }
    }
}

/// Right answers lost and gained, row by row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    pub(crate) rows: usize,
    pub(crate) lost: usize,
    pub(crate) gained: usize,
}

impl Changed {
    /// Adds rows: whether each was right before and is right after.
    pub(crate) fn add(&mut self, before: &[bool], after: &[bool]) {
        for (before, after) in before.iter().zip(after) {
            self.rows += 1;
            self.lost += usize::from(*before && !*after);
            self.gained += usize::from(*after && !*before);
        }
    }

    /// The share that is lost, and its standard error: of a mean of -1, 0 and 1.
    pub(crate) fn drop(self) -> (f64, f64) {
        if self.rows == 0 {
            return (0.0, 0.0);
        }
        let n = self.rows as f64;
        let mean = (self.lost as f64 - self.gained as f64) / n;
        let variance = (self.lost + self.gained) as f64 / n - mean * mean;
        (mean, (variance.max(0.0) / n).sqrt())
    }

    /// Bounds of the share that is lost, which hold in 95 % of samples: the interval of Agresti and Min ("Simple improved
    /// confidence intervals for comparing matched proportions", Statistics in Medicine 24, 2005), Wald's with half a row
    /// added to each of the four cells, which stays honest where few answers change.
    pub(crate) fn interval(self) -> (f64, f64) {
        if self.rows == 0 {
            return (-1.0, 1.0);
        }
        let n = self.rows as f64 + 2.0;
        let (lost, gained) = (self.lost as f64 + 0.5, self.gained as f64 + 0.5);
        let mean = (lost - gained) / n;
        let half = 1.959_963_984_540_054 * ((lost + gained) - (lost - gained).powi(2) / n).sqrt() / n;
        ((mean - half).max(-1.0), (mean + half).min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_agresti_and_min() {
        // By hand: n* = 102, b* = 5.5, c* = 1.5; d = 4 / 102; se = sqrt(7 - 16 / 102) / 102.
        let (low, high) = Changed { rows: 100, lost: 5, gained: 1 }.interval();
        let (mean, half) = (4.0 / 102.0, 1.959_963_984_540_054 * (7.0 - 16.0 / 102.0f64).sqrt() / 102.0);
        assert!((low - (mean - half)).abs() < 1e-15 && (high - (mean + half)).abs() < 1e-15);
        // Nothing changed does not mean that nothing can.
        let (low, high) = Changed { rows: 50, lost: 0, gained: 0 }.interval();
        assert!(low < -0.01 && high > 0.01 && (low + high).abs() < 1e-15);
        assert_eq!(Changed::default().interval(), (-1.0, 1.0));
    }
}
