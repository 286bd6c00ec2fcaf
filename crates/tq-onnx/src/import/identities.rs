//! Nodes that change nothing between codes and the nodes around them.
//!
//! PyTorch's exporter writes a Cast of codes to the type that they have already between Quantize and Dequantize, and an
//! Identity of a constant where two nodes share it. Without them the pairs are next to each other, and parameters are
//! constants.

use std::collections::HashMap;
use tq_graph::{Graph, Op, ValueId};

/// Removes Casts of codes (integers of up to 16 bits) to their own type, and makes an Identity of a constant a constant.
/// What the model gives keeps its node.
pub(super) fn remove(graph: &mut Graph) {
    let mut same: HashMap<ValueId, ValueId> = HashMap::new();
    let nodes = std::mem::take(&mut graph.nodes);
    for mut node in nodes {
        for input in node.inputs.iter_mut().flatten() {
            *input = same.get(input).copied().unwrap_or(*input);
        }
        let (Some(x), Some(y)) = (node.input(0), node.output(0)) else {
            graph.nodes.push(node);
            continue;
        };
        let dtype = graph.value(x).dtype;
        let inner = !graph.outputs.contains(&y);
        match node.op {
            Op::Cast { to, .. } if inner && dtype == Some(to) && to.is_integer() && to.bits() <= 16 => {
                same.insert(y, x);
            }
            Op::Identity if inner && graph.constant(x).is_some() => {
                same.insert(y, x);
            }
            _ => graph.nodes.push(node),
        }
    }
    if !same.is_empty() {
        graph.compact();
    }
}
