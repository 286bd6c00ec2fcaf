//! From codes to codes: magnitudes of weights as the unsigned factors of `vpmaddubsw`, which cannot saturate; see `packed`.

use super::columns::{Columns, interleaved};
use super::packed::{Block, WIDEST, Weights};
use crate::memory::*;
use crate::windows::{Windows, blocks};
use std::arch::x86_64::*;
use tq_kernels::DepthwiseRun;

/// See [`tq_kernels::RowKernel::depthwise_codes`]. Panics where a slice is too short.
#[target_feature(enable = "avx2")]
pub(in super::super) fn codes(run: &DepthwiseRun, out: &mut [u8], out_stride: usize) {
    let windows = Windows::new(run);
    let mut weights = run.weights;
    for (start, width) in blocks(run.channels, WIDEST) {
        let out = &mut out[start..];
        weights = match width {
            WIDEST => block::<2>(run, &windows, weights, start, out, out_stride),
            _ => block::<1>(run, &windows, weights, start, out, out_stride),
        };
    }
}

/// The channels of one block, `16 H` from channel `start` on. Gives the weights behind its own.
#[target_feature(enable = "avx2")]
fn block<'a, const H: usize>(
    run: &DepthwiseRun<'a>,
    windows: &Windows,
    weights: &'a [u8],
    start: usize,
    out: &mut [u8],
    out_stride: usize,
) -> &'a [u8] {
    let (block, behind) = Block::<H>::take(weights, run.taps.len().div_ceil(2));
    let mut columns = Columns::new(run, start);
    columns.add(block.base);
    let mut p = 0;
    while p + 2 <= run.positions {
        let sums = sums::<H, 2>(windows, &block, &columns, start, p);
        columns.store(&sums[0], &mut out[p * out_stride..]);
        columns.store(&sums[1], &mut out[(p + 1) * out_stride..]);
        p += 2;
    }
    if p < run.positions {
        let sums = sums::<H, 1>(windows, &block, &columns, start, p);
        columns.store(&sums[0], &mut out[p * out_stride..]);
    }
    behind
}

/// The sums of `P` windows from position `p` on.
#[inline]
#[target_feature(enable = "avx2")]
fn sums<const H: usize, const P: usize>(
    windows: &Windows,
    block: &Block<H>,
    columns: &Columns<H>,
    start: usize,
    p: usize,
) -> [[[__m256i; 2]; H]; P] {
    let ones = _mm256_set1_epi16(1);
    let mut acc = [columns.offset; P];
    let mut runs = block.runs();
    while let Some(run) = runs.next() {
        let a = products::<H, P>(windows, block, run, start, p);
        let b = match runs.next() {
            Some(run) => products::<H, P>(windows, block, run, start, p),
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
    acc
}

/// The sums of pairs `from..to` in 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn products<const H: usize, const P: usize>(
    windows: &Windows,
    block: &Block<H>,
    (from, to): (usize, usize),
    start: usize,
    p: usize,
) -> [[__m256i; H]; P] {
    let mut sums = [[_mm256_setzero_si256(); H]; P];
    let weights: &[[Weights; H]] = &block.weights[from..to];
    for (pair, weights) in block.order[from..to].iter().zip(weights) {
        for (q, sums) in sums.iter_mut().enumerate() {
            let codes = interleaved::<H>(windows, *pair, start, p + q);
            for h in 0..H {
                let [magnitudes, flips] = &weights[h];
                let flipped = _mm256_xor_si256(codes[h], load_32(flips));
                sums[h] = _mm256_add_epi16(sums[h], _mm256_maddubs_epi16(load_32(magnitudes), flipped));
            }
        }
    }
    sums
}
