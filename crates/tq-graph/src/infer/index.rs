//! Gather and Scatter by arrays of indices.

use super::context::{Context, Fact, conflict, show};
use super::elementwise::is_number;
use crate::op::ScatterReduction;
use crate::{Dim, GraphError};
use tq_qtypes::DType;

fn expect_indices(ctx: &Context<'_>) -> Result<(), GraphError> {
    ctx.expect_dtype(1, "indices", "i32 or i64", |d| matches!(d, DType::I32 | DType::I64)).map(drop)
}

/// Fails when a known index lies outside an axis of `n` elements.
fn check_indices(ctx: &Context<'_>, axis: usize, n: &Dim) -> Result<(), GraphError> {
    let (Some(n), Some(indices)) = (n.known(), ctx.ints(1)) else { return Ok(()) };
    match indices.iter().find(|i| !(n.saturating_neg()..n).contains(*i)) {
        Some(bad) => ctx.fail(format!("index {bad} is out of range for {n} elements on axis {axis}")),
        None => Ok(()),
    }
}

/// Shapes of data and indices of the same rank, the latter nowhere longer but along `axis`.
fn check_elements(ctx: &Context<'_>, axis: i64) -> Result<(), GraphError> {
    let (Some(data), Some(indices)) = (ctx.shape(0), ctx.shape(1)) else { return Ok(()) };
    let axis = ctx.axis(axis, data.len())?;
    let longer = |(i, d): (usize, &Dim)| {
        i != axis && matches!((d.known(), data[i].known()), (Some(d), Some(n)) if d > n)
    };
    if indices.len() != data.len() || indices.iter().enumerate().any(longer) {
        return ctx.fail(format!("indices {} do not lie within x {}", show(indices), show(data)));
    }
    check_indices(ctx, axis, &data[axis])
}

/// GatherElements: `x, indices`.
pub(super) fn gather_elements(ctx: &Context<'_>, axis: i64) -> Result<Fact, GraphError> {
    expect_indices(ctx)?;
    check_elements(ctx, axis)?;
    let rank = ctx.shape(0).map(<[Dim]>::len);
    let shape = ctx.shape(1).map(<[Dim]>::to_vec).or_else(|| rank.and_then(|rank| ctx.unknown_shape(rank)));
    Ok(Fact::new(ctx.dtype(0), shape))
}

/// ScatterElements: `x, indices, updates`.
pub(super) fn scatter_elements(
    ctx: &Context<'_>,
    axis: i64,
    reduction: ScatterReduction,
) -> Result<Fact, GraphError> {
    expect_indices(ctx)?;
    let dtype = check_update(ctx, reduction)?;
    check_elements(ctx, axis)?;
    if let (Some(indices), Some(updates)) = (ctx.shape(1), ctx.shape(2)) {
        expect_updates(ctx, updates, indices)?;
    }
    Ok(Fact::new(dtype, ctx.shape(0).map(<[Dim]>::to_vec)))
}

/// The type of data and updates, which arithmetic must know if the reduction does any.
fn check_update(ctx: &Context<'_>, reduction: ScatterReduction) -> Result<Option<DType>, GraphError> {
    if reduction != ScatterReduction::None {
        ctx.expect_dtype(0, "x", "a number to reduce it", is_number)?;
    }
    ctx.same_dtype((0, "x"), (2, "updates"))
}

fn expect_updates(ctx: &Context<'_>, got: &[Dim], expected: &[Dim]) -> Result<(), GraphError> {
    if got.len() == expected.len() && !got.iter().zip(expected).any(|(a, b)| conflict(a, b)) {
        return Ok(());
    }
    ctx.fail(format!("updates have shape {}, expected {}", show(got), show(expected)))
}

/// What GatherND takes and ScatterND writes: the axes of `indices` but the last, then those of `x` that its positions
/// leave over. `None` where the length of the positions is not known.
fn nd_shape(ctx: &Context<'_>, batch_dims: usize) -> Result<Option<Vec<Dim>>, GraphError> {
    let (Some(data), Some(indices)) = (ctx.shape(0), ctx.shape(1)) else { return Ok(None) };
    let Some((depth, leading)) = indices.split_last() else { return ctx.fail("indices are a scalar") };
    if batch_dims > leading.len() || batch_dims > data.len() {
        return ctx.fail(format!(
            "batch_dims is {batch_dims} for x {} and indices {}",
            show(data),
            show(indices)
        ));
    }
    if let Some(axis) = (0..batch_dims).find(|i| conflict(&data[*i], &leading[*i])) {
        return ctx.fail(format!(
            "axis {axis} of x {} and of indices {} differ, though both hold the batch",
            show(data),
            show(indices)
        ));
    }
    let Some(depth) = depth.known() else { return Ok(None) };
    let rest = usize::try_from(depth).ok().and_then(|d| data.get(batch_dims.checked_add(d)?..));
    let Some(rest) = rest else {
        return ctx.fail(format!("positions of {depth} numbers in x {}", show(data)));
    };
    Ok(Some([leading, rest].concat()))
}

/// GatherND: `x, indices`.
pub(super) fn gather_nd(ctx: &Context<'_>, batch_dims: usize) -> Result<Fact, GraphError> {
    expect_indices(ctx)?;
    Ok(Fact::new(ctx.dtype(0), nd_shape(ctx, batch_dims)?))
}

/// ScatterND: `x, indices, updates`.
pub(super) fn scatter_nd(ctx: &Context<'_>, reduction: ScatterReduction) -> Result<Fact, GraphError> {
    expect_indices(ctx)?;
    let dtype = check_update(ctx, reduction)?;
    if let (Some(expected), Some(updates)) = (nd_shape(ctx, 0)?, ctx.shape(2)) {
        expect_updates(ctx, updates, &expected)?;
    }
    Ok(Fact::new(dtype, ctx.shape(0).map(<[Dim]>::to_vec)))
}
