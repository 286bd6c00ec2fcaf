//! Softmax as it was before operator set 13: over everything from an axis on, as if that were one axis.

use super::plan::{Plan, Source};
use tq_graph::op::Op;
use tq_graph::{Dim, Tensor};

/// The last operator of such a softmax, to be added to the plan: its role, itself, and its inputs.
///
/// Where only one of the axes from `axis` on is longer than 1 it is the operator along that axis; else the data are
/// flattened before it and get their shape back after it.
pub(super) fn flattened(
    plan: &mut Plan,
    x: Source,
    shape: Option<&[Dim]>,
    axis: i64,
    op: impl Fn(i64) -> Op,
) -> (&'static str, Op, Vec<Source>) {
    if let Some(axis) = shape.and_then(|shape| only_axis(shape, axis)) {
        return ("", op(axis), vec![x]);
    }
    let dims = plan.step("shape", Op::Shape { start: 0, end: None }, vec![x.clone()]);
    let flat = plan.step("flat", Op::Flatten { axis }, vec![x]);
    let y = plan.step("", op(-1), vec![flat]);
    // Where a dimension is zero it must stay so.
    ("reshaped", Op::Reshape { allow_zero: true }, vec![y, dims])
}

/// The one axis from `axis` on that is not known to be 1; the last one where all are.
fn only_axis(shape: &[Dim], axis: i64) -> Option<i64> {
    let rank = i64::try_from(shape.len()).ok()?;
    let first = if axis < 0 { axis.checked_add(rank)? } else { axis };
    if !(0..rank).contains(&first) {
        return None;
    }
    let tail = shape.get(usize::try_from(first).ok()?..)?;
    let mut longer = (first..).zip(tail).filter(|(_, d)| d.known() != Some(1)).map(|(i, _)| i);
    match (longer.next(), longer.next()) {
        (None, _) => Some(rank - 1),
        (Some(i), None) => Some(i),
        _ => None,
    }
}

/// A list of numbers as an input.
pub(super) fn integers(what: &'static str, values: &[i64]) -> Source {
    Source::Constant(what, Tensor::vector(values.to_vec()))
}
