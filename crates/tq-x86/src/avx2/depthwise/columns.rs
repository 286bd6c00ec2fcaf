//! The channels of a block on their way through the vectors: interleaving bytes and words by lanes of 128 bits moves them about,
//! the packing of 32-bit codes into bytes moves them back.
#![allow(unsafe_code, reason = "reads of runs whose bounds are proved once")]

use crate::avx2::requantize::Narrow;
use crate::memory::*;
use crate::windows::{At, Windows};
use std::arch::x86_64::*;
use tq_kernels::DepthwiseRun;

/// 32-bit sums of `16 H` channels: of 16, two vectors. Vector `v` of all has channels `4 v ..` and `8 H + 4 v ..`, four of each.
pub(crate) type Sums<const H: usize> = [[__m256i; 2]; H];

/// What the sums of a block are requantized by, in their order.
pub(crate) struct Columns<const H: usize> {
    /// What sums of products begin with.
    pub(crate) offset: Sums<H>,
    multiplier: [[__m256; 2]; H],
    narrow: Narrow,
}

impl<const H: usize> Columns<H> {
    /// The channels from `start` on. Panics where there are too few.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn new(run: &DepthwiseRun, start: usize) -> Self {
        let mut offset = [[_mm256_setzero_si256(); 2]; H];
        let mut multiplier = [[_mm256_setzero_ps(); 2]; H];
        for h in 0..H {
            for i in 0..2 {
                let c = start + 8 * h + 4 * i;
                let low = load_4_i32(first(&run.offset[c..]));
                offset[h][i] = _mm256_set_m128i(load_4_i32(first(&run.offset[c + 8 * H..])), low);
                let low = load_4_f32(first(&run.multiplier[c..]));
                multiplier[h][i] = _mm256_set_m128(load_4_f32(first(&run.multiplier[c + 8 * H..])), low);
            }
        }
        Self { offset, multiplier, narrow: Narrow::new(run.params) }
    }

    /// Adds what all sums lack, in their order.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn add(&mut self, base: &[[[i32; 8]; 2]]) {
        for (offset, base) in self.offset.iter_mut().zip(base) {
            for (offset, base) in offset.iter_mut().zip(base) {
                *offset = _mm256_add_epi32(*offset, load_8_i32(base));
            }
        }
    }

    /// The codes of a window's sums, to the first `16 H` elements of `out`. Panics where there are fewer.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn store(&self, sums: &Sums<H>, out: &mut [u8]) {
        let mut words = [_mm256_setzero_si256(); H];
        for h in 0..H {
            let [low, high] = self.multiplier[h];
            let low = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[h][0]), low);
            let high = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[h][1]), high);
            words[h] = self.narrow.words(low, high);
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

/// The codes of two taps beside each other: of 16 channels a vector, whose lanes hold channels `8 h ..` and `8 H + 8 h ..`.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn interleaved<const H: usize>(
    windows: &Windows,
    pair: [u8; 2],
    start: usize,
    p: usize,
) -> [__m256i; H] {
    const { assert!(H == 1 || H == 2, "a block has 16 or 32 channels") };
    let mut codes = [_mm256_setzero_si256(); H];
    if H == 2 {
        let at: At<32> = windows.at(p, start);
        // SAFETY: `at` is of these windows.
        let (a, b) = unsafe { (windows.codes(pair[0], at), windows.codes(pair[1], at)) };
        let (a, b) = (load_32(a), load_32(b));
        codes[0] = _mm256_unpacklo_epi8(a, b);
        codes[H - 1] = _mm256_unpackhi_epi8(a, b);
    } else {
        let at: At<16> = windows.at(p, start);
        // SAFETY: `at` is of these windows.
        let (a, b) = unsafe { (windows.codes(pair[0], at), windows.codes(pair[1], at)) };
        let (a, b) = (load_16(a), load_16(b));
        codes[0] = _mm256_set_m128i(_mm_unpackhi_epi8(a, b), _mm_unpacklo_epi8(a, b));
    }
    codes
}
