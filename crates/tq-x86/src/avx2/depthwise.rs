//! Sums for any weights and any use: taps in pairs through `vpmaddwd`, 16 channels of a run of positions at a time.

use crate::memory::{first, load_8, load_8_i16, load_8_i32, load_16, load_16_i16, store_8_i32};
use std::arch::x86_64::*;
use tq_kernels::Tap;

/// Pairs of taps whose weights are interleaved at a time.
const PAIRS: usize = 16;

/// See [`tq_kernels::RowKernel::depthwise`]; gives the number of channels done, all but the last few.
#[target_feature(enable = "avx2")]
pub(super) fn depthwise(
    positions: usize,
    channels: usize,
    taps: &[Tap],
    weights: &[i16],
    weight_stride: usize,
    acc: &mut [i32],
) -> usize {
    let mut c = 0;
    while c + 16 <= channels {
        for (i, taps) in taps.chunks(2 * PAIRS).enumerate() {
            let weights = &weights[2 * PAIRS * i * weight_stride + c..];
            sixteen(positions, channels, taps, weights, weight_stride, c, acc);
        }
        c += 16;
    }
    if c + 8 <= channels {
        eight(positions, channels, taps, &weights[c..], weight_stride, c, acc);
        c += 8;
    }
    c
}

/// Channels `c..c + 16`; `weights` starts at channel `c`.
#[target_feature(enable = "avx2")]
fn sixteen(
    positions: usize,
    channels: usize,
    taps: &[Tap],
    weights: &[i16],
    weight_stride: usize,
    c: usize,
    acc: &mut [i32],
) {
    let zero = _mm256_setzero_si256();
    // Interleaving by 128-bit lanes puts channels 0..4 and 8..12 in one vector and the others in the other one,
    // for weights and codes alike.
    let mut factors = [[zero; 2]; PAIRS];
    for (t, factors) in factors.iter_mut().enumerate().take(taps.len().div_ceil(2)) {
        let even = load_16_i16(first(&weights[2 * t * weight_stride..]));
        let odd = if 2 * t + 1 < taps.len() {
            load_16_i16(first(&weights[(2 * t + 1) * weight_stride..]))
        } else {
            zero
        };
        *factors = [_mm256_unpacklo_epi16(even, odd), _mm256_unpackhi_epi16(even, odd)];
    }
    let (pairs, last) = taps.as_chunks::<2>();
    for (p, acc) in acc.chunks_exact_mut(channels).take(positions).enumerate() {
        let (mut outer, mut inner) = (zero, zero);
        for ([even, odd], factors) in pairs.iter().zip(&factors) {
            let (a0, a1) = (codes(even, p, c), codes(odd, p, c));
            outer = add_products(outer, _mm256_unpacklo_epi16(a0, a1), factors[0]);
            inner = add_products(inner, _mm256_unpackhi_epi16(a0, a1), factors[1]);
        }
        if let [tap] = last {
            let (a, factors) = (codes(tap, p, c), &factors[pairs.len()]);
            outer = add_products(outer, _mm256_unpacklo_epi16(a, zero), factors[0]);
            inner = add_products(inner, _mm256_unpackhi_epi16(a, zero), factors[1]);
        }
        let low = _mm256_permute2x128_si256::<0x20>(outer, inner);
        let high = _mm256_permute2x128_si256::<0x31>(outer, inner);
        for (sums, products) in acc[c..][..16].as_chunks_mut::<8>().0.iter_mut().zip([low, high]) {
            let sum = _mm256_add_epi32(load_8_i32(sums), products);
            store_8_i32(sums, sum);
        }
    }
}

/// Channels `c..c + 8`; `weights` starts at channel `c`.
#[target_feature(enable = "avx2")]
fn eight(
    positions: usize,
    channels: usize,
    taps: &[Tap],
    weights: &[i16],
    weight_stride: usize,
    c: usize,
    acc: &mut [i32],
) {
    for (p, acc) in acc.chunks_exact_mut(channels).take(positions).enumerate() {
        let sums = &mut acc[c..].as_chunks_mut::<8>().0[0];
        let mut sum = load_8_i32(sums);
        for (t, tap) in taps.iter().enumerate() {
            // The upper halves of the widened codes are zero, so one of the two products that are added is too.
            let a = _mm256_cvtepu8_epi32(load_8(first(&tap.codes[p * tap.step + c..])));
            let w = _mm256_cvtepi16_epi32(load_8_i16(first(&weights[t * weight_stride..])));
            sum = add_products(sum, a, w);
        }
        store_8_i32(sums, sum);
    }
}

/// 16 codes of a tap at position `p` as 16-bit integers.
#[inline]
#[target_feature(enable = "avx2")]
fn codes(tap: &Tap, p: usize, c: usize) -> __m256i {
    _mm256_cvtepu8_epi16(load_16(first(&tap.codes[p * tap.step + c..])))
}

/// Codes of at most 255 times weights of at most ±255, in pairs: far from 32 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn add_products(sum: __m256i, a: __m256i, w: __m256i) -> __m256i {
    _mm256_add_epi32(sum, _mm256_madd_epi16(a, w))
}
