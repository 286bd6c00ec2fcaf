//! Up to which code sums of products in 16 bits are exact.

use super::Group;
use super::codes::most_word;
use crate::memory::load_32;
use std::arch::x86_64::*;

/// Sums of the positive and of the negative weights of every adjacent pair, of one group or of several added up: what the
/// pair's 16-bit sum is bounded by, in units of the largest code.
#[derive(Clone, Copy)]
pub(super) struct PairSums {
    positive: __m256i,
    /// Without their signs.
    negative: __m256i,
}

impl PairSums {
    /// Of no weights.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn zero() -> Self {
        Self { positive: _mm256_setzero_si256(), negative: _mm256_setzero_si256() }
    }

    /// Of one group.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn of(group: &Group) -> Self {
        let (zero, one) = (_mm256_setzero_si256(), _mm256_set1_epi8(1));
        let w = load_32(group);
        // Two times -128 is far from the ends of 16 bits.
        Self {
            positive: _mm256_maddubs_epi16(one, _mm256_max_epi8(w, zero)),
            negative: _mm256_sub_epi16(zero, _mm256_maddubs_epi16(one, _mm256_min_epi8(w, zero))),
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

    /// The largest of all.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn largest(self) -> Bound {
        Bound(most_word(_mm256_max_epu16(self.positive, self.negative)))
    }
}

/// Every partial sum of a pair's products lies between minus and plus this times the largest code.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Bound(u16);

impl Bound {
    /// No sum in any order leaves 16 bits with codes in `0..=max`.
    #[inline]
    pub(super) fn exact_up_to(self, max: u8) -> bool {
        u32::from(self.0) * u32::from(max) <= i16::MAX as u32
    }

    /// In units of the largest code.
    #[inline]
    pub(super) fn units(self) -> u32 {
        self.0.into()
    }
}
