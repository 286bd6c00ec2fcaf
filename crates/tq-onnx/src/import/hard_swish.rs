//! `x * HardSigmoid(x)` is HardSwish.
//!
//! `HardSwish(x) = x * HardSigmoid(x; alpha = 1/6, beta = 0.5)` is the operator's definition in ONNX, and what is
//! written where an operator set does not have it yet (below 14).

use std::collections::HashSet;
use tq_graph::op::{BinaryOp, Op, UnaryOp};
use tq_graph::{Graph, ValueId};

/// Makes one node of every such pair whose HardSigmoid nobody else reads. The product's name stays.
pub(super) fn fold(graph: &mut Graph) {
    let (producers, consumers) = (graph.producers(), graph.consumers());
    let wanted = Op::Unary(UnaryOp::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 });
    let outputs: HashSet<ValueId> = graph.outputs.iter().copied().collect();
    let mut folded = vec![false; graph.nodes.len()];
    for i in 0..graph.nodes.len() {
        if graph.nodes[i].op != Op::Binary(BinaryOp::Mul) {
            continue;
        }
        let (Some(a), Some(b)) = (graph.nodes[i].input(0), graph.nodes[i].input(1)) else { continue };
        for (x, gate) in [(a, b), (b, a)] {
            let Some(sigmoid) = producers[gate.0] else { continue };
            let node = &graph.nodes[sigmoid.0];
            if node.op == wanted
                && node.input(0) == Some(x)
                && consumers[gate.0].len() == 1
                && !outputs.contains(&gate)
            {
                folded[sigmoid.0] = true;
                graph.nodes[i].op = Op::Unary(UnaryOp::HardSwish);
                graph.nodes[i].inputs = vec![Some(x)];
                break;
            }
        }
    }
    if folded.contains(&true) {
        let mut keep = folded.iter().map(|f| !f);
        graph.nodes.retain(|_| keep.next().unwrap_or(true));
        graph.compact();
    }
}
