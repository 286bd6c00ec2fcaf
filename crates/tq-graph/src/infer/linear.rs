//! Matrix products.

use super::context::{Context, Fact, conflict, show};
use super::quant::{check_scalar, check_zero_point};
use crate::{Dim, GraphError, Shape};
use tq_qtypes::DType;

fn is_product_type(dtype: DType) -> bool {
    dtype.is_float() || matches!(dtype, DType::I32 | DType::U32 | DType::I64 | DType::U64)
}

/// Gemm: `a, b[, c]`.
pub(super) fn gemm(ctx: &Context<'_>, trans_a: bool, trans_b: bool) -> Result<Fact, GraphError> {
    ctx.expect_dtype(0, "a", "a float type or a 32 or 64-bit integer", is_product_type)?;
    let dtype = ctx.same_dtype((0, "a"), (1, "b"))?;
    if ctx.has(2) {
        ctx.same_dtype((0, "a"), (2, "c"))?;
    }
    let (a, b) = (ctx.expect_rank(0, "a", 2..=2)?, ctx.expect_rank(1, "b", 2..=2)?);
    let (Some(a), Some(b)) = (a, b) else { return Ok(Fact::new(dtype, None)) };
    let (m, k) = if trans_a { (&a[1], &a[0]) } else { (&a[0], &a[1]) };
    let (k2, n) = if trans_b { (&b[1], &b[0]) } else { (&b[0], &b[1]) };
    if conflict(k, k2) {
        return ctx.fail(format!("inner dimensions differ: {k} of a {} and {k2} of b {}", show(a), show(b)));
    }
    let out = vec![m.clone(), n.clone()];
    if let Some(c) = ctx.expect_rank(2, "c", 0..=2)? {
        // `c` broadcasts to the product, never the other way round.
        let fits = c.iter().rev().zip(out.iter().rev()).all(|(c, o)| c.known() == Some(1) || !conflict(c, o));
        if !fits {
            return ctx.fail(format!("c {} does not broadcast to {}", show(c), show(&out)));
        }
    }
    Ok(Fact::new(dtype, Some(out)))
}

/// The shape of a matrix product as in numpy, of inputs `i` and `j`.
fn product_shape(ctx: &Context<'_>, i: usize, j: usize) -> Result<Option<Shape>, GraphError> {
    let a = ctx.expect_rank(i, "a", 1..=usize::MAX)?;
    let b = ctx.expect_rank(j, "b", 1..=usize::MAX)?;
    let (Some(a), Some(b)) = (a, b) else { return Ok(None) };
    // A vector is a row on the left and a column on the right; that axis is not in the result.
    let (batch_a, m, k) = match a {
        [k] => (&[][..], None, k),
        [batch @ .., m, k] => (batch, Some(m), k),
        [] => return Ok(None),
    };
    let (batch_b, k2, n) = match b {
        [k] => (&[][..], k, None),
        [batch @ .., k, n] => (batch, k, Some(n)),
        [] => return Ok(None),
    };
    if conflict(k, k2) {
        return ctx.fail(format!("inner dimensions differ: {k} of a {} and {k2} of b {}", show(a), show(b)));
    }
    let mut out = ctx.broadcast(batch_a, batch_b)?;
    out.extend(m.cloned());
    out.extend(n.cloned());
    Ok(Some(out))
}

/// MatMul: `a, b`.
pub(super) fn matmul(ctx: &Context<'_>) -> Result<Fact, GraphError> {
    ctx.expect_dtype(0, "a", "a float type or a 32 or 64-bit integer", is_product_type)?;
    let dtype = ctx.same_dtype((0, "a"), (1, "b"))?;
    Ok(Fact::new(dtype, product_shape(ctx, 0, 1)?))
}

/// Fails when a parameter at input `i` is neither a scalar, nor one a row (or column, when `columns`) of the
/// matrix at input `of`, as a vector or with the axes of the matrix and 1 on the contracted one.
fn check_param(
    ctx: &Context<'_>,
    (i, name): (usize, &str),
    of: usize,
    columns: bool,
) -> Result<(), GraphError> {
    let (Some(p), Some(x)) = (ctx.shape(i), ctx.shape(of)) else { return Ok(()) };
    let one = Dim::from(1i64);
    let free_axis = if columns { 1 } else { 2 };
    let free = x.len().checked_sub(free_axis).filter(|_| x.len() >= 2).map_or(&one, |at| &x[at]);
    let fits = |p: &Dim, d: &Dim| p.known() == Some(1) || !conflict(p, d);
    let ok = match p {
        [] => true,
        [n] => fits(n, free),
        _ => {
            let contracted = x.len().saturating_sub(if columns { 2 } else { 1 });
            p.len() == x.len()
                && p.iter()
                    .zip(x)
                    .enumerate()
                    .all(|(axis, (p, d))| if axis == contracted { !conflict(p, &one) } else { fits(p, d) })
        }
    };
    if ok {
        Ok(())
    } else {
        ctx.fail(format!("{name} has shape {}, which does not fit a matrix {}", show(p), show(x)))
    }
}

fn is_8bit(dtype: DType) -> bool {
    matches!(dtype, DType::I8 | DType::U8)
}

/// MatMulInteger: `a, b[, a_zero_point[, b_zero_point]]`.
pub(super) fn matmul_integer(ctx: &Context<'_>) -> Result<Fact, GraphError> {
    ctx.expect_dtype(0, "a", "i8 or u8", is_8bit)?;
    ctx.expect_dtype(1, "b", "i8 or u8", is_8bit)?;
    if ctx.has(2) {
        check_zero_point(ctx, (0, "a"), (2, "a_zero_point"))?;
        check_param(ctx, (2, "a_zero_point"), 0, false)?;
    }
    if ctx.has(3) {
        check_zero_point(ctx, (1, "b"), (3, "b_zero_point"))?;
        check_param(ctx, (3, "b_zero_point"), 1, true)?;
    }
    Ok(Fact::new(Some(DType::I32), product_shape(ctx, 0, 1)?))
}

/// QLinearMatMul: `a, a_scale, a_zp, b, b_scale, b_zp, y_scale, y_zp`.
pub(super) fn qlinear_matmul(ctx: &Context<'_>) -> Result<Fact, GraphError> {
    for (i, name) in [(0, "a"), (3, "b"), (7, "y_zero_point")] {
        ctx.expect_dtype(i, name, "i8, u8 or an 8-bit float", |d| is_8bit(d) || d.is_float8())?;
    }
    for (i, name) in [(1, "a_scale"), (4, "b_scale"), (6, "y_scale")] {
        ctx.expect_dtype(i, name, "a float type", DType::is_float)?;
    }
    check_zero_point(ctx, (0, "a"), (2, "a_zero_point"))?;
    check_zero_point(ctx, (3, "b"), (5, "b_zero_point"))?;
    check_param(ctx, (1, "a_scale"), 0, false)?;
    check_param(ctx, (2, "a_zero_point"), 0, false)?;
    check_param(ctx, (4, "b_scale"), 3, true)?;
    check_param(ctx, (5, "b_zero_point"), 3, true)?;
    check_scalar(ctx, 6, "y_scale")?;
    check_scalar(ctx, 7, "y_zero_point")?;
    Ok(Fact::new(ctx.dtype(7), product_shape(ctx, 0, 3)?))
}
