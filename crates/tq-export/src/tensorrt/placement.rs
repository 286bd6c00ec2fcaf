//! Where TensorRT wants its pairs.

use crate::ExportError;
use tq_graph::op::BinaryOp;
use tq_graph::qdq::node_params;
use tq_graph::{Graph, Node, NodeId, Op, Tensor, ValueId};
use tq_qtypes::{DType, affine};

/// In place of a scale of zero, with which everything quantizes to zero anyway: the smallest number that half precision
/// holds, as ModelOpt puts it there.
pub(super) const SMALLEST_SCALE: f32 = 5.960_464_5e-8;

fn is_quantize(op: &Op) -> bool {
    matches!(op, Op::QuantizeLinear { .. })
}

fn is_pair(op: &Op) -> bool {
    is_quantize(op) || matches!(op, Op::DequantizeLinear { .. })
}

/// Replaces scales of zero.
pub(super) fn replace_zero_scales(graph: &mut Graph, notes: &mut Vec<String>) -> Result<(), ExportError> {
    let scales: Vec<ValueId> =
        graph.nodes.iter().filter(|n| is_pair(&n.op)).filter_map(|n| n.input(1)).collect();
    for v in scales {
        let Some(tensor) = graph.constant(v) else { continue };
        let Ok(data) = tensor.as_slice::<f32>() else { continue };
        let zeros = data.iter().filter(|s| **s == 0.0).count();
        if zeros == 0 {
            continue;
        }
        let data = data.iter().map(|s| if *s == 0.0 { SMALLEST_SCALE } else { *s }).collect();
        let tensor = Tensor::new(tensor.dims(), data)?;
        notes.push(format!("{}: {zeros} scales of zero became {SMALLEST_SCALE:e}", graph.value(v).name));
        graph.values[v.0].constant = Some(tensor);
    }
    Ok(())
}

/// Gives every pair of signed codes a zero point, whose type tells the parser that of the codes.
pub(super) fn write_zero_points(graph: &mut Graph) -> Result<(), ExportError> {
    for i in 0..graph.nodes.len() {
        let node = &graph.nodes[i];
        if !is_pair(&node.op) || node.input(2).is_some() {
            continue;
        }
        let codes = if is_quantize(&node.op) { node.output(0) } else { node.input(0) };
        let dtype = codes.and_then(|v| graph.value(v).dtype);
        let scale = node.input(1).and_then(|v| graph.constant(v)).map(|t| t.dims().to_vec());
        let (Some(DType::I8), Some(dims)) = (dtype, scale) else { continue };
        let zeros = Tensor::new(&dims, vec![0i8; dims.iter().product()])?;
        let name = graph.fresh_value_name(&format!("{}_zero_point", node.name));
        let zero = graph.add_constant(name, zeros);
        let node = &mut graph.nodes[i];
        node.inputs.resize(3, None);
        node.inputs[2] = Some(zero);
        if let Op::QuantizeLinear { output_dtype, .. } = &mut node.op {
            *output_dtype = None;
        }
    }
    Ok(())
}

/// A value behind a pair.
#[derive(Clone, Copy)]
struct Behind {
    /// The value before the pair.
    real: ValueId,
    /// Whether a product with weights, or of two values, gives it.
    weighted: bool,
}

/// Lets whoever does not compute on codes read the value before the pair, and outputs be that value.
pub(super) fn move_pairs(graph: &mut Graph, notes: &mut Vec<String>) {
    let producers = graph.producers();
    let depth = depths(graph);
    let behind = |graph: &Graph, v: ValueId| behind(graph, &producers, v);
    for i in 0..graph.nodes.len() {
        let node = graph.nodes[i].clone();
        if is_pair(&node.op) && !is_quantize(&node.op) {
            continue;
        }
        let on_codes: Vec<bool> = match node.op {
            Op::Binary(BinaryOp::Add) => sum(graph, &producers, &depth, &node),
            _ => (0..node.inputs.len()).map(|slot| takes_codes(&node.op, slot)).collect(),
        };
        for (slot, keep) in on_codes.into_iter().enumerate() {
            if !keep
                && !is_quantize(&node.op)
                && let Some((v, real)) = constant_behind(graph, &producers, &node, slot)
            {
                notes.push(format!("{} reads {} as floats", node.name, graph.value(v).name));
                let name = graph.fresh_value_name(&format!("{}_float", graph.value(v).name));
                graph.nodes[i].inputs[slot] = Some(graph.add_constant(name, real));
            }
            if let Some(pair) = node.input(slot).filter(|_| !keep).and_then(|v| behind(graph, v)) {
                let v = node.inputs[slot];
                graph.nodes[i].inputs[slot] = Some(pair.real);
                if let Some(v) = v {
                    notes.push(format!("{} reads {} without its pair", node.name, graph.value(v).name));
                }
            }
        }
    }
    for i in 0..graph.outputs.len() {
        let v = graph.outputs[i];
        let Some(pair) = behind(graph, v) else { continue };
        if graph.inputs.contains(&pair.real) || graph.outputs.contains(&pair.real) {
            continue;
        }
        let (name, other) = (graph.value(v).name.clone(), graph.value(pair.real).name.clone());
        notes.push(format!("output {name} has no pair"));
        graph.values[v.0].name = other;
        graph.values[pair.real.0].name = name;
        graph.outputs[i] = pair.real;
    }
}

/// Inputs that are read as codes.
fn takes_codes(op: &Op, slot: usize) -> bool {
    match op {
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm { .. } => true,
        Op::MatMul | Op::Concat { .. } => true,
        Op::AveragePool { .. } | Op::GlobalAveragePool | Op::MaxPool { .. } => slot == 0,
        _ => false,
    }
}

/// For the two sides of a sum whether they are read as codes. The side that comes straight from a product is not: the sum
/// becomes a part of that product. Of two such sides it is the one with the longer way behind it; the other, the skip
/// connection, is.
fn sum(graph: &Graph, producers: &[Option<NodeId>], depth: &[usize], node: &Node) -> Vec<bool> {
    let side = |slot: usize| node.input(slot).and_then(|v| behind(graph, producers, v));
    let weighted = |side: Option<Behind>| side.is_some_and(|s| s.weighted);
    let (a, b) = (side(0), side(1));
    let way = |side: Option<Behind>| side.map_or(0, |s| depth[s.real.0]);
    match (weighted(a), weighted(b)) {
        (true, true) if way(a) >= way(b) => vec![false, true],
        (true, true) => vec![true, false],
        (wa, wb) => vec![!wa, !wb],
    }
}

/// The constant codes that a Dequantize gives to an input of a node, as floats.
fn constant_behind(
    graph: &Graph,
    producers: &[Option<NodeId>],
    node: &Node,
    slot: usize,
) -> Option<(ValueId, Tensor)> {
    let v = node.input(slot)?;
    let dequantize = graph.node(producers.get(v.0).copied().flatten()?);
    if !matches!(dequantize.op, Op::DequantizeLinear { .. }) {
        return None;
    }
    let codes = graph.constant(dequantize.input(0)?)?;
    let params = node_params(graph, dequantize)?;
    let wide: Vec<i32> =
        codes.to_i64_vec()?.into_iter().map(|c| i32::try_from(c).ok()).collect::<Option<_>>()?;
    let real = affine::dequantize(&wide, codes.dims(), &params).ok()?;
    Some((v, Tensor::new(codes.dims(), real).ok()?))
}

/// The value before a pair of an activation.
fn behind(graph: &Graph, producers: &[Option<NodeId>], v: ValueId) -> Option<Behind> {
    let node = |v: ValueId| producers[v.0].map(|n| graph.node(n));
    let dequantize = node(v).filter(|n| matches!(n.op, Op::DequantizeLinear { .. }))?;
    let quantize = node(dequantize.input(0)?).filter(|n| is_quantize(&n.op))?;
    let real = quantize.input(0).filter(|v| graph.constant(*v).is_none())?;
    let weighted = node(real)
        .is_some_and(|n| matches!(n.op, Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm { .. } | Op::MatMul));
    Some(Behind { real, weighted })
}

/// For every value the number of nodes on the longest way to it.
fn depths(graph: &Graph) -> Vec<usize> {
    let mut depth = vec![0; graph.values.len()];
    for node in &graph.nodes {
        let most = node.inputs.iter().flatten().map(|v| depth[v.0]).max().unwrap_or(0);
        for v in node.outputs.iter().flatten() {
            depth[v.0] = most + 1;
        }
    }
    depth
}
