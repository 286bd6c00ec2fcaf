//! Products whose activations are quantized at run time, in one operator.

use crate::attributes::Attributes;
use crate::import::around::{Surroundings, has};
use crate::import::operator::Result;
use crate::import::plan::{Plan, Source};
use crate::proto::NodeProto;
use tq_graph::op::{BinaryOp, Op};
use tq_qtypes::{DType, DynamicFormula};

/// Codes with their parameters.
struct Operand {
    codes: Source,
    scale: Source,
    zero_point: Source,
}

/// Adds the real product of two matrices of codes, plus a bias, as output 0 of the node.
fn product(plan: &mut Plan, a: Operand, b: Operand, bias: Option<Source>) {
    let sums = plan.step("", Op::MatMulInteger, vec![a.codes, b.codes, a.zero_point, b.zero_point]);
    let real = plan.step("cast", Op::Cast { to: DType::F32, saturate: true }, vec![sums]);
    let scale = plan.step("scale", Op::Binary(BinaryOp::Mul), vec![a.scale, b.scale]);
    let scaled = Op::Binary(BinaryOp::Mul);
    match bias {
        None => plan.give(0, "scaled", scaled, vec![real, scale]),
        Some(bias) => {
            let y = plan.step("scaled", scaled, vec![real, scale]);
            plan.give(0, "biased", Op::Binary(BinaryOp::Add), vec![y, bias]);
        }
    }
}

/// `A, B, b_scale[, b_zp[, bias]]`, with `A` real.
pub(super) fn dynamic_quantize_matmul(_: &Attributes, node: &NodeProto, _: &Surroundings) -> Result<Plan> {
    let mut plan = Plan::new();
    let op = Op::DynamicQuantizeLinear { formula: DynamicFormula::Onnx };
    let codes = plan.inner("codes", op, vec![Source::Input(0)], 3);
    let of = |slot| Source::Step(codes, slot);
    let a = Operand { codes: of(0), scale: of(1), zero_point: of(2) };
    let b = Operand { codes: Source::Input(1), scale: Source::Input(2), zero_point: Source::Input(3) };
    product(&mut plan, a, b, has(node, 4).then_some(Source::Input(4)));
    Ok(plan)
}

/// `A, B, a_scale, b_scale[, a_zp[, b_zp[, bias]]]`.
pub(super) fn matmul_integer_to_float(_: &Attributes, node: &NodeProto, _: &Surroundings) -> Result<Plan> {
    let mut plan = Plan::new();
    let [a, b, a_scale, b_scale, a_zero, b_zero] = std::array::from_fn(Source::Input);
    let a = Operand { codes: a, scale: a_scale, zero_point: a_zero };
    let b = Operand { codes: b, scale: b_scale, zero_point: b_zero };
    product(&mut plan, a, b, has(node, 6).then_some(Source::Input(6)));
    Ok(plan)
}
