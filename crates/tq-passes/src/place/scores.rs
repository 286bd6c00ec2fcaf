//! What leads to a softmax or a normalization alone.
//!
//! These compute in float. The scaling, masking and summing before them would go to codes and back for nothing, and a
//! mask of large negative numbers would take the whole range of the codes: all scores that matter would become one code.

use super::plan::Intent;
use super::role::Role;
use tq_graph::{Graph, Node, NodeId, Op};
use tq_qtypes::OperatorKind;

/// Elementwise operators whose results go to softmaxes and normalizations alone, directly or through each other, stay
/// in float.
pub(super) fn leave_in_float(graph: &Graph, consumers: &[Vec<NodeId>], intents: &mut [Intent]) {
    // For every value whether all that is made of it goes to these.
    let mut scores = vec![false; graph.values.len()];
    let leads_there = |node: &Node, scores: &[bool]| {
        let mut outputs = node.outputs.iter().flatten().peekable();
        outputs.peek().is_some() && outputs.all(|v| scores[v.0])
    };
    for (id, node) in graph.iter_nodes().collect::<Vec<_>>().into_iter().rev() {
        for v in node.outputs.iter().flatten() {
            let read_there = |reader: &NodeId| {
                let reader = &graph.node(*reader);
                match reader.op {
                    Op::Softmax { .. }
                    | Op::LogSoftmax { .. }
                    | Op::LayerNormalization { .. }
                    | Op::InstanceNormalization { .. }
                    | Op::GroupNormalization { .. }
                    | Op::MeanVarianceNormalization { .. } => true,
                    Op::Where => leads_there(reader, &scores),
                    _ => intents_pass(&reader.op) && leads_there(reader, &scores),
                }
            };
            let readers = &consumers[v.0];
            scores[v.0] = !readers.is_empty() && !graph.outputs.contains(v) && readers.iter().all(read_there);
        }
        let elementwise = matches!(
            intents[id.0],
            Intent::Static(Role::Compute(
                OperatorKind::Lookup | OperatorKind::Add | OperatorKind::Sub | OperatorKind::Mul
            ))
        );
        if elementwise && leads_there(node, &scores) {
            let why = "its result goes to a softmax or a normalization alone, which computes in float";
            intents[id.0] = Intent::Float(why.into());
        }
    }
}

/// True for operators through which scores pass on their way.
fn intents_pass(op: &Op) -> bool {
    matches!(
        op,
        Op::Unary(_)
            | Op::Binary(_)
            | Op::Clip
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Squeeze
            | Op::Unsqueeze
            | Op::Identity
    )
}
