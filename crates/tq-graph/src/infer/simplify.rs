//! Removal of shape arithmetic.

use super::values::{self, Content};
use crate::{Dim, Graph, GraphError, Op, Tensor, ValueId};
use std::collections::HashSet;

/// Turns shape arithmetic into constants.
///
/// After [`infer`](super::infer()), every value of integers that is known becomes a constant of its type and name and
/// loses its producer, graph outputs included. A Reshape whose target is known but for symbolic dimensions gets a
/// constant one, if 0 (the dimension of the input at the same place) and one -1 can say it. What nothing needs any
/// more is removed; ids change, names do not.
///
/// Returns how many values became constants.
///
/// # Errors
/// As [`infer`](super::infer()).
pub fn simplify_shapes(graph: &mut Graph) -> Result<usize, GraphError> {
    let contents = super::propagate(graph)?;
    let constants = fold(graph, &contents) + rewrite_targets(graph, &contents);
    graph.compact();
    Ok(constants)
}

/// Replaces nodes whose outputs are all known.
fn fold(graph: &mut Graph, contents: &[Option<Content>]) -> usize {
    let mut count = 0;
    let (nodes, values) = (&mut graph.nodes, &mut graph.values);
    nodes.retain(|node| {
        let outputs: Vec<ValueId> = node.outputs.iter().flatten().copied().collect();
        let tensors: Option<Vec<Tensor>> = outputs
            .iter()
            .map(|v| {
                let content = contents.get(v.0)?.as_ref()?;
                values::to_tensor(content, values.get(v.0)?.dtype?)
            })
            .collect();
        let Some(tensors) = tensors.filter(|t| !t.is_empty()) else { return true };
        count += tensors.len();
        for (v, tensor) in outputs.into_iter().zip(tensors) {
            if let Some(value) = values.get_mut(v.0) {
                value.constant = Some(tensor);
            }
        }
        false
    });
    count
}

/// Gives Reshape nodes with partly known targets constant ones.
fn rewrite_targets(graph: &mut Graph, contents: &[Option<Content>]) -> usize {
    let mut taken: HashSet<String> = HashSet::new();
    let mut count = 0;
    for i in 0..graph.nodes.len() {
        let node = &graph.nodes[i];
        let Op::Reshape { allow_zero } = node.op else { continue };
        let (Some(x), Some(target), Some(y)) = (node.input(0), node.input(1), node.output(0)) else {
            continue;
        };
        if graph.constant(target).is_some() || contents.get(target.0).is_none_or(Option::is_none) {
            continue;
        }
        let (Some(from), Some(to)) = (&graph.value(x).shape, &graph.value(y).shape) else { continue };
        let Some((dims, allow_zero)) = constant_target(from, to, allow_zero) else { continue };
        if taken.is_empty() {
            taken = graph.values.iter().map(|v| v.name.clone()).collect();
        }
        let base = format!("{}.shape", graph.value(y).name);
        let name = (0usize..)
            .map(|n| if n == 0 { base.clone() } else { format!("{base}_{n}") })
            .find(|n| !taken.contains(n))
            .unwrap_or(base);
        taken.insert(name.clone());
        let constant = graph.add_constant(name, Tensor::vector(dims));
        let node = &mut graph.nodes[i];
        node.inputs[1] = Some(constant);
        node.op = Op::Reshape { allow_zero };
        count += 1;
    }
    count
}

/// The target that reshapes `from` to `to`, and whether 0 in it means zero.
fn constant_target(from: &[Dim], to: &[Dim], allow_zero: bool) -> Option<(Vec<i64>, bool)> {
    let has_zero = to.iter().any(|d| d.known() == Some(0));
    // A zero beside -1 leaves -1 without an answer.
    if has_zero {
        return None;
    }
    let unknown = to.iter().filter(|d| d.known().is_none()).count();
    let copy = unknown > 1;
    let mut inferred = false;
    let mut out = Vec::with_capacity(to.len());
    for (i, d) in to.iter().enumerate() {
        out.push(match d.known() {
            Some(n) => n,
            None if copy && from.get(i) == Some(d) => 0,
            None if !std::mem::replace(&mut inferred, true) => -1,
            None => return None,
        });
    }
    Some((out, allow_zero && !copy))
}
