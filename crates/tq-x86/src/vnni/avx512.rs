//! The tile of AVX-512 VNNI: 16 rows by 16 columns, one register of sums a row.
#![allow(unsafe_code, reason = "vector loads and stores take raw pointers")]

use std::arch::x86_64::*;
use std::array::from_fn;
use std::ops::Range;
use tq_kernels::LhsTile;

/// Rows of a tile: as many chains of sums as hide the latency of `vpdpbusd`, and a load of weights for every 16 products.
pub(super) const MR: usize = 16;
/// Columns of a tile.
pub(super) const NR: usize = 16;
/// Elements of K that one `vpdpbusd` takes.
pub(super) const KU: usize = 4;

/// A tile of `R` rows with `C` chains of sums a row, for tiles of too few rows to keep the unit busy by themselves; see
/// [`tq_kernels::Microkernel::tile`]. Panics when a slice is too short.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) fn tile<const R: usize, const C: usize>(
    lhs: &LhsTile,
    k: Range<usize>,
    panel: &[i8],
    tile: &mut [i32],
) {
    let groups = k.len() / KU;
    let rows: [&[[u8; KU]]; R] = from_fn(|r| &lhs.codes[r * lhs.stride + k.start..].as_chunks().0[..groups]);
    let panel = &panel[k.start * NR..].as_chunks::<{ NR * KU }>().0[..groups];
    let mut acc = [[_mm512_setzero_si512(); R]; C];
    let whole = groups / C * C;
    for g in (0..whole).step_by(C) {
        for (c, acc) in acc.iter_mut().enumerate() {
            let weights = load(&panel[g + c]);
            for r in 0..R {
                let codes = _mm512_set1_epi32(bytemuck::cast(rows[r][g + c]));
                acc[r] = _mm512_dpbusd_epi32(acc[r], codes, weights);
            }
        }
    }
    for g in whole..groups {
        let weights = load(&panel[g]);
        for r in 0..R {
            let codes = _mm512_set1_epi32(bytemuck::cast(rows[r][g]));
            acc[0][r] = _mm512_dpbusd_epi32(acc[0][r], codes, weights);
        }
    }
    for (r, out) in tile.as_chunks_mut::<NR>().0[..R].iter_mut().enumerate() {
        let sum = acc[1..].iter().fold(acc[0][r], |sum, acc| _mm512_add_epi32(sum, acc[r]));
        // SAFETY: `out` is valid for writes of 64 bytes, and `vmovdqu32` needs no alignment.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), sum) };
    }
}

/// The weights of one group.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(src: &[i8; NR * KU]) -> __m512i {
    // SAFETY: `src` is valid for reads of 64 bytes, and `vmovdqu32` needs no alignment.
    unsafe { _mm512_loadu_si512(src.as_ptr().cast()) }
}
