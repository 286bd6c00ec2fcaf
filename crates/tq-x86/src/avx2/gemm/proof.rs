//! Up to which code sums of products in 16 bits are exact.

use super::Group;
use crate::memory::{load_32, store_16_i16};
use std::arch::x86_64::*;

/// Sums of the positive and of the negative weights of every adjacent pair, of one group or of several added up: what the
/// pair's 16-bit sum is bounded by, in units of the largest code.
#[derive(Clone, Copy)]
pub(super) struct PairSums {
    positive: __m256i,
    negative: __m256i,
}

impl PairSums {
    /// Of one group.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn of(group: &Group) -> Self {
        let (zero, one) = (_mm256_setzero_si256(), _mm256_set1_epi8(1));
        let w = load_32(group);
        // Two times -128 is far from the ends of 16 bits.
        Self {
            positive: _mm256_maddubs_epi16(one, _mm256_max_epi8(w, zero)),
            negative: _mm256_maddubs_epi16(one, _mm256_min_epi8(w, zero)),
        }
    }

    /// Of this and another group, whose products are added before they are widened.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            positive: _mm256_add_epi16(self.positive, other.positive),
            negative: _mm256_add_epi16(self.negative, other.negative),
        }
    }

    /// The largest code, at most 255, with which no sum in any order of these products leaves 16 bits.
    ///
    /// With codes in `0..=a`, every partial sum of a pair's products lies between `a` times the sum of its negative
    /// weights and `a` times that of its positive ones.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn exact_up_to(self) -> u8 {
        let (mut most, mut least) = ([0i16; 16], [0i16; 16]);
        store_16_i16(&mut most, self.positive);
        store_16_i16(&mut least, self.negative);
        let most = most.iter().copied().fold(0, i16::max);
        let least = least.iter().copied().fold(0, i16::min);
        let up = i32::from(i16::MAX) / i32::from(most).max(1);
        let down = i32::from(i16::MIN) / i32::from(least).min(-1);
        up.min(down).min(255) as u8
    }
}
