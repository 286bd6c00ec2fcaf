//! Elements picked by arrays of indices, and put back.

use super::unary::{lower, raise};
use super::{Context, Inputs, same_dtype};
use crate::OpError;
use crate::number::{Number, with_number, with_storage};
use crate::shape::{axis_index, numel, strides};
use tq_graph::op::ScatterReduction;
use tq_graph::{Element, Tensor};

/// The place on an axis of length `len` that an index names; negative ones count from the end.
pub(super) fn place(index: i64, axis: usize, len: usize) -> Result<usize, OpError> {
    let from_start = if index < 0 { index.saturating_add(len as i64) } else { index };
    usize::try_from(from_start).ok().filter(|p| *p < len).ok_or(OpError::Index { index, axis, len })
}

fn indices_of(t: &Tensor) -> Result<Vec<i64>, OpError> {
    t.to_i64_vec().ok_or_else(|| OpError::DType {
        what: "indices",
        got: t.dtype(),
        expected: "integers".into(),
    })
}

/// For each element of `indices` the element of a tensor of shape `dims` that stands at the same place, but for the
/// index along `axis`.
fn element_places(dims: &[usize], indices: &Tensor, axis: usize) -> Result<Vec<usize>, OpError> {
    let shape = indices.dims();
    let fits = shape.len() == dims.len() && (0..dims.len()).all(|i| i == axis || shape[i] <= dims[i]);
    if !fits {
        return Err(OpError::Shape(format!("indices of shape {shape:?} do not lie within {dims:?}")));
    }
    let (own, of_indices) = (strides(dims), strides(shape));
    let place_of = |(at, index): (usize, i64)| {
        let rest = (0..dims.len()).filter(|i| *i != axis).map(|i| at / of_indices[i] % shape[i] * own[i]);
        Ok(rest.sum::<usize>() + place(index, axis, dims[axis])? * own[axis])
    };
    indices_of(indices)?.into_iter().enumerate().map(place_of).collect()
}

/// The elements of `x` that `indices` name along `axis`, at its own place each.
pub(crate) fn gather_elements(
    ctx: &Context,
    x: &Tensor,
    indices: &Tensor,
    axis: i64,
) -> Result<Tensor, OpError> {
    let axis = axis_index(axis, x.rank())?;
    let places = element_places(x.dims(), indices, axis)?;
    with_storage!(x.dtype(), T => {
        let data = x.as_slice::<T>()?;
        let mut out = ctx.zeros::<T>(indices.dims())?;
        out.iter_mut().zip(places).for_each(|(o, place)| *o = data[place]);
        Ok(Tensor::with_dtype(x.dtype(), indices.dims(), out)?)
    })
}

/// What positions of several numbers name: runs of elements of a tensor.
struct Runs {
    /// First element of each.
    starts: Vec<u64>,
    /// Elements of each.
    len: usize,
    /// Shape of all of them together.
    dims: Vec<usize>,
}

/// The runs of a tensor of shape `dims` that the positions along the last axis of `indices` name. Where they have no
/// elements there are none.
fn runs(ctx: &Context, dims: &[usize], indices: &Tensor, batch_dims: usize) -> Result<Runs, OpError> {
    let shape = indices.dims();
    let bad = || {
        OpError::Shape(format!("indices of shape {shape:?} for {dims:?} with {batch_dims} batch dimensions"))
    };
    let (depth, leading) = shape.split_last().ok_or_else(bad)?;
    let end = batch_dims.checked_add(*depth).filter(|end| *end <= dims.len()).ok_or_else(bad)?;
    if leading.get(..batch_dims).is_none_or(|b| b != &dims[..batch_dims]) {
        return Err(bad());
    }
    let rest = &dims[end..];
    let mut runs = Runs { starts: Vec::new(), len: numel(rest), dims: [leading, rest].concat() };
    if runs.dims.contains(&0) {
        return Ok(runs);
    }
    let own = strides(dims);
    let of_batch = if batch_dims > 0 { own[batch_dims - 1] } else { 0 };
    let batch_len = numel(&leading[batch_dims..]);
    let positions = indices_of(indices)?;
    runs.starts = ctx.zeros::<u64>(leading)?;
    for (i, start) in runs.starts.iter_mut().enumerate() {
        let position = positions.get(i * depth..(i + 1) * depth).ok_or_else(bad)?;
        let mut at = i / batch_len * of_batch;
        for (index, axis) in position.iter().zip(batch_dims..) {
            at += place(*index, axis, dims[axis])? * own[axis];
        }
        *start = at as u64;
    }
    Ok(runs)
}

/// The parts of `x` at the positions along the last axis of `indices`.
pub(crate) fn gather_nd(
    ctx: &Context,
    x: &Tensor,
    indices: &Tensor,
    batch_dims: usize,
) -> Result<Tensor, OpError> {
    let runs = runs(ctx, x.dims(), indices, batch_dims)?;
    with_storage!(x.dtype(), T => {
        let data = x.as_slice::<T>()?;
        let mut out = ctx.zeros::<T>(&runs.dims)?;
        for (out, start) in out.chunks_mut(runs.len.max(1)).zip(&runs.starts) {
            out.copy_from_slice(&data[*start as usize..][..runs.len]);
        }
        Ok(Tensor::with_dtype(x.dtype(), &runs.dims, out)?)
    })
}

/// `x` with updates at the elements that `indices` name along `axis`, one after the other.
pub(crate) fn scatter_elements(
    x: Tensor,
    inputs: Inputs,
    axis: i64,
    reduction: ScatterReduction,
) -> Result<Tensor, OpError> {
    let (indices, updates) = (inputs.need(1)?, inputs.need(2)?);
    let axis = axis_index(axis, x.rank())?;
    let starts = element_places(x.dims(), indices, axis)?.into_iter().map(|p| p as u64).collect();
    let dims = indices.dims().to_vec();
    scatter(x, updates, &Runs { starts, len: 1, dims }, reduction)
}

/// `x` with updates of the parts at the positions along the last axis of `indices`, one after the other.
pub(crate) fn scatter_nd(
    ctx: &Context,
    x: Tensor,
    inputs: Inputs,
    reduction: ScatterReduction,
) -> Result<Tensor, OpError> {
    let runs = runs(ctx, x.dims(), inputs.need(1)?, 0)?;
    scatter(x, inputs.need(2)?, &runs, reduction)
}

fn scatter(
    mut x: Tensor,
    updates: &Tensor,
    runs: &Runs,
    reduction: ScatterReduction,
) -> Result<Tensor, OpError> {
    same_dtype(&x, updates, "updates")?;
    if updates.dims() != runs.dims {
        let (got, expected) = (updates.dims(), &runs.dims);
        return Err(OpError::Shape(format!("updates have shape {got:?}, expected {expected:?}")));
    }
    if reduction == ScatterReduction::None {
        with_storage!(x.dtype(), T => write::<T>(&mut x, updates, runs, |_, new| new))?;
    } else {
        with_number!(x.dtype(), T => match reduction {
            ScatterReduction::Add => write::<T>(&mut x, updates, runs, T::plus),
            ScatterReduction::Mul => write::<T>(&mut x, updates, runs, T::times),
            ScatterReduction::Max => write::<T>(&mut x, updates, runs, raise::<T>),
            _ => write::<T>(&mut x, updates, runs, lower::<T>),
        })?;
    }
    Ok(x)
}

fn write<T: Element>(
    x: &mut Tensor,
    updates: &Tensor,
    runs: &Runs,
    f: impl Fn(T, T) -> T,
) -> Result<(), OpError> {
    let data = x.as_mut_slice::<T>()?;
    for (start, new) in runs.starts.iter().zip(updates.as_slice::<T>()?.chunks(runs.len.max(1))) {
        data[*start as usize..][..runs.len].iter_mut().zip(new).for_each(|(o, v)| *o = f(*o, *v));
    }
    Ok(())
}
