//! Biases of quantized operators: 32-bit codes behind a Dequantize, or floats.

use super::edit::{Edit, numbers, qtype_error, real_name, scale_of};
use crate::OnnxError;
use std::collections::HashMap;
use tq_graph::qdq::{QdqView, node_params};
use tq_graph::{Node, NodeId, Op, Tensor, ValueId};
use tq_qtypes::{DType, OperatorKind, affine};

/// The input that holds the bias of a node.
const BIAS: usize = 2;

fn takes_bias(op: &Op) -> bool {
    matches!(op, Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm { .. })
}

/// Biases that are constant 32-bit codes behind a Dequantize become constant floats.
pub(super) fn to_float(edit: &mut Edit<'_>) -> Result<(), OnnxError> {
    let producers = edit.graph.producers();
    let mut floats: HashMap<ValueId, ValueId> = HashMap::new();
    for i in 0..edit.graph.nodes.len() {
        let node = &edit.graph.nodes[i];
        let Some(bias) = node.input(BIAS).filter(|_| takes_bias(&node.op)) else { continue };
        let Some(from) = producers[bias.0].map(|n| edit.graph.node(n)) else { continue };
        let (Some(at), Some(params)) = (from.input(0), node_params(edit.graph, from)) else { continue };
        let Some(tensor) = edit.graph.constant(at).filter(|_| params.dtype == DType::I32) else { continue };
        let float = match floats.get(&bias) {
            Some(float) => *float,
            None => {
                let name = edit.name(at).to_owned();
                let (q, dims) = (numbers(tensor, &name)?, tensor.dims().to_vec());
                let real = affine::dequantize(&q, &dims, &params).map_err(|e| qtype_error(&name, &e))?;
                let float = edit.constant(real_name(&name), Tensor::new(&dims, real)?);
                floats.insert(bias, float);
                float
            }
        };
        edit.graph.nodes[i].inputs[BIAS] = Some(float);
    }
    Ok(())
}

/// Float biases of operators on codes become 32-bit codes, as the integer operator has them.
pub(super) fn to_codes(edit: &mut Edit<'_>) -> Result<(), OnnxError> {
    let view = QdqView::new(edit.graph);
    let mut before: HashMap<NodeId, Node> = HashMap::new();
    for operator in &view.operators {
        let node = edit.graph.node(operator.node);
        let float = node.input(BIAS).filter(|v| takes_bias(&node.op) && edit.graph.constant(*v).is_some());
        let (Some(bias), Some(q), Some(weights)) = (float, &operator.bias, &operator.weights) else {
            continue;
        };
        let Some((input_scale, _)) = operator.inputs.first().and_then(|x| x.params.uniform()) else {
            continue;
        };
        let scales: Vec<f32> = match weights.params.scale.len() {
            1 => vec![input_scale * scale_of(&weights.params, 0)],
            // A transposed convolution has one scale a channel of a group, which serves that channel of every group.
            n => (0..q.len()).map(|c| input_scale * scale_of(&weights.params, c % n.max(1))).collect(),
        };
        // A Gemm may add rows of a matrix: then its bias has the last axis of one element a channel.
        let dims = edit.graph.constant(bias).map_or(Vec::new(), |t| t.dims().to_vec());
        let axis_free = dims.iter().product::<usize>() == dims.last().copied().unwrap_or(1);
        if !axis_free || (operator.kind == OperatorKind::ConvTranspose && dims.len() != 1) {
            continue;
        }
        let base = edit.name(bias).to_owned();
        let zeros = vec![0i32; scales.len()];
        let per_channel = scales.len() > 1;
        let (scale, zero) = match per_channel {
            true => (Tensor::vector(scales), Tensor::vector(zeros)),
            false => (Tensor::scalar(scales.first().copied().unwrap_or(1.0)), Tensor::scalar(0i32)),
        };
        let codes = edit.constant(&format!("{base}_quantized"), Tensor::vector(q.clone()));
        let scale = edit.constant(&format!("{base}_scale"), scale);
        let zero = edit.constant(&format!("{base}_zero_point"), zero);
        let back = edit.value(&format!("{base}_dequantized"));
        let op = Op::DequantizeLinear { axis: i64::from(!per_channel), block_size: 0 };
        let inputs = vec![Some(codes), Some(scale), Some(zero)];
        let dequantize = edit.node(&format!("{base}_DequantizeLinear"), op, inputs, back);
        edit.graph.nodes[operator.node.0].inputs[BIAS] = Some(back);
        before.insert(operator.node, dequantize);
    }
    let nodes = std::mem::take(&mut edit.graph.nodes);
    let placed = nodes
        .into_iter()
        .enumerate()
        .flat_map(|(i, node)| before.remove(&NodeId(i)).into_iter().chain([node]));
    edit.graph.nodes = placed.collect();
    Ok(())
}
