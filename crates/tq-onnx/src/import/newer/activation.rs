//! Swish: `x * sigmoid(alpha * x)`.

use crate::attributes::Attributes;
use crate::import::around::Surroundings;
use crate::import::operator::{Result, number};
use crate::import::plan::{Plan, Source};
use crate::proto::NodeProto;
use tq_graph::op::{BinaryOp, Op, UnaryOp};

pub(super) fn swish(attributes: &Attributes, _: &NodeProto, around: &Surroundings) -> Result<Plan> {
    let alpha = attributes.float("alpha", 1.0)?;
    let mut plan = Plan::new();
    let x = Source::Input(0);
    let inner = if alpha == 1.0 {
        x.clone()
    } else {
        let factor = number("alpha", alpha, around)?;
        plan.step("scaled", Op::Binary(BinaryOp::Mul), vec![x.clone(), factor])
    };
    let gate = plan.step("gate", Op::Unary(UnaryOp::Sigmoid), vec![inner]);
    plan.all(Op::Binary(BinaryOp::Mul), vec![x, gate]);
    Ok(plan)
}
