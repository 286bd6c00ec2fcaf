//! Reductions, and what else looks at all elements along an axis.

use super::context::{Context, Fact, show};
use super::elementwise::is_number;
use crate::op::{ArgAttrs, ReduceKind};
use crate::{Dim, GraphError};
use tq_qtypes::DType;

/// ReduceSum, ReduceMean and the like: `x[, axes]`.
pub(super) fn reduce(
    ctx: &Context<'_>,
    kind: ReduceKind,
    keep_dims: bool,
    noop_with_empty_axes: bool,
) -> Result<Fact, GraphError> {
    let wide = |d: DType| d.is_float() || matches!(d, DType::I32 | DType::U32 | DType::I64 | DType::U64);
    let dtype = if matches!(kind, ReduceKind::Max | ReduceKind::Min) {
        ctx.expect_dtype(0, "x", "a float type, bool or an integer of 8, 32 or 64 bits", |d| {
            wide(d) || matches!(d, DType::I8 | DType::U8 | DType::Bool)
        })?
    } else {
        ctx.expect_dtype(0, "x", "a float type or a 32 or 64-bit integer", wide)?
    };
    if ctx.has(1) {
        ctx.check_param(1, "axes", true)?;
    }
    let Some(input) = ctx.shape(0) else { return Ok(Fact::new(dtype, None)) };
    let axes = if ctx.has(1) { ctx.ints(1) } else { Some(Vec::new()) };
    let Some(axes) = axes else {
        let rank = match (keep_dims, ctx.len_of(1)) {
            (true, _) => Some(input.len()),
            (false, Some(n)) if n > 0 => Some(input.len().saturating_sub(n)),
            _ => None,
        };
        return Ok(Fact::new(dtype, rank.and_then(|r| ctx.unknown_shape(r))));
    };
    let reduced = match (axes.is_empty(), noop_with_empty_axes) {
        (true, true) => vec![false; input.len()],
        (true, false) => vec![true; input.len()],
        _ => ctx.axis_set(&axes, input.len())?,
    };
    let one = Dim::from(1i64);
    let shape = input
        .iter()
        .zip(&reduced)
        .filter(|(_, r)| keep_dims || !**r)
        .map(|(d, r)| if *r { one.clone() } else { d.clone() })
        .collect();
    Ok(Fact::new(dtype, Some(shape)))
}

/// ArgMax and ArgMin: `x`.
pub(super) fn arg(ctx: &Context<'_>, attrs: ArgAttrs) -> Result<Fact, GraphError> {
    ctx.expect_dtype(0, "x", "a number", is_number)?;
    let dtype = Some(DType::I64);
    let Some(input) = ctx.shape(0) else { return Ok(Fact::new(dtype, None)) };
    let axis = ctx.axis(attrs.axis, input.len())?;
    if input[axis].known() == Some(0) {
        return ctx.fail(format!("axis {axis} of x {} has no element to choose from", show(input)));
    }
    let mut shape = input.to_vec();
    if attrs.keep_dims {
        shape[axis] = Dim::from(1i64);
    } else {
        shape.remove(axis);
    }
    Ok(Fact::new(dtype, Some(shape)))
}

/// TopK: `x, k`.
pub(super) fn top_k(ctx: &Context<'_>, axis: i64) -> Result<Vec<Fact>, GraphError> {
    let dtype = ctx.expect_dtype(0, "x", "a number", is_number)?;
    ctx.check_param(1, "k", true)?;
    if ctx.len_of(1).is_some_and(|n| n != 1) {
        return ctx.fail("k has more or less than one element");
    }
    let Some(input) = ctx.shape(0) else {
        return Ok(vec![Fact::new(dtype, None), Fact::new(Some(DType::I64), None)]);
    };
    let axis = ctx.axis(axis, input.len())?;
    let k = ctx.content(1).and_then(|c| c.iter().next()).cloned();
    if let Some(k) = k.as_ref().and_then(Dim::known)
        && (k < 0 || input[axis].known().is_some_and(|n| k > n))
    {
        return ctx.fail(format!("k is {k} for axis {axis} of x {}", show(input)));
    }
    let shape_of = |out: usize| {
        let mut shape = input.to_vec();
        shape[axis] = k.clone().unwrap_or_else(|| ctx.unknown(out, axis));
        shape
    };
    Ok(vec![Fact::new(dtype, Some(shape_of(0))), Fact::new(Some(DType::I64), Some(shape_of(1)))])
}

/// CumSum: `x, axis`.
pub(super) fn cumulative_sum(ctx: &Context<'_>) -> Result<Fact, GraphError> {
    let dtype = ctx.expect_dtype(0, "x", "a float type or a 32 or 64-bit integer", |d| {
        d.is_float() || matches!(d, DType::I32 | DType::U32 | DType::I64 | DType::U64)
    })?;
    ctx.check_param(1, "axis", true)?;
    if ctx.len_of(1).is_some_and(|n| n != 1) {
        return ctx.fail("axis has more or less than one element");
    }
    let shape = ctx.shape(0).map(<[Dim]>::to_vec);
    if let (Some(shape), Some([axis])) = (&shape, ctx.ints(1).as_deref()) {
        ctx.axis(*axis, shape.len())?;
    }
    Ok(Fact::new(dtype, shape))
}
