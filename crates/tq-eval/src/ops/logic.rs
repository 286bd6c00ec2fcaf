//! Comparisons, truth values, bits, and the choice between two tensors.

use super::{CHUNK, Context, Inputs, binary::zip, cast::float_to, map, same_dtype};
use crate::OpError;
use crate::number::{Number, Real, with_integer, with_number, with_real, with_storage};
use crate::parallel;
use crate::shape::{broadcast, broadcast_strides, coalesce};
use tq_graph::op::{BitwiseOp, CompareOp, LogicOp};
use tq_graph::{Element, Tensor};
use tq_qtypes::DType;

/// A comparison; one with NaN is false.
pub(crate) fn compare(ctx: &Context, op: CompareOp, a: &Tensor, b: &Tensor) -> Result<Tensor, OpError> {
    same_dtype(a, b, "input 1")?;
    if op == CompareOp::Equal && a.dtype() == DType::Bool {
        return zip(ctx, a, b, |x: bool, y: bool| x == y);
    }
    with_number!(a.dtype(), T => compare_as::<T>(ctx, op, a, b))
}

fn compare_as<T: Number>(ctx: &Context, op: CompareOp, a: &Tensor, b: &Tensor) -> Result<Tensor, OpError> {
    match op {
        CompareOp::Equal => zip(ctx, a, b, |x: T, y: T| x == y),
        CompareOp::Greater => zip(ctx, a, b, |x: T, y: T| x > y),
        CompareOp::GreaterOrEqual => zip(ctx, a, b, |x: T, y: T| x >= y),
        CompareOp::Less => zip(ctx, a, b, |x: T, y: T| x < y),
        CompareOp::LessOrEqual => zip(ctx, a, b, |x: T, y: T| x <= y),
    }
}

/// And, Or, Xor.
pub(crate) fn logic(ctx: &Context, op: LogicOp, a: &Tensor, b: &Tensor) -> Result<Tensor, OpError> {
    zip(ctx, a, b, |x: bool, y: bool| match op {
        LogicOp::And => x & y,
        LogicOp::Or => x | y,
        LogicOp::Xor => x ^ y,
    })
}

/// The other truth values.
pub(crate) fn not(ctx: &Context, x: &Tensor) -> Result<Tensor, OpError> {
    map(ctx, x.as_slice::<bool>()?, x.dims(), |v| !v)
}

/// Functions of the bits of two integers.
pub(crate) fn bitwise(ctx: &Context, op: BitwiseOp, a: &Tensor, b: &Tensor) -> Result<Tensor, OpError> {
    same_dtype(a, b, "input 1")?;
    if let BitwiseOp::Shift { left } = op {
        return shift(ctx, left, a, b);
    }
    with_integer!(a.dtype(), T => zip(ctx, a, b, |x: T, y: T| match op {
        BitwiseOp::And => x & y,
        BitwiseOp::Or => x | y,
        _ => x ^ y,
    }))
}

fn shift(ctx: &Context, left: bool, a: &Tensor, b: &Tensor) -> Result<Tensor, OpError> {
    macro_rules! shift_as {
        ($t:ty) => {
            zip(ctx, a, b, |x: $t, bits: $t| {
                let bits = u32::try_from(bits).unwrap_or(u32::MAX);
                // Nothing is left of a shift by the whole width.
                (if left { x.checked_shl(bits) } else { x.checked_shr(bits) }).unwrap_or(0)
            })
        };
    }
    match a.dtype() {
        DType::U8 => shift_as!(u8),
        DType::U16 => shift_as!(u16),
        DType::U32 => shift_as!(u32),
        DType::U64 => shift_as!(u64),
        got => Err(OpError::DType { what: "input 0", got, expected: "an unsigned integer".into() }),
    }
}

/// All bits the other way round.
pub(crate) fn bitwise_not(ctx: &Context, x: &Tensor) -> Result<Tensor, OpError> {
    with_integer!(x.dtype(), T => map(ctx, x.as_slice::<T>()?, x.dims(), |v: T| !v))
}

/// Where the elements are NaN.
pub(crate) fn is_nan(ctx: &Context, x: &Tensor) -> Result<Tensor, OpError> {
    let x = numbers(ctx, x)?;
    with_real!(x.dtype(), T => map(ctx, x.as_slice::<T>()?, x.dims(), is_nan_as::<T>))
}

fn is_nan_as<T: Real>(v: T) -> bool {
    v.to_f64().is_nan()
}

/// Where the elements are infinite, and of a sign that counts.
pub(crate) fn is_inf(ctx: &Context, x: &Tensor, negative: bool, positive: bool) -> Result<Tensor, OpError> {
    let x = numbers(ctx, x)?;
    with_real!(x.dtype(), T => map(ctx, x.as_slice::<T>()?, x.dims(), |v: T| {
        let v = v.to_f64();
        (positive && v == f64::INFINITY) || (negative && v == f64::NEG_INFINITY)
    }))
}

/// Codes of 8-bit floats as the numbers that they stand for.
fn numbers(ctx: &Context, x: &Tensor) -> Result<Tensor, OpError> {
    if x.dtype().is_float8() { float_to(ctx, x, DType::F32) } else { Ok(x.clone()) }
}

/// Elements of the second input where the first is true, of the third elsewhere.
pub(crate) fn choose(ctx: &Context, inputs: Inputs) -> Result<Tensor, OpError> {
    let (condition, a, b) = (inputs.need(0)?, inputs.need(1)?, inputs.need(2)?);
    same_dtype(a, b, "input 2")?;
    with_storage!(a.dtype(), T => choose_as::<T>(ctx, condition, a, b))
}

fn choose_as<T: Element>(
    ctx: &Context,
    condition: &Tensor,
    a: &Tensor,
    b: &Tensor,
) -> Result<Tensor, OpError> {
    let dims = broadcast(&broadcast(condition.dims(), a.dims())?, b.dims())?;
    let (c, x, y) = (condition.as_slice::<bool>()?, a.as_slice::<T>()?, b.as_slice::<T>()?);
    let mut out = ctx.zeros::<T>(&dims)?;
    if !out.is_empty() {
        let steps = [condition, a, b].map(|t| broadcast_strides(t.dims(), &dims));
        let mut axes = coalesce(&dims, [&steps[0], &steps[1], &steps[2]]);
        let (row, [step_c, step_x, step_y]) = axes.pop().unwrap_or((1, [0; 3]));
        parallel::chunks(&mut out, row, CHUNK / row, &|index, out| {
            let (mut rest, mut at) = (index, [0; 3]);
            for (len, steps) in axes.iter().rev() {
                at.iter_mut().zip(steps).for_each(|(at, step)| *at += rest % len * step);
                rest /= len;
            }
            for (i, o) in out.iter_mut().enumerate() {
                *o = if c[at[0] + i * step_c] { x[at[1] + i * step_x] } else { y[at[2] + i * step_y] };
            }
        });
    }
    Ok(Tensor::with_dtype(a.dtype(), &dims, out)?)
}
