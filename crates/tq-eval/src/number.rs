//! The numeric traits behind the operators, and the dispatch from element types to Rust types.

use crate::squash;
use half::{bf16, f16};
use std::fmt::Debug;
use tq_graph::Element;

/// Element types on which arithmetic is done: f32, f64 and the integers of whole bytes.
pub(crate) trait Number: Element + PartialOrd + Debug {
    const ZERO: Self;
    const ONE: Self;
    /// The smallest value: negative infinity for floats.
    const LOWEST: Self;
    /// The largest value: infinity for floats.
    const HIGHEST: Self;

    /// Sum; integers wrap.
    fn plus(self, other: Self) -> Self;
    /// Difference; integers wrap.
    fn minus(self, other: Self) -> Self;
    /// Product; integers wrap.
    fn times(self, other: Self) -> Self;
    /// Quotient; integers truncate and wrap. The divisor of an integer is not zero: callers have checked it.
    fn over(self, other: Self) -> Self;
    /// What is left after a division, with the sign of the dividend. The divisor of an integer is not zero.
    fn rest(self, other: Self) -> Self;
    /// Absolute value; that of the lowest integer wraps.
    fn magnitude(self) -> Self;
    /// The same with the other sign; integers wrap.
    fn negated(self) -> Self;
    /// The nearest f64.
    fn to_f64(self) -> f64;
    /// Floats round once; integers truncate towards zero and saturate, and NaN becomes 0.
    fn of_f64(value: f64) -> Self;
    /// The value of an integral attribute; integers wrap.
    fn from_integral(value: f32) -> Self;
    /// Sum of `values` over their number; integers truncate towards zero. `None` for integers without elements.
    fn mean(values: &[Self]) -> Option<Self>;
}

macro_rules! integers {
    ($($t:ty),*) => {$(
        impl Number for $t {
            const ZERO: Self = 0;
            const ONE: Self = 1;
            const LOWEST: Self = <$t>::MIN;
            const HIGHEST: Self = <$t>::MAX;

            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            fn minus(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            fn times(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            fn over(self, other: Self) -> Self {
                self.checked_div(other).unwrap_or_else(|| self.wrapping_neg())
            }
            fn rest(self, other: Self) -> Self {
                self.checked_rem(other).unwrap_or(0)
            }
            fn magnitude(self) -> Self {
                if self < Self::ZERO { self.wrapping_neg() } else { self }
            }
            fn negated(self) -> Self {
                self.wrapping_neg()
            }
            fn to_f64(self) -> f64 {
                self as f64
            }
            fn of_f64(value: f64) -> Self {
                value as $t
            }
            fn from_integral(value: f32) -> Self {
                value as i64 as $t
            }
            fn mean(values: &[Self]) -> Option<Self> {
                let sum: i128 = values.iter().map(|v| *v as i128).sum();
                sum.checked_div(values.len() as i128).map(|m| m as $t)
            }
        }
    )*};
}
integers!(i8, u8, i16, u16, i32, u32, i64, u64);

/// Floats in which arithmetic is done. Transcendental functions are those of `libm`, or for f32 those of [`crate::squash`]: the
/// same on every machine.
pub(crate) trait Real: Number + ndarray::LinalgScalar {
    fn of_f32(value: f32) -> Self;
    fn exp(self) -> Self;
    /// `exp(self) - 1`, accurate near zero.
    fn exp_m1(self) -> Self;
    fn ln(self) -> Self;
    /// `ln(1 + self)`, accurate near zero.
    fn ln_1p(self) -> Self;
    fn erf(self) -> Self;
    /// `1 - erf(self)`, accurate where that is small.
    fn erfc(self) -> Self;
    fn power(self, exponent: Self) -> Self;
    fn sin(self) -> Self;
    fn cos(self) -> Self;
    fn tan(self) -> Self;
    fn asin(self) -> Self;
    fn acos(self) -> Self;
    fn atan(self) -> Self;
    fn sinh(self) -> Self;
    fn cosh(self) -> Self;
    fn tanh(self) -> Self;
    /// `1 / (1 + exp(-self))`.
    fn sigmoid(self) -> Self;
    fn asinh(self) -> Self;
    fn acosh(self) -> Self;
    fn atanh(self) -> Self;
    fn sqrt(self) -> Self;
    fn floor(self) -> Self;
    fn ceil(self) -> Self;
    /// To the nearest integer, half to even.
    fn round(self) -> Self;
}

macro_rules! reals {
    ($($t:ident { $($method:ident($($arg:ident),*) = $function:path;)* })*) => {$(
        impl Number for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const LOWEST: Self = <$t>::NEG_INFINITY;
            const HIGHEST: Self = <$t>::INFINITY;

            fn plus(self, other: Self) -> Self {
                self + other
            }
            fn minus(self, other: Self) -> Self {
                self - other
            }
            fn times(self, other: Self) -> Self {
                self * other
            }
            fn over(self, other: Self) -> Self {
                self / other
            }
            fn rest(self, other: Self) -> Self {
                self % other
            }
            fn magnitude(self) -> Self {
                self.abs()
            }
            fn negated(self) -> Self {
                -self
            }
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            fn of_f64(value: f64) -> Self {
                value as $t
            }
            fn from_integral(value: f32) -> Self {
                Self::from(value)
            }
            fn mean(values: &[Self]) -> Option<Self> {
                Some((sum_f64(values) / values.len() as f64) as $t)
            }
        }
        impl Real for $t {
            fn of_f32(value: f32) -> Self {
                Self::from(value)
            }
            $(#[inline]
            fn $method(self, $($arg: Self),*) -> Self {
                $function(self, $($arg),*)
            })*
            // Correctly rounded everywhere, unlike the transcendental functions.
            fn sqrt(self) -> Self {
                <$t>::sqrt(self)
            }
            fn floor(self) -> Self {
                <$t>::floor(self)
            }
            fn ceil(self) -> Self {
                <$t>::ceil(self)
            }
            fn round(self) -> Self {
                <$t>::round_ties_even(self)
            }
        }
    )*};
}
reals! {
    f32 {
        exp() = libm::expf; exp_m1() = libm::expm1f; ln() = libm::logf; ln_1p() = libm::log1pf;
        erf() = libm::erff; erfc() = libm::erfcf; power(exponent) = libm::powf;
        sin() = libm::sinf; cos() = libm::cosf; tan() = libm::tanf;
        asin() = libm::asinf; acos() = libm::acosf; atan() = libm::atanf;
        sinh() = libm::sinhf; cosh() = libm::coshf;
        tanh() = squash::tanh; sigmoid() = squash::sigmoid;
        asinh() = libm::asinhf; acosh() = libm::acoshf; atanh() = libm::atanhf;
    }
    f64 {
        exp() = libm::exp; exp_m1() = libm::expm1; ln() = libm::log; ln_1p() = libm::log1p;
        erf() = libm::erf; erfc() = libm::erfc; power(exponent) = libm::pow;
        sin() = libm::sin; cos() = libm::cos; tan() = libm::tan;
        asin() = libm::asin; acos() = libm::acos; atan() = libm::atan;
        sinh() = libm::sinh; cosh() = libm::cosh; tanh() = libm::tanh; sigmoid() = logistic;
        asinh() = libm::asinh; acosh() = libm::acosh; atanh() = libm::atanh;
    }
}

/// Sum in f64, always in the same order.
pub(crate) fn sum_f64<T: Number>(values: &[T]) -> f64 {
    sum_f64_of(values, |v| v)
}

/// Sum of `f` in f64, always in the same order: eight interleaved partial sums, then those from first to last.
pub(crate) fn sum_f64_of<T: Number>(values: &[T], f: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0f64; 8];
    let chunks = values.chunks_exact(8);
    let rest = chunks.remainder();
    for chunk in chunks {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane += f(v.to_f64());
        }
    }
    for (lane, v) in lanes.iter_mut().zip(rest) {
        *lane += f(v.to_f64());
    }
    lanes.iter().sum()
}

/// An f64 as f16, rounded once.
pub(crate) fn f64_to_f16(x: f64) -> f16 {
    f16::from_f32(round_to_odd(x))
}

/// An f64 as bf16, rounded once.
pub(crate) fn f64_to_bf16(x: f64) -> bf16 {
    bf16::from_f32(round_to_odd(x))
}

/// The f32 beside `x` whose last bit is set when `x` is not an f32 itself.
/// Rounding that to a format of at most 22 bits gives what rounding `x` at once would give.
fn round_to_odd(x: f64) -> f32 {
    let near = x as f32;
    let back = f64::from(near);
    if back == x || x.is_nan() || near.to_bits() & 1 == 1 {
        return near;
    }
    let away = back.abs() > x.abs();
    f32::from_bits(if away { near.to_bits() - 1 } else { near.to_bits() + 1 })
}

/// Runs `$body` with `$t` naming the Rust type in which elements of `$dtype` are kept.
macro_rules! with_storage {
    ($dtype:expr, $t:ident => $body:expr) => {{
        use tq_qtypes::DType;
        match $dtype {
            DType::F16 => {
                type $t = half::f16;
                $body
            }
            DType::BF16 => {
                type $t = half::bf16;
                $body
            }
            DType::F32 => {
                type $t = f32;
                $body
            }
            DType::F64 => {
                type $t = f64;
                $body
            }
            DType::I2 | DType::I4 | DType::I8 => {
                type $t = i8;
                $body
            }
            DType::I16 => {
                type $t = i16;
                $body
            }
            DType::U16 => {
                type $t = u16;
                $body
            }
            DType::I32 => {
                type $t = i32;
                $body
            }
            DType::U32 => {
                type $t = u32;
                $body
            }
            DType::I64 => {
                type $t = i64;
                $body
            }
            DType::U64 => {
                type $t = u64;
                $body
            }
            DType::Bool => {
                type $t = bool;
                $body
            }
            DType::U2
            | DType::U4
            | DType::U8
            | DType::F8E4M3FN
            | DType::F8E4M3FNUZ
            | DType::F8E5M2
            | DType::F8E5M2FNUZ => {
                type $t = u8;
                $body
            }
            other => {
                Err($crate::OpError::DType { what: "tensor", got: other, expected: "a known type".into() })
            }
        }
    }};
}

/// Runs `$body` with `$t` naming the Rust type of `$dtype`, which must be one that arithmetic is done in.
macro_rules! with_number {
    ($dtype:expr, $t:ident => $body:expr) => {{
        use tq_qtypes::DType;
        match $dtype {
            DType::F32 => {
                type $t = f32;
                $body
            }
            DType::F64 => {
                type $t = f64;
                $body
            }
            DType::I8 => {
                type $t = i8;
                $body
            }
            DType::U8 => {
                type $t = u8;
                $body
            }
            DType::I16 => {
                type $t = i16;
                $body
            }
            DType::U16 => {
                type $t = u16;
                $body
            }
            DType::I32 => {
                type $t = i32;
                $body
            }
            DType::U32 => {
                type $t = u32;
                $body
            }
            DType::I64 => {
                type $t = i64;
                $body
            }
            DType::U64 => {
                type $t = u64;
                $body
            }
            other => Err($crate::OpError::DType { what: "input 0", got: other, expected: "a number".into() }),
        }
    }};
}

/// Runs `$body` with `$t` naming the Rust type of `$dtype`, which must be f32 or f64.
macro_rules! with_real {
    ($dtype:expr, $t:ident => $body:expr) => {{
        use tq_qtypes::DType;
        match $dtype {
            DType::F32 => {
                type $t = f32;
                $body
            }
            DType::F64 => {
                type $t = f64;
                $body
            }
            other => Err($crate::OpError::DType { what: "input 0", got: other, expected: "a float".into() }),
        }
    }};
}

/// Runs `$body` with `$t` naming the Rust type of `$dtype`, which must be an integer of whole bytes.
macro_rules! with_integer {
    ($dtype:expr, $t:ident => $body:expr) => {{
        use tq_qtypes::DType;
        match $dtype {
            DType::I8 => {
                type $t = i8;
                $body
            }
            DType::U8 => {
                type $t = u8;
                $body
            }
            DType::I16 => {
                type $t = i16;
                $body
            }
            DType::U16 => {
                type $t = u16;
                $body
            }
            DType::I32 => {
                type $t = i32;
                $body
            }
            DType::U32 => {
                type $t = u32;
                $body
            }
            DType::I64 => {
                type $t = i64;
                $body
            }
            DType::U64 => {
                type $t = u64;
                $body
            }
            other => {
                Err($crate::OpError::DType { what: "input 0", got: other, expected: "an integer".into() })
            }
        }
    }};
}

pub(crate) use {with_integer, with_number, with_real, with_storage};

/// `1 / (1 + exp(-x))`, written so that the exponential never overflows.
fn logistic(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + libm::exp(-x))
    } else {
        let e = libm::exp(x);
        e / (1.0 + e)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rounding_an_f64_to_sixteen_bits_rounds_once() {
        // Just above the tie between 1 and 1 + 2^-10: by way of f32 it would become the tie, and then 1.
        let x = 1.0 + 2f64.powi(-11) + 2f64.powi(-40);
        assert_eq!(f64_to_f16(x).to_f64(), 1.0 + 2f64.powi(-10));
        assert_eq!(f64_to_f16(1.0 + 2f64.powi(-11)).to_f64(), 1.0);
        assert_eq!(f64_to_bf16(1.0 + 2f64.powi(-8) + 2f64.powi(-40)).to_f64(), 1.0 + 2f64.powi(-7));
        assert_eq!(f64_to_f16(1e300), f16::INFINITY);
        assert_eq!(f64_to_f16(-65_519.999), f16::MIN);
        assert!(f64_to_f16(f64::NAN).is_nan());
    }

    #[test]
    fn integer_quotients_truncate_and_wrap() {
        assert_eq!((-7i32).over(2), -3);
        assert_eq!(i32::MIN.over(-1), i32::MIN);
        assert_eq!(i64::mean(&[-3, -4]), Some(-3));
        assert_eq!(u8::mean(&[]), None);
    }

    proptest! {
        #[test]
        fn f16_of_f64_is_the_nearest(x in -70_000.0f64..70_000.0) {
            let got = f64_to_f16(x).to_f64();
            let direct = f16::from_f64(x).to_f64();
            prop_assert!((got - x).abs() <= (direct - x).abs());
        }
    }
}
