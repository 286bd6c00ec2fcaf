//! Walks along one axis.

use super::Context;
use crate::OpError;
use crate::parallel;
use crate::shape::numel;
use tq_graph::{Element, Tensor};

/// Elements of the blocks that one task takes, at least.
const TASK: usize = 1 << 12;

/// Elements of a tensor of shape `dims`, which is that of `x` but along `axis`: `f` makes each line along the axis from
/// that of `x` at the same place.
pub(super) fn lanes<T: Element, U: Element>(
    ctx: &Context,
    x: &Tensor,
    axis: usize,
    dims: &[usize],
    f: impl Fn(&[T], &mut [U]) + Sync,
) -> Result<Vec<U>, OpError> {
    let data = x.as_slice::<T>()?;
    let mut out = ctx.zeros::<U>(dims)?;
    if out.is_empty() || data.is_empty() {
        return Ok(out);
    }
    let inner = numel(&dims[axis + 1..]);
    let (from, to) = (x.dims()[axis] * inner, dims[axis] * inner);
    parallel::chunks(&mut out, to, TASK / from, &|i, out| {
        let x = &data[i * from..][..from];
        if inner == 1 {
            return f(x, out);
        }
        let mut made = vec![U::default(); to / inner];
        for lane in 0..inner {
            let line: Vec<T> = x.iter().skip(lane).step_by(inner).copied().collect();
            f(&line, &mut made);
            out.iter_mut().skip(lane).step_by(inner).zip(&made).for_each(|(o, v)| *o = *v);
        }
    });
    Ok(out)
}

/// The number in a tensor of one integer.
pub(super) fn one_integer(t: &Tensor, what: &str) -> Result<i64, OpError> {
    match super::integers(t, what)?.as_slice() {
        [v] => Ok(*v),
        v => Err(OpError::Shape(format!("{what} has {} elements, expected one", v.len()))),
    }
}
