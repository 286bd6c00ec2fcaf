//! Smallest and largest codes and words: of the lhs before it is multiplied, and of what proofs look through.

use crate::memory::{first, load_8, load_16, load_32};
use std::arch::x86_64::*;

/// Codes of a vector.
const LANES: usize = 32;

/// See [`tq_kernels::Microkernel::range`]; 255 and 0 for no codes. Panics where there are too few.
#[target_feature(enable = "avx2")]
pub(in super::super) fn range(codes: &[u8], rows: usize, stride: usize, k: usize) -> (u8, u8) {
    // Rows that follow each other are one long one.
    let (rows, k) = if stride == k { (rows.min(1), rows.saturating_mul(k)) } else { (rows, k) };
    if k < LANES {
        return short_range(codes, rows, stride, k);
    }
    let (mut smallest, mut largest) = (_mm256_set1_epi8(-1), _mm256_setzero_si256());
    for r in 0..rows {
        let row = &codes[r * stride..][..k];
        for codes in row.as_chunks::<LANES>().0 {
            let codes = load_32(codes);
            smallest = _mm256_min_epu8(smallest, codes);
            largest = _mm256_max_epu8(largest, codes);
        }
        // The last ones once more, or for the first time.
        let codes = load_32(first(&row[k - LANES..]));
        smallest = _mm256_min_epu8(smallest, codes);
        largest = _mm256_max_epu8(largest, codes);
    }
    let (a, b) = halves(smallest);
    (least_byte(_mm_min_epu8(a, b)), most_byte(largest))
}

/// [`range`] of rows that are shorter than a vector.
#[target_feature(enable = "avx2")]
fn short_range(codes: &[u8], rows: usize, stride: usize, k: usize) -> (u8, u8) {
    if k < 8 {
        let (mut least, mut most) = (u8::MAX, 0);
        for r in 0..rows {
            for &code in &codes[r * stride..][..k] {
                least = least.min(code);
                most = most.max(code);
            }
        }
        return (least, most);
    }
    let (mut smallest, mut largest) = (_mm_set1_epi8(-1), _mm_setzero_si128());
    for r in 0..rows {
        let row = &codes[r * stride..][..k];
        // Both ends, which meet or overlap.
        let (begin, end) = match (row.first_chunk(), row.last_chunk()) {
            (Some(begin), Some(end)) => (load_16(begin), load_16(end)),
            _ => {
                let both = _mm_unpacklo_epi64(load_8::<u8>(first(row)), load_8::<u8>(first(&row[k - 8..])));
                (both, both)
            }
        };
        smallest = _mm_min_epu8(smallest, _mm_min_epu8(begin, end));
        largest = _mm_max_epu8(largest, _mm_max_epu8(begin, end));
    }
    let complement = _mm_xor_si128(largest, _mm_set1_epi8(-1));
    (least_byte(smallest), !least_byte(complement))
}

/// The largest of 32 bytes: the complement of the smallest complement.
#[inline]
#[target_feature(enable = "avx2")]
fn most_byte(bytes: __m256i) -> u8 {
    let (a, b) = halves(_mm256_xor_si256(bytes, _mm256_set1_epi8(-1)));
    !least_byte(_mm_min_epu8(a, b))
}

/// The largest of 16 words.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn most_word(words: __m256i) -> u16 {
    let (a, b) = halves(_mm256_xor_si256(words, _mm256_set1_epi8(-1)));
    !_mm_cvtsi128_si32(_mm_minpos_epu16(_mm_min_epu16(a, b))) as u16
}

/// Both halves of a vector.
#[inline]
#[target_feature(enable = "avx2")]
fn halves(v: __m256i) -> (__m128i, __m128i) {
    (_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v))
}

/// The smallest of 16 bytes: that of a word is found by one instruction for words.
#[inline]
#[target_feature(enable = "avx2")]
fn least_byte(bytes: __m128i) -> u8 {
    let words = _mm_min_epu8(bytes, _mm_srli_epi16::<8>(bytes));
    _mm_cvtsi128_si32(_mm_minpos_epu16(words)) as u8
}
