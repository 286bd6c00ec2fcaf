//! Loops over elements, with numpy broadcasting.

use super::norm::lanes;
use crate::parallel::{self, CHUNK};
use tq_eval::OpError;
use tq_graph::{GraphError, Tensor};

/// `f(of, other)` for every element; `of` is written over where nobody else has it.
pub(crate) fn combine(
    mut of: Tensor,
    other: &[f32],
    f: impl Fn(f32, f32) -> f32 + Sync,
) -> Result<Tensor, OpError> {
    check_len(&of, other.len())?;
    parallel::chunks(of.as_mut_slice::<f32>()?, CHUNK, &|i, out| {
        out.iter_mut().zip(&other[i * CHUNK..]).for_each(|(o, v)| *o = f(*o, *v));
    });
    Ok(of)
}

/// `f(of)` for every element; `of` is written over where nobody else has it.
pub(crate) fn map(mut of: Tensor, f: impl Fn(f32) -> f32 + Sync) -> Result<Tensor, OpError> {
    parallel::chunks(of.as_mut_slice::<f32>()?, CHUNK, &|_, out| {
        out.iter_mut().for_each(|o| *o = f(*o));
    });
    Ok(of)
}

fn check_len(of: &Tensor, len: usize) -> Result<(), OpError> {
    if of.len() == len {
        return Ok(());
    }
    Err(GraphError::DataLength { dims: of.dims().to_vec(), len }.into())
}

/// For every axis of `to` how many elements of a tensor of shape `from` one step is: 0 where that is broadcast.
pub(crate) fn broadcast_strides(from: &[usize], to: &[usize]) -> Vec<usize> {
    let mut strides = vec![0; to.len()];
    let mut step = 1;
    for (i, len) in from.iter().enumerate().rev() {
        let axis = (i + to.len()).checked_sub(from.len());
        if let Some(axis) = axis.filter(|_| *len != 1) {
            strides[axis] = step;
        }
        step *= len;
    }
    strides
}

/// `f(gradient, element of a, element of b)` for every element of a gradient, where `a` and `b` broadcast to its shape.
pub(crate) fn combine_broadcast(
    gradient: Tensor,
    (a, a_dims): (&[f32], &[usize]),
    (b, b_dims): (&[f32], &[usize]),
    f: impl Fn(f32, f32, f32) -> f32 + Sync,
) -> Result<Tensor, OpError> {
    let dims = gradient.dims().to_vec();
    let mut gradient = gradient;
    let out = gradient.as_mut_slice::<f32>()?;
    if a_dims == dims && b_dims == dims {
        parallel::chunks(out, CHUNK, &|i, out| {
            let at = i * CHUNK;
            out.iter_mut().zip(&a[at..]).zip(&b[at..]).for_each(|((o, a), b)| *o = f(*o, *a, *b));
        });
        return Ok(gradient);
    }
    let (dims, [steps_a, steps_b]) =
        joined(&dims, [broadcast_strides(a_dims, &dims), broadcast_strides(b_dims, &dims)]);
    let (row, outer) = match dims.split_last() {
        Some((row, outer)) => (*row, outer),
        None => (1, &[][..]),
    };
    let (step_a, step_b) = (steps_a.last().copied().unwrap_or(0), steps_b.last().copied().unwrap_or(0));
    if row == 0 {
        return Ok(gradient);
    }
    let rows = (CHUNK / row).max(1);
    parallel::chunks(out, rows * row, &|i, out| {
        for (r, out) in out.chunks_mut(row).enumerate() {
            let (at_a, at_b) = (offset(i * rows + r, outer, &steps_a), offset(i * rows + r, outer, &steps_b));
            // The usual steps as loops of their own, of which compilers make vector code.
            match (step_a, step_b) {
                (1, 1) => {
                    let both = a[at_a..][..row].iter().zip(&b[at_b..][..row]);
                    out.iter_mut().zip(both).for_each(|(o, (a, b))| *o = f(*o, *a, *b));
                }
                (1, 0) => {
                    let b = b[at_b];
                    out.iter_mut().zip(&a[at_a..][..row]).for_each(|(o, a)| *o = f(*o, *a, b));
                }
                (0, 1) => {
                    let a = a[at_a];
                    out.iter_mut().zip(&b[at_b..][..row]).for_each(|(o, b)| *o = f(*o, a, *b));
                }
                (0, 0) => {
                    let (a, b) = (a[at_a], b[at_b]);
                    out.iter_mut().for_each(|o| *o = f(*o, a, b));
                }
                _ => {
                    for (j, o) in out.iter_mut().enumerate() {
                        *o = f(*o, a[at_a + j * step_a], b[at_b + j * step_b]);
                    }
                }
            }
        }
    });
    Ok(gradient)
}

/// Lengths and steps of axes, where those are one that are gone through as one.
fn joined<const N: usize>(dims: &[usize], steps: [Vec<usize>; N]) -> (Vec<usize>, [Vec<usize>; N]) {
    let mut lens: Vec<usize> = Vec::new();
    let mut out = [const { Vec::<usize>::new() }; N];
    for (axis, len) in dims.iter().enumerate() {
        let follows = (0..N).all(|i| out[i].last().is_some_and(|outer| *outer == steps[i][axis] * len));
        match lens.last_mut() {
            Some(last) if follows => {
                *last *= len;
                out.iter_mut().zip(&steps).for_each(|(o, s)| *o.last_mut().unwrap_or(&mut 0) = s[axis]);
            }
            _ => {
                lens.push(*len);
                out.iter_mut().zip(&steps).for_each(|(o, s)| o.push(s[axis]));
            }
        }
    }
    (lens, out)
}

/// Where row `row` of an array begins, whose outer axes and steps these are.
pub(crate) fn offset(row: usize, outer: &[usize], steps: &[usize]) -> usize {
    let (mut rest, mut at) = (row, 0);
    for (len, step) in outer.iter().zip(steps).rev() {
        at += rest % len * step;
        rest /= len;
    }
    at
}

/// Sums a gradient over the axes along which a tensor of shape `dims` was broadcast. Sums are made in f64.
pub(crate) fn sum_to(gradient: Tensor, dims: &[usize]) -> Result<Tensor, OpError> {
    let from = gradient.dims().to_vec();
    if from == dims {
        return Ok(gradient);
    }
    if gradient.len() == dims.iter().product::<usize>() {
        return Ok(gradient.reshape(dims)?);
    }
    if gradient.is_empty() {
        return Ok(Tensor::new(dims, vec![0.0f32; dims.iter().product()])?);
    }
    // Where the elements are in the gradient, and where their sums.
    let own = broadcast_strides(&from, &from);
    let (from, [strides, own]) = joined(&from, [broadcast_strides(dims, &from), own]);
    // Axes that stay and axes that are summed over, with what one step along them is in the gradient.
    let mut kept = (Vec::new(), Vec::new());
    let mut summed = (Vec::new(), Vec::new());
    for (axis, len) in from.iter().enumerate() {
        let to = if strides[axis] == 0 { &mut summed } else { &mut kept };
        to.0.push(*len);
        to.1.push(own[axis]);
    }
    let g = gradient.as_slice::<f32>()?;
    let mut out = vec![0.0f32; dims.iter().product()];
    // The innermost summed axis is a loop of its own.
    let (inner, outer_lens) = summed.0.split_last().map_or((1, &[][..]), |(l, o)| (*l, o));
    let inner_step = summed.1.last().copied().unwrap_or(0);
    let rows: usize = outer_lens.iter().product();
    let len = (CHUNK / (rows * inner).max(1)).max(1);
    parallel::chunks(&mut out, len, &|i, out| {
        for (k, out) in out.iter_mut().enumerate() {
            let base = offset(i * len + k, &kept.0, &kept.1);
            let mut sum = 0.0f64;
            for row in 0..rows {
                let at = base + offset(row, outer_lens, &summed.1);
                sum += match inner_step {
                    1 => {
                        let g = &g[at..][..inner];
                        lanes(inner, |j| f64::from(g[j]))
                    }
                    step => lanes(inner, |j| f64::from(g[at + j * step])),
                };
            }
            *out = sum as f32;
        }
    });
    Ok(Tensor::new(dims, out)?)
}
