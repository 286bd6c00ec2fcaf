//! From an accumulator to output codes without floating point, as gemmlowp and TensorFlow Lite's reference do it.
//!
//! A product with a 31-bit fraction, rounded, and a shift, rounded again: two roundings, halves of the second away from zero,
//! where [`mod@crate::requantize`] has one, halves to even. What a model asks for is a
//! [`Requantization`](crate::requantize::Requantization).

/// A positive multiplier as `multiplier / 2^31 * 2^shift`, the fraction between one half and one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FixedPointMultiplier {
    multiplier: i32,
    shift: i32,
}

impl FixedPointMultiplier {
    /// The nearest such number, halves away from zero (TensorFlow Lite's `QuantizeMultiplier`). Zero for what is not positive
    /// and for what is below `2^-32`; the largest shift is 31.
    #[must_use]
    pub fn new(real: f64) -> Self {
        if !(real.is_normal() && real > 0.0) {
            return Self::default();
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
            return Self::default();
        }
        Self { multiplier: fixed as i32, shift: shift.min(31) }
    }

    /// The multiplier that takes an accumulator of scale `lhs_scale * rhs_scale` to codes of scale `out_scale`, in f64 as
    /// TensorFlow Lite has it.
    #[must_use]
    pub fn of_scales(lhs_scale: f32, rhs_scale: f32, out_scale: f32) -> Self {
        Self::new(f64::from(lhs_scale) * f64::from(rhs_scale) / f64::from(out_scale))
    }

    /// The fraction in units of `2^-31`: `2^30..2^31`, or 0 for a multiplier that is too small to be told from zero.
    #[must_use]
    pub const fn multiplier(self) -> i32 {
        self.multiplier
    }

    /// Power of two, -31..=31.
    #[must_use]
    pub const fn shift(self) -> i32 {
        self.shift
    }

    /// True where a product is smaller than what was multiplied.
    #[must_use]
    pub const fn is_below_one(self) -> bool {
        self.shift <= 0
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
        requantize(acc, self.multiplier, self.shift, zero_point, quant_min, quant_max)
    }

    /// [`FixedPointMultiplier::requantize`] for an accumulator that needs 64 bits: the same two roundings, in wider numbers.
    ///
    /// Equal to it for every accumulator that fits 32 bits.
    #[must_use]
    pub fn requantize_wide(self, acc: i64, zero_point: i32, quant_min: i32, quant_max: i32) -> i32 {
        let left = i128::from(acc) << self.shift.clamp(0, 31);
        let product = (left * i128::from(self.multiplier) + (1 << 30)) >> 31;
        let exponent = (-self.shift).clamp(0, 31);
        // Away from zero: magnitudes are rounded upwards.
        let magnitude = (product.abs() + ((1 << exponent) >> 1)) >> exponent;
        let code = product.signum() * magnitude + i128::from(zero_point);
        code.clamp(i128::from(quant_min), i128::from(quant_max)) as i32
    }
}

/// [`FixedPointMultiplier::requantize`] with a multiplier in parts, as kernels have them.
#[must_use]
pub fn requantize(
    acc: i32,
    multiplier: i32,
    shift: i32,
    zero_point: i32,
    quant_min: i32,
    quant_max: i32,
) -> i32 {
    let left = i64::from(acc) << shift.clamp(0, 31);
    let left = left.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32;
    let scaled = rounding_shift(doubling_high_product(left, multiplier), shift.clamp(-31, 0).abs());
    scaled.saturating_add(zero_point).clamp(quant_min, quant_max)
}

/// `a * b / 2^31`, halves upwards, saturated (`SaturatingRoundingDoublingHighMul`).
fn doubling_high_product(a: i32, b: i32) -> i32 {
    if a == i32::MIN && b == i32::MIN {
        return i32::MAX;
    }
    let product = i64::from(a) * i64::from(b);
    ((product + (1 << 30)) >> 31) as i32
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
    use crate::requantize::requantize as requantize_real;
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
        // Shifts beyond 31 count as 31, the least of all too.
        for shift in [i32::MIN, -32, -31] {
            assert_eq!(requantize(i32::MIN, 1 << 30, shift, 7, -128, 127), 7 - 1);
        }
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
        fn wide_equals_narrow(acc: i32, m in -22.0f64..20.0, z in 0i32..256) {
            let fixed = FixedPointMultiplier::new(libm::exp2(m));
            prop_assert_eq!(fixed.requantize(acc, z, 0, 255), fixed.requantize_wide(i64::from(acc), z, 0, 255));
        }

        #[test]
        fn it_is_within_a_code_of_the_float_form(acc in -1_000_000i32..1_000_000, m in 1e-6f32..1.0, z in 0i32..256) {
            let fixed = FixedPointMultiplier::new(f64::from(m)).requantize(acc, z, 0, 255);
            prop_assert!((fixed - requantize_real(acc, m, z, 0, 255)).abs() <= 1);
        }
    }
}
