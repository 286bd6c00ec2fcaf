//! Depthwise sums: taps in pairs through `vpmaddwd`, 16 channels at a time.

use super::memory::{load_8, load_8_i16, load_8_i32, load_16, load_16_i16, store_8_i32};
use std::arch::x86_64::*;

/// See [`tq_kernels::RowKernel::depthwise`]; gives the number of channels done, all but the last few.
#[target_feature(enable = "avx2")]
pub(super) fn depthwise(taps: &[&[u8]], weights: &[i16], weight_stride: usize, acc: &mut [i32]) -> usize {
    let channels = taps.iter().fold(acc.len(), |n, tap| n.min(tap.len()));
    let mut c = 0;
    while c + 16 <= channels {
        sixteen(taps, weights, weight_stride, c, acc);
        c += 16;
    }
    if c + 8 <= channels {
        eight(taps, weights, weight_stride, c, acc);
        c += 8;
    }
    c
}

#[inline]
#[target_feature(enable = "avx2")]
fn sixteen(taps: &[&[u8]], weights: &[i16], weight_stride: usize, c: usize, acc: &mut [i32]) {
    // Interleaving by 128-bit lanes leaves the sums of channels 0..4 and 8..12 in one vector, the others in the
    // other one.
    let (mut outer, mut inner) = (_mm256_setzero_si256(), _mm256_setzero_si256());
    let (pairs, last) = taps.as_chunks::<2>();
    let mut row = &weights[c..];
    for [even, odd] in pairs {
        let (a0, a1) = (codes(even, c), codes(odd, c));
        let (w0, w1) = (factors(row), factors(&row[weight_stride..]));
        outer = add_products(outer, _mm256_unpacklo_epi16(a0, a1), _mm256_unpacklo_epi16(w0, w1));
        inner = add_products(inner, _mm256_unpackhi_epi16(a0, a1), _mm256_unpackhi_epi16(w0, w1));
        row = row.get(2 * weight_stride..).unwrap_or(&[]);
    }
    if let [tap] = last {
        let zero = _mm256_setzero_si256();
        let (a, w) = (codes(tap, c), factors(row));
        outer = add_products(outer, _mm256_unpacklo_epi16(a, zero), _mm256_unpacklo_epi16(w, zero));
        inner = add_products(inner, _mm256_unpackhi_epi16(a, zero), _mm256_unpackhi_epi16(w, zero));
    }
    let sums = acc[c..][..16].as_chunks_mut::<8>().0;
    let low = _mm256_permute2x128_si256::<0x20>(outer, inner);
    let high = _mm256_permute2x128_si256::<0x31>(outer, inner);
    for (sums, products) in sums.iter_mut().zip([low, high]) {
        let sum = _mm256_add_epi32(load_8_i32(sums), products);
        store_8_i32(sums, sum);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn eight(taps: &[&[u8]], weights: &[i16], weight_stride: usize, c: usize, acc: &mut [i32]) {
    let sums = &mut acc[c..].as_chunks_mut::<8>().0[0];
    let mut sum = load_8_i32(sums);
    for (t, tap) in taps.iter().enumerate() {
        // The upper halves of the widened codes are zero, so one of the two products that are added is too.
        let a = _mm256_cvtepu8_epi32(load_8(&tap[c..].as_chunks::<8>().0[0]));
        let w = _mm256_cvtepi16_epi32(load_8_i16(&weights[t * weight_stride + c..].as_chunks::<8>().0[0]));
        sum = add_products(sum, a, w);
    }
    store_8_i32(sums, sum);
}

/// 16 codes of a tap as 16-bit integers.
#[inline]
#[target_feature(enable = "avx2")]
fn codes(tap: &[u8], c: usize) -> __m256i {
    _mm256_cvtepu8_epi16(load_16(&tap[c..].as_chunks::<16>().0[0]))
}

/// 16 weights.
#[inline]
#[target_feature(enable = "avx2")]
fn factors(row: &[i16]) -> __m256i {
    load_16_i16(&row.as_chunks::<16>().0[0])
}

/// Codes of at most 255 times weights of at most ±255, in pairs: far from 32 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn add_products(sum: __m256i, a: __m256i, w: __m256i) -> __m256i {
    _mm256_add_epi32(sum, _mm256_madd_epi16(a, w))
}
