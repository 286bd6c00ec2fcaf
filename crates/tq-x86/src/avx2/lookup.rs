//! Tables of 256 bytes, as rows of 16 that a byte shuffle looks into.
//!
//! `vpshufb` takes the low four bits of an index, and gives zero where its first bit is set. In the lower half of a table that bit
//! of `code - 16 * h` is clear for row `h` and those behind it. So what is found in the first row, and in what every other row
//! differs by from the one before (by exclusive or), adds up by exclusive or to the code's own row: those before it cancel. Both halves
//! of a table are looked into by the same indices, those of codes without their first bit, which chooses between the halves at the end.

use crate::memory::*;
use std::arch::x86_64::*;
use tq_kernels::row::lookup_row;

/// Codes of a vector.
const LANES: usize = 32;
/// Codes for which preparing the table costs as much as looking them up one by one.
const FEW: usize = 64;

/// For each half of a table its first row, and what each other row differs by from the one before, in both lanes of a vector.
type Differences = [[__m256i; 8]; 2];

#[inline]
#[target_feature(enable = "avx2")]
fn differences(table: &[u8; 256]) -> Differences {
    let row = |h: usize| _mm256_broadcastsi128_si256(load_16(first(&table[16 * h..])));
    [0, 8].map(|half| {
        std::array::from_fn(|h| match h {
            0 => row(half),
            _ => _mm256_xor_si256(row(half + h), row(half + h - 1)),
        })
    })
}

/// The bytes of 32 codes.
#[inline]
#[target_feature(enable = "avx2")]
fn look_up([lower, upper]: &Differences, codes: __m256i) -> __m256i {
    let mut index = _mm256_and_si256(codes, _mm256_set1_epi8(0x7F));
    let mut found = [_mm256_setzero_si256(); 2];
    for (lower, upper) in lower.iter().zip(upper) {
        found[0] = _mm256_xor_si256(found[0], _mm256_shuffle_epi8(*lower, index));
        found[1] = _mm256_xor_si256(found[1], _mm256_shuffle_epi8(*upper, index));
        index = _mm256_sub_epi8(index, _mm256_set1_epi8(16));
    }
    _mm256_blendv_epi8(found[0], found[1], codes)
}

/// See [`tq_kernels::RowKernel::lookup`].
#[target_feature(enable = "avx2")]
pub(super) fn lookup(table: &[u8; 256], src: &[u8], dst: &mut [u8]) {
    let len = src.len().min(dst.len());
    if len < FEW {
        return lookup_row(table, src, dst);
    }
    let differences = differences(table);
    for at in (0..len).step_by(LANES) {
        // The last vector overlaps the one before, whose bytes it finds once more.
        let at = at.min(len - LANES);
        store_32(first_mut(&mut dst[at..]), look_up(&differences, load_32(first(&src[at..]))));
    }
}
