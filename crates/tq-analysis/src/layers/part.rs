//! A few nodes of a graph as a graph of their own.

use super::pairs::is_code;
use crate::product::moves_codes;
use std::collections::HashSet;
use tq_graph::{Dim, Graph, GraphError, NodeId, Op, ValueId, infer};

/// The nodes of `core` and what stands before them of quantization, as a graph that gives `output`.
///
/// Its inputs are the real numbers that are quantized, or read as they are, in the order in which the nodes read them;
/// they are given beside it. What is computed from constants alone belongs to it.
pub(crate) fn part(
    graph: &Graph,
    core: &[NodeId],
    output: ValueId,
) -> Result<(Graph, Vec<ValueId>), GraphError> {
    let producers = graph.producers();
    let constant = constants(graph);
    let mut nodes: HashSet<usize> = HashSet::new();
    let mut open: Vec<NodeId> = core.to_vec();
    let is_quantization = |op: &Op| {
        matches!(
            op,
            Op::QuantizeLinear { .. } | Op::DequantizeLinear { .. } | Op::DynamicQuantizeLinear { .. }
        )
    };
    while let Some(id) = open.pop() {
        if !nodes.insert(id.0) {
            continue;
        }
        let stops = is_quantization(&graph.node(id).op)
            && !matches!(graph.node(id).op, Op::DequantizeLinear { .. })
            && !core.contains(&id);
        for v in graph.node(id).inputs.iter().flatten() {
            let Some(from) = producers[v.0] else { continue };
            // Scales and zero points that are computed are part of it; the data of a Quantize is where it begins.
            let data = stops && graph.node(id).input(0) == Some(*v);
            // What moves codes stands between a layer and the Quantize that makes them.
            let moved = is_code(graph, *v) && moves_codes(&graph.node(from).op);
            if constant.contains(v) || ((is_quantization(&graph.node(from).op) || moved) && !data) {
                open.push(from);
            }
        }
    }
    let mut order: Vec<usize> = nodes.into_iter().collect();
    order.sort_unstable();
    let mut part = graph.clone();
    part.nodes = order.iter().map(|i| graph.nodes[*i].clone()).collect();
    let produced: HashSet<ValueId> =
        part.nodes.iter().flat_map(|n| n.outputs.iter().flatten().copied()).collect();
    let mut inputs = Vec::new();
    for v in part.nodes.iter().flat_map(|n| n.inputs.iter().flatten()) {
        if !produced.contains(v) && graph.constant(*v).is_none() && !inputs.contains(v) {
            inputs.push(*v);
        }
    }
    part.inputs.clone_from(&inputs);
    part.outputs = vec![output];
    for (i, value) in part.values.iter_mut().enumerate().filter(|(_, v)| v.constant.is_none()) {
        if !inputs.contains(&ValueId(i)) {
            value.shape = None;
            continue;
        }
        // Dimensions that hung on the inputs of the whole are free here.
        for (axis, dim) in value.shape.iter_mut().flatten().enumerate() {
            if dim.known().is_none() {
                *dim = Dim::symbol(format!("{i}.{axis}"));
            }
        }
    }
    part.sort()?;
    part.compact();
    infer::infer(&mut part)?;
    Ok((part, inputs))
}

/// The values that are computed from constants alone.
pub(crate) fn constants(graph: &Graph) -> HashSet<ValueId> {
    let mut known = HashSet::new();
    for node in &graph.nodes {
        let all = |v: &ValueId| graph.constant(*v).is_some() || known.contains(v);
        if !node.inputs.is_empty() && node.inputs.iter().flatten().all(all) {
            known.extend(node.outputs.iter().flatten().copied());
        }
    }
    known
}
