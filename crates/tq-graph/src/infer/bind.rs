//! Concrete input shapes.

use super::context::show;
use crate::tensor::checked_numel;
use crate::{Dim, Graph, GraphError};
use std::collections::BTreeMap;
use tq_qtypes::DType;

/// A copy of the graph with these input shapes, in the order of [`Graph::inputs`].
///
/// Every other shape is inferred from scratch and shape arithmetic is removed, as by
/// [`simplify_shapes`](super::simplify_shapes), so that all shapes are known but those that depend on data.
///
/// # Errors
/// [`GraphError::Input`] when the number of shapes, a rank or a dimension is not the declared one, or when one symbol
/// would have two values; otherwise as [`infer`](super::infer()).
pub fn bind(graph: &Graph, inputs: &[Vec<usize>]) -> Result<Graph, GraphError> {
    graph.validate()?;
    check(graph, inputs)?;
    let mut bound = graph.clone();
    for value in &mut bound.values {
        value.shape = value.constant.as_ref().map(|t| crate::dim::shape_of(t.dims()));
    }
    for (id, dims) in graph.inputs.iter().zip(inputs) {
        bound.values[id.0].shape = Some(crate::dim::shape_of(dims));
    }
    super::simplify_shapes(&mut bound)?;
    Ok(bound)
}

fn check(graph: &Graph, inputs: &[Vec<usize>]) -> Result<(), GraphError> {
    let fail = |name: &str, message: String| Err(GraphError::Input { name: name.to_owned(), message });
    if inputs.len() != graph.inputs.len() {
        let names: Vec<&str> = graph.inputs.iter().map(|v| graph.value(*v).name.as_str()).collect();
        return fail(
            &names.join(", "),
            format!("{} shapes given for {} inputs", inputs.len(), graph.inputs.len()),
        );
    }
    // Symbol -> its value and the input that gave it.
    let mut bindings: BTreeMap<String, i64> = BTreeMap::new();
    let mut origin: BTreeMap<String, &str> = BTreeMap::new();
    let each = || graph.inputs.iter().map(|v| graph.value(*v)).zip(inputs);
    for (value, dims) in each() {
        let name = value.name.as_str();
        if let Err(e) = checked_numel(dims, value.dtype.unwrap_or(DType::F32)) {
            return fail(name, e.to_string());
        }
        let Some(declared) = &value.shape else { continue };
        if declared.len() != dims.len() {
            return fail(
                name,
                format!(
                    "shape {dims:?} has rank {}, expected {} as in {}",
                    dims.len(),
                    declared.len(),
                    show(declared)
                ),
            );
        }
        for (axis, (d, n)) in declared.iter().zip(dims).enumerate() {
            let n = Dim::from(*n).known().unwrap_or(i64::MAX);
            if let Some(expected) = d.known()
                && expected != n
            {
                return fail(
                    name,
                    format!("axis {axis} of shape {dims:?} has {n} elements, expected {expected}"),
                );
            }
            let Some(symbol) = d.as_symbol() else { continue };
            match bindings.insert(symbol.to_owned(), n) {
                Some(before) if before != n => {
                    let by = origin.get(symbol).copied().unwrap_or_default();
                    return fail(
                        name,
                        format!(
                            "axis {axis} of shape {dims:?} makes {symbol} {n}, but input {by} makes it {before}"
                        ),
                    );
                }
                _ => origin.entry(symbol.to_owned()).or_insert(name),
            };
        }
    }
    // Dimensions that are expressions can be checked once all symbols have their values.
    for (value, dims) in each() {
        for (axis, (d, n)) in value.shape.iter().flatten().zip(dims).enumerate() {
            if d.known().is_none()
                && let Some(expected) = d.bind(&bindings).and_then(|d| d.known())
                && Dim::from(*n) != Dim::from(expected)
            {
                return fail(
                    &value.name,
                    format!("axis {axis} of shape {dims:?} has {n} elements, expected {d} = {expected}"),
                );
            }
        }
    }
    Ok(())
}
