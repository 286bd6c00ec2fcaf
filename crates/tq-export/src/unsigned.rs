//! Signed codes as unsigned ones.

use crate::ExportError;
use std::collections::HashMap;
use tq_graph::{Graph, NodeId, Op, Tensor, ValueId, infer};
use tq_qtypes::DType;

/// Lets i8 activations be u8: 128 is added to codes and zero points, so that the real numbers are the same. Weights stay,
/// and so do codes that are inputs or outputs of the model, or that anything but a Dequantize reads.
///
/// Returns how many tensors of codes became unsigned.
///
/// # Errors
/// [`ExportError::Graph`] for a graph that is not valid.
pub(crate) fn unsigned_activations(graph: &mut Graph) -> Result<usize, ExportError> {
    infer::infer(graph)?;
    let consumers = graph.consumers();
    let mut zeros: HashMap<Option<ValueId>, ValueId> = HashMap::new();
    let mut moved = 0;
    let candidates: Vec<(ValueId, Option<NodeId>)> = signed_activations(graph, &consumers);
    for (codes, from) in candidates {
        let readers = consumers[codes.0].clone();
        let pairs: Vec<NodeId> = from.into_iter().chain(readers).collect();
        let zero_of = |graph: &Graph, id: NodeId| graph.node(id).input(2);
        let known = |id: &NodeId| zero_of(graph, *id).is_none_or(|z| graph.constant(z).is_some());
        if !pairs.iter().all(known) {
            continue;
        }
        for id in pairs {
            let old = zero_of(graph, id);
            let zero = match zeros.get(&old) {
                Some(zero) => *zero,
                None => {
                    let zero = unsigned_zero(graph, old)?;
                    *zeros.entry(old).or_insert(zero)
                }
            };
            let node = &mut graph.nodes[id.0];
            node.inputs.resize(3, None);
            node.inputs[2] = Some(zero);
            if let Op::QuantizeLinear { output_dtype, .. } = &mut node.op {
                *output_dtype = None;
            }
        }
        if let Some(tensor) = graph.constant(codes) {
            graph.values[codes.0].constant = Some(shifted(tensor)?);
        }
        graph.values[codes.0].dtype = Some(DType::U8);
        moved += 1;
    }
    graph.compact();
    infer::infer(graph)?;
    Ok(moved)
}

/// Values that hold i8 codes of activations, or of constants that elementwise operators and products read in an activation's
/// place, each with the Quantize that gives it.
fn signed_activations(graph: &Graph, consumers: &[Vec<NodeId>]) -> Vec<(ValueId, Option<NodeId>)> {
    let producers = graph.producers();
    let mut found = Vec::new();
    for (i, value) in graph.values.iter().enumerate() {
        let v = ValueId(i);
        let readers = &consumers[i];
        // A zero point is of the type of codes too, and is not one of them.
        let dequantize = |id: &NodeId| {
            let node = graph.node(*id);
            let slots = node.inputs.iter().filter(|x| **x == Some(v)).count();
            matches!(node.op, Op::DequantizeLinear { .. }) && node.input(0) == Some(v) && slots == 1
        };
        let border = graph.inputs.contains(&v) || graph.outputs.contains(&v);
        if value.dtype != Some(DType::I8) || border || readers.is_empty() || !readers.iter().all(dequantize) {
            continue;
        }
        match producers[i] {
            Some(id) => {
                let node = graph.node(id);
                let activation = node.input(0).is_some_and(|x| graph.constant(x).is_none());
                if matches!(node.op, Op::QuantizeLinear { .. }) && activation {
                    found.push((v, Some(id)));
                }
            }
            None if value.constant.is_some() => {
                let beside = |id: &NodeId| {
                    let Some(real) = graph.node(*id).output(0) else { return false };
                    let activation = |id: &NodeId| match &graph.node(*id).op {
                        Op::Binary(_) | Op::Concat { .. } => true,
                        Op::MatMul => graph.node(*id).input(1) != Some(real),
                        _ => false,
                    };
                    !consumers[real.0].is_empty() && consumers[real.0].iter().all(activation)
                };
                if readers.iter().all(beside) {
                    found.push((v, None));
                }
            }
            None => {}
        }
    }
    found
}

/// The zero point of the unsigned codes, for one of the signed ones.
fn unsigned_zero(graph: &mut Graph, old: Option<ValueId>) -> Result<ValueId, ExportError> {
    let (name, tensor) = match old.and_then(|z| Some((z, graph.constant(z)?))) {
        Some((z, tensor)) => (graph.value(z).name.clone(), shifted(tensor)?),
        None => ("zero_point".to_owned(), Tensor::scalar(128u8)),
    };
    let name = graph.fresh_value_name(&format!("{name}_u8"));
    Ok(graph.add_constant(name, tensor))
}

/// 128 added to every code.
fn shifted(tensor: &Tensor) -> Result<Tensor, ExportError> {
    let codes = tensor.as_slice::<i8>()?.iter().map(|c| u8::from_ne_bytes(c.to_ne_bytes()) ^ 0x80);
    Ok(Tensor::new(tensor.dims(), codes.collect())?)
}
