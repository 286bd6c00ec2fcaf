//! Functions of one element.

use super::{Context, Inputs, map, same_dtype};
use crate::OpError;
use crate::number::{Number, Real, with_number, with_real};
use tq_graph::Tensor;
use tq_graph::op::UnaryOp;

/// An activation. NaN stays NaN.
pub(crate) fn unary(ctx: &Context, op: UnaryOp, x: &Tensor) -> Result<Tensor, OpError> {
    if op == UnaryOp::Relu {
        return with_number!(x.dtype(), T => relu::<T>(ctx, x));
    }
    with_real!(x.dtype(), T => activation::<T>(ctx, op, x))
}

fn relu<T: Number>(ctx: &Context, x: &Tensor) -> Result<Tensor, OpError> {
    map(ctx, x.as_slice::<T>()?, x.dims(), |v| if v <= T::ZERO { T::ZERO } else { v })
}

fn activation<T: Real>(ctx: &Context, op: UnaryOp, x: &Tensor) -> Result<Tensor, OpError> {
    let (data, dims) = (x.as_slice::<T>()?, x.dims());
    match op {
        UnaryOp::Relu => relu::<T>(ctx, x),
        UnaryOp::Elu { alpha } => {
            let alpha = T::of_f32(alpha);
            map(ctx, data, dims, |v| if v > T::ZERO { v } else { alpha * v.exp_m1() })
        }
        UnaryOp::Sigmoid => map(ctx, data, dims, sigmoid::<T>),
        UnaryOp::HardSigmoid { alpha, beta } => {
            let (alpha, beta) = (T::of_f32(alpha), T::of_f32(beta));
            map(ctx, data, dims, |v| clamp(alpha * v + beta, T::ZERO, T::ONE))
        }
        UnaryOp::HardSwish => {
            let (six, half) = (T::of_f32(6.0), T::of_f32(0.5));
            map(ctx, data, dims, |v| v * clamp(v / six + half, T::ZERO, T::ONE))
        }
        _ => Err(OpError::Unsupported("Unary")),
    }
}

/// `1 / (1 + exp(-x))`, written so that the exponential never overflows.
fn sigmoid<T: Real>(x: T) -> T {
    if x >= T::ZERO {
        T::ONE / (T::ONE + (T::ZERO - x).exp())
    } else {
        let e = x.exp();
        e / (T::ONE + e)
    }
}

/// `min(max(x, lo), hi)` as in numpy: NaN in any of the three gives NaN, and `hi` wins over `lo`.
fn clamp<T: Number>(x: T, lo: T, hi: T) -> T {
    lower(raise(x, lo), hi)
}

/// The larger of the two, or NaN if one is.
fn raise<T: Number>(x: T, lo: T) -> T {
    if x >= lo || x.partial_cmp(&x).is_none() { x } else { lo }
}

/// The smaller of the two, or NaN if one is.
fn lower<T: Number>(x: T, hi: T) -> T {
    if x <= hi || x.partial_cmp(&x).is_none() { x } else { hi }
}

/// Clip between two optional scalars.
pub(crate) fn clip(ctx: &Context, inputs: Inputs) -> Result<Tensor, OpError> {
    let x = inputs.need(0)?;
    with_number!(x.dtype(), T => clip_as::<T>(ctx, x, inputs.get(1), inputs.get(2)))
}

fn clip_as<T: Number>(
    ctx: &Context,
    x: &Tensor,
    min: Option<&Tensor>,
    max: Option<&Tensor>,
) -> Result<Tensor, OpError> {
    let bound = |t: Option<&Tensor>, what: &'static str| {
        let Some(t) = t else { return Ok(None) };
        same_dtype(x, t, what)?;
        match t.as_slice::<T>()? {
            [v] => Ok(Some(*v)),
            v => Err(OpError::Shape(format!("{what} has {} elements, expected one", v.len()))),
        }
    };
    let data = x.as_slice::<T>()?;
    match (bound(min, "min")?, bound(max, "max")?) {
        (None, None) => Ok(x.clone()),
        (Some(lo), Some(hi)) => map(ctx, data, x.dims(), |v| clamp(v, lo, hi)),
        (Some(lo), None) => map(ctx, data, x.dims(), |v| raise(v, lo)),
        (None, Some(hi)) => map(ctx, data, x.dims(), |v| lower(v, hi)),
    }
}
