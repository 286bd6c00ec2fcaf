//! Softmax, LogSoftmax and Hardmax until 12: along everything from the axis on.

use crate::attributes::Attributes;
use crate::import::around::Surroundings;
use crate::import::operator::Result;
use crate::import::plan::{Plan, Source};
use crate::import::softmax::flattened;
use crate::proto::NodeProto;
use tq_graph::op::Op;

pub(super) fn softmax(attributes: &Attributes, node: &NodeProto, around: &Surroundings) -> Result<Plan> {
    let of: fn(i64) -> Op = match node.op_type() {
        "Softmax" => |axis| Op::Softmax { axis },
        "LogSoftmax" => |axis| Op::LogSoftmax { axis },
        _ => |axis| Op::Hardmax { axis },
    };
    let axis = attributes.int("axis", 1)?;
    let mut plan = Plan::new();
    let shape = around.shape(0).map(Vec::as_slice);
    let (role, op, inputs) = flattened(&mut plan, Source::Input(0), shape, axis, of);
    plan.give(0, role, op, inputs);
    Ok(plan)
}
