//! Operators that keep the shape or broadcast.

use super::context::{Context, Fact, conflict, show};
use super::quant::check_scalar;
use crate::op::{BinaryOp, BitwiseOp, CompareOp, UnaryOp, VariadicOp};
use crate::{Dim, GraphError, Shape};
use tq_qtypes::DType;

/// Types with arithmetic.
pub(super) fn is_number(dtype: DType) -> bool {
    dtype.is_float() || (dtype.is_integer() && dtype.bits() >= 8)
}

/// The shape of input 0.
fn same(ctx: &Context<'_>) -> Option<Shape> {
    ctx.shape(0).map(<[Dim]>::to_vec)
}

/// Activations, roots, exponentials and the like.
pub(super) fn unary(ctx: &Context<'_>, op: UnaryOp) -> Result<Fact, GraphError> {
    let signed = |d| matches!(d, DType::I8 | DType::I16 | DType::I32 | DType::I64);
    let dtype = match op {
        UnaryOp::Relu | UnaryOp::Neg => {
            ctx.expect_dtype(0, "x", "a float type or a signed integer", |d| d.is_float() || signed(d))?
        }
        UnaryOp::Abs | UnaryOp::Sign | UnaryOp::Erf => ctx.expect_dtype(0, "x", "a number", is_number)?,
        _ => ctx.expect_dtype(0, "x", "a float type", DType::is_float)?,
    };
    Ok(Fact::new(dtype, same(ctx)))
}

/// The shape to which inputs 0 and 1 broadcast, if both are known.
fn broadcast(ctx: &Context<'_>) -> Result<Option<Shape>, GraphError> {
    match (ctx.shape(0), ctx.shape(1)) {
        (Some(a), Some(b)) => ctx.broadcast(a, b).map(Some),
        _ => Ok(None),
    }
}

/// Add, Sub, Mul, Div, Pow, Mod, PRelu.
pub(super) fn binary(ctx: &Context<'_>, op: BinaryOp) -> Result<Fact, GraphError> {
    let dtype = match op {
        BinaryOp::Pow => {
            ctx.expect_dtype(1, "the exponent", "a number", is_number)?;
            ctx.expect_dtype(0, "the base", "a float type, i32 or i64", |d| {
                d.is_float() || matches!(d, DType::I32 | DType::I64)
            })?
        }
        BinaryOp::Mod { fmod: false } => {
            ctx.expect_dtype(0, "a", "an integer unless fmod is set", |d| is_number(d) && d.is_integer())?;
            ctx.same_dtype((0, "a"), (1, "b"))?
        }
        _ => {
            ctx.expect_dtype(0, "a", "a number", is_number)?;
            ctx.same_dtype((0, "a"), (1, "b"))?
        }
    };
    let shape = broadcast(ctx)?;
    if op != BinaryOp::PRelu {
        return Ok(Fact::new(dtype, shape));
    }
    if let (Some(x), Some(slope), Some(both)) = (ctx.shape(0), ctx.shape(1), &shape)
        && (both.len() != x.len() || both.iter().zip(x).any(|(b, x)| conflict(b, x)))
    {
        return ctx.fail(format!("a slope of shape {} does not broadcast to x {}", show(slope), show(x)));
    }
    Ok(Fact::new(dtype, same(ctx)))
}

/// Equal, Greater and the like.
pub(super) fn compare(ctx: &Context<'_>, op: CompareOp) -> Result<Fact, GraphError> {
    let truth = op == CompareOp::Equal;
    let expected = if truth { "a number or bool" } else { "a number" };
    ctx.expect_dtype(0, "a", expected, |d| is_number(d) || (truth && d == DType::Bool))?;
    ctx.same_dtype((0, "a"), (1, "b"))?;
    Ok(Fact::new(Some(DType::Bool), broadcast(ctx)?))
}

/// And, Or, Xor.
pub(super) fn logic(ctx: &Context<'_>) -> Result<Fact, GraphError> {
    ctx.expect_dtype(0, "a", "bool", |d| d == DType::Bool)?;
    ctx.expect_dtype(1, "b", "bool", |d| d == DType::Bool)?;
    Ok(Fact::new(Some(DType::Bool), broadcast(ctx)?))
}

/// Not.
pub(super) fn not(ctx: &Context<'_>) -> Result<Fact, GraphError> {
    let dtype = ctx.expect_dtype(0, "x", "bool", |d| d == DType::Bool)?;
    Ok(Fact::new(dtype.or(Some(DType::Bool)), same(ctx)))
}

/// Types whose bits are looked at.
fn is_bits(dtype: DType) -> bool {
    dtype.is_integer() && is_number(dtype)
}

/// BitwiseAnd, BitwiseOr, BitwiseXor, BitShift.
pub(super) fn bitwise(ctx: &Context<'_>, op: BitwiseOp) -> Result<Fact, GraphError> {
    let unsigned = |d| matches!(d, DType::U8 | DType::U16 | DType::U32 | DType::U64);
    match op {
        BitwiseOp::Shift { .. } => ctx.expect_dtype(0, "a", "an unsigned integer", unsigned)?,
        _ => ctx.expect_dtype(0, "a", "an integer", is_bits)?,
    };
    let dtype = ctx.same_dtype((0, "a"), (1, "b"))?;
    Ok(Fact::new(dtype, broadcast(ctx)?))
}

/// BitwiseNot.
pub(super) fn bitwise_not(ctx: &Context<'_>) -> Result<Fact, GraphError> {
    let dtype = ctx.expect_dtype(0, "x", "an integer", is_bits)?;
    Ok(Fact::new(dtype, same(ctx)))
}

/// IsNaN and IsInf.
pub(super) fn test(ctx: &Context<'_>) -> Result<Fact, GraphError> {
    ctx.expect_dtype(0, "x", "a float type", |d| d.is_float() || d.is_float8())?;
    Ok(Fact::new(Some(DType::Bool), same(ctx)))
}

/// Where: `condition, a, b`.
pub(super) fn choose(ctx: &Context<'_>) -> Result<Fact, GraphError> {
    ctx.expect_dtype(0, "the condition", "bool", |d| d == DType::Bool)?;
    let dtype = ctx.same_dtype((1, "a"), (2, "b"))?;
    let shape = match (ctx.shape(0), ctx.shape(1), ctx.shape(2)) {
        (Some(c), Some(a), Some(b)) => Some(ctx.broadcast(&ctx.broadcast(c, a)?, b)?),
        _ => None,
    };
    Ok(Fact::new(dtype, shape))
}

/// Min, Max, Sum, Mean of any number of inputs.
pub(super) fn variadic(ctx: &Context<'_>, op: VariadicOp) -> Result<Fact, GraphError> {
    let float = matches!(op, VariadicOp::Sum | VariadicOp::Mean);
    let expected = if float { "a float type" } else { "a number" };
    let mut dtype = None;
    let mut shape = ctx.shape(0).map(<[Dim]>::to_vec);
    for i in 0..ctx.node.inputs.len() {
        let own = ctx.expect_dtype(i, &format!("input {i}"), expected, |d| {
            if float { d.is_float() } else { is_number(d) }
        })?;
        match (dtype, own) {
            (Some(a), Some(b)) if a != b => {
                return ctx.fail(format!("input {i} is {b}, those before are {a}"));
            }
            (None, d) => dtype = d,
            _ => {}
        }
        shape = match (&shape, ctx.shape(i)) {
            (Some(so_far), Some(own)) => Some(ctx.broadcast(so_far, own)?),
            _ => None,
        };
    }
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
pub(super) fn cast(ctx: &Context<'_>, to: Option<DType>) -> Fact {
    Fact::new(to, same(ctx))
}
