//! Sums and extremes of elements, and ranges of numbers.

use super::{MAX_ELEMENTS, elementwise};
use crate::Dim;
use crate::infer::context::{Context, Fact, normalize_axis};
use crate::infer::integer_range_len;
use crate::op::ReduceKind;
use ndarray::{ArrayD, Axis, IxDyn};

type Step = fn(&Dim, &Dim) -> Option<Dim>;

/// A reduction whose result has the shape that was inferred.
pub(super) fn reduce(ctx: &Context<'_>, fact: &Fact, kind: ReduceKind) -> Option<ArrayD<Dim>> {
    // What two elements make, and what none make, where that is a number.
    let (step, nothing): (Step, _) = match kind {
        ReduceKind::Sum => (Dim::checked_add, Some(0i64)),
        ReduceKind::Prod => (Dim::checked_mul, Some(1)),
        ReduceKind::Max => (elementwise::larger, None),
        ReduceKind::Min => (elementwise::smaller, None),
        _ => return None,
    };
    let mut content = ArrayD::clone(ctx.content(0)?);
    let dims = crate::dim::known_shape(fact.shape.as_ref()?)?;
    // Without axes all are reduced, or none; the shape tells which.
    let axes = if ctx.has(1) { ctx.ints(1)? } else { Vec::new() };
    let mut axes: Vec<usize> =
        axes.into_iter().map(|a| normalize_axis(a, content.ndim())).collect::<Option<_>>()?;
    if axes.is_empty() {
        if dims == content.shape() {
            return Some(content);
        }
        axes = (0..content.ndim()).collect();
    }
    axes.sort_unstable();
    for axis in axes.into_iter().rev() {
        let lanes: Option<Vec<Dim>> = content
            .lanes(Axis(axis))
            .into_iter()
            .map(|lane| {
                let mut lane = lane.into_iter();
                match lane.next() {
                    Some(first) => lane.try_fold(first.clone(), |so_far, d| step(&so_far, d)),
                    None => nothing.map(Dim::from),
                }
            })
            .collect();
        let mut shape = content.shape().to_vec();
        shape.remove(axis);
        content = ArrayD::from_shape_vec(IxDyn(&shape), lanes?).ok()?;
    }
    content.into_shape_with_order(IxDyn(&dims)).ok()
}

/// Range of known numbers, or from a symbolic start in as many steps as are known.
pub(super) fn range(ctx: &Context<'_>) -> Option<ArrayD<Dim>> {
    let scalar = |i: usize| ctx.content(i)?.iter().next().cloned();
    let (start, limit, delta) = (scalar(0)?, scalar(1)?, scalar(2)?);
    let span = limit.checked_sub(&start)?.known()?;
    let len = integer_range_len(0, span, delta.known()?).filter(|n| *n <= MAX_ELEMENTS)?;
    let elements: Option<Vec<Dim>> =
        (0..len).map(|i| start.checked_add(&delta.checked_mul(&Dim::from(i))?)).collect();
    ArrayD::from_shape_vec(IxDyn(&[len]), elements?).ok()
}
