//! The end of a model: the scores that losses take, and what the model makes of them.

use tq_graph::op::UnaryOp;
use tq_graph::{Op, ValueId};
use tq_passes::Prepared;
use tq_passes::training::InputForm;

/// What a model makes of its scores at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// Nothing: its output is the scores.
    #[default]
    None,
    /// Probabilities of classes (or their logarithms).
    Softmax,
    /// One probability for each score.
    Sigmoid,
}

/// The scores: the first output, or what the function at the end of the model reads.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub(super) value: ValueId,
    pub(super) form: InputForm,
    pub(super) activation: Activation,
}

impl Head {
    /// `None` for a model without outputs. Losses take what stands before a final softmax or sigmoid, as they have both in
    /// themselves, and lose nothing of small probabilities then.
    pub(super) fn of(prepared: &Prepared, forms: &[Vec<InputForm>]) -> Option<Self> {
        let graph = prepared.graph();
        let output = *graph.outputs.first()?;
        let mut value = output;
        while let Some((id, node)) = graph.iter_nodes().find(|(_, n)| n.outputs.contains(&Some(value))) {
            let rank = node.output(0).and_then(|v| graph.value(v).shape.as_ref()).map(Vec::len);
            let is_last = |axis: i64| axis == -1 || rank.is_some_and(|r| axis + 1 == r as i64);
            let activation = match &node.op {
                Op::Identity | Op::Dropout => {
                    value = node.input(0)?;
                    continue;
                }
                Op::Softmax { axis } | Op::LogSoftmax { axis } if is_last(*axis) => Activation::Softmax,
                Op::Unary(UnaryOp::Sigmoid) => Activation::Sigmoid,
                _ => break,
            };
            let (value, form) = (node.input(0)?, forms[id.0].first()?.clone());
            return Some(Self { value, form, activation });
        }
        Some(Self { value: output, form: prepared.float_form(output), activation: Activation::None })
    }
}
