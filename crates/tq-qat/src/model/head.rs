//! The ends of a model: the scores that losses take, and what the model makes of them.

use tq_graph::op::UnaryOp;
use tq_graph::{Op, ValueId};
use tq_passes::Prepared;
use tq_passes::training::InputForm;
use tq_qtypes::DType;

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

/// The scores behind an output: the output itself, or what the function at the end of the model reads.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// The output.
    pub(super) output: ValueId,
    pub(super) value: ValueId,
    pub(super) form: InputForm,
    pub(crate) activation: Activation,
}

impl Head {
    /// The scores of the first output, and of those others that are f32 and have scores of their own.
    pub(super) fn all(prepared: &Prepared, forms: &[Vec<InputForm>]) -> Vec<Self> {
        let graph = prepared.graph();
        let mut heads: Vec<Self> = Vec::new();
        for (i, output) in graph.outputs.iter().enumerate() {
            if i > 0 && graph.value(*output).dtype != Some(DType::F32) {
                continue;
            }
            let Some(head) = Self::of(prepared, forms, *output) else { continue };
            if !heads.iter().any(|h| h.value == head.value) {
                heads.push(head);
            }
        }
        heads
    }

    /// Losses take what stands before a final softmax or sigmoid, as they have both in themselves, and lose nothing of
    /// small probabilities then.
    fn of(prepared: &Prepared, forms: &[Vec<InputForm>], output: ValueId) -> Option<Self> {
        let graph = prepared.graph();
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
            return Some(Self { output, value, form, activation });
        }
        Some(Self { output, value: output, form: prepared.float_form(output), activation: Activation::None })
    }
}
