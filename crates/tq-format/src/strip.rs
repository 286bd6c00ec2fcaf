//! Graphs for devices.

use std::collections::HashSet;
use tq_graph::{Graph, ValueId};

/// The graph without what only people need: names of values and nodes become numbers, metadata and the types and shapes
/// of what lies between are dropped, and so is what no output depends on. Inputs and outputs keep their names, types
/// and shapes.
///
/// It computes the same, bit for bit: a session infers types and shapes again. Reports about it name nodes by numbers.
#[must_use]
pub fn strip(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    graph.compact();
    graph.metadata.clear();
    graph.name.clear();
    let ports: HashSet<ValueId> = graph.inputs.iter().chain(&graph.outputs).copied().collect();
    let mut taken: HashSet<String> = ports.iter().map(|v| graph.value(*v).name.clone()).collect();
    let mut free = (0usize..).map(|i| i.to_string());
    for (i, value) in graph.values.iter_mut().enumerate() {
        if ports.contains(&ValueId(i)) {
            continue;
        }
        // Endless, so there is always another one.
        value.name = free.by_ref().find(|n| taken.insert(n.clone())).unwrap_or_default();
        if value.constant.is_none() {
            value.dtype = None;
            value.shape = None;
        }
    }
    for (i, node) in graph.nodes.iter_mut().enumerate() {
        node.name = i.to_string();
    }
    graph
}
