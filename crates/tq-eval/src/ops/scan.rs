//! Running sums.

use super::Context;
use super::lanes::{lanes, one_integer};
use crate::OpError;
use crate::number::{Number, with_number};
use crate::shape::axis_index;
use tq_graph::Tensor;

/// Running sums along an axis: floats are added in f64 and rounded once each, integers wrap.
pub(crate) fn cumulative_sum(
    ctx: &Context,
    x: &Tensor,
    axis: &Tensor,
    exclusive: bool,
    reverse: bool,
) -> Result<Tensor, OpError> {
    let axis = axis_index(one_integer(axis, "axis")?, x.rank())?;
    with_number!(x.dtype(), T => {
        let sums = if x.dtype().is_float() {
            lanes::<T, T>(ctx, x, axis, x.dims(), |x, out| {
                let mut sum = 0.0f64;
                run(x, out, exclusive, reverse, |v| {
                    let before = sum;
                    sum += v.to_f64();
                    (T::of_f64(before), T::of_f64(sum))
                });
            })
        } else {
            lanes::<T, T>(ctx, x, axis, x.dims(), |x, out| {
                let mut sum = T::ZERO;
                run(x, out, exclusive, reverse, |v| {
                    let before = sum;
                    sum = sum.plus(v);
                    (before, sum)
                });
            })
        };
        Ok(Tensor::new(x.dims(), sums?)?)
    })
}

/// Writes the sums before or after each element, as `add` gives both.
fn run<T: Number>(x: &[T], out: &mut [T], exclusive: bool, reverse: bool, mut add: impl FnMut(T) -> (T, T)) {
    let mut step = |o: &mut T, v: &T| {
        let (before, after) = add(*v);
        *o = if exclusive { before } else { after };
    };
    if reverse {
        out.iter_mut().zip(x).rev().for_each(|(o, v)| step(o, v));
    } else {
        out.iter_mut().zip(x).for_each(|(o, v)| step(o, v));
    }
}
