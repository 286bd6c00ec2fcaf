//! Sigmoid and hyperbolic tangent of f32 numbers: the functions of which recurrent layers take five for every element of their
//! state, where a call of `libm` each is most of a step.
//!
//! Nothing but IEEE additions, multiplications and divisions of f64 numbers, and no branch: the same on every machine, as `libm`
//! is, and in a loop as many at a time as vectors hold. The exponential is `2ⁿ · 2ʳ` with `x / ln 2 = n + r`, and `2ʳ - 1` a polynomial
//! whose relative error is below 2e-11. So the results are those of exact functions, rounded to f32, but for one in a
//! thousand, which is the other neighbour of the exact value.

use std::f64::consts::{LN_2, LOG2_E};

/// `1 / (1 + exp(-x))`. NaN stays NaN.
#[inline]
pub(crate) fn sigmoid(x: f32) -> f32 {
    // Beyond these bounds the result is 0 or 1 in f32.
    let (power, rest) = exp(-f64::from(x), 110.0);
    (1.0 / ((1.0 + power) + power * rest)) as f32
}

/// The hyperbolic tangent. NaN stays NaN, and -0 stays -0.
#[inline]
pub(crate) fn tanh(x: f32) -> f32 {
    let (power, rest) = exp(2.0 * f64::from(x), 40.0);
    // `exp(2x) - 1`: near 0 the power is 1, and no digit is lost.
    let e = power * rest - (1.0 - power);
    (e / (e + 2.0)) as f32
}

/// A power of two and what `exp(x)` over it is above 1, for `x` brought to `-bound..=bound`, a bound below 700.
#[inline]
fn exp(x: f64, bound: f64) -> (f64, f64) {
    // Added to a small number it leaves the nearest integer in the last bits.
    const TO_INTEGER: f64 = 6_755_399_441_055_744.0;
    // Comparisons that leave NaN as it is.
    let x = if x < -bound { -bound } else { x };
    let x = if x > bound { bound } else { x };
    let y = x * LOG2_E;
    let t = y + TO_INTEGER;
    let r = y - (t - TO_INTEGER);
    let power = f64::from_bits(t.to_bits().wrapping_add(1023) << 52);
    // The first term of the series, then what interpolates the others in the zeros of a Chebyshev polynomial over -0.5..=0.5. Terms
    // are added in pairs and pairs of pairs: one behind the other they would wait for each other most of the time.
    let r2 = r * r;
    let low = (LN_2 + 0.24022650695910072 * r) + (0.055504108839096185 + 0.009618129119704426 * r) * r2;
    let high = (0.001333350238616277 + 0.00015403491754738784 * r)
        + (1.5297323760701075e-5 + 1.3246387161221642e-6 * r) * r2;
    (power, (low + high * (r2 * r2)) * r)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// f32 numbers of every exponent and sign.
    fn numbers() -> impl Iterator<Item = f32> {
        (0..u32::MAX / 4099).map(|i| f32::from_bits(i * 4099)).filter(|x| x.is_finite())
    }

    /// Most numbers are rounded as the exact value is, and none is further than its neighbour.
    fn check(f: fn(f32) -> f32, exact: fn(f64) -> f64) {
        let (mut all, mut other) = (0, 0);
        for x in numbers() {
            let (got, expected) = (f(x), exact(f64::from(x)) as f32);
            if got.to_bits() != expected.to_bits() {
                let apart = (i64::from(got.to_bits()) - i64::from(expected.to_bits())).abs();
                assert!(apart == 1, "{x:e}: {got:e}, expected {expected:e}");
                other += 1;
            }
            all += 1;
        }
        assert!(all > 1_000_000 && other * 1000 < all, "{other} of {all}");
    }

    #[test]
    fn sigmoid_is_that_of_f64_rounded() {
        check(sigmoid, |x| {
            let e = libm::exp(-x.abs());
            if x < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) }
        });
    }

    #[test]
    fn tanh_is_that_of_f64_rounded() {
        check(tanh, libm::tanh);
    }

    #[test]
    fn ends_zeros_and_nan() {
        assert_eq!([f32::NEG_INFINITY, f32::INFINITY].map(sigmoid), [0.0, 1.0]);
        assert_eq!([f32::NEG_INFINITY, f32::INFINITY].map(tanh), [-1.0, 1.0]);
        assert!(sigmoid(f32::NAN).is_nan() && tanh(f32::NAN).is_nan());
        assert_eq!((sigmoid(0.0), tanh(-0.0).to_bits()), (0.5, (-0.0f32).to_bits()));
    }
}
