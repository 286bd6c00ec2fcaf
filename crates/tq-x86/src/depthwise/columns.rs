//! The channels of a block on their way through the vectors.
#![allow(unsafe_code, reason = "reads of runs whose bounds are proved once")]

use super::windows::codes;
use crate::avx2::{Factors, Narrow};
use crate::memory::*;
use std::arch::x86_64::*;
use tq_kernels::DepthwiseRun;
use tq_kernels::depthwise::Place;

/// 32-bit sums of `16 H` channels, two vectors for every 16. Vector `v` of all has channels `4 v ..` and `8 H + 4 v ..`, four of
/// each.
pub(super) type Sums<const H: usize> = [[__m256i; 2]; H];

/// What the sums of a block are requantized by, in their order.
pub(super) struct Columns<const H: usize, const FIXED: bool> {
    /// What sums of products begin with.
    pub(super) offset: Sums<H>,
    factors: [[Factors<FIXED>; 2]; H],
    narrow: Narrow,
}

impl<const H: usize, const FIXED: bool> Columns<H, FIXED> {
    /// The channels from `start` on. Panics where there are too few.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn new(run: &DepthwiseRun, start: usize) -> Self {
        let mut offset = [[_mm256_setzero_si256(); 2]; H];
        let mut factors = [[Factors::halves(run.multipliers, start, start + 8 * H); 2]; H];
        for h in 0..H {
            for i in 0..2 {
                let c = start + 8 * h + 4 * i;
                let low = load_4_i32(first(&run.offset[c..]));
                offset[h][i] = _mm256_set_m128i(load_4_i32(first(&run.offset[c + 8 * H..])), low);
                factors[h][i] = Factors::halves(run.multipliers, c, c + 8 * H);
            }
        }
        Self { offset, factors, narrow: Narrow::new(run.params) }
    }

    /// Adds what all sums lack, which `weights` begin with. Gives what is behind it; panics where there is too little.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn add_base<'a>(&mut self, weights: &'a [u8]) -> &'a [u8] {
        let (base, behind) = weights.split_at(64 * H);
        for (offset, base) in self.offset.iter_mut().zip(base.as_chunks::<32>().0.as_chunks::<2>().0) {
            offset[0] = _mm256_add_epi32(offset[0], load_32(&base[0]));
            offset[1] = _mm256_add_epi32(offset[1], load_32(&base[1]));
        }
        behind
    }

    /// The codes of a window's sums, to the first `16 H` elements of `out`. Panics where there are fewer.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn store(&self, sums: &Sums<H>, out: &mut [u8]) {
        let mut words = [_mm256_setzero_si256(); H];
        for h in 0..H {
            let [low, high] = &self.factors[h];
            words[h] = self.narrow.words(low.steps(sums[h][0]), high.steps(sums[h][1]));
        }
        let bytes = self.narrow.bytes(words[0], words[H - 1]);
        if H == 2 {
            store_32(first_mut(out), bytes);
        } else {
            let bytes = _mm256_permute4x64_epi64::<0b10_00>(bytes);
            store_16(first_mut(out), _mm256_castsi256_si128(bytes));
        }
    }
}

/// The codes of four taps beside each other, in the order of [`Sums`].
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn interleaved<const H: usize>(first: [__m256i; H], second: [__m256i; H]) -> Sums<H> {
    let mut codes = [[_mm256_setzero_si256(); 2]; H];
    for h in 0..H {
        codes[h][0] = _mm256_unpacklo_epi16(first[h], second[h]);
        codes[h][1] = _mm256_unpackhi_epi16(first[h], second[h]);
    }
    codes
}

/// The codes of two taps beside each other: of 16 channels a vector, whose lanes hold channels `8 h ..` and `8 H + 8 h ..`.
///
/// # Safety
/// As [`codes`], with places of `16 H` channels.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) unsafe fn pairs<const H: usize>(first: &[u8], second: &[u8], at: Place) -> [__m256i; H] {
    const { assert!(H == 1 || H == 2, "a block has 16 or 32 channels") };
    let mut pairs = [_mm256_setzero_si256(); H];
    if H == 2 {
        // SAFETY: the caller's promise.
        let (a, b) = unsafe { (load_32(codes(first, at)), load_32(codes(second, at))) };
        pairs[0] = _mm256_unpacklo_epi8(a, b);
        pairs[H - 1] = _mm256_unpackhi_epi8(a, b);
    } else {
        // SAFETY: the caller's promise.
        let (a, b) = unsafe { (load_16(codes(first, at)), load_16(codes(second, at))) };
        pairs[0] = _mm256_set_m128i(_mm_unpackhi_epi8(a, b), _mm_unpacklo_epi8(a, b));
    }
    pairs
}
