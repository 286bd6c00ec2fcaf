//! Powers.

use super::{Context, binary::zip};
use crate::OpError;
use crate::number::{Number, Real, with_number};
use tq_graph::Tensor;
use tq_qtypes::DType;

/// `base ^ exponent`, of the type of the base. An exponent of another type is taken as f64, and the result rounds once.
pub(super) fn pow(ctx: &Context, base: &Tensor, exponent: &Tensor) -> Result<Tensor, OpError> {
    match base.dtype() {
        DType::F32 if exponent.dtype() == DType::F32 => zip(ctx, base, exponent, <f32 as Real>::power),
        DType::F32 => in_f64::<f32>(ctx, base, exponent),
        DType::F64 => in_f64::<f64>(ctx, base, exponent),
        DType::I32 => of_integer::<i32>(ctx, base, exponent),
        DType::I64 => of_integer::<i64>(ctx, base, exponent),
        got => Err(OpError::DType { what: "the base", got, expected: "a float, i32 or i64".into() }),
    }
}

/// Integer powers of integers are exact, and wrap; others are truncated. Zero has no negative power.
fn of_integer<T: Number>(ctx: &Context, base: &Tensor, exponent: &Tensor) -> Result<Tensor, OpError> {
    if exponent.dtype().is_float() {
        return in_f64::<T>(ctx, base, exponent);
    }
    with_number!(exponent.dtype(), E => of_integer_exponent::<T, E>(ctx, base, exponent))
}

fn of_integer_exponent<T: Number, E: Number>(
    ctx: &Context,
    base: &Tensor,
    exponent: &Tensor,
) -> Result<Tensor, OpError> {
    let negative = exponent.as_slice::<E>()?.iter().any(|e| *e < E::ZERO);
    if negative && base.as_slice::<T>()?.contains(&T::ZERO) {
        return Err(OpError::DivisionByZero);
    }
    zip(ctx, base, exponent, power::<T, E>)
}

/// The power in f64, rounded or truncated to the type of the base.
fn in_f64<T: Number>(ctx: &Context, base: &Tensor, exponent: &Tensor) -> Result<Tensor, OpError> {
    with_number!(exponent.dtype(), E => {
        zip(ctx, base, exponent, |b: T, e: E| T::of_f64(libm::pow(b.to_f64(), e.to_f64())))
    })
}

fn power<T: Number, E: Number>(base: T, exponent: E) -> T {
    let odd = exponent.rest(E::ONE.plus(E::ONE)) != E::ZERO;
    if exponent < E::ZERO {
        // The reciprocal of anything but 1 and -1 truncates to zero.
        return if base == T::ONE || (base == T::ONE.negated() && !odd) {
            T::ONE
        } else if base == T::ONE.negated() {
            base
        } else {
            T::ZERO
        };
    }
    let two = E::ONE.plus(E::ONE);
    let (mut result, mut square, mut left) = (T::ONE, base, exponent);
    while left != E::ZERO {
        if left.rest(two) != E::ZERO {
            result = result.times(square);
        }
        square = square.times(square);
        left = left.over(two);
    }
    result
}
