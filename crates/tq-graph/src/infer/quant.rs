//! Operators that quantize and dequantize.

use super::context::{Context, Fact, conflict, show};
use crate::{Dim, GraphError};
use tq_qtypes::DType;

/// Fails when input `i` is known not to be a scalar (rank 0, or one element).
pub(super) fn check_scalar(ctx: &Context<'_>, i: usize, name: &str) -> Result<(), GraphError> {
    match ctx.shape(i) {
        Some(s) if !may_be_scalar(s) => ctx.fail(format!("{name} has shape {}, expected a scalar", show(s))),
        _ => Ok(()),
    }
}

/// Whether the shape may hold one single element.
fn may_be_scalar(shape: &[Dim]) -> bool {
    shape.iter().all(|d| d.known().is_none_or(|n| n == 1))
}

/// Whether the shape is known to hold one single element.
fn is_scalar(shape: &[Dim]) -> bool {
    shape.iter().all(|d| d.known() == Some(1))
}

/// Fails when the zero point's type is not that of the codes.
pub(super) fn check_zero_point(
    ctx: &Context<'_>,
    codes: (usize, &str),
    zero_point: (usize, &str),
) -> Result<(), GraphError> {
    ctx.same_dtype(codes, zero_point).map(drop)
}

/// Types that QuantizeLinear writes.
fn is_code(dtype: DType) -> bool {
    dtype.is_float8() || (dtype.is_integer() && dtype.bits() <= 16)
}

/// Checks scale (input 1) and zero point (input 2) against the data (input 0).
fn check_params(ctx: &Context<'_>, axis: i64, block_size: usize) -> Result<(), GraphError> {
    ctx.expect_dtype(1, "scale", "a float type", DType::is_float)?;
    let (Some(x), Some(scale)) = (ctx.shape(0), ctx.shape(1)) else { return Ok(()) };
    if let Some(zero_point) = ctx.shape(2) {
        let same =
            zero_point.len() == scale.len() && zero_point.iter().zip(scale).all(|(a, b)| !conflict(a, b));
        let both_scalar = is_scalar(zero_point) && is_scalar(scale);
        if !(same || both_scalar) {
            return ctx.fail(format!("zero_point has shape {} but scale {}", show(zero_point), show(scale)));
        }
    }
    if block_size > 0 {
        if scale.len() != x.len() {
            return ctx.fail(format!(
                "block_size {block_size} needs a scale of the rank of x, {}, but scale has shape {}",
                x.len(),
                show(scale)
            ));
        }
        let axis = ctx.axis(axis, x.len())?;
        for (i, (s, d)) in scale.iter().zip(x).enumerate() {
            let expected = if i == axis {
                match d.known_usize() {
                    Some(n) => Dim::from(n.div_ceil(block_size)),
                    None => continue,
                }
            } else {
                d.clone()
            };
            if conflict(s, &expected) {
                return ctx.fail(format!(
                    "scale {} does not cover x {} in blocks of {block_size} on axis {axis}: {s} on axis {i}, expected {expected}",
                    show(scale),
                    show(x)
                ));
            }
        }
        return Ok(());
    }
    match scale {
        _ if is_scalar(scale) && scale.len() <= 1 => Ok(()),
        [n] => {
            // A tensor of rank 1 has one axis, whatever the attribute says.
            let axis = if x.len() == 1 { 0 } else { ctx.axis(axis, x.len())? };
            if conflict(n, &x[axis]) {
                return ctx.fail(format!(
                    "scale has {n} elements, but axis {axis} of x {} has {}",
                    show(x),
                    x[axis]
                ));
            }
            Ok(())
        }
        _ => ctx.fail(format!("scale has shape {}, expected rank 0 or 1 without block_size", show(scale))),
    }
}

/// QuantizeLinear: `x, scale[, zero_point]`.
pub(super) fn quantize(
    ctx: &Context<'_>,
    axis: i64,
    block_size: usize,
    output_dtype: Option<DType>,
) -> Result<Fact, GraphError> {
    ctx.expect_dtype(0, "x", "a float type or i32", |d| d.is_float() || d == DType::I32)?;
    check_params(ctx, axis, block_size)?;
    let dtype = match (ctx.has(2), output_dtype) {
        (true, wanted) => {
            let dtype = ctx.expect_dtype(2, "zero_point", "a quantized type", is_code)?;
            if let (Some(d), Some(w)) = (dtype, wanted)
                && d != w
            {
                return ctx.fail(format!("zero_point is {d} but output_dtype is {w}"));
            }
            dtype.or(wanted)
        }
        (false, Some(wanted)) if !is_code(wanted) => {
            return ctx.fail(format!("output_dtype is {wanted}, expected a quantized type"));
        }
        (false, wanted) => Some(wanted.unwrap_or(DType::U8)),
    };
    Ok(Fact::new(dtype, ctx.shape(0).map(<[Dim]>::to_vec)))
}

/// DequantizeLinear: `codes, scale[, zero_point]`.
pub(super) fn dequantize(ctx: &Context<'_>, axis: i64, block_size: usize) -> Result<Fact, GraphError> {
    ctx.expect_dtype(0, "x", "a quantized type or i32", |d| is_code(d) || d == DType::I32)?;
    if ctx.has(2) {
        check_zero_point(ctx, (0, "x"), (2, "zero_point"))?;
    }
    check_params(ctx, axis, block_size)?;
    Ok(Fact::new(ctx.dtype(1), ctx.shape(0).map(<[Dim]>::to_vec)))
}

/// DynamicQuantizeLinear: `x -> codes, scale, zero_point`.
pub(super) fn dynamic_quantize(ctx: &Context<'_>) -> Result<Vec<Fact>, GraphError> {
    let float = ctx.expect_dtype(0, "x", "f32", |d| d == DType::F32)?;
    Ok(vec![
        Fact::new(Some(DType::U8), ctx.shape(0).map(<[Dim]>::to_vec)),
        Fact::new(float.or(Some(DType::F32)), Some(Vec::new())),
        Fact::new(Some(DType::U8), Some(Vec::new())),
    ])
}
