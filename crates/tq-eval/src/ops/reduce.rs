//! Reductions over axes.

use super::unary::{lower, raise};
use super::{Context, Inputs, integers, movement::transpose};
use crate::OpError;
use crate::number::{Number, sum_f64, sum_f64_of, with_number, with_real};
use crate::parallel;
use crate::shape::{axis_indices, numel};
use tq_graph::op::ReduceKind;
use tq_graph::{Element, Tensor};
use tq_qtypes::DType;

/// Mean over all spatial axes.
pub(crate) fn global_average_pool(ctx: &Context, x: &Tensor) -> Result<Tensor, OpError> {
    if x.rank() < 2 {
        return Err(OpError::Shape(format!("input of shape {:?} has no channels", x.dims())));
    }
    let dims: Vec<usize> =
        x.dims()[..2].iter().copied().chain(std::iter::repeat_n(1, x.rank() - 2)).collect();
    let inner = numel(&x.dims()[2..]);
    with_real!(x.dtype(), T => runs(ctx, x.as_slice::<T>()?, inner, &dims, |run| {
        Ok(T::mean(run).unwrap_or(T::ZERO))
    }))
}

/// A reduction over the given axes, or over all.
pub(crate) fn reduce(
    ctx: &Context,
    inputs: Inputs,
    kind: ReduceKind,
    keep_dims: bool,
    noop_with_empty_axes: bool,
) -> Result<Tensor, OpError> {
    let x = inputs.need(0)?;
    let given = inputs.get(1).map(|t| integers(t, "axes")).transpose()?.unwrap_or_default();
    // Without any axis each element is reduced by itself: that leaves it as it is, or takes its square or logarithm.
    let mut reduce = vec![given.is_empty() && !noop_with_empty_axes; x.rank()];
    for axis in axis_indices(&given, x.rank())? {
        reduce[axis] = true;
    }
    let (reduced, kept): (Vec<usize>, Vec<usize>) = (0..x.rank()).partition(|i| reduce[*i]);
    let inner: usize = reduced.iter().map(|i| x.dims()[*i]).product();
    let dims: Vec<usize> = (0..x.rank())
        .filter(|i| keep_dims || !reduce[*i])
        .map(|i| if reduce[i] { 1 } else { x.dims()[i] })
        .collect();
    // Reduced axes last: what is reduced together is then one run of elements.
    let perm: Vec<usize> = kept.iter().chain(&reduced).copied().collect();
    let ordered = if perm.is_sorted() { x.clone() } else { transpose(ctx, x, Some(&perm))? };
    if ordered.dtype() == DType::Bool {
        return truths(ctx, &ordered, kind, inner, &dims);
    }
    let float = x.dtype().is_float();
    with_number!(x.dtype(), T => {
        runs(ctx, ordered.as_slice::<T>()?, inner, &dims, |run| of_run(run, kind, float))
    })
}

/// The largest of truth values is whether any is true, the smallest whether all are.
fn truths(
    ctx: &Context,
    x: &Tensor,
    kind: ReduceKind,
    inner: usize,
    dims: &[usize],
) -> Result<Tensor, OpError> {
    let x = x.as_slice::<bool>()?;
    match kind {
        ReduceKind::Max => runs(ctx, x, inner, dims, |run| Ok(run.contains(&true))),
        ReduceKind::Min => runs(ctx, x, inner, dims, |run| Ok(!run.contains(&false))),
        _ => Err(OpError::DType { what: "input 0", got: DType::Bool, expected: "a number".into() }),
    }
}

/// What a reduction makes of some elements. Floats are summed and multiplied in f64 and rounded once; sums and
/// products of integers wrap, what has fractions is truncated.
fn of_run<T: Number>(run: &[T], kind: ReduceKind, float: bool) -> Result<T, OpError> {
    Ok(match kind {
        // An empty mean is 0 / 0: NaN for floats, an error for integers.
        ReduceKind::Mean => T::mean(run).ok_or(OpError::DivisionByZero)?,
        ReduceKind::Max => run.iter().fold(T::LOWEST, |m, v| raise(m, *v)),
        ReduceKind::Min => run.iter().fold(T::HIGHEST, |m, v| lower(m, *v)),
        ReduceKind::Sum if float => T::of_f64(sum_f64(run)),
        ReduceKind::L1 if float => T::of_f64(sum_f64_of(run, f64::abs)),
        ReduceKind::SumSquare if float => T::of_f64(sum_f64_of(run, |v| v * v)),
        ReduceKind::Prod if float => T::of_f64(run.iter().map(|v| v.to_f64()).product()),
        ReduceKind::Sum => run.iter().fold(T::ZERO, |s, v| s.plus(*v)),
        ReduceKind::L1 => run.iter().fold(T::ZERO, |s, v| s.plus(v.magnitude())),
        ReduceKind::SumSquare => run.iter().fold(T::ZERO, |s, v| s.plus(v.times(*v))),
        ReduceKind::Prod => run.iter().fold(T::ONE, |p, v| p.times(*v)),
        ReduceKind::L2 => T::of_f64(sum_f64_of(run, |v| v * v).sqrt()),
        ReduceKind::LogSum => T::of_f64(libm::log(sum_f64(run))),
        ReduceKind::LogSumExp => {
            let max = run.iter().fold(f64::NEG_INFINITY, |m, v| m.max(v.to_f64()));
            // Of infinite numbers nothing can be subtracted, nor need it be.
            let shift = if max.is_finite() { max } else { 0.0 };
            T::of_f64(shift + libm::log(sum_f64_of(run, |v| libm::exp(v - shift))))
        }
    })
}

/// `f` of every run of `inner` elements, as a tensor of shape `dims`.
fn runs<T: Element>(
    ctx: &Context,
    x: &[T],
    inner: usize,
    dims: &[usize],
    f: impl Fn(&[T]) -> Result<T, OpError> + Sync,
) -> Result<Tensor, OpError> {
    let mut out = ctx.zeros::<T>(dims)?;
    match (1usize << 12).checked_div(inner) {
        Some(runs_a_task) => {
            parallel::try_chunks(&mut out, 1, runs_a_task, &|i, out| {
                for o in out {
                    *o = f(&x[i * inner..][..inner])?;
                }
                Ok(())
            })?;
        }
        None if out.is_empty() => {}
        None => out.fill(f(&[])?),
    }
    Ok(Tensor::new(dims, out)?)
}
