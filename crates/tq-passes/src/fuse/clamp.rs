//! Relu and Clip: bounds, merging, and which operator computes them on the way.

use tq_graph::op::{BinaryOp, UnaryOp};
use tq_graph::{Graph, Node, NodeId, Op, ValueId};

/// Bounds of a Relu, or of a Clip of f32 with constant ones; says otherwise why there are none.
pub(crate) fn bounds_of(graph: &Graph, node: &Node) -> Result<(f32, f32), String> {
    let bound = |i: usize, absent: f32| match node.input(i) {
        None => Ok(absent),
        Some(v) => match graph.constant(v).map(|t| t.as_slice::<f32>()) {
            Some(Ok([b])) if !b.is_nan() => Ok(*b),
            _ => Err(format!("bound {} is not one f32 constant", graph.value(v).name)),
        },
    };
    match node.op {
        Op::Unary(UnaryOp::Relu) => Ok((0.0, f32::INFINITY)),
        Op::Clip => {
            let (lo, hi) = (bound(1, f32::NEG_INFINITY)?, bound(2, f32::INFINITY)?);
            if lo <= hi { Ok((lo, hi)) } else { Err(format!("its bounds {lo} and {hi} are reversed")) }
        }
        _ => Err(format!("{} is not a clamp", node.op.name())),
    }
}

/// True for Relu and Clip.
pub(crate) fn is_clamp(op: &Op) -> bool {
    matches!(op, Op::Unary(UnaryOp::Relu) | Op::Clip)
}

/// Checks that the result of a node is requantized, so that bounds on it cost nothing.
fn takes_epilogue(graph: &Graph, node: &Node) -> Result<(), String> {
    match node.op {
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm { .. } | Op::MatMul => Ok(()),
        Op::Binary(BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul) => {
            // With a number as operand it is a function of one code: a table, which a clamp follows as another one.
            let number = (0..2).any(|i| graph.const_input(node, i).is_some_and(|t| t.len() == 1));
            if number {
                Err(format!("{} before it is a {} with a number", node.name, node.op.name()))
            } else {
                Ok(())
            }
        }
        _ => Err(format!("{} before it is a {}", node.name, node.op.name())),
    }
}

/// The node whose epilogue the clamp `id` is, or why it is none.
pub(crate) fn epilogue_host(
    graph: &Graph,
    producers: &[Option<NodeId>],
    consumers: &[Vec<NodeId>],
    id: NodeId,
) -> Result<NodeId, String> {
    let node = graph.node(id);
    bounds_of(graph, node)?;
    let x: ValueId = node.input(0).ok_or("it has no input")?;
    let name = &graph.value(x).name;
    let Some(host) = producers[x.0] else {
        return Err(format!("{name} is not computed by any node"));
    };
    let producer = graph.node(host);
    takes_epilogue(graph, producer)?;
    if graph.outputs.contains(&x) {
        return Err(format!("{name} is also an output of the model"));
    }
    match consumers[x.0].iter().find(|c| **c != id) {
        Some(other) => Err(format!("{name} is also read by {}", graph.node(*other).name)),
        None => Ok(host),
    }
}
