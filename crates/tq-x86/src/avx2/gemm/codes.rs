//! What is asked of the lhs before it is multiplied.

use crate::memory::{first, load_32};
use std::arch::x86_64::*;

/// Codes of a vector.
const LANES: usize = 32;

/// See [`tq_kernels::Microkernel::range`]; 255 and 0 for no codes. Panics where there are too few.
#[target_feature(enable = "avx2")]
pub(in super::super) fn range(codes: &[u8], rows: usize, stride: usize, k: usize) -> (u8, u8) {
    let (mut least, mut most) = (u8::MAX, 0);
    if k < LANES {
        for r in 0..rows {
            for &code in &codes[r * stride..][..k] {
                least = least.min(code);
                most = most.max(code);
            }
        }
        return (least, most);
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
    let halves = |v: __m256i| (_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
    let ((a, b), (c, d)) = (halves(smallest), halves(largest));
    // The smallest byte of a word is found by one instruction for words; the largest is the complement of the smallest one.
    let least = least_byte(_mm_min_epu8(a, b));
    (least, !least_byte(_mm_xor_si128(_mm_max_epu8(c, d), _mm_set1_epi8(-1))))
}

/// The smallest of 16 bytes.
#[inline]
#[target_feature(enable = "avx2")]
fn least_byte(bytes: __m128i) -> u8 {
    let words = _mm_min_epu8(bytes, _mm_srli_epi16::<8>(bytes));
    _mm_cvtsi128_si32(_mm_minpos_epu16(words)) as u8
}
