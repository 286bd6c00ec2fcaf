//! Reductions, and what else looks along an axis.

use super::operator::{Result, malformed};
use crate::attributes::Attributes;
use crate::proto::NodeProto;
use crate::versions::axes_are_input;
use tq_graph::Tensor;
use tq_graph::op::{ArgAttrs, Op, ReduceKind};

/// The operator of this node, if it is one of these; and its axes, where the operator set keeps them in an attribute.
pub(super) fn operator(
    node: &NodeProto,
    attributes: &Attributes,
    opset: i64,
) -> Result<Option<(Op, Option<Tensor>)>> {
    let kind = match node.op_type() {
        "ReduceSum" => ReduceKind::Sum,
        "ReduceMean" => ReduceKind::Mean,
        "ReduceProd" => ReduceKind::Prod,
        "ReduceMax" => ReduceKind::Max,
        "ReduceMin" => ReduceKind::Min,
        "ReduceL1" => ReduceKind::L1,
        "ReduceL2" => ReduceKind::L2,
        "ReduceSumSquare" => ReduceKind::SumSquare,
        "ReduceLogSum" => ReduceKind::LogSum,
        "ReduceLogSumExp" => ReduceKind::LogSumExp,
        name => return Ok(along_axis(name, attributes, opset)?.map(|op| (op, None))),
    };
    let keep_dims = attributes.flag("keepdims", true)?;
    let mut axes = None;
    let mut noop_with_empty_axes = false;
    if opset >= axes_are_input(kind) {
        noop_with_empty_axes = attributes.flag("noop_with_empty_axes", false)?;
    } else {
        if node.input.len() > 1 {
            return malformed(format!("{} inputs, one at opset {opset}", node.input.len()));
        }
        axes = attributes.ints("axes")?.filter(|a| !a.is_empty()).map(|a| Tensor::vector(a.to_vec()));
    }
    Ok(Some((Op::Reduce { kind, keep_dims, noop_with_empty_axes }, axes)))
}

fn along_axis(name: &str, attributes: &Attributes, opset: i64) -> Result<Option<Op>> {
    let arg = || -> Result<ArgAttrs> {
        Ok(ArgAttrs {
            axis: attributes.int("axis", 0)?,
            keep_dims: attributes.flag("keepdims", true)?,
            select_last: opset >= 12 && attributes.flag("select_last_index", false)?,
        })
    };
    Ok(Some(match name {
        "ArgMax" => Op::ArgMax(arg()?),
        "ArgMin" => Op::ArgMin(arg()?),
        "TopK" => Op::TopK {
            axis: attributes.int("axis", -1)?,
            largest: opset < 11 || attributes.flag("largest", true)?,
            sorted: opset < 11 || attributes.flag("sorted", true)?,
        },
        "CumSum" => Op::CumSum {
            exclusive: attributes.flag("exclusive", false)?,
            reverse: attributes.flag("reverse", false)?,
        },
        "Softmax" => Op::Softmax { axis: attributes.int("axis", -1)? },
        "LogSoftmax" => Op::LogSoftmax { axis: attributes.int("axis", -1)? },
        "Hardmax" => Op::Hardmax { axis: attributes.int("axis", -1)? },
        _ => return Ok(None),
    }))
}
