//! From a 32-bit accumulator to output codes, and from a float bias to a 32-bit one.
//!
//! The normative formula of this project: one f32 multiplier, clamp in f32, round half to even,
//! add the zero point. Clamping before the conversion is what makes every processor agree.
//!
//! A model for mobile devices may ask for [`fixed_point`](crate::fixed_point) instead: [`Requantization`].

use crate::fixed_point::FixedPointMultiplier;
use serde::{Deserialize, Serialize};

/// How the sums of products become codes.
///
/// Of products with weights and of two activations. Means, sums of two tensors and tables are computed in one way always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Requantization {
    /// One f32 multiplier, one rounding, halves to even: [`fn@requantize`].
    #[default]
    Float,
    /// A 31-bit fraction and a shift, two roundings, as gemmlowp and TensorFlow Lite's reference kernels have it:
    /// [`FixedPointMultiplier`].
    FixedPoint,
}

impl Requantization {
    /// All of them.
    pub const ALL: [Requantization; 2] = [Requantization::Float, Requantization::FixedPoint];

    /// The name in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Requantization::Float => "float",
            Requantization::FixedPoint => "fixed_point",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.name() == name)
    }

    /// What takes accumulators of scale `lhs_scale * rhs_scale` to codes of scale `out_scale`.
    #[must_use]
    pub fn multiplier(self, lhs_scale: f32, rhs_scale: f32, out_scale: f32) -> Multiplier {
        match self {
            Requantization::Float => Multiplier::Float(multiplier(lhs_scale, rhs_scale, out_scale)),
            Requantization::FixedPoint => {
                Multiplier::FixedPoint(FixedPointMultiplier::of_scales(lhs_scale, rhs_scale, out_scale))
            }
        }
    }
}

impl std::fmt::Display for Requantization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A multiplier of either kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Multiplier {
    /// Of [`Requantization::Float`].
    Float(f32),
    /// Of [`Requantization::FixedPoint`].
    FixedPoint(FixedPointMultiplier),
}

impl Multiplier {
    /// Output code of an accumulator: [`requantize_wide`], or [`FixedPointMultiplier::requantize_wide`].
    #[must_use]
    pub fn requantize(self, acc: i64, zero_point: i32, quant_min: i32, quant_max: i32) -> i32 {
        match self {
            Multiplier::Float(m) => requantize_wide(acc, m, zero_point, quant_min, quant_max),
            Multiplier::FixedPoint(m) => m.requantize_wide(acc, zero_point, quant_min, quant_max),
        }
    }
}

/// The multiplier that takes an accumulator of scale `lhs_scale * rhs_scale` to codes of scale `out_scale`:
/// `f32(f32(lhs_scale * rhs_scale) / out_scale)`.
#[must_use]
pub fn multiplier(lhs_scale: f32, rhs_scale: f32, out_scale: f32) -> f32 {
    (lhs_scale * rhs_scale) / out_scale
}

/// The multiplier that takes a sum of `count` codes of scale `input_scale`, zero points taken off, to codes of their average
/// at scale `out_scale`: `f32(input_scale / (out_scale * count))`, in f64 up to the last step.
#[must_use]
pub fn average_multiplier(input_scale: f32, out_scale: f32, count: usize) -> f32 {
    (f64::from(input_scale) / (f64::from(out_scale) * count as f64)) as f32
}

/// Output code of an accumulator: `round_half_even(clamp(acc * multiplier, qmin - z, qmax - z)) + z`.
///
/// The conversion of `acc` to f32 rounds to nearest even, the product rounds once; nothing is fused.
///
/// ```
/// use tq_qtypes::requantize::requantize;
/// assert_eq!(requantize(5, 0.5, 10, 0, 255), 12); // 2.5 rounds to the even 2
/// assert_eq!(requantize(i32::MAX, 1.0, 10, 0, 255), 255);
/// ```
#[must_use]
pub fn requantize(acc: i32, multiplier: f32, zero_point: i32, quant_min: i32, quant_max: i32) -> i32 {
    round_clamped(acc as f32 * multiplier, zero_point, quant_min, quant_max)
}

/// [`requantize`] for an accumulator that needs 64 bits.
///
/// Equal to [`requantize`] for every accumulator that fits 32 bits.
#[must_use]
pub fn requantize_wide(acc: i64, multiplier: f32, zero_point: i32, quant_min: i32, quant_max: i32) -> i32 {
    round_clamped(acc as f32 * multiplier, zero_point, quant_min, quant_max)
}

/// `round_half_even(clamp(x, qmin - z, qmax - z)) + z`, NaN giving `qmin`: the last step of every quantizer
/// of codes of up to 16 bits.
#[must_use]
pub fn round_clamped(x: f32, zero_point: i32, quant_min: i32, quant_max: i32) -> i32 {
    // `max` before `min`: a NaN becomes the lower bound.
    let lo = (quant_min - zero_point) as f32;
    let hi = (quant_max - zero_point) as f32;
    x.max(lo).min(hi).round_ties_even() as i32 + zero_point
}

/// Integer biases and the channels in which the float bias did not fit 32 bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuantizedBias {
    /// `round_half_even(bias / f32(lhs_scale * rhs_scale))`, saturated to i32.
    pub values: Vec<i32>,
    /// Channels that saturated.
    pub saturated: Vec<usize>,
}

/// Quantizes a float bias to accumulators of scale `f32(lhs_scale * rhs_scale[c])`, dividing in f64.
///
/// `rhs_scale` holds one scale per channel, or one for all. A NaN bias gives 0 and is listed as saturated.
#[must_use]
pub fn quantize_bias(bias: &[f32], lhs_scale: f32, rhs_scale: &[f32]) -> QuantizedBias {
    let mut saturated = Vec::new();
    let values = bias
        .iter()
        .enumerate()
        .map(|(c, &b)| {
            let rhs = if rhs_scale.len() == 1 { rhs_scale[0] } else { rhs_scale[c] };
            let scale = lhs_scale * rhs;
            let exact = (f64::from(b) / f64::from(scale)).round_ties_even();
            if !(exact >= f64::from(i32::MIN) && exact <= f64::from(i32::MAX)) {
                saturated.push(c);
            }
            exact as i32
        })
        .collect();
    QuantizedBias { values, saturated }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn requantize_saturates_and_rounds_half_to_even() {
        assert_eq!(requantize(3, 0.5, 0, 0, 255), 2);
        assert_eq!(requantize(1, 0.5, 0, 0, 255), 0);
        assert_eq!(requantize(i32::MIN, 1e30, 128, 0, 255), 0);
        assert_eq!(requantize(i32::MAX, f32::INFINITY, 128, 0, 255), 255);
        assert_eq!(round_clamped(f32::NAN, 3, -128, 127), -128);
    }

    #[test]
    fn bias_saturation_is_reported_with_its_channel() {
        let q = quantize_bias(&[1.0, 1e9, f32::NAN], 1e-6, &[1.0]);
        assert_eq!(q.saturated, vec![1, 2]);
        assert_eq!(q.values, vec![1_000_000, i32::MAX, 0]);
    }

    proptest! {
        #[test]
        fn wide_equals_narrow(acc: i32, m in 1e-9f32..10.0, z in 0i32..256) {
            prop_assert_eq!(requantize(acc, m, z, 0, 255), requantize_wide(i64::from(acc), m, z, 0, 255));
        }

        #[test]
        fn requantize_is_within_half_a_code_of_the_real_value(acc in -1_000_000i32..1_000_000, m in 1e-7f32..1e-3) {
            let got = f64::from(requantize(acc, m, 0, -32_768, 32_767));
            let real = f64::from(acc) * f64::from(m);
            prop_assert!((got - real).abs() <= 0.5 + 1e-4 * real.abs().max(1.0));
        }
    }
}
