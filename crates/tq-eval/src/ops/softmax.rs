//! Softmax, its logarithm, and its limit.

use super::{Context, lanes::lanes, order};
use crate::OpError;
use crate::number::{Real, with_real};
use crate::shape::axis_index;
use tq_graph::Tensor;

/// `exp(x - max) / sum(exp(x - max))` along one axis.
pub(crate) fn softmax(ctx: &Context, x: &Tensor, axis: i64) -> Result<Tensor, OpError> {
    along::<Softmax>(ctx, x, axis)
}

/// `x - max - ln(sum(exp(x - max)))` along one axis.
pub(crate) fn log_softmax(ctx: &Context, x: &Tensor, axis: i64) -> Result<Tensor, OpError> {
    along::<LogSoftmax>(ctx, x, axis)
}

/// One at the first of the largest elements along one axis, zero elsewhere.
pub(crate) fn hardmax(ctx: &Context, x: &Tensor, axis: i64) -> Result<Tensor, OpError> {
    along::<Hardmax>(ctx, x, axis)
}

/// What is made of a line of elements.
trait Line {
    fn of<T: Real>(x: &[T], out: &mut [T]);
}

fn along<L: Line>(ctx: &Context, x: &Tensor, axis: i64) -> Result<Tensor, OpError> {
    let axis = axis_index(axis, x.rank())?;
    with_real!(x.dtype(), T => Ok(Tensor::new(x.dims(), lanes::<T, T>(ctx, x, axis, x.dims(), L::of::<T>)?)?))
}

fn largest<T: Real>(x: &[T]) -> T {
    x.iter().fold(T::LOWEST, |m, v| if *v > m { *v } else { m })
}

struct Softmax;

impl Line for Softmax {
    fn of<T: Real>(x: &[T], out: &mut [T]) {
        let max = largest(x);
        let mut sum = 0.0f64;
        for (o, v) in out.iter_mut().zip(x) {
            *o = (*v - max).exp();
            sum += o.to_f64();
        }
        let sum = T::of_f64(sum);
        out.iter_mut().for_each(|o| *o = *o / sum);
    }
}

struct LogSoftmax;

impl Line for LogSoftmax {
    fn of<T: Real>(x: &[T], out: &mut [T]) {
        let max = largest(x);
        let sum: f64 = x.iter().map(|v| (*v - max).exp().to_f64()).sum();
        let log = max.to_f64() + libm::log(sum);
        out.iter_mut().zip(x).for_each(|(o, v)| *o = T::of_f64(v.to_f64() - log));
    }
}

struct Hardmax;

impl Line for Hardmax {
    fn of<T: Real>(x: &[T], out: &mut [T]) {
        out.fill(T::ZERO);
        if let Some(one) = order::best(x, true, false).and_then(|i| out.get_mut(i)) {
            *one = T::ONE;
        }
    }
}
