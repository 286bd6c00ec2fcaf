//! Functions of any number of tensors.

use super::unary::{lower, raise};
use super::{Context, binary::zip, map, same_dtype};
use crate::OpError;
use crate::number::{Number, Real, with_number, with_real};
use tq_graph::Tensor;
use tq_graph::op::VariadicOp;

/// The smallest, the largest, the sum or the mean of all inputs, taken from first to last.
pub(crate) fn variadic(ctx: &Context, op: VariadicOp, parts: &[&Tensor]) -> Result<Tensor, OpError> {
    let Some((first, rest)) = parts.split_first() else { return Err(OpError::MissingInput { index: 0 }) };
    for part in rest {
        same_dtype(first, part, "a later input")?;
    }
    match op {
        VariadicOp::Min => with_number!(first.dtype(), T => fold(ctx, first, rest, lower::<T>)),
        VariadicOp::Max => with_number!(first.dtype(), T => fold(ctx, first, rest, raise::<T>)),
        VariadicOp::Sum => with_real!(first.dtype(), T => fold(ctx, first, rest, <T as Number>::plus)),
        VariadicOp::Mean => with_real!(first.dtype(), T => mean::<T>(ctx, first, rest)),
    }
}

fn fold<T: Number>(
    ctx: &Context,
    first: &Tensor,
    rest: &[&Tensor],
    f: impl Fn(T, T) -> T + Sync + Copy,
) -> Result<Tensor, OpError> {
    // Checked here for the case that there is nothing to fold.
    first.as_slice::<T>()?;
    rest.iter().try_fold(first.clone(), |so_far, part| zip(ctx, &so_far, part, f))
}

fn mean<T: Real>(ctx: &Context, first: &Tensor, rest: &[&Tensor]) -> Result<Tensor, OpError> {
    let sum = fold(ctx, first, rest, T::plus)?;
    let n = T::of_f64(1.0 + rest.len() as f64);
    map(ctx, sum.as_slice::<T>()?, sum.dims(), |v: T| v / n)
}
