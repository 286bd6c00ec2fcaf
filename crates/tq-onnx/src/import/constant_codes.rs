//! Quantize nodes of constants: the constant codes that they give.
//!
//! TensorRT's tools and files of quantization-aware training keep float weights in front of a Quantize node. In the
//! graph weights are codes behind a Dequantize node.

use tq_graph::qdq::node_params;
use tq_graph::{Element, Graph, Node, Op, Tensor};
use tq_qtypes::affine;
use tq_qtypes::{AffineParams, DType, Rounding};

/// Puts constant codes in the place of every Quantize node whose input and parameters are constant f32.
pub(super) fn fold(graph: &mut Graph) {
    let mut folded = false;
    let nodes = std::mem::take(&mut graph.nodes);
    for node in nodes {
        match (codes(graph, &node), node.output(0)) {
            (Some(codes), Some(output)) => {
                graph.values[output.0].constant = Some(codes);
                folded = true;
            }
            _ => graph.nodes.push(node),
        }
    }
    if folded {
        graph.compact();
    }
}

/// The codes that a Quantize node of a constant gives.
fn codes(graph: &Graph, node: &Node) -> Option<Tensor> {
    let Op::QuantizeLinear { .. } = node.op else { return None };
    let real = graph.const_input(node, 0)?;
    let params = node_params(graph, node)?;
    let codes =
        affine::quantize(real.as_slice::<f32>().ok()?, real.dims(), &params, Rounding::Divide).ok()?;
    match params.dtype {
        DType::I8 | DType::I4 | DType::I2 => typed::<i8>(&codes, real, &params),
        DType::U8 | DType::U4 | DType::U2 => typed::<u8>(&codes, real, &params),
        DType::I16 => typed::<i16>(&codes, real, &params),
        DType::U16 => typed::<u16>(&codes, real, &params),
        _ => None,
    }
}

fn typed<T: Element + TryFrom<i32>>(codes: &[i32], like: &Tensor, params: &AffineParams) -> Option<Tensor> {
    let codes = codes.iter().map(|c| T::try_from(*c).ok()).collect::<Option<Vec<T>>>()?;
    Tensor::with_dtype(params.dtype, like.dims(), codes).ok()
}
