//! Sigmoid and hyperbolic tangent of f32 numbers: the functions of which recurrent layers take five for every element of their
//! state, where a call of `libm` each is most of a step.
//!
//! Nothing but IEEE additions, multiplications and divisions of f64 numbers, and no branch: the same on every machine, as `libm`
//! is, and in a loop as many at a time as vectors hold. The exponential is `2ⁿ · exp(r)` with `x = n · ln 2 + r`, and `exp(r)` its
//! series up to r⁹, whose first term left out is below 1e-11. So the results are those of exact functions, rounded to f32, but for
//! one in a thousand, which is the other neighbour of the exact value.

/// `1 / (1 + exp(-x))`. NaN stays NaN.
#[inline]
pub(crate) fn sigmoid(x: f32) -> f32 {
    // Beyond these bounds the result is 0 or 1 in f32.
    (1.0 / (1.0 + exp(-f64::from(x), 110.0))) as f32
}

/// The hyperbolic tangent. NaN stays NaN, and -0 stays -0.
#[inline]
pub(crate) fn tanh(x: f32) -> f32 {
    let x = f64::from(x);
    let e = exp(2.0 * x, 40.0);
    // Near 0 the subtraction would lose digits.
    let near = x * (1.0 - x * x / 3.0);
    (if x.abs() < 0.00390625 { near } else { (e - 1.0) / (e + 1.0) }) as f32
}

/// `exp(x)` for `x` brought to `-bound..=bound`, a bound below 700.
#[inline]
fn exp(x: f64, bound: f64) -> f64 {
    // Added to a small number it leaves the nearest integer in the last bits.
    const TO_INTEGER: f64 = 6_755_399_441_055_744.0;
    // Comparisons that leave NaN as it is.
    let x = if x < -bound { -bound } else { x };
    let x = if x > bound { bound } else { x };
    let t = x * std::f64::consts::LOG2_E + TO_INTEGER;
    let n = t - TO_INTEGER;
    let power = f64::from_bits(t.to_bits().wrapping_add(1023) << 52);
    let r = x - n * std::f64::consts::LN_2;
    let mut sum = 1.0 / 362_880.0;
    for factorial in [40_320.0, 5_040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0] {
        sum = sum * r + 1.0 / factorial;
    }
    sum * power
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
