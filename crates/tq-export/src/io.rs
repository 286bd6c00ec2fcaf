//! Models whose inputs and outputs are codes.

use crate::ExportError;
use tq_graph::qdq::node_params;
use tq_graph::{Graph, Op, ValueId, infer};
use tq_qtypes::Granularity;

/// Takes the Quantize off every input and the Dequantize off every output: the model takes and gives codes.
///
/// Names stay; scale, zero point and type of each go to the metadata, as `tq.io/NAME` with the value
/// `TYPE SCALE ZERO_POINT`. Returns the inputs and outputs that stay as they are, each with the reason.
///
/// # Errors
/// [`ExportError::Graph`] for a graph that is not valid.
pub fn strip_borders(graph: &mut Graph) -> Result<Vec<(String, String)>, ExportError> {
    infer::infer(graph)?;
    let mut kept = Vec::new();
    for i in 0..graph.inputs.len() {
        let v = graph.inputs[i];
        match quantize_of_input(graph, v) {
            Ok(at) => {
                let node = graph.nodes.remove(at);
                note(graph, &node, v);
                if let Some(codes) = node.output(0) {
                    take_name(graph, v, codes);
                    graph.inputs[i] = codes;
                }
            }
            Err(reason) => kept.push((graph.value(v).name.clone(), reason)),
        }
    }
    for i in 0..graph.outputs.len() {
        let v = graph.outputs[i];
        match dequantize_of_output(graph, v) {
            Ok(at) => {
                let node = graph.node(tq_graph::NodeId(at)).clone();
                note(graph, &node, v);
                if let Some(codes) = node.input(0) {
                    graph.outputs[i] = codes;
                    let others = graph.consumers()[v.0].len();
                    if others == 0 {
                        graph.nodes.remove(at);
                    }
                    take_name(graph, v, codes);
                }
            }
            Err(reason) => kept.push((graph.value(v).name.clone(), reason)),
        }
    }
    graph.compact();
    infer::infer(graph)?;
    Ok(kept)
}

/// `to` gets the name of `from`, which gets another one.
fn take_name(graph: &mut Graph, from: ValueId, to: ValueId) {
    let name = graph.value(from).name.clone();
    let other = graph.fresh_value_name(&format!("{name}_float"));
    graph.values[from.0].name = other;
    graph.values[to.0].name = name;
}

fn note(graph: &mut Graph, node: &tq_graph::Node, v: ValueId) {
    if let Some((params, (scale, zero))) = node_params(graph, node).and_then(|p| p.uniform().map(|u| (p, u)))
    {
        let key = format!("tq.io/{}", graph.value(v).name);
        graph.metadata.insert(key, format!("{} {scale:e} {zero}", params.dtype));
    }
}

/// The Quantize that alone reads an input.
fn quantize_of_input(graph: &Graph, v: ValueId) -> Result<usize, String> {
    if !graph.value(v).dtype.is_some_and(|d| d.is_float()) {
        return Err("it is no float".into());
    }
    let readers = graph.consumers()[v.0].clone();
    let quantize = |id: &tq_graph::NodeId| matches!(graph.node(*id).op, Op::QuantizeLinear { .. });
    match readers.as_slice() {
        [id] if quantize(id) && !graph.outputs.contains(&v) => {
            let params = node_params(graph, graph.node(*id));
            match params {
                Some(p) if p.granularity == Granularity::PerTensor => Ok(id.0),
                _ => Err("its parameters are not one constant scale and zero point".into()),
            }
        }
        [] => Err("nobody reads it".into()),
        readers => match readers.iter().find(|id| !quantize(id)) {
            Some(id) => Err(format!("{} reads it in float", graph.node(*id).name)),
            None => Err("it is quantized in more than one way".into()),
        },
    }
}

/// The Dequantize that gives an output.
fn dequantize_of_output(graph: &Graph, v: ValueId) -> Result<usize, String> {
    let Some(id) = graph.producers()[v.0] else { return Err("it is an input or a constant".into()) };
    let node = graph.node(id);
    let codes = node.input(0).filter(|_| matches!(node.op, Op::DequantizeLinear { .. }));
    let Some(codes) = codes else { return Err(format!("{} gives it in float", node.name)) };
    match node_params(graph, node) {
        Some(p) if p.granularity == Granularity::PerTensor => {}
        _ => return Err("its parameters are not one constant scale and zero point".into()),
    }
    if graph.inputs.contains(&codes) || graph.outputs.contains(&codes) || graph.constant(codes).is_some() {
        return Err("its codes have a name of their own already".into());
    }
    Ok(id.0)
}
