//! Means over axes.

use super::{Context, Inputs, integers, movement::transpose};
use crate::OpError;
use crate::number::{Number, with_number, with_real};
use crate::shape::{axis_indices, numel};
use rayon::prelude::*;
use tq_graph::Tensor;

/// Mean over all spatial axes.
pub(crate) fn global_average_pool(ctx: &Context, x: &Tensor) -> Result<Tensor, OpError> {
    if x.rank() < 2 {
        return Err(OpError::Shape(format!("input of shape {:?} has no channels", x.dims())));
    }
    let dims: Vec<usize> =
        x.dims()[..2].iter().copied().chain(std::iter::repeat_n(1, x.rank() - 2)).collect();
    let inner = numel(&x.dims()[2..]);
    with_real!(x.dtype(), T => means::<T>(ctx, x, inner, &dims))
}

/// Mean over the given axes, or over all.
pub(crate) fn reduce_mean(
    ctx: &Context,
    inputs: Inputs,
    keep_dims: bool,
    noop_with_empty_axes: bool,
) -> Result<Tensor, OpError> {
    let x = inputs.need(0)?;
    let given = inputs.get(1).map(|t| integers(t, "axes")).transpose()?.unwrap_or_default();
    if given.is_empty() && noop_with_empty_axes {
        return Ok(x.clone());
    }
    let mut reduce = vec![given.is_empty(); x.rank()];
    for axis in axis_indices(&given, x.rank())? {
        reduce[axis] = true;
    }
    let (reduced, kept): (Vec<usize>, Vec<usize>) = (0..x.rank()).partition(|i| reduce[*i]);
    let inner: usize = reduced.iter().map(|i| x.dims()[*i]).product();
    let dims: Vec<usize> = (0..x.rank())
        .filter(|i| keep_dims || !reduce[*i])
        .map(|i| if reduce[i] { 1 } else { x.dims()[i] })
        .collect();
    // Reduced axes last: each mean is then one run of elements.
    let perm: Vec<usize> = kept.iter().chain(&reduced).copied().collect();
    let ordered = if perm.is_sorted() { x.clone() } else { transpose(ctx, x, Some(&perm))? };
    with_number!(x.dtype(), T => means::<T>(ctx, &ordered, inner, &dims))
}

/// The mean of every run of `inner` elements, as a tensor of shape `dims`.
fn means<T: Number>(ctx: &Context, x: &Tensor, inner: usize, dims: &[usize]) -> Result<Tensor, OpError> {
    // An empty mean is 0 / 0: NaN for floats, an error for integers.
    let empty =
        if inner == 0 && numel(dims) > 0 { T::mean(&[]).ok_or(OpError::DivisionByZero)? } else { T::ZERO };
    let mut out = ctx.filled(dims, empty)?;
    if inner > 0 {
        let runs = x.as_slice::<T>()?.par_chunks(inner);
        out.par_iter_mut().with_min_len(((1 << 12) / inner).max(1)).zip(runs).for_each(|(o, run)| {
            *o = T::mean(run).unwrap_or(T::ZERO);
        });
    }
    Ok(Tensor::new(dims, out)?)
}
