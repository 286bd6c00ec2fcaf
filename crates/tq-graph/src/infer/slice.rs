//! Slice.

use super::context::{Context, Fact, show};
use crate::{Dim, GraphError};

/// Bounds at or beyond these stand for "to the end": exporters write the limits of i32 or of i64.
const FAR: i64 = i32::MAX as i64;

/// What a slice does on one axis; `None` where only the data tells.
pub(super) struct AxisSlice {
    pub(super) axis: usize,
    pub(super) start: Option<Dim>,
    pub(super) end: Option<Dim>,
    pub(super) step: Option<i64>,
}

/// The parameters of a Slice over an input of `rank` axes; `None` when not even the axes are known.
pub(super) fn axis_slices(ctx: &Context<'_>, rank: usize) -> Result<Option<Vec<AxisSlice>>, GraphError> {
    let names = ["x", "starts", "ends", "axes", "steps"];
    let mut count: Option<usize> = None;
    for (i, name) in names.into_iter().enumerate().skip(1) {
        if !ctx.has(i) {
            continue;
        }
        ctx.check_param(i, name, false)?;
        match (count, ctx.len_of(i)) {
            (Some(n), Some(len)) if n != len => {
                return ctx.fail(format!("{name} has {len} entries, starts and ends have {n}"));
            }
            (None, len) => count = len,
            _ => {}
        }
    }
    let axes = match (ctx.has(3), ctx.ints(3), count) {
        (true, Some(axes), _) => axes,
        (false, _, Some(n)) if n <= rank => (0i64..).take(n).collect(),
        (false, _, Some(n)) => return ctx.fail(format!("{n} starts for {rank} axes")),
        _ => return Ok(None),
    };
    ctx.axis_set(&axes, rank)?;
    let element = |i: usize, at: usize| ctx.content(i).and_then(|c| c.iter().nth(at)).cloned();
    let steps = if ctx.has(4) { ctx.ints(4) } else { Some(vec![1; axes.len()]) };
    let slices = axes.iter().enumerate().map(|(at, axis)| {
        let step = steps.as_ref().and_then(|s| s.get(at)).copied();
        if step == Some(0) {
            return ctx.fail(format!("step is 0 on axis {axis}"));
        }
        Ok(AxisSlice { axis: ctx.axis(*axis, rank)?, start: element(1, at), end: element(2, at), step })
    });
    slices.collect::<Result<_, _>>().map(Some)
}

/// First index and number of elements that a slice takes of `size`, as in ONNX: negative bounds count from the end,
/// then the start is clamped to an element (or to `size`, going up) and the end to one beyond either end.
pub(super) fn bounds(size: i64, start: i64, end: i64, step: i64) -> (i64, i64) {
    if size <= 0 {
        return (0, 0);
    }
    let from_end = |v: i64| if v < 0 { v.saturating_add(size) } else { v };
    let (start, end) = if step > 0 {
        (from_end(start).clamp(0, size), from_end(end).clamp(0, size))
    } else {
        (from_end(start).clamp(0, size - 1), from_end(end).clamp(-1, size - 1))
    };
    // In i128 nothing overflows, steps of i64::MIN included.
    let (span, stride) = if step > 0 {
        (i128::from(end) - i128::from(start), i128::from(step))
    } else {
        (i128::from(start) - i128::from(end), -i128::from(step))
    };
    let count = if span <= 0 { 0 } else { (span + stride - 1) / stride };
    (start, i64::try_from(count).unwrap_or(0))
}

/// How many elements a slice takes of `size`, where that can be told for every size above 0.
fn length(size: &Dim, slice: &AxisSlice) -> Option<Dim> {
    let step = slice.step?;
    let (start, end) = (slice.start.as_ref()?, slice.end.as_ref()?);
    if let (Some(size), Some(start), Some(end)) = (size.known(), start.known(), end.known()) {
        return Some(Dim::from(bounds(size, start, end, step).1));
    }
    // Of a symbolic size only the first and the last element, and the ends, have a place that is known.
    let (first, last) = (Dim::from(0i64), size.checked_sub(&Dim::from(1i64))?);
    let is = |d: &Dim, names: &[i64], far: fn(i64) -> bool| {
        d.known().is_some_and(|n| names.contains(&n) || far(n))
    };
    let span = if step > 0 {
        let start = match start.known() {
            Some(0 | 1) => start.clone(),
            Some(-1) => last.clone(),
            Some(n) if n <= -FAR => first,
            _ => return None,
        };
        let end = match end {
            e if e == size || is(e, &[], |n| n >= FAR) => size.clone(),
            // Of one element the end would come before a start at 1.
            e if (e.known() == Some(-1) || *e == last) && start.known() != Some(1) => last,
            e if start.known() == Some(0) && matches!(e.known(), Some(0 | 1)) => e.clone(),
            _ => return None,
        };
        end.checked_sub(&start)?
    } else {
        let starts_last = is(start, &[-1], |n| n >= FAR) || *start == last || start == size;
        if !(starts_last && is(end, &[], |n| n <= -FAR)) {
            return None;
        }
        size.clone()
    };
    let stride = Dim::from(step.checked_abs().filter(|s| *s < FAR)?);
    let rounding = stride.checked_sub(&Dim::from(1i64))?;
    span.checked_add(&rounding)?.checked_div_floor(&stride)
}

/// Slice: `x, starts, ends[, axes[, steps]]`.
pub(super) fn slice(ctx: &Context<'_>) -> Result<Fact, GraphError> {
    let dtype = ctx.dtype(0);
    let Some(input) = ctx.shape(0) else { return Ok(Fact::new(dtype, None)) };
    let Some(slices) = axis_slices(ctx, input.len())? else {
        return Ok(Fact::new(dtype, ctx.unknown_shape(input.len())));
    };
    if input.is_empty() {
        return ctx.fail(format!("x {} has no axis to slice", show(input)));
    }
    let mut out = input.to_vec();
    for slice in &slices {
        let axis = slice.axis;
        out[axis] = length(&input[axis], slice).unwrap_or_else(|| ctx.unknown(0, axis));
    }
    Ok(Fact::new(dtype, Some(out)))
}
