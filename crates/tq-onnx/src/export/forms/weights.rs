//! Constant codes behind a Dequantize, or constant floats before a Quantize and a Dequantize.

use super::edit::{Edit, codes, numbers, qtype_error, real_name};
use crate::OnnxError;
use tq_graph::qdq::node_params;
use tq_graph::{Node, Op, Tensor};
use tq_qtypes::{DType, Rounding, affine};

/// Every Dequantize of constant codes (biases left out) reads floats through a Quantize instead.
///
/// Refused where the floats would not quantize to the same codes: for scales so small that `code * scale` loses its
/// lower bits.
pub(super) fn to_pairs(edit: &mut Edit<'_>) -> Result<(), OnnxError> {
    let nodes = std::mem::take(&mut edit.graph.nodes);
    let mut out = Vec::with_capacity(nodes.len());
    let mut failed = None;
    for node in nodes {
        match pair(edit, &node) {
            Ok(quantize) => out.extend(quantize),
            Err(e) => {
                failed.get_or_insert(e);
            }
        }
        out.push(node);
    }
    edit.graph.nodes = out;
    failed.map_or(Ok(()), Err)
}

fn pair(edit: &mut Edit<'_>, node: &Node) -> Result<Option<Node>, OnnxError> {
    let Op::DequantizeLinear { axis, block_size } = node.op else { return Ok(None) };
    let Some(at) = node.input(0) else { return Ok(None) };
    let (Some(tensor), Some(params)) = (edit.graph.constant(at), node_params(edit.graph, node)) else {
        return Ok(None);
    };
    if params.dtype == DType::I32 {
        return Ok(None);
    }
    let name = edit.name(at).to_owned();
    let q = numbers(tensor, &name)?;
    let dims = tensor.dims().to_vec();
    let fail = |e| qtype_error(&name, &e);
    let real = affine::dequantize(&q, &dims, &params).map_err(fail)?;
    if affine::quantize(&real, &dims, &params, Rounding::Divide).map_err(fail)? != q {
        let least = params.scale.iter().copied().fold(f32::INFINITY, f32::min);
        let message =
            format!("its floats do not quantize to the same codes: the smallest scale is {least:e}");
        return Err(OnnxError::Tensor { name, message });
    }
    let base = real_name(&name).to_owned();
    let float = edit.constant(&base, Tensor::new(&dims, real)?);
    let mut inputs = node.inputs.clone();
    inputs[0] = Some(float);
    // The codes keep their name, now as what the Quantize gives to all that read them.
    edit.graph.values[at.0].constant = None;
    // With a zero point that tells the type, the attribute would only ask for a higher operator set.
    let output_dtype = inputs.get(2).copied().flatten().is_none().then_some(params.dtype);
    let op = Op::QuantizeLinear { axis, block_size, output_dtype, saturate: true };
    Ok(Some(edit.node(&format!("{base}_QuantizeLinear"), op, inputs, at)))
}

/// Every Quantize of constant floats becomes constant codes.
pub(super) fn to_codes(edit: &mut Edit<'_>) -> Result<(), OnnxError> {
    for i in 0..edit.graph.nodes.len() {
        let node = &edit.graph.nodes[i];
        let Op::QuantizeLinear { .. } = node.op else { continue };
        let (Some(x), Some(y)) = (node.input(0), node.output(0)) else { continue };
        let (Some(tensor), Some(params)) = (edit.graph.constant(x), node_params(edit.graph, node)) else {
            continue;
        };
        let Ok(real) = tensor.as_slice::<f32>() else { continue };
        let dims = tensor.dims().to_vec();
        let q = affine::quantize(real, &dims, &params, Rounding::Divide)
            .map_err(|e| qtype_error(edit.name(x), &e))?;
        let name = format!("{}_quantized", edit.name(x));
        let constant = edit.constant(&name, codes(params.dtype, &dims, &q)?);
        let swap = |v: &mut tq_graph::ValueId| {
            if *v == y {
                *v = constant;
            }
        };
        edit.graph.nodes.iter_mut().for_each(|n| n.inputs.iter_mut().flatten().for_each(swap));
        edit.graph.outputs.iter_mut().for_each(swap);
    }
    Ok(())
}
