//! The float model as the quantized one was made of it, if it was.

use crate::AnalysisError;
use crate::constants::FloatConstants;
use crate::held::{Held, held};
use tq_graph::qdq::QdqView;
use tq_graph::{Graph, Op, Tensor};
use tq_passes::{equalize, fuse};
use tq_qtypes::{DType, Rounding, affine};

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
    let view = QdqView::new(quantized);
    let weights = held(quantized, &view).weights;
    let as_it_is = Distance::new(&fused, quantized, &weights);
    if as_it_is.none {
        return Ok(fused);
    }
    let mut even = fused.clone();
    if equalize(&mut even)?.links.is_empty() {
        return Ok(fused);
    }
    let equalized = Distance::new(&even, quantized, &weights);
    Ok(if equalized.error < as_it_is.error { even } else { fused })
}

/// How far a quantized model's weights are from those of a float model.
struct Distance {
    /// The squared error over the squares, of each tensor, in all.
    error: f64,
    /// Whether every one of the quantized model's is what its format makes of the float one's, and none of the equalized model's could be.
    none: bool,
}

impl Distance {
    fn new(float: &Graph, quantized: &Graph, weights: &[Held]) -> Self {
        let constants = FloatConstants::new(float);
        let (mut distance, mut coded) = (Self { error: 0.0, none: true }, false);
        for held in weights {
            let (Some(tensor), node) = (quantized.constant(held.value), quantized.node(held.reader)) else {
                continue;
            };
            let name = &quantized.value(held.value).name;
            let Some(at) = constants.find(node, held.input, name, tensor.dims()) else { continue };
            let Some(given) = float.constant(at.value).and_then(Tensor::to_f32_vec) else { continue };
            let Some(real) = held.real(quantized, &at).filter(|r| r.len() == given.len()) else { continue };
            let square = |x: f64| x * x;
            let error: f64 =
                given.iter().zip(&real).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
            let size: f64 = given.iter().map(|a| square(f64::from(*a))).sum();
            if size > 0.0 {
                distance.error += error / size;
            }
            let same = match held.placed(quantized, &at) {
                // Codes of these weights are these codes.
                Some(p) => affine::quantize(&given, &p.dims, &p.params, Rounding::Divide)
                    .is_ok_and(|codes| codes == p.codes),
                None => error <= most(tensor.dtype()) * size,
            };
            coded |= held.params.is_some() || tensor.dtype() != DType::F32;
            distance.none &= same;
        }
        // Of weights that are not found nothing is known.
        distance.none &= coded;
        distance
    }
}

/// What rounding to a type may cost, over the squares: half a step at most, relative to each number, squared.
fn most(dtype: DType) -> f64 {
    let half_step: f64 = match dtype {
        DType::F16 => 1.0 / 2048.0,
        DType::BF16 => 1.0 / 256.0,
        _ => return 0.0,
    };
    half_step * half_step
}
