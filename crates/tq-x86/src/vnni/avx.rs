//! The tile of AVX-VNNI: 6 rows by 16 columns, two registers of sums a row.

use crate::memory::{load_32, store_8_i32};
use std::arch::x86_64::*;
use std::ops::Range;
use tq_kernels::LhsTile;

/// Rows of a tile: 12 of the 16 registers are sums.
pub(super) const MR: usize = 6;
/// Columns of a tile.
pub(super) const NR: usize = 16;
/// Elements of K that one `vpdpbusd` takes.
pub(super) const KU: usize = 4;

/// A tile of `R` rows with `C` chains of sums a row, for tiles of too few rows to keep the unit busy by themselves; see
/// [`tq_kernels::Microkernel::tile`]. Panics when a slice is too short.
#[target_feature(enable = "avx2,avxvnni")]
pub(super) fn tile<const R: usize, const C: usize>(
    lhs: &LhsTile,
    k: Range<usize>,
    panel: &[i8],
    tile: &mut [i32],
) {
    let groups = k.len() / KU;
    let mut rows: [&[[u8; KU]]; R] = [&[]; R];
    for (r, row) in rows.iter_mut().enumerate() {
        *row = &lhs.codes[r * lhs.stride + k.start..].as_chunks().0[..groups];
    }
    let panel = &panel[k.start * NR..].as_chunks::<{ NR * KU }>().0[..groups];
    let mut acc = [[[_mm256_setzero_si256(); 2]; R]; C];
    for (g, weights) in panel.iter().enumerate() {
        let acc = &mut acc[g % C];
        let halves = weights.as_chunks::<32>().0;
        let (w0, w1) = (load_32(&halves[0]), load_32(&halves[1]));
        for r in 0..R {
            let codes = _mm256_set1_epi32(bytemuck::cast(rows[r][g]));
            acc[r][0] = _mm256_dpbusd_avx_epi32(acc[r][0], codes, w0);
            acc[r][1] = _mm256_dpbusd_avx_epi32(acc[r][1], codes, w1);
        }
    }
    for (r, out) in tile.as_chunks_mut::<NR>().0[..R].iter_mut().enumerate() {
        for (half, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let mut sum = acc[0][r][half];
            for acc in &acc[1..] {
                sum = _mm256_add_epi32(sum, acc[r][half]);
            }
            store_8_i32(out, sum);
        }
    }
}
