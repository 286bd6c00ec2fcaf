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
        check_batch_axis(graph)?;
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

/// Refuses a model with an input whose samples lie along another axis than the first, as in sequences with the batch behind the
/// steps: what lies along the first axis are no samples. Samples of such models are given one by one, each whole
/// ([`super::SampleInput::Whole`]).
///
/// # Errors
/// [`QatError::BatchAxis`].
pub fn check_batch_axis(graph: &Graph) -> Result<(), QatError> {
    let shape = |v: &tq_graph::ValueId| graph.value(*v).shape.as_deref().unwrap_or_default();
    let free = graph.outputs.iter().filter_map(|v| shape(v).first().filter(|d| d.known_usize().is_none()));
    for samples in free {
        for v in &graph.inputs {
            let [first, rest @ ..] = shape(v) else { continue };
            if first != samples
                && let Some(axis) = rest.iter().position(|d| d == samples)
            {
                let dims: Vec<String> = shape(v).iter().map(ToString::to_string).collect();
                return Err(QatError::BatchAxis {
                    input: graph.value(*v).name.clone(),
                    shape: dims.join(", "),
                    axis: axis + 1,
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tq_graph::Op;
    use tq_graph::op::UnaryOp;
    use tq_qtypes::DType;

    #[test]
    fn samples_along_another_axis_are_refused() {
        let graph = |dims: Vec<Dim>| {
            let mut g = Graph::new("net");
            let x = g.add_input("x", DType::F32, dims);
            let perm = Some(vec![1, 0, 2]);
            let turned = g.add_node("turned", Op::Transpose { perm }, &[x], "turned.y");
            let y = g.add_node("y", Op::Unary(UnaryOp::Relu), &[turned], "y.y");
            g.outputs.push(y);
            tq_graph::infer::infer(&mut g).unwrap();
            g
        };
        let error =
            check_batch_axis(&graph(vec![7usize.into(), Dim::symbol("N"), 4usize.into()])).unwrap_err();
        assert!(matches!(&error, QatError::BatchAxis { axis: 1, .. }), "{error}");
        assert!(error.to_string().contains("[7, N, 4]"), "{error}");
        assert!(check_batch_axis(&graph(vec![Dim::symbol("N"), 7usize.into(), 4usize.into()])).is_ok());
        // Of any length, too.
        let free = graph(vec![Dim::symbol("T"), Dim::symbol("N"), 4usize.into()]);
        assert!(check_batch_axis(&free).unwrap_err().to_string().contains("[T, N, 4]"));
        let square = graph(vec![Dim::symbol("N"), Dim::symbol("N"), 4usize.into()]);
        assert!(check_batch_axis(&square).is_ok());
    }
}
