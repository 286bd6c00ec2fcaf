//! Operators that keep the shape or broadcast, and the mean.

use super::context::{Context, Fact};
use super::quant::check_scalar;
use crate::op::UnaryOp;
use crate::{Dim, GraphError, Shape};
use tq_qtypes::DType;

/// Types with arithmetic.
fn is_number(dtype: DType) -> bool {
    dtype.is_float() || (dtype.is_integer() && dtype.bits() >= 8)
}

/// The shape of input 0.
fn same(ctx: &Context<'_>) -> Option<Shape> {
    ctx.shape(0).map(<[Dim]>::to_vec)
}

/// Relu, Elu, Sigmoid and the like.
pub(super) fn unary(ctx: &Context<'_>, op: UnaryOp) -> Result<Fact, GraphError> {
    let signed = |d| matches!(d, DType::I8 | DType::I16 | DType::I32 | DType::I64);
    let dtype = match op {
        UnaryOp::Relu => {
            ctx.expect_dtype(0, "x", "a float type or a signed integer", |d| d.is_float() || signed(d))?
        }
        _ => ctx.expect_dtype(0, "x", "a float type", DType::is_float)?,
    };
    Ok(Fact::new(dtype, same(ctx)))
}

/// Add, Sub, Mul, Div.
pub(super) fn binary(ctx: &Context<'_>) -> Result<Fact, GraphError> {
    ctx.expect_dtype(0, "a", "a number", is_number)?;
    let dtype = ctx.same_dtype((0, "a"), (1, "b"))?;
    let shape = match (ctx.shape(0), ctx.shape(1)) {
        (Some(a), Some(b)) => Some(ctx.broadcast(a, b)?),
        _ => None,
    };
    Ok(Fact::new(dtype, shape))
}

/// Clip: `x[, min[, max]]`.
pub(super) fn clip(ctx: &Context<'_>) -> Result<Fact, GraphError> {
    let dtype = ctx.expect_dtype(0, "x", "a number", is_number)?;
    for (i, name) in [(1, "min"), (2, "max")] {
        if ctx.has(i) {
            ctx.same_dtype((0, "x"), (i, name))?;
            check_scalar(ctx, i, name)?;
        }
    }
    Ok(Fact::new(dtype, same(ctx)))
}

/// BatchNormalization: `x, scale, bias, mean, var`.
pub(super) fn batch_normalization(ctx: &Context<'_>) -> Result<Fact, GraphError> {
    let names = ["x", "scale", "bias", "mean", "var"];
    for (i, name) in names.into_iter().enumerate() {
        ctx.expect_dtype(i, name, "a float type", DType::is_float)?;
    }
    let input = ctx.expect_rank(0, "x", 2..=usize::MAX)?;
    for (i, name) in names.into_iter().enumerate().skip(1) {
        match input.and_then(|s| s.get(1)) {
            Some(channels) => ctx.expect_vector(i, name, channels)?,
            None => ctx.expect_rank(i, name, 1..=1).map(drop)?,
        }
    }
    Ok(Fact::new(ctx.dtype(0), same(ctx)))
}

/// Softmax: `x`.
pub(super) fn softmax(ctx: &Context<'_>, axis: i64) -> Result<Fact, GraphError> {
    let dtype = ctx.expect_dtype(0, "x", "a float type", DType::is_float)?;
    if let Some(s) = ctx.shape(0) {
        ctx.axis(axis, s.len())?;
    }
    Ok(Fact::new(dtype, same(ctx)))
}

/// Identity.
pub(super) fn identity(ctx: &Context<'_>) -> Fact {
    Fact::new(ctx.dtype(0), same(ctx))
}

/// Dropout: `x -> y[, mask]`.
pub(super) fn dropout(ctx: &Context<'_>) -> Result<Vec<Fact>, GraphError> {
    let dtype = ctx.expect_dtype(0, "x", "a float type", DType::is_float)?;
    Ok(vec![Fact::new(dtype, same(ctx)), Fact::new(Some(DType::Bool), same(ctx))])
}

/// Cast.
pub(super) fn cast(ctx: &Context<'_>, to: DType) -> Fact {
    Fact::new(Some(to), same(ctx))
}

/// ReduceMean: `x[, axes]`.
pub(super) fn reduce_mean(
    ctx: &Context<'_>,
    keep_dims: bool,
    noop_with_empty_axes: bool,
) -> Result<Fact, GraphError> {
    let dtype = ctx.expect_dtype(0, "x", "a float type or a 32 or 64-bit integer", |d| {
        d.is_float() || matches!(d, DType::I32 | DType::U32 | DType::I64 | DType::U64)
    })?;
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
