//! The float model as the quantized one was made of it, if it was.

use crate::AnalysisError;
use crate::constants::{FloatConstants, reader};
use tq_graph::qdq::node_params;
use tq_graph::{Graph, Op};
use tq_passes::{equalize, fuse};
use tq_qtypes::{DType, affine};

/// Refuses a pair of which the first is not float, or nothing of the second is quantized: given in the wrong order, or the same twice.
pub(crate) fn require_pair(float: &Graph, quantized: &Graph) -> Result<(), AnalysisError> {
    let message = match (has_codes(float), has_codes(quantized) || has_halves(quantized)) {
        (false, true) => return Ok(()),
        (true, false) => "the first model is quantized and the second is not: the float model comes first",
        (true, true) => {
            "the first model is quantized too: the float model that the second was made of comes first"
        }
        (false, false) => "nothing of the second model is quantized: the quantized model comes second",
    };
    Err(AnalysisError::Models(message.into()))
}

/// Refuses a pair in the wrong order.
pub(crate) fn require_order(float: &Graph, quantized: &Graph) -> Result<(), AnalysisError> {
    match (has_codes(float), has_codes(quantized) || has_halves(quantized)) {
        (true, false) => require_pair(float, quantized),
        _ => Ok(()),
    }
}

/// Whether a model has codes for some of its numbers.
fn has_codes(graph: &Graph) -> bool {
    let by_node = |n: &tq_graph::Node| {
        matches!(
            n.op,
            Op::QuantizeLinear { .. }
                | Op::DequantizeLinear { .. }
                | Op::DynamicQuantizeLinear { .. }
                | Op::MatMulInteger
                | Op::ConvInteger(_)
        )
    };
    graph.nodes.iter().any(by_node)
}

/// Whether weights are in half precision, which a float model may have by itself.
fn has_halves(graph: &Graph) -> bool {
    let is_half = |t: &tq_graph::Tensor| matches!(t.dtype(), DType::F16 | DType::BF16) && t.rank() >= 2;
    graph.values.iter().any(|v| v.constant.as_ref().is_some_and(is_half))
}

/// The float model, fused as conversion fuses it, and with its channels equalized where the quantized model's weights are those of
/// that: with other channels no tensor between layers could be compared, although both models are the same function.
pub(crate) fn origin(float: &Graph, quantized: &Graph) -> Result<Graph, AnalysisError> {
    require_pair(float, quantized)?;
    let mut fused = float.clone();
    fuse(&mut fused)?;
    let mut even = fused.clone();
    if equalize(&mut even)?.links.is_empty() {
        return Ok(fused);
    }
    let [as_it_is, equalized] = [&fused, &even].map(|g| distance(g, quantized));
    Ok(if equalized < as_it_is { even } else { fused })
}

/// How far the quantized model's weights are from these: the squared error over the squares, of each tensor.
fn distance(float: &Graph, quantized: &Graph) -> f64 {
    let (constants, consumers) = (FloatConstants::new(float), quantized.consumers());
    let of = |node: &tq_graph::Node| {
        let (codes, real) = (node.input(0)?, node.output(0)?);
        let tensor = quantized.constant(codes).filter(|t| t.rank() >= 2 && t.dtype() != DType::I32)?;
        let (_, by, input) = reader(quantized, &consumers, real)?;
        let at = constants.find(by, input, &quantized.value(codes).name, tensor.len())?;
        let (params, given) = (node_params(quantized, node)?, float.constant(at.value)?.to_f32_vec()?);
        let codes: Vec<i32> = tensor.to_i64_vec()?.into_iter().map(|c| c as i32).collect();
        let held = affine::dequantize(&codes, tensor.dims(), &params).ok()?;
        let square = |x: f64| x * x;
        let error: f64 = given.iter().zip(&held).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
        let size: f64 = given.iter().map(|a| square(f64::from(*a))).sum();
        (size > 0.0).then_some(error / size)
    };
    let weights = quantized.nodes.iter().filter(|n| matches!(n.op, Op::DequantizeLinear { .. }));
    weights.filter_map(of).sum()
}
