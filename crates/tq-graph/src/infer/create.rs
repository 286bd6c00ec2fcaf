//! Operators whose output's size is a matter of values.

use super::context::{Context, Fact, conflict, show};
use super::elementwise::is_number;
use crate::{Dim, GraphError, Tensor};
use tq_qtypes::DType;

/// NonZero: `x`.
pub(super) fn non_zero(ctx: &Context<'_>) -> Result<Fact, GraphError> {
    ctx.expect_dtype(0, "x", "a number or bool", |d| is_number(d) || d == DType::Bool)?;
    // The one element of a scalar has a position too, in a row of its own.
    let rows = ctx.shape(0).map_or_else(|| ctx.unknown(0, 0), |x| Dim::from(x.len().max(1)));
    let columns = match ctx.content(0).and_then(|c| super::values::known(c)) {
        Some(values) => Dim::from(values.iter().filter(|v| **v != 0).count()),
        None => ctx.unknown(0, 1),
    };
    Ok(Fact::new(Some(DType::I64), Some(vec![rows, columns])))
}

/// The first element of a float constant.
fn constant_real(ctx: &Context<'_>, i: usize) -> Option<f64> {
    let data = ctx.node.input(i).and_then(|v| ctx.graph.constant(v)).and_then(Tensor::to_f64_vec)?;
    data.first().copied()
}

/// How many numbers Range gives, counted in f64: as many as lie from `start` up to `limit`, which is left out.
/// `None` where there is no such number.
///
/// ```
/// use tq_graph::infer::range_len;
/// assert_eq!(range_len(1.0, 2.0, 0.25), Some(4));
/// assert_eq!(range_len(3.0, 0.0, 1.0), Some(0));
/// assert_eq!(range_len(0.0, 1.0, 0.0), None);
/// ```
#[must_use]
pub fn range_len(start: f64, limit: f64, delta: f64) -> Option<usize> {
    let n = ((limit - start) / delta).ceil();
    // Beyond 2^53 not every number is one of f64, and no memory holds so many elements.
    (delta != 0.0 && n <= 9e15).then_some(n.max(0.0) as usize)
}

/// [`range_len`] for integers, where nothing is rounded.
#[must_use]
pub fn integer_range_len(start: i64, limit: i64, delta: i64) -> Option<usize> {
    let (span, step) = (i128::from(limit) - i128::from(start), i128::from(delta));
    if step == 0 {
        return None;
    }
    let n = if (span > 0) == (step > 0) { (span.abs() + step.abs() - 1) / step.abs() } else { 0 };
    usize::try_from(n).ok()
}

/// Range: `start, limit, delta`.
pub(super) fn range(ctx: &Context<'_>) -> Result<Fact, GraphError> {
    let dtype = ctx.expect_dtype(0, "start", "f32, f64, i16, i32 or i64", |d| {
        matches!(d, DType::F32 | DType::F64 | DType::I16 | DType::I32 | DType::I64)
    })?;
    for (i, name) in [(0, "start"), (1, "limit"), (2, "delta")] {
        ctx.same_dtype((0, "start"), (i, name))?;
        super::quant::check_scalar(ctx, i, name)?;
    }
    let one = |i: usize| ctx.content(i).and_then(|c| c.iter().next());
    let real = |i: usize| constant_real(ctx, i);
    let no_length = || ctx.error("no number of steps leads from start to limit");
    let size = match (one(0), one(1), one(2)) {
        (Some(start), Some(limit), Some(delta)) => match (start.known(), limit.known(), delta.known()) {
            (Some(s), Some(l), Some(d)) => Some(Dim::from(integer_range_len(s, l, d).ok_or_else(no_length)?)),
            (_, _, Some(d)) if d > 0 => {
                // Where the span cannot be negative it is divided, rounding up.
                let span = limit.checked_sub(start).filter(Dim::never_negative);
                span.and_then(|s| s.checked_add(&Dim::from(d - 1))?.checked_div_floor(&Dim::from(d)))
            }
            _ => None,
        },
        _ => match (real(0), real(1), real(2)) {
            (Some(s), Some(l), Some(d)) => Some(Dim::from(range_len(s, l, d).ok_or_else(no_length)?)),
            _ => None,
        },
    };
    Ok(Fact::new(dtype, Some(vec![size.unwrap_or_else(|| ctx.unknown(0, 0))])))
}

/// OneHot: `indices, depth, values`.
pub(super) fn one_hot(ctx: &Context<'_>, axis: i64) -> Result<Fact, GraphError> {
    ctx.expect_dtype(0, "indices", "a number", is_number)?;
    ctx.expect_dtype(1, "depth", "a number", is_number)?;
    if ctx.len_of(1).is_some_and(|n| n != 1) || ctx.shape(1).is_some_and(|s| s.len() > 1) {
        return ctx.fail("depth has more or less than one element");
    }
    if let Some(values) = ctx.shape(2)
        && (values.len() != 1 || conflict(&values[0], &Dim::from(2i64)))
    {
        return ctx.fail(format!("values have shape {}, expected two elements", show(values)));
    }
    let dtype = ctx.dtype(2);
    let Some(indices) = ctx.shape(0) else { return Ok(Fact::new(dtype, None)) };
    let axis = ctx.axis(axis, indices.len() + 1)?;
    // Of a float the fraction is cut off, as the evaluator does it.
    let real = || constant_real(ctx, 1).map(|d| Dim::from(d as i64));
    let depth = match ctx.content(1).and_then(|c| c.iter().next()).cloned().or_else(real) {
        Some(d) if d.known().is_some_and(|n| n < 0) => return ctx.fail(format!("depth is {d}")),
        Some(d) => d,
        None => ctx.unknown(0, axis),
    };
    let mut shape = indices.to_vec();
    shape.insert(axis, depth);
    Ok(Fact::new(dtype, Some(shape)))
}

/// EyeLike: `x`.
pub(super) fn eye_like(ctx: &Context<'_>, dtype: Option<DType>) -> Result<Fact, GraphError> {
    let x = ctx.expect_rank(0, "x", 2..=2)?;
    let dtype = dtype.or_else(|| ctx.dtype(0));
    if let Some(d) = dtype.filter(|d| !is_number(*d) && *d != DType::Bool) {
        return ctx.fail(format!("there is no one of type {d}"));
    }
    Ok(Fact::new(dtype, x.map(<[Dim]>::to_vec)))
}
