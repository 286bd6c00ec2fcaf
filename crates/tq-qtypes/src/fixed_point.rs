//! From a 32-bit accumulator to output codes without floating point, as gemmlowp and TensorFlow Lite's reference do it.
//!
//! Nothing here runs models: our kernels multiply in f32 ([`mod@crate::requantize`]). It tells beforehand what such a device
//! will answer.

/// A positive multiplier as `multiplier / 2^31 * 2^shift`, the fraction between one half and one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedPointMultiplier {
    /// The fraction in units of `2^-31`; 0 for a multiplier that is too small to be told from zero.
    pub multiplier: i32,
    /// Power of two.
    pub shift: i32,
}

impl FixedPointMultiplier {
    /// The nearest such number, halves away from zero (TensorFlow Lite's `QuantizeMultiplier`). Zero for what is not positive
    /// and for what is below `2^-32`; the largest shift is 31.
    #[must_use]
    pub fn new(real: f64) -> Self {
        let zero = Self { multiplier: 0, shift: 0 };
        if !(real.is_normal() && real > 0.0) {
            return zero;
        }
        const FRACTION_BITS: u32 = 52;
        const HALF: u64 = 1022;
        let bits = real.to_bits();
        let mut shift = (bits >> FRACTION_BITS) as i32 - HALF as i32;
        let fraction = f64::from_bits(bits & ((1 << FRACTION_BITS) - 1) | HALF << FRACTION_BITS);
        let mut fixed = (fraction * (1u64 << 31) as f64).round() as i64;
        if fixed == 1 << 31 {
            fixed /= 2;
            shift += 1;
        }
        if shift < -31 {
            return zero;
        }
        Self { multiplier: fixed as i32, shift: shift.min(31) }
    }

    /// Output code of an accumulator: a doubling high product, rounded, then a shift, rounded again, the zero point, and the
    /// bounds (`MultiplyByQuantizedMultiplier`).
    ///
    /// The two roundings are what makes it differ from [`crate::requantize::requantize`] near ties. A shift to the left that
    /// leaves 32 bits saturates; the reference has no answer there.
    ///
    /// ```
    /// use tq_qtypes::fixed_point::FixedPointMultiplier;
    /// let half = FixedPointMultiplier::new(0.5);
    /// assert_eq!(half.requantize(5, 10, 0, 255), 13); // 2.5 is rounded up, not to the even 2
    /// ```
    #[must_use]
    pub fn requantize(self, acc: i32, zero_point: i32, quant_min: i32, quant_max: i32) -> i32 {
        let left = i64::from(acc) << self.shift.clamp(0, 31);
        let left = left.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
        let scaled = rounding_shift(doubling_high_product(left, self.multiplier), (-self.shift).clamp(0, 31));
        scaled.saturating_add(zero_point).clamp(quant_min, quant_max)
    }
}

/// `a * b / 2^31`, halves upwards, saturated (`SaturatingRoundingDoublingHighMul`).
fn doubling_high_product(a: i32, b: i32) -> i32 {
    if a == i32::MIN && b == i32::MIN {
        return i32::MAX;
    }
    let product = i64::from(a) * i64::from(b);
    let nudge = if product >= 0 { 1 << 30 } else { 1 - (1 << 30) };
    ((product + nudge) / (1 << 31)) as i32
}

/// `x / 2^exponent`, halves away from zero (`RoundingDivideByPOT`).
fn rounding_shift(x: i32, exponent: i32) -> i32 {
    let mask = ((1i64 << exponent) - 1) as i32;
    let threshold = (mask >> 1) + i32::from(x < 0);
    (x >> exponent) + i32::from((x & mask) > threshold)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::requantize::requantize;
    use proptest::prelude::*;

    #[test]
    fn multipliers_are_what_they_stand_for() {
        let of = |m: f64| (FixedPointMultiplier::new(m).multiplier, FixedPointMultiplier::new(m).shift);
        assert_eq!(of(0.5), (1 << 30, 0));
        assert_eq!(of(0.25), (1 << 30, -1));
        assert_eq!(of(3.0), (3 << 29, 2));
        // Just below one: the fraction rounds up to one and is halved again.
        assert_eq!(of(1.0 - 1e-12), (1 << 30, 1));
        for nothing in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-12, f64::MIN_POSITIVE / 2.0] {
            assert_eq!(of(nothing), (0, 0), "{nothing}");
        }
    }

    #[test]
    fn ties_go_where_gemmlowp_sends_them() {
        // 2.5 and -2.5 by the shift: away from zero. By the product: upwards.
        assert_eq!([rounding_shift(5, 1), rounding_shift(-5, 1), rounding_shift(3, 1)], [3, -3, 2]);
        assert_eq!([doubling_high_product(5, 1 << 30), doubling_high_product(-5, 1 << 30)], [3, -2]);
        assert_eq!(doubling_high_product(i32::MIN, i32::MIN), i32::MAX);
        assert_eq!(rounding_shift(i32::MIN, 31), -1);
        assert_eq!(FixedPointMultiplier::new(1e9).requantize(i32::MAX, 7, -128, 127), 127);
        assert_eq!(FixedPointMultiplier::new(1e9).requantize(i32::MIN, 7, -128, 127), -128);
    }

    proptest! {
        #[test]
        fn shifts_and_products_are_those_of_exact_arithmetic(a: i32, b: i32, e in 0i32..31) {
            let product = (i128::from(a) * i128::from(b) + (1 << 30)) >> 31;
            prop_assert_eq!(i128::from(doubling_high_product(a, b)), product.min(i128::from(i32::MAX)));
            let away = (f64::from(a) / (1i64 << e) as f64).round();
            prop_assert_eq!(f64::from(rounding_shift(a, e)), away);
        }

        #[test]
        fn it_is_within_a_code_of_the_float_form(acc in -1_000_000i32..1_000_000, m in 1e-6f32..1.0, z in 0i32..256) {
            let fixed = FixedPointMultiplier::new(f64::from(m)).requantize(acc, z, 0, 255);
            prop_assert!((fixed - requantize(acc, m, z, 0, 255)).abs() <= 1);
        }
    }
}
