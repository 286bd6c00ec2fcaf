//! Concat, Split, Gather: copies of whole runs of elements.

use super::{Context, Inputs, integers, same_dtype};
use crate::OpError;
use crate::number::with_storage;
use crate::shape::{axis_index, numel};
use tq_graph::{Element, Tensor};

/// Tensors one after the other along `axis`.
pub(crate) fn concat(ctx: &Context, parts: &[&Tensor], axis: i64) -> Result<Tensor, OpError> {
    let first = *parts.first().ok_or(OpError::MissingInput { index: 0 })?;
    let axis = axis_index(axis, first.rank())?;
    let mut dims = first.dims().to_vec();
    let mut length = 0usize;
    for part in parts {
        same_dtype(first, part, "a later input")?;
        let fits =
            part.rank() == first.rank() && (0..dims.len()).all(|i| i == axis || part.dims()[i] == dims[i]);
        if !fits {
            return Err(OpError::Shape(format!(
                "shapes {:?} and {:?} do not go together along axis {axis}",
                first.dims(),
                part.dims()
            )));
        }
        // The dimensions of tensors that exist fit; their sum is checked with the output.
        length = length.saturating_add(part.dims()[axis]);
    }
    dims[axis] = length;
    with_storage!(first.dtype(), T => {
        let data = concat_as::<T>(ctx, parts, &dims, axis)?;
        Ok(Tensor::with_dtype(first.dtype(), &dims, data)?)
    })
}

fn concat_as<T: Element>(
    ctx: &Context,
    parts: &[&Tensor],
    dims: &[usize],
    axis: usize,
) -> Result<Vec<T>, OpError> {
    let mut out = ctx.zeros::<T>(dims)?;
    if out.is_empty() {
        return Ok(out);
    }
    let inner = numel(&dims[axis + 1..]);
    let row = dims[axis] * inner;
    let mut at = 0;
    for part in parts {
        let run = part.dims()[axis] * inner;
        if run > 0 {
            for (out, src) in out.chunks_mut(row).zip(part.as_slice::<T>()?.chunks(run)) {
                out[at..at + run].copy_from_slice(src);
            }
        }
        at += run;
    }
    Ok(out)
}

/// Consecutive parts along `axis`, of the given lengths or `n_outputs` equal ones, the last maybe shorter.
pub(crate) fn split(
    ctx: &Context,
    inputs: Inputs,
    axis: i64,
    n_outputs: usize,
) -> Result<Vec<Tensor>, OpError> {
    let x = inputs.need(0)?;
    let axis = axis_index(axis, x.rank())?;
    let length = x.dims()[axis];
    let bad = |what: String| OpError::Shape(format!("{what} for axis {axis} of length {length}"));
    let lengths: Vec<usize> = match inputs.get(1) {
        Some(split) => {
            let asked = integers(split, "split")?;
            let lengths: Option<Vec<usize>> = asked.iter().map(|v| usize::try_from(*v).ok()).collect();
            let sum = lengths.as_ref().and_then(|l| l.iter().try_fold(0usize, |n, d| n.checked_add(*d)));
            match lengths {
                Some(lengths) if sum == Some(length) && lengths.len() == n_outputs => lengths,
                _ => return Err(bad(format!("split {asked:?} into {n_outputs} outputs"))),
            }
        }
        None => {
            let part = length.div_ceil(n_outputs.max(1));
            let last = part.checked_mul(n_outputs.saturating_sub(1)).and_then(|n| length.checked_sub(n));
            let last = last.ok_or_else(|| bad(format!("{n_outputs} equal parts")))?;
            let mut lengths = vec![part; n_outputs - 1];
            lengths.push(last);
            lengths
        }
    };
    let mut at = 0;
    lengths
        .into_iter()
        .map(|len| {
            let part = with_storage!(x.dtype(), T => part::<T>(ctx, x, axis, at, len));
            at += len;
            part
        })
        .collect()
}

fn part<T: Element>(
    ctx: &Context,
    x: &Tensor,
    axis: usize,
    at: usize,
    len: usize,
) -> Result<Tensor, OpError> {
    let mut dims = x.dims().to_vec();
    let inner = numel(&dims[axis + 1..]);
    let row = dims[axis] * inner;
    dims[axis] = len;
    let mut out = ctx.zeros::<T>(&dims)?;
    if !out.is_empty() {
        let run = len * inner;
        for (out, src) in out.chunks_mut(run).zip(x.as_slice::<T>()?.chunks(row)) {
            out.copy_from_slice(&src[at * inner..][..run]);
        }
    }
    Ok(Tensor::with_dtype(x.dtype(), &dims, out)?)
}

/// The entries of `x` along `axis` that `indices` name; negative ones count from the end.
pub(crate) fn gather(ctx: &Context, x: &Tensor, indices: &Tensor, axis: i64) -> Result<Tensor, OpError> {
    let axis = axis_index(axis, x.rank())?;
    let len = x.dims()[axis];
    let wanted = indices.to_i64_vec().ok_or_else(|| OpError::DType {
        what: "indices",
        got: indices.dtype(),
        expected: "integers".into(),
    })?;
    let places: Vec<usize> = wanted
        .into_iter()
        .map(|index| {
            let from_start = if index < 0 { index.saturating_add(len as i64) } else { index };
            let place = usize::try_from(from_start).ok().filter(|p| *p < len);
            place.ok_or(OpError::Index { index, axis, len })
        })
        .collect::<Result<_, _>>()?;
    let dims: Vec<usize> =
        x.dims()[..axis].iter().chain(indices.dims()).chain(&x.dims()[axis + 1..]).copied().collect();
    with_storage!(x.dtype(), T => {
        let mut out = ctx.zeros::<T>(&dims)?;
        if !out.is_empty() {
            let run = numel(&x.dims()[axis + 1..]);
            let rows = x.as_slice::<T>()?.chunks(len * run);
            for (out, src) in out.chunks_mut(places.len() * run).zip(rows) {
                for (out, place) in out.chunks_mut(run).zip(&places) {
                    out.copy_from_slice(&src[place * run..][..run]);
                }
            }
        }
        Ok(Tensor::with_dtype(x.dtype(), &dims, out)?)
    })
}
