//! From codes to codes: magnitudes of weights as the unsigned factors of `vpmaddubsw`, which cannot saturate; see the parent's
//! `packed`. Interleaving bytes moves channels about between lanes; the packing of 32-bit codes into bytes moves them back.
#![allow(unsafe_code, reason = "reads of runs whose bounds are proved once")]

use super::packed::{Block, WIDEST, Weights};
use crate::avx2::requantize::Narrow;
use crate::memory::*;
use crate::windows::{At, Windows, blocks};
use std::arch::x86_64::*;
use tq_kernels::DepthwiseRun;

/// See [`tq_kernels::RowKernel::depthwise_codes`]. Panics where a slice is too short.
#[target_feature(enable = "avx2")]
pub(in super::super) fn codes(run: &DepthwiseRun, out: &mut [u8], out_stride: usize) {
    let mut weights = run.weights;
    for (start, width) in blocks(run.channels, WIDEST) {
        let out = &mut out[start..];
        weights = match width {
            WIDEST => block::<2>(run, weights, start, out, out_stride),
            _ => block::<1>(run, weights, start, out, out_stride),
        };
    }
}

/// The channels of one block, `16 H` from channel `start` on. Gives the weights behind its own.
#[target_feature(enable = "avx2")]
fn block<'a, const H: usize>(
    run: &DepthwiseRun<'a>,
    weights: &'a [u8],
    start: usize,
    out: &mut [u8],
    out_stride: usize,
) -> &'a [u8] {
    let (block, behind) = Block::<H>::take(weights, run.taps.len().div_ceil(2));
    let windows = Windows::new(run, block.order.iter().copied());
    let columns = Columns::new(run, &block, start);
    let narrow = Narrow::new(run.params);
    let mut p = 0;
    while p + 2 <= run.positions {
        positions::<H, 2>(&windows, &block, &columns, &narrow, start, p, out, out_stride);
        p += 2;
    }
    if p < run.positions {
        positions::<H, 1>(&windows, &block, &columns, &narrow, start, p, out, out_stride);
    }
    behind
}

/// What the sums of a block are requantized by, in their order.
struct Columns<const H: usize> {
    offset: [[__m256i; 2]; H],
    multiplier: [[__m256; 2]; H],
}

impl<const H: usize> Columns<H> {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(run: &DepthwiseRun, block: &Block<H>, start: usize) -> Self {
        let mut columns =
            Self { offset: [[_mm256_setzero_si256(); 2]; H], multiplier: [[_mm256_setzero_ps(); 2]; H] };
        for h in 0..H {
            for i in 0..2 {
                let c = start + 8 * h + 4 * i;
                let low = load_4_i32(first(&run.offset[c..]));
                let high = load_4_i32(first(&run.offset[c + 8 * H..]));
                let base = load_8_i32(&block.base[h][i]);
                columns.offset[h][i] = _mm256_add_epi32(_mm256_set_m128i(high, low), base);
                let low = load_4_f32(first(&run.multiplier[c..]));
                let high = load_4_f32(first(&run.multiplier[c + 8 * H..]));
                columns.multiplier[h][i] = _mm256_set_m128(high, low);
            }
        }
        columns
    }
}

/// `P` windows from position `p` on.
#[inline]
#[target_feature(enable = "avx2")]
#[allow(clippy::too_many_arguments, reason = "one tile: what it reads, what narrows it and where it goes")]
fn positions<const H: usize, const P: usize>(
    windows: &Windows<2>,
    block: &Block<H>,
    columns: &Columns<H>,
    narrow: &Narrow,
    start: usize,
    p: usize,
    out: &mut [u8],
    out_stride: usize,
) {
    let ones = _mm256_set1_epi16(1);
    let mut acc = [columns.offset; P];
    let mut runs = block.runs();
    while let Some(run) = runs.next() {
        let a = products::<H, P>(windows, block.weights, run, start, p);
        let b = match runs.next() {
            Some(run) => products::<H, P>(windows, block.weights, run, start, p),
            None => [[_mm256_setzero_si256(); H]; P],
        };
        for q in 0..P {
            for h in 0..H {
                let low = _mm256_madd_epi16(_mm256_unpacklo_epi16(a[q][h], b[q][h]), ones);
                let high = _mm256_madd_epi16(_mm256_unpackhi_epi16(a[q][h], b[q][h]), ones);
                acc[q][h][0] = _mm256_add_epi32(acc[q][h][0], low);
                acc[q][h][1] = _mm256_add_epi32(acc[q][h][1], high);
            }
        }
    }
    for (q, acc) in acc.iter().enumerate() {
        let out = &mut out[(p + q) * out_stride..];
        let mut words = [_mm256_setzero_si256(); H];
        for h in 0..H {
            let [low, high] = columns.multiplier[h];
            let low = _mm256_mul_ps(_mm256_cvtepi32_ps(acc[h][0]), low);
            let high = _mm256_mul_ps(_mm256_cvtepi32_ps(acc[h][1]), high);
            words[h] = narrow.words(low, high);
        }
        let bytes = narrow.bytes(words[0], words[H - 1]);
        if H == 2 {
            store_32(first_mut(out), bytes);
        } else {
            let bytes = _mm256_permute4x64_epi64::<0b10_00>(bytes);
            store_16(first_mut(out), _mm256_castsi256_si128(bytes));
        }
    }
}

/// The sums of pairs `from..to` in 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn products<const H: usize, const P: usize>(
    windows: &Windows<2>,
    weights: &[[Weights; H]],
    (from, to): (usize, usize),
    start: usize,
    p: usize,
) -> [[__m256i; H]; P] {
    let mut sums = [[_mm256_setzero_si256(); H]; P];
    for (i, weights) in weights[from..to].iter().enumerate() {
        for (q, sums) in sums.iter_mut().enumerate() {
            let codes = interleaved::<H>(windows, from + i, start, p + q);
            for h in 0..H {
                let [magnitudes, flips] = &weights[h];
                let flipped = _mm256_xor_si256(codes[h], load_32(flips));
                sums[h] = _mm256_add_epi16(sums[h], _mm256_maddubs_epi16(load_32(magnitudes), flipped));
            }
        }
    }
    sums
}

/// The codes of both taps of a pair beside each other.
#[inline]
#[target_feature(enable = "avx2")]
fn interleaved<const H: usize>(windows: &Windows<2>, pair: usize, start: usize, p: usize) -> [__m256i; H] {
    let mut codes = [_mm256_setzero_si256(); H];
    if H == 2 {
        let at: At<32> = windows.at(p, start);
        // SAFETY: `at` is of these windows.
        let (a, b) = unsafe { (windows.codes(pair, 0, at), windows.codes(pair, 1, at)) };
        let (a, b) = (load_32(a), load_32(b));
        codes[0] = _mm256_unpacklo_epi8(a, b);
        codes[H - 1] = _mm256_unpackhi_epi8(a, b);
    } else {
        let at: At<16> = windows.at(p, start);
        // SAFETY: `at` is of these windows.
        let (a, b) = unsafe { (windows.codes(pair, 0, at), windows.codes(pair, 1, at)) };
        let (a, b) = (load_16(a), load_16(b));
        codes[0] = _mm256_set_m128i(_mm_unpackhi_epi8(a, b), _mm_unpacklo_epi8(a, b));
    }
    codes
}
