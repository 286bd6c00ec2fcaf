//! Operators that move or rename elements without looking at them.

use super::{Context, Inputs, integers, promoted};
use crate::number::with_storage;
use crate::shape::{axis_index, axis_indices, numel, strides};
use crate::{OpError, Precision};
use tq_graph::{Element, Tensor};

/// Two axes, split before `axis`.
pub(crate) fn flatten(x: &Tensor, axis: i64) -> Result<Tensor, OpError> {
    let rank = x.rank();
    // Unlike elsewhere the rank itself is a valid axis: everything before it.
    let at = if axis == rank as i64 { rank } else { axis_index(axis, rank)? };
    let (rows, columns) = x.dims().split_at(at);
    Ok(x.clone().reshape(&[numel(rows), numel(columns)])?)
}

/// The shape that `shape` asks for: 0 takes the dimension of the input, -1 what is left over.
pub(crate) fn reshape(x: &Tensor, shape: &Tensor, allow_zero: bool) -> Result<Tensor, OpError> {
    let target = integers(shape, "shape")?;
    let bad = |why: &str| OpError::Shape(format!("{why}: {:?} to {target:?}", x.dims()));
    let mut dims = Vec::with_capacity(target.len());
    let mut unknown = None;
    // Dimensions taken over leave the count on both sides, so that a zero among them does no harm.
    let (mut asked, mut taken) = (1usize, vec![false; x.rank()]);
    for (i, &t) in target.iter().enumerate() {
        match t {
            -1 if unknown.is_some() => return Err(bad("two unknown dimensions")),
            -1 => {
                unknown = Some(i);
                dims.push(1);
            }
            0 if !allow_zero => {
                dims.push(*x.dims().get(i).ok_or_else(|| bad("0 beyond the rank of the input"))?);
                taken[i] = true;
            }
            t => {
                let d = usize::try_from(t).map_err(|_| bad("negative dimension"))?;
                asked = asked.checked_mul(d).ok_or_else(|| bad("too large"))?;
                dims.push(d);
            }
        }
    }
    if let Some(i) = unknown {
        let left: usize = x.dims().iter().zip(&taken).filter(|(_, t)| !**t).map(|(d, _)| d).product();
        if asked == 0 || !left.is_multiple_of(asked) {
            return Err(bad("no dimension fits -1"));
        }
        dims[i] = left / asked;
    }
    x.clone().reshape(&dims).map_err(|_| bad("the number of elements differs"))
}

/// Permuted axes.
pub(crate) fn transpose(ctx: &Context, x: &Tensor, perm: Option<&[usize]>) -> Result<Tensor, OpError> {
    let rank = x.rank();
    let perm: Vec<usize> = perm.map_or_else(|| (0..rank).rev().collect(), <[usize]>::to_vec);
    let mut seen = vec![false; rank];
    let distinct = perm.iter().all(|p| seen.get_mut(*p).is_some_and(|s| !std::mem::replace(s, true)));
    if perm.len() != rank || !distinct {
        return Err(OpError::Attribute(format!("{perm:?} does not permute {rank} axes")));
    }
    let dims: Vec<usize> = perm.iter().map(|p| x.dims()[*p]).collect();
    let own = strides(x.dims());
    let steps: Vec<isize> = perm.iter().map(|p| own[*p] as isize).collect();
    copy_strided(ctx, x, 0, &dims, &steps)
}

/// A tensor of shape `dims` of the elements of `x` that `start` and `steps` walk over, which must all exist.
pub(super) fn copy_strided(
    ctx: &Context,
    x: &Tensor,
    start: usize,
    dims: &[usize],
    steps: &[isize],
) -> Result<Tensor, OpError> {
    with_storage!(x.dtype(), T => {
        let data = gather_strided::<T>(ctx, x.as_slice()?, start, dims, steps)?;
        Ok(Tensor::with_dtype(x.dtype(), dims, data)?)
    })
}

fn gather_strided<T: Element>(
    ctx: &Context,
    x: &[T],
    start: usize,
    dims: &[usize],
    steps: &[isize],
) -> Result<Vec<T>, OpError> {
    let total = ctx.numel::<T>(dims)?;
    if total == 0 {
        return ctx.zeros(dims);
    }
    // Axes of length 1 do not move; neighbours that move evenly are one axis.
    let mut axes: Vec<(usize, isize)> = Vec::new();
    for (&len, &step) in dims.iter().zip(steps).filter(|(len, _)| **len != 1) {
        match axes.last_mut() {
            Some((last_len, last_step)) if *last_step == step * len as isize => {
                *last_len *= len;
                *last_step = step;
            }
            _ => axes.push((len, step)),
        }
    }
    let (row, step) = axes.pop().unwrap_or((1, 1));
    let mut out = ctx.zeros::<T>(dims)?;
    let mut index = vec![0usize; axes.len()];
    let mut at = start as isize;
    for out in out.chunks_mut(row) {
        if step == 1 {
            out.copy_from_slice(&x[at as usize..][..row]);
        } else {
            for (i, o) in out.iter_mut().enumerate() {
                *o = x[(at + i as isize * step) as usize];
            }
        }
        for (i, (len, step)) in index.iter_mut().zip(&axes).rev() {
            *i += 1;
            at += step;
            if *i < *len {
                break;
            }
            at -= step * *len as isize;
            *i = 0;
        }
    }
    Ok(out)
}

/// Axes of length 1 removed: those given, or all.
pub(crate) fn squeeze(inputs: Inputs) -> Result<Tensor, OpError> {
    let x = inputs.need(0)?;
    let mut keep: Vec<bool> = x.dims().iter().map(|d| *d != 1).collect();
    if let Some(axes) = inputs.get(1) {
        keep.fill(true);
        for i in axis_indices(&integers(axes, "axes")?, x.rank())? {
            if x.dims()[i] != 1 {
                return Err(OpError::Shape(format!("axis {i} of {:?} is not of length 1", x.dims())));
            }
            keep[i] = false;
        }
    }
    let dims: Vec<usize> = x.dims().iter().zip(keep).filter(|(_, keep)| *keep).map(|(d, _)| *d).collect();
    Ok(x.clone().reshape(&dims)?)
}

/// Axes of length 1 added, counted in the output.
pub(crate) fn unsqueeze(inputs: Inputs) -> Result<Tensor, OpError> {
    let x = inputs.need(0)?;
    let axes = integers(inputs.need(1)?, "axes")?;
    let mut dims = vec![None; x.rank() + axes.len()];
    for i in axis_indices(&axes, dims.len())? {
        dims[i] = Some(1);
    }
    let mut old = x.dims().iter().copied();
    let dims: Vec<usize> = dims.into_iter().map(|d| d.or_else(|| old.next()).unwrap_or(1)).collect();
    Ok(x.clone().reshape(&dims)?)
}

/// First index and number of indices of a slice of an axis of length `len`.
///
/// Clamped as ONNX says, which differs from Python where a negative step starts before the first index:
/// there the first index is taken.
fn slice_axis(len: usize, start: i64, end: i64, step: i64) -> (usize, usize) {
    let n = i128::from(len as u64);
    let (start, end, step) = (i128::from(start), i128::from(end), i128::from(step));
    let from_end = |v: i128| if v < 0 { v + n } else { v };
    if n == 0 {
        return (0, 0);
    }
    let (lo, hi) = if step > 0 { (0, n) } else { (-1, n - 1) };
    let (start, end) = (from_end(start).clamp(0, hi), from_end(end).clamp(lo, hi));
    let count = if step > 0 { (end - start + step - 1) / step } else { (start - end - step - 1) / -step };
    // Not negative after the test, and at most `len`.
    if count <= 0 { (0, 0) } else { (start as usize, count as usize) }
}

/// Ranges with steps, which may be negative.
pub(crate) fn slice(ctx: &Context, inputs: Inputs) -> Result<Tensor, OpError> {
    let x = inputs.need(0)?;
    let starts = integers(inputs.need(1)?, "starts")?;
    let ends = integers(inputs.need(2)?, "ends")?;
    let axes = match inputs.get(3) {
        Some(axes) => integers(axes, "axes")?,
        None => (0..starts.len() as i64).collect(),
    };
    let slice_steps = match inputs.get(4) {
        Some(steps) => integers(steps, "steps")?,
        None => vec![1; starts.len()],
    };
    if [ends.len(), axes.len(), slice_steps.len()].iter().any(|n| *n != starts.len()) {
        return Err(OpError::Shape(format!(
            "{} starts, {} ends, {} axes, {} steps",
            starts.len(),
            ends.len(),
            axes.len(),
            slice_steps.len()
        )));
    }
    if slice_steps.contains(&0) {
        return Err(OpError::Attribute("a step is 0".into()));
    }
    let axes = axis_indices(&axes, x.rank())?;
    let own = strides(x.dims());
    let mut dims = x.dims().to_vec();
    let mut steps: Vec<isize> = own.iter().map(|s| *s as isize).collect();
    let mut at = 0;
    for (i, &axis) in axes.iter().enumerate() {
        let (first, count) = slice_axis(x.dims()[axis], starts[i], ends[i], slice_steps[i]);
        dims[axis] = count;
        at += first * own[axis];
        // With at most one element the step is never taken, however large it is.
        steps[axis] = if count > 1 { own[axis] as isize * slice_steps[i] as isize } else { 0 };
    }
    if dims == x.dims() && slice_steps.iter().all(|s| *s > 0) {
        return Ok(x.clone());
    }
    copy_strided(ctx, x, at, &dims, &steps)
}

/// The dimensions `start..end`, counted from the end where negative and cut to the rank.
pub(crate) fn shape(x: &Tensor, start: i64, end: Option<i64>) -> Result<Tensor, OpError> {
    let rank = x.rank() as i64;
    let place = |v: i64| (if v < 0 { v.saturating_add(rank) } else { v }).clamp(0, rank) as usize;
    let (start, end) = (place(start), place(end.unwrap_or(rank)));
    let dims = x.dims().get(start..end).unwrap_or_default();
    Ok(Tensor::vector(dims.iter().map(|d| *d as i64).collect()))
}

/// A tensor of this shape filled with one value.
pub(crate) fn constant_of_shape(ctx: &Context, shape: &Tensor, value: &Tensor) -> Result<Tensor, OpError> {
    let dims: Vec<usize> = integers(shape, "shape")?
        .into_iter()
        .map(|d| usize::try_from(d).map_err(|_| OpError::Shape(format!("dimension {d} is negative"))))
        .collect::<Result<_, _>>()?;
    let value = if ctx.precision == Precision::F64 { promoted(ctx, value)? } else { value.clone() };
    with_storage!(value.dtype(), T => match value.as_slice::<T>()? {
        [v] => Ok(Tensor::with_dtype(value.dtype(), &dims, ctx.filled(&dims, *v)?)?),
        v => Err(OpError::Shape(format!("the value has {} elements, expected one", v.len()))),
    })
}

/// The input, and a mask that keeps everything.
pub(crate) fn dropout(ctx: &Context, x: &Tensor, mask: bool) -> Result<Vec<Tensor>, OpError> {
    let mut out = vec![x.clone()];
    if mask {
        out.push(Tensor::new(x.dims(), ctx.filled(x.dims(), true)?)?);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The rule in words: walk from the start, moved inside, while inside the bounds.
    fn walk(len: i64, start: i64, end: i64, step: i64) -> Vec<i64> {
        let from_end = |v: i64| if v < 0 { v + len } else { v };
        let (mut at, end) = (from_end(start), from_end(end));
        at = if step > 0 { at.max(0) } else { at.min(len - 1).max(0) };
        let mut out = Vec::new();
        while at >= 0 && at < len && (if step > 0 { at < end } else { at > end }) {
            out.push(at);
            at += step;
        }
        out
    }

    proptest! {
        #[test]
        fn slices_walk_from_their_start(
            len in 0usize..8, start in -12i64..12, end in -12i64..12, step in (-4i64..=4).prop_filter("not zero", |s| *s != 0)
        ) {
            let (first, count) = slice_axis(len, start, end, step);
            let got: Vec<i64> = (0..count as i64).map(|i| first as i64 + i * step).collect();
            let end = if end < -(len as i64) { -(len as i64) - 1 } else { end };
            prop_assert_eq!(got, walk(len as i64, start, end, step));
        }
    }

    #[test]
    fn extreme_slices_do_not_overflow() {
        assert_eq!(slice_axis(5, i64::MAX, i64::MIN, -1), (4, 5));
        assert_eq!(slice_axis(5, i64::MIN, i64::MAX, i64::MAX), (0, 1));
        assert_eq!(slice_axis(5, i64::MAX, i64::MIN, i64::MIN), (4, 1));
        assert_eq!(slice_axis(0, -1, i64::MIN, -1), (0, 0));
    }
}
