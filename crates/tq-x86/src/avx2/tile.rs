//! The matrix-product tile: 6 rows by 16 columns, K in pairs.
//!
//! Weights are widened to 16 bits by `vpmovsxbw` as they are loaded, activations once when they are packed.
//! `vpmaddwd` multiplies two pairs and adds them in 32 bits: nothing can saturate.
//! Twelve accumulators, two vectors of weights, one broadcast and one product fill the 16 registers.

use super::memory::{load_16, store_8_i32};
use std::arch::x86_64::*;
use std::array::from_fn;

/// Rows of a tile.
pub(super) const MR: usize = 6;
/// Columns of a tile: two vectors of 32-bit sums.
pub(super) const NR: usize = 16;
/// Elements of K at a time: the pairs of `vpmaddwd`.
pub(super) const KU: usize = 2;

/// A tile of `R` rows; see [`tq_kernels::Microkernel::tile`]. Panics when a slice is too short.
#[target_feature(enable = "avx2")]
pub(super) fn tile<const R: usize>(k: usize, lhs: &[i16], lhs_stride: usize, rhs: &[i8], tile: &mut [i32]) {
    let groups = k / KU;
    let rows: [&[[i16; KU]]; R] = from_fn(|r| &lhs[r * lhs_stride..].as_chunks().0[..groups]);
    let panel = &rhs.as_chunks::<{ NR * KU }>().0[..groups];
    let mut acc = [[_mm256_setzero_si256(); 2]; R];
    for (g, weights) in panel.iter().enumerate() {
        let halves = weights.as_chunks::<16>().0;
        let w0 = _mm256_cvtepi8_epi16(load_16(&halves[0]));
        let w1 = _mm256_cvtepi8_epi16(load_16(&halves[1]));
        for r in 0..R {
            let a = _mm256_set1_epi32(bytemuck::cast(rows[r][g]));
            acc[r][0] = _mm256_add_epi32(acc[r][0], _mm256_madd_epi16(a, w0));
            acc[r][1] = _mm256_add_epi32(acc[r][1], _mm256_madd_epi16(a, w1));
        }
    }
    let vectors = &mut tile.as_chunks_mut::<8>().0[..2 * R];
    for (out, sum) in vectors.iter_mut().zip(acc.as_flattened()) {
        store_8_i32(out, *sum);
    }
}

/// Widens codes to 16 bits.
#[target_feature(enable = "avx2")]
pub(super) fn pack_lhs(src: &[u8], dst: &mut [i16]) {
    for (d, &s) in dst.iter_mut().zip(src) {
        *d = i16::from(s);
    }
}
