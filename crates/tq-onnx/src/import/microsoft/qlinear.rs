//! Operators on codes: Dequantize, the operator, Quantize.

use super::channels_first;
use crate::attributes::Attributes;
use crate::import::around::{Surroundings, has};
use crate::import::operator::{Result, malformed, unsupported};
use crate::import::plan::{Plan, Source};
use crate::import::qlinear::{bias, bias_scale, dequantize, quantize};
use crate::import::softmax::flattened;
use crate::import::window;
use crate::proto::NodeProto;
use tq_graph::Tensor;
use tq_graph::op::{BinaryOp, Op, UnaryOp};

/// `A, A_scale, A_zp, B, B_scale, B_zp, C_scale, C_zp`: sums and products.
pub(super) fn binary(_: &Attributes, node: &NodeProto, around: &Surroundings) -> Result<Plan> {
    let op = if node.op_type() == "QLinearAdd" { BinaryOp::Add } else { BinaryOp::Mul };
    let mut plan = Plan::new();
    let operands = vec![dequantize(&mut plan, "a", 0, 1), dequantize(&mut plan, "b", 3, 1)];
    let y = plan.step("", Op::Binary(op), operands);
    quantize(&mut plan, y, 6, around, around.dtype(0));
    Ok(plan)
}

/// `X, X_scale, X_zp, Y_scale, Y_zp`: functions of one tensor.
pub(super) fn unary(attributes: &Attributes, node: &NodeProto, around: &Surroundings) -> Result<Plan> {
    let op = match node.op_type() {
        "QLinearSigmoid" => Op::Unary(UnaryOp::Sigmoid),
        "QLinearLeakyRelu" => Op::Unary(UnaryOp::LeakyRelu { alpha: attributes.float("alpha", 0.01)? }),
        _ => {
            channels_first(attributes)?;
            Op::GlobalAveragePool
        }
    };
    Ok(of_one(around, op))
}

/// An operator of one tensor of codes.
fn of_one(around: &Surroundings, op: Op) -> Plan {
    let mut plan = Plan::new();
    let x = dequantize(&mut plan, "x", 0, 1);
    let y = plan.step("", op, vec![x]);
    quantize(&mut plan, y, 3, around, around.dtype(0));
    plan
}

pub(super) fn average_pool(attributes: &Attributes, _: &NodeProto, around: &Surroundings) -> Result<Plan> {
    channels_first(attributes)?;
    let op = Op::AveragePool {
        attrs: window::pool(attributes, false, true)?,
        count_include_pad: attributes.flag("count_include_pad", false)?,
    };
    Ok(of_one(around, op))
}

/// The softmax of the operator set that the attribute `opset` names: before 13 it flattened what it took.
pub(super) fn softmax(attributes: &Attributes, _: &NodeProto, around: &Surroundings) -> Result<Plan> {
    let opset = match attributes.int_opt("opset")? {
        Some(opset) => opset,
        None => return malformed("opset is missing".into()),
    };
    let axis = attributes.int("axis", if opset < 13 { 1 } else { -1 })?;
    let mut plan = Plan::new();
    let x = dequantize(&mut plan, "x", 0, 1);
    let y = if opset < 13 {
        let shape = around.shape(0).map(Vec::as_slice);
        let (role, op, inputs) = flattened(&mut plan, x, shape, axis, |axis| Op::Softmax { axis });
        plan.step(role, op, inputs)
    } else {
        plan.step("", Op::Softmax { axis }, vec![x])
    };
    quantize(&mut plan, y, 3, around, around.dtype(0));
    Ok(plan)
}

/// `condition, X, x_scale, x_zp, Y, y_scale, y_zp, z_scale, z_zp`.
pub(super) fn choose(_: &Attributes, _: &NodeProto, around: &Surroundings) -> Result<Plan> {
    let mut plan = Plan::new();
    let (a, b) = (dequantize(&mut plan, "x", 1, 1), dequantize(&mut plan, "y", 4, 1));
    let z = plan.step("", Op::Where, vec![Source::Input(0), a, b]);
    quantize(&mut plan, z, 7, around, around.dtype(1));
    Ok(plan)
}

/// `Y_scale, Y_zp`, then three inputs for each tensor.
pub(super) fn concat(attributes: &Attributes, node: &NodeProto, around: &Surroundings) -> Result<Plan> {
    let Some(axis) = attributes.int_opt("axis")? else { return malformed("axis is missing".into()) };
    let rest = node.input.len().saturating_sub(2);
    if rest == 0 || !rest.is_multiple_of(3) {
        return malformed(format!("{} inputs, expected 2 and 3 for each tensor", node.input.len()));
    }
    let mut plan = Plan::new();
    let operands = (0..rest / 3).map(|i| dequantize(&mut plan, "x", 2 + 3 * i, 1)).collect();
    let y = plan.step("", Op::Concat { axis }, operands);
    quantize(&mut plan, y, 0, around, around.dtype(2));
    Ok(plan)
}

/// As ONNX's, with the channels last where asked for.
pub(super) fn conv(attributes: &Attributes, node: &NodeProto, around: &Surroundings) -> Result<Plan> {
    channels_first(attributes)?;
    let constant = around.constant(3);
    let rank = around.rank(3).or_else(|| around.rank(0));
    let attrs = window::conv(attributes, constant.map(Tensor::dims), rank)?;
    crate::import::qlinear::conv(attrs, around, node.input.len())
}

/// `A, a_scale, a_zp, B, b_scale, b_zp[, C[, y_scale, y_zp]]`: the product of two matrices of codes, `B` with one scale
/// or one a column, plus an i32 bias of the scale `alpha * a_scale * b_scale`. Without `y_scale` the result is real.
pub(super) fn gemm(attributes: &Attributes, node: &NodeProto, around: &Surroundings) -> Result<Plan> {
    let (alpha, trans_a) = (attributes.float("alpha", 1.0)?, attributes.int("transA", 0)? != 0);
    let trans_b = attributes.int("transB", 0)? != 0;
    let mut plan = Plan::new();
    let columns = if trans_b { 0 } else { 1 };
    let mut operands = vec![dequantize(&mut plan, "a", 0, 1), dequantize(&mut plan, "b", 3, columns)];
    if has(node, 6) {
        match bias_scale(around.constant(1), around.constant(4), alpha) {
            Some(scale) => operands.push(gemm_bias(&mut plan, around, scale)),
            None => return unsupported("a bias beside scales that are not constant"),
        }
    }
    let op = Op::Gemm { alpha, beta: 1.0, trans_a, trans_b };
    if has(node, 7) {
        let y = plan.step("", op, operands);
        quantize(&mut plan, y, 7, around, around.dtype(0));
    } else {
        plan.all(op, operands);
    }
    Ok(plan)
}

/// A bias of one row may have two axes; its scales, one a column, stand along the last one.
fn gemm_bias(plan: &mut Plan, around: &Surroundings, scale: Tensor) -> Source {
    if scale.len() > 1 && around.rank(6) == Some(2) {
        let inputs = vec![Source::Input(6), Source::Constant("bias_scale", scale)];
        return plan.step("bias", Op::DequantizeLinear { axis: 1, block_size: 0 }, inputs);
    }
    bias(plan, 6, scale)
}
