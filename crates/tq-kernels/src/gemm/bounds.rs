//! The proof that 32-bit accumulators cannot overflow, channel by channel.

/// Sums over the weights of one channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ChannelSums {
    /// Sum of the positive weights.
    pub(crate) positive: i64,
    /// Minus the sum of the negative weights.
    pub(crate) negative: i64,
}

impl ChannelSums {
    pub(crate) fn of(weights: impl Iterator<Item = i64>) -> Self {
        weights.fold(Self::default(), |sums, w| Self {
            positive: sums.positive + w.max(0),
            negative: sums.negative - w.min(0),
        })
    }

    /// Sum of all weights.
    pub(crate) fn total(self) -> i64 {
        self.positive - self.negative
    }
}

/// True when an accumulator of this channel, or any partial result on the way to it, may leave 32 bits.
///
/// With codes `a` and lhs zero point `za` in 0..=255, weights `w`, zero point `zw` and bias `b`, the result is
/// `Σ a·w − za·Σ(w − zw) − zw·Σ a + b`. The products sum to at most `255 · max(Σw⁺, Σw⁻)` in magnitude, in any
/// order; the corrections to at most `255 · |Σ(w − zw)|` and `255 · K · |zw|`.
pub(crate) fn is_wide(sums: ChannelSums, k: usize, zero_point: i32, bias: i32) -> bool {
    bound(sums, k, zero_point, bias) > i128::from(i32::MAX)
}

fn bound(sums: ChannelSums, k: usize, zero_point: i32, bias: i32) -> i128 {
    let (zero_point, bias) = (i128::from(zero_point), i128::from(bias));
    let k = k as i128;
    let products = 255 * i128::from(sums.positive.max(sums.negative));
    let column = 255 * (i128::from(sums.total()) - k * zero_point).abs();
    let row = 255 * k * zero_point.abs();
    products + column + row + bias.abs()
}

/// The bound that decides at packing whether a channel of these weights accumulates in 32 bits: its accumulator, and every
/// partial result on the way to it, is at most this in magnitude, whatever codes 0..=255 and whatever zero point of them
/// it meets. In 32 bits while it is at most [`i32::MAX`].
///
/// ```
/// use tq_kernels::accumulator_bound;
/// // 255 * 127 for the products, as much again for the zero point of the codes, and the bias.
/// assert_eq!(accumulator_bound(&[127, 0], 0, 10), 2 * 255 * 127 + 10);
/// ```
#[must_use]
pub fn accumulator_bound(weights: &[i8], zero_point: i32, bias: i32) -> u64 {
    let sums = ChannelSums::of(weights.iter().map(|w| i64::from(*w)));
    u64::try_from(bound(sums, weights.len(), zero_point, bias)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_where_it_should_be() {
        // One-sided weights: the products and the column correction are equally large.
        let sums = |w: i64, k: usize| ChannelSums::of(std::iter::repeat_n(w, k));
        let limit = (i32::MAX as usize) / (2 * 255 * 128);
        assert!(!is_wide(sums(-128, limit), limit, 0, 0));
        assert!(is_wide(sums(-128, limit + 1), limit + 1, 0, 0));
        assert!(is_wide(sums(0, 1), 1, 0, i32::MIN));
        assert!(!is_wide(sums(0, 1), 1, 0, i32::MAX));
        assert!(is_wide(sums(0, 1), 1, 1, i32::MAX));
        let most = u64::from(i32::MAX.unsigned_abs());
        assert!(accumulator_bound(&vec![-128; limit], 0, 0) <= most);
        assert!(accumulator_bound(&vec![-128; limit + 1], 0, 0) > most);
    }
}
