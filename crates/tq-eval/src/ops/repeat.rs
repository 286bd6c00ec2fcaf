//! Elements repeated, left out, or regrouped.

use super::lanes::one_integer;
use super::movement::{copy_strided, transpose};
use super::{Context, Inputs, integers};
use crate::OpError;
use crate::number::with_storage;
use crate::shape::{broadcast, broadcast_strides, strides};
use tq_graph::{Element, Tensor};

/// Sizes given as values of a tensor.
fn sizes(t: &Tensor, what: &str) -> Result<Vec<usize>, OpError> {
    let size = |d: i64| {
        usize::try_from(d).map_err(|_| OpError::Shape(format!("{what} has the negative number {d}")))
    };
    integers(t, what)?.into_iter().map(size).collect()
}

/// `x` repeated to the shape that it and `shape` broadcast to.
pub(crate) fn expand(ctx: &Context, x: &Tensor, shape: &Tensor) -> Result<Tensor, OpError> {
    let dims = broadcast(x.dims(), &sizes(shape, "shape")?)?;
    if dims == x.dims() {
        return Ok(x.clone());
    }
    let steps: Vec<isize> = broadcast_strides(x.dims(), &dims).iter().map(|s| *s as isize).collect();
    copy_strided(ctx, x, 0, &dims, &steps)
}

/// Copies of `x` side by side, `repeats` of them along each axis.
pub(crate) fn tile(ctx: &Context, x: &Tensor, repeats: &Tensor) -> Result<Tensor, OpError> {
    let repeats = sizes(repeats, "repeats")?;
    if repeats.len() != x.rank() {
        return Err(OpError::Shape(format!("{} repeats for {} axes", repeats.len(), x.rank())));
    }
    let too_large = || OpError::Shape(format!("{:?} times {repeats:?} is too large", x.dims()));
    let mut dims = Vec::with_capacity(x.rank());
    // Each axis becomes two: one along which nothing moves, and itself.
    let (mut split, mut steps) = (Vec::new(), Vec::new());
    for ((d, n), step) in x.dims().iter().zip(&repeats).zip(strides(x.dims())) {
        dims.push(d.checked_mul(*n).ok_or_else(too_large)?);
        split.extend([*n, *d]);
        steps.extend([0, step as isize]);
    }
    if dims.contains(&0) {
        // Nothing is copied, however often.
        return with_storage!(x.dtype(), T => {
            Ok(Tensor::with_dtype(x.dtype(), &dims, ctx.zeros::<T>(&dims)?)?)
        });
    }
    Ok(copy_strided(ctx, x, 0, &split, &steps)?.reshape(&dims)?)
}

/// The upper or lower triangle of each matrix, from the diagonal that `k` names on.
pub(crate) fn trilu(ctx: &Context, inputs: Inputs, upper: bool) -> Result<Tensor, OpError> {
    let x = inputs.need(0)?;
    let k = inputs.get(1).map_or(Ok(0), |k| one_integer(k, "k"))?;
    let [.., rows, columns] = *x.dims() else {
        return Err(OpError::Shape(format!("{:?} is no matrix", x.dims())));
    };
    with_storage!(x.dtype(), T => {
        let mut out = ctx.zeros::<T>(x.dims())?;
        if columns > 0 {
            let lines = out.chunks_mut(columns).zip(x.as_slice::<T>()?.chunks(columns));
            for (i, (out, x)) in lines.enumerate() {
                copy_triangle(out, x, (i % rows) as i64, k, upper);
            }
        }
        Ok(Tensor::with_dtype(x.dtype(), x.dims(), out)?)
    })
}

/// Copies what a triangle has of row `row`.
fn copy_triangle<T: Element>(out: &mut [T], x: &[T], row: i64, k: i64, upper: bool) {
    let first = row.saturating_add(k);
    // The first column of the upper triangle, or the first after the lower one.
    let edge = usize::try_from(if upper { first } else { first.saturating_add(1) }.max(0));
    let edge = edge.unwrap_or(usize::MAX).min(x.len());
    let part = if upper { edge..x.len() } else { 0..edge };
    out[part.clone()].copy_from_slice(&x[part]);
}

/// Batch, channels, height and width.
fn image(x: &Tensor) -> Result<[usize; 4], OpError> {
    <[usize; 4]>::try_from(x.dims())
        .map_err(|_| OpError::Shape(format!("{:?} is no batch of images of rank 4", x.dims())))
}

fn whole_blocks(x: &Tensor, axis: usize, parts: Option<usize>) -> Result<usize, OpError> {
    let size = x.dims()[axis];
    parts.filter(|p| *p > 0 && size.is_multiple_of(*p)).map(|p| size / p).ok_or_else(|| {
        OpError::Shape(format!("{size} elements on axis {axis} are no whole number of blocks"))
    })
}

/// Channels become blocks.
pub(crate) fn depth_to_space(
    ctx: &Context,
    x: &Tensor,
    block: usize,
    channel_first: bool,
) -> Result<Tensor, OpError> {
    let [n, _, h, w] = image(x)?;
    let c = whole_blocks(x, 1, block.checked_mul(block))?;
    let (parts, perm) = if channel_first {
        ([n, c, block, block, h, w], [0, 1, 4, 2, 5, 3])
    } else {
        ([n, block, block, c, h, w], [0, 3, 4, 1, 5, 2])
    };
    let moved = transpose(ctx, &x.clone().reshape(&parts)?, Some(&perm))?;
    let [_, _, h, bh, w, bw] = <[usize; 6]>::try_from(moved.dims()).unwrap_or_default();
    Ok(moved.reshape(&[n, c, h.saturating_mul(bh), w.saturating_mul(bw)])?)
}

/// Blocks become channels.
pub(crate) fn space_to_depth(ctx: &Context, x: &Tensor, block: usize) -> Result<Tensor, OpError> {
    let [n, c, _, _] = image(x)?;
    let (h, w) = (whole_blocks(x, 2, Some(block))?, whole_blocks(x, 3, Some(block))?);
    let parts = x.clone().reshape(&[n, c, h, block, w, block])?;
    let moved = transpose(ctx, &parts, Some(&[0, 3, 5, 1, 2, 4]))?;
    let channels = block.checked_mul(block).and_then(|b| b.checked_mul(c));
    let channels = channels.ok_or_else(|| OpError::Shape(format!("blocks of {block} are too large")))?;
    Ok(moved.reshape(&[n, channels, h, w])?)
}
