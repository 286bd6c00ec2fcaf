//! Functions of two elements, with broadcasting.

use super::{CHUNK, Context, pow, same_dtype};
use crate::OpError;
use crate::number::{Number, with_number};
use crate::parallel;
use crate::shape::{broadcast, broadcast_strides, broadcasts_to, coalesce};
use tq_graph::op::BinaryOp;
use tq_graph::{Element, Tensor};

/// Arithmetic. Integers wrap; their quotients truncate.
pub(crate) fn binary(ctx: &Context, op: BinaryOp, a: &Tensor, b: &Tensor) -> Result<Tensor, OpError> {
    if op == BinaryOp::Pow {
        return pow::pow(ctx, a, b);
    }
    same_dtype(a, b, "input 1")?;
    with_number!(a.dtype(), T => binary_as::<T>(ctx, op, a, b))
}

fn binary_as<T: Number>(ctx: &Context, op: BinaryOp, a: &Tensor, b: &Tensor) -> Result<Tensor, OpError> {
    match op {
        BinaryOp::Add => zip(ctx, a, b, T::plus),
        BinaryOp::Sub => zip(ctx, a, b, T::minus),
        BinaryOp::Mul => zip(ctx, a, b, T::times),
        BinaryOp::Div => {
            check_divisor::<T>(a, b)?;
            zip(ctx, a, b, T::over)
        }
        BinaryOp::Mod { fmod } => {
            if !fmod && a.dtype().is_float() {
                return Err(OpError::Attribute(format!("Mod of {} needs fmod", a.dtype())));
            }
            check_divisor::<T>(a, b)?;
            if fmod { zip(ctx, a, b, T::rest) } else { zip(ctx, a, b, modulo::<T>) }
        }
        BinaryOp::PRelu => {
            if !broadcasts_to(b.dims(), a.dims()) {
                let (slope, x) = (b.dims(), a.dims());
                return Err(OpError::Shape(format!(
                    "a slope of shape {slope:?} does not broadcast to {x:?}"
                )));
            }
            zip(ctx, a, b, |x, slope: T| if x < T::ZERO { slope.times(x) } else { x })
        }
        _ => Err(OpError::Unsupported("Binary")),
    }
}

/// Integers have no quotient by zero.
fn check_divisor<T: Number>(a: &Tensor, b: &Tensor) -> Result<(), OpError> {
    let integers = a.dtype().is_integer();
    if integers && !a.is_empty() && b.as_slice::<T>()?.contains(&T::ZERO) {
        return Err(OpError::DivisionByZero);
    }
    Ok(())
}

/// What is left after a division, with the sign of the divisor.
fn modulo<T: Number>(a: T, b: T) -> T {
    let rest = a.rest(b);
    if rest != T::ZERO && (rest < T::ZERO) != (b < T::ZERO) { rest.plus(b) } else { rest }
}

/// `f` of every pair of elements after broadcasting.
pub(super) fn zip<A: Element, B: Element, T: Element>(
    ctx: &Context,
    a: &Tensor,
    b: &Tensor,
    f: impl Fn(A, B) -> T + Sync,
) -> Result<Tensor, OpError> {
    let dims = broadcast(a.dims(), b.dims())?;
    let (x, y) = (a.as_slice::<A>()?, b.as_slice::<B>()?);
    let mut out = ctx.zeros::<T>(&dims)?;
    if out.is_empty() {
        return Ok(Tensor::new(&dims, out)?);
    }
    let sa = broadcast_strides(a.dims(), &dims);
    let sb = broadcast_strides(b.dims(), &dims);
    let mut axes = coalesce(&dims, [&sa, &sb]);
    let (row, [step_a, step_b]) = axes.pop().unwrap_or((1, [0, 0]));
    // Part of a row, from these places on.
    let line = |out: &mut [T], at_a: usize, at_b: usize| {
        let len = out.len();
        match (step_a, step_b) {
            (1, 1) => {
                let pairs = x[at_a..][..len].iter().zip(&y[at_b..][..len]);
                out.iter_mut().zip(pairs).for_each(|(o, (p, q))| *o = f(*p, *q));
            }
            (1, 0) => {
                let q = y[at_b];
                out.iter_mut().zip(&x[at_a..][..len]).for_each(|(o, p)| *o = f(*p, q));
            }
            (0, 1) => {
                let p = x[at_a];
                out.iter_mut().zip(&y[at_b..][..len]).for_each(|(o, q)| *o = f(p, *q));
            }
            _ => {
                for (i, o) in out.iter_mut().enumerate() {
                    *o = f(x[at_a + i * step_a], y[at_b + i * step_b]);
                }
            }
        }
    };
    let fill = |index: usize, out: &mut [T]| {
        let (mut rest, mut at_a, mut at_b) = (index, 0, 0);
        for (len, [sa, sb]) in axes.iter().rev() {
            at_a += rest % len * sa;
            at_b += rest % len * sb;
            rest /= len;
        }
        line(out, at_a, at_b);
    };
    if axes.is_empty() {
        // One long row: cut it.
        parallel::chunks(&mut out, CHUNK, 1, &|i, out| line(out, i * CHUNK * step_a, i * CHUNK * step_b));
    } else {
        parallel::chunks(&mut out, row, CHUNK / row, &fill);
    }
    Ok(Tensor::new(&dims, out)?)
}
