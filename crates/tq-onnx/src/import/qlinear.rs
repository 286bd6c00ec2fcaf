//! Operators on codes as Dequantize, operator, Quantize: the QDQ form of the graph.
//!
//! A tensor of codes stands in the file as three inputs in a row: codes, scale, zero point. Where the parameters of
//! `QLinearConv` and `QLinearMatMul` are not constant they stay what they are.

use super::around::Surroundings;
use super::operator::Result;
use super::plan::{Plan, Source};
use tq_graph::op::ConvAttrs;
use tq_graph::{Op, Tensor};
use tq_qtypes::DType;

/// The real numbers behind the codes at input `at`, with scale and zero point after it. Parameters that are more than
/// one number stand along `axis`.
pub(super) fn dequantize(plan: &mut Plan, role: &'static str, at: usize, axis: i64) -> Source {
    let inputs = (at..at + 3).map(Source::Input).collect();
    plan.step(role, Op::DequantizeLinear { axis, block_size: 0 }, inputs)
}

/// Makes output 0 of the node the codes of `real`, with scale and zero point from input `at` on. Without a zero point
/// the codes are of type `like`.
pub(super) fn quantize(plan: &mut Plan, real: Source, at: usize, around: &Surroundings, like: Option<DType>) {
    let has_zero = around.inputs.get(at + 1).copied().flatten().is_some();
    let output_dtype = if has_zero { None } else { like };
    let op = Op::QuantizeLinear { axis: 1, block_size: 0, output_dtype, saturate: true };
    plan.give(0, "quantize", op, vec![real, Source::Input(at), Source::Input(at + 1)]);
}

/// The scale of an i32 bias beside these data and weights: one number, or one a channel.
///
/// `None` where one of them is not a constant f32 tensor or the scale of the data is not one number.
pub(super) fn bias_scale(data: Option<&Tensor>, weights: Option<&Tensor>, factor: f32) -> Option<Tensor> {
    let [data] = data?.as_slice::<f32>().ok()? else { return None };
    let weights = weights?;
    let scales = weights.as_slice::<f32>().ok()?.iter().map(|w| factor * (data * w)).collect();
    Tensor::new(weights.dims(), scales).ok()
}

/// The real numbers behind the i32 bias at input `at`.
pub(super) fn bias(plan: &mut Plan, at: usize, scale: Tensor) -> Source {
    let inputs = vec![Source::Input(at), Source::Constant("bias_scale", scale)];
    plan.step("bias", Op::DequantizeLinear { axis: 0, block_size: 0 }, inputs)
}

/// How many parameters the scale at input `at` has, where it is a constant of at most one axis, with a constant zero
/// point after it.
fn count(around: &Surroundings, at: usize) -> Option<usize> {
    let (scale, zero) = (around.constant(at)?, around.constant(at + 1)?);
    let fits =
        scale.dtype() == DType::F32 && scale.rank() <= 1 && zero.rank() <= 1 && zero.len() == scale.len();
    fits.then_some(scale.len())
}

/// `x, x_scale, x_zp, w, w_scale, w_zp, y_scale, y_zp[, bias]`; weights may have one scale an output channel.
pub(super) fn conv(attrs: ConvAttrs, around: &Surroundings, inputs: usize) -> Result<Plan> {
    let single = |at: usize| count(around, at) == Some(1);
    let has_bias = around.inputs.get(8).copied().flatten().is_some();
    let scale = bias_scale(around.constant(1), around.constant(4), 1.0);
    if !(single(1) && count(around, 4).is_some() && single(6)) {
        return Ok(Plan::same(Op::QLinearConv(attrs), inputs));
    }
    let mut plan = Plan::new();
    let mut operands = vec![dequantize(&mut plan, "x", 0, 1), dequantize(&mut plan, "w", 3, 0)];
    match scale {
        Some(scale) if has_bias => operands.push(bias(&mut plan, 8, scale)),
        None if has_bias => return Ok(Plan::same(Op::QLinearConv(attrs), inputs)),
        _ => {}
    }
    let y = plan.step("", Op::Conv(attrs), operands);
    quantize(&mut plan, y, 6, around, None);
    Ok(plan)
}

/// `a, a_scale, a_zp, b, b_scale, b_zp, y_scale, y_zp`; `b` may have one scale a column.
pub(super) fn matmul(around: &Surroundings, inputs: usize) -> Result<Plan> {
    let single = |at: usize| count(around, at) == Some(1);
    if !(single(1) && count(around, 4).is_some() && single(6)) {
        return Ok(Plan::same(Op::QLinearMatMul, inputs));
    }
    let mut plan = Plan::new();
    let operands = vec![dequantize(&mut plan, "a", 0, 1), dequantize(&mut plan, "b", 3, -1)];
    let y = plan.step("", Op::MatMul, operands);
    quantize(&mut plan, y, 6, around, None);
    Ok(plan)
}
