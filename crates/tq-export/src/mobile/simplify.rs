//! The same computation with fewer nodes and constants.

use crate::ExportError;
use std::collections::HashMap;
use tq_graph::{Graph, Op, Tensor, ValueId, infer};

/// The graph with constants computed, equal ones made one, and nodes that do nothing left out. Inputs and outputs keep their names.
pub(super) fn simplify(graph: &Graph) -> Result<Graph, ExportError> {
    let mut graph = graph.clone();
    drop_idle(&mut graph);
    tq_passes::fold_constants(&mut graph)?;
    merge_constants(&mut graph);
    infer::infer(&mut graph)?;
    Ok(graph)
}

/// Leaves out Identity and Dropout; where one gives an output of the model, what it reads gets the output's name. One that
/// makes an input, a constant or another output an output stays.
fn drop_idle(graph: &mut Graph) {
    for at in 0..graph.nodes.len() {
        let node = &graph.nodes[at];
        let mask_is_read = || {
            let read = |v: ValueId| {
                graph.outputs.contains(&v) || graph.nodes.iter().any(|n| n.inputs.contains(&Some(v)))
            };
            node.output(1).is_some_and(read)
        };
        let idle = match node.op {
            Op::Identity => true,
            Op::Dropout => !mask_is_read(),
            _ => false,
        };
        let (Some(from), Some(to), true) = (node.input(0), node.output(0), idle) else { continue };
        if graph.outputs.contains(&to) {
            let has_own_name = graph.inputs.contains(&from)
                || graph.outputs.contains(&from)
                || graph.constant(from).is_some();
            if has_own_name {
                continue;
            }
            let name = std::mem::take(&mut graph.values[to.0].name);
            let other = std::mem::replace(&mut graph.values[from.0].name, name);
            graph.values[to.0].name = other;
            graph.outputs.iter_mut().filter(|v| **v == to).for_each(|v| *v = from);
        }
        for slot in graph.nodes.iter_mut().flat_map(|n| n.inputs.iter_mut()).filter(|v| **v == Some(to)) {
            *slot = Some(from);
        }
    }
    graph.compact();
}

/// Lets every reader of a constant read the first one that is equal to it, bit for bit.
fn merge_constants(graph: &mut Graph) {
    let mut first: HashMap<Vec<u8>, Vec<usize>> = HashMap::new();
    let mut instead: HashMap<ValueId, ValueId> = HashMap::new();
    for (i, value) in graph.values.iter().enumerate() {
        let Some(tensor) = &value.constant else { continue };
        let bytes = tensor.le_bytes();
        // A short key: equal ones are compared whole.
        let mut key = bytes[..bytes.len().min(64)].to_vec();
        key.extend(bytes.len().to_le_bytes());
        let others = first.entry(key).or_default();
        let same = |j: &&usize| graph.values[**j].constant.as_ref().is_some_and(|t| equal(t, tensor));
        match others.iter().find(same) {
            Some(j) => {
                instead.insert(ValueId(i), ValueId(*j));
            }
            None => others.push(i),
        }
    }
    let renew = |v: &mut ValueId| {
        if let Some(other) = instead.get(v) {
            *v = *other;
        }
    };
    graph.nodes.iter_mut().flat_map(|n| n.inputs.iter_mut().flatten()).for_each(renew);
    graph.compact();
}

/// Equal in type, shape and every bit, so that a NaN equals itself and zeros of different sign do not.
fn equal(a: &Tensor, b: &Tensor) -> bool {
    a.dtype() == b.dtype() && a.dims() == b.dims() && a.le_bytes() == b.le_bytes()
}
