//! RMSNormalization: `x / sqrt(mean(x^2) + epsilon) * scale`, the mean over an axis and all after it.

use crate::attributes::Attributes;
use crate::import::around::Surroundings;
use crate::import::operator::{Result, malformed, stash_type, unsupported};
use crate::import::plan::{Plan, Source};
use crate::import::softmax::integers;
use crate::proto::NodeProto;
use half::{bf16, f16};
use tq_graph::Tensor;
use tq_graph::op::{BinaryOp, Op, ReduceKind, UnaryOp};
use tq_qtypes::DType;

/// Computed in the type that `stash_type` names; the scale is applied in the type of the data.
pub(super) fn root_mean_square(
    attributes: &Attributes,
    _: &NodeProto,
    around: &Surroundings,
) -> Result<Plan> {
    let (axis, epsilon) = (attributes.int("axis", -1)?, attributes.float("epsilon", 1e-5)?);
    let stash = stash_type(attributes)?;
    let Some(rank) = around.rank(0).and_then(|r| i64::try_from(r).ok()) else {
        return unsupported("data of unknown rank");
    };
    let first = if axis < 0 { axis.saturating_add(rank) } else { axis };
    if !(0..rank).contains(&first) {
        return malformed(format!("axis {axis} is out of range for rank {rank}"));
    }
    let dtype = around.dtype(0).unwrap_or(stash);
    let cast = |to| Op::Cast { to, saturate: true };
    let mut plan = Plan::new();
    let mut x = Source::Input(0);
    if dtype != stash {
        x = plan.step("stash", cast(stash), vec![x]);
    }
    let epsilon = match stash {
        DType::F64 => Tensor::scalar(f64::from(epsilon)),
        DType::F16 => Tensor::scalar(f16::from_f32(epsilon)),
        DType::BF16 => Tensor::scalar(bf16::from_f32(epsilon)),
        _ => Tensor::scalar(epsilon),
    };
    let square = plan.step("square", Op::Binary(BinaryOp::Mul), vec![x.clone(), x.clone()]);
    let mean = Op::Reduce { kind: ReduceKind::Mean, keep_dims: true, noop_with_empty_axes: false };
    let axes = integers("axes", &(first..rank).collect::<Vec<i64>>());
    let mean = plan.step("mean", mean, vec![square, axes]);
    let sum = plan.step("sum", Op::Binary(BinaryOp::Add), vec![mean, Source::Constant("epsilon", epsilon)]);
    let root = plan.step("root", Op::Unary(UnaryOp::Sqrt), vec![sum]);
    let mut y = plan.step("normalized", Op::Binary(BinaryOp::Div), vec![x, root]);
    if dtype != stash {
        y = plan.step("cast", cast(dtype), vec![y]);
    }
    plan.all(Op::Binary(BinaryOp::Mul), vec![y, Source::Input(1)]);
    Ok(plan)
}
