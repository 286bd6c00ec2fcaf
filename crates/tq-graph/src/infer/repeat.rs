//! Operators that repeat elements, leave some out, or regroup them.

use super::context::{Context, Fact, MAX_RANK, show};
use crate::{Dim, GraphError};

/// Expand: `x, shape`.
pub(super) fn expand(ctx: &Context<'_>) -> Result<Fact, GraphError> {
    ctx.check_param(1, "shape", false)?;
    let dtype = ctx.dtype(0);
    let rank = ctx.len_of(1).and_then(|n| ctx.shape(0).map(|x| x.len().max(n)));
    let (Some(x), Some(target)) = (ctx.shape(0), ctx.content(1)) else {
        return Ok(Fact::new(dtype, rank.and_then(|rank| ctx.unknown_shape(rank))));
    };
    let target: Vec<Dim> = target.iter().cloned().collect();
    if target.len() > MAX_RANK {
        return ctx.fail(format!("output rank {} is more than {MAX_RANK}", target.len()));
    }
    if target.iter().any(|d| d.known().is_some_and(|n| n < 0)) {
        return ctx.fail(format!("shape {} has a negative dimension", show(&target)));
    }
    Ok(Fact::new(dtype, Some(ctx.broadcast(x, &target)?)))
}

/// Tile: `x, repeats`.
pub(super) fn tile(ctx: &Context<'_>) -> Result<Fact, GraphError> {
    ctx.check_param(1, "repeats", false)?;
    let dtype = ctx.dtype(0);
    let Some(x) = ctx.shape(0) else {
        return Ok(Fact::new(dtype, ctx.len_of(1).and_then(|rank| ctx.unknown_shape(rank))));
    };
    if let Some(n) = ctx.len_of(1).filter(|n| *n != x.len()) {
        return ctx.fail(format!("{n} repeats for x {}", show(x)));
    }
    let Some(repeats) = ctx.content(1) else {
        return Ok(Fact::new(dtype, ctx.unknown_shape(x.len())));
    };
    let shape = x.iter().zip(repeats.iter()).enumerate().map(|(axis, (d, n))| {
        if n.known().is_some_and(|n| n < 0) {
            return ctx.fail(format!("axis {axis} is repeated {n} times"));
        }
        ctx.settle(0, axis, d.checked_mul(n), &[d, n])
    });
    Ok(Fact::new(dtype, Some(shape.collect::<Result<_, _>>()?)))
}

/// Trilu: `x[, k]`.
pub(super) fn trilu(ctx: &Context<'_>) -> Result<Fact, GraphError> {
    if ctx.has(1) {
        ctx.check_param(1, "k", true)?;
        if ctx.len_of(1).is_some_and(|n| n != 1) {
            return ctx.fail("k has more or less than one element");
        }
    }
    let x = ctx.expect_rank(0, "x", 2..=usize::MAX)?;
    Ok(Fact::new(ctx.dtype(0), x.map(<[Dim]>::to_vec)))
}

/// The shape of an image batch and the extent of a block.
fn blocks<'a>(ctx: &Context<'a>, block: usize) -> Result<Option<(&'a [Dim], Dim)>, GraphError> {
    if block == 0 {
        return ctx.fail("the block size is 0");
    }
    Ok(ctx.expect_rank(0, "x", 4..=4)?.map(|x| (x, Dim::from(block))))
}

/// `total / parts`, which known numbers must divide.
fn divided(ctx: &Context<'_>, axis: usize, total: &Dim, parts: &Dim) -> Result<Dim, GraphError> {
    if let (Some(t), Some(p)) = (total.known(), parts.known())
        && t % p != 0
    {
        return ctx.fail(format!("{total} elements on axis {axis} are no whole number of {parts}"));
    }
    ctx.settle(0, axis, total.checked_div_floor(parts), &[total, parts])
}

/// DepthToSpace: `x`.
pub(super) fn depth_to_space(ctx: &Context<'_>, block: usize) -> Result<Fact, GraphError> {
    let dtype = ctx.dtype(0);
    let Some((x, b)) = blocks(ctx, block)? else { return Ok(Fact::new(dtype, ctx.unknown_shape(4))) };
    let area = ctx.settle(0, 1, b.checked_mul(&b), &[&b])?;
    let shape = vec![
        x[0].clone(),
        divided(ctx, 1, &x[1], &area)?,
        ctx.settle(0, 2, x[2].checked_mul(&b), &[&x[2], &b])?,
        ctx.settle(0, 3, x[3].checked_mul(&b), &[&x[3], &b])?,
    ];
    Ok(Fact::new(dtype, Some(shape)))
}

/// SpaceToDepth: `x`.
pub(super) fn space_to_depth(ctx: &Context<'_>, block: usize) -> Result<Fact, GraphError> {
    let dtype = ctx.dtype(0);
    let Some((x, b)) = blocks(ctx, block)? else { return Ok(Fact::new(dtype, ctx.unknown_shape(4))) };
    let area = ctx.settle(0, 1, b.checked_mul(&b), &[&b])?;
    let shape = vec![
        x[0].clone(),
        ctx.settle(0, 1, x[1].checked_mul(&area), &[&x[1], &area])?,
        divided(ctx, 2, &x[2], &b)?,
        divided(ctx, 3, &x[3], &b)?,
    ];
    Ok(Fact::new(dtype, Some(shape)))
}
