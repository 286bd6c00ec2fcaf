//! The tile of AVX-512 VNNI: 8 rows by 32 columns, two registers of sums a row.
#![allow(unsafe_code, reason = "vector loads and stores take raw pointers")]

use std::arch::x86_64::*;
use std::ops::Range;
use tq_kernels::LhsTile;

/// Rows of a tile: 16 chains of sums hide the latency of `vpdpbusd`, and need 10 loads for 16 products.
pub(super) const MR: usize = 8;
/// Columns of a tile.
pub(super) const NR: usize = 32;
/// Elements of K that one `vpdpbusd` takes.
pub(super) const KU: usize = 4;
/// Columns of a register.
const LANES: usize = 16;

/// A tile of `R` rows by `V` registers of columns, with `C` chains of sums for each, for tiles too small to keep the unit busy
/// by themselves; see [`tq_kernels::Microkernel::tile`]. Panics when a slice is too short.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) fn tile<const R: usize, const V: usize, const C: usize>(
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
    let mut acc = [[[_mm512_setzero_si512(); V]; R]; C];
    let whole = groups / C * C;
    for g in (0..whole).step_by(C) {
        for (c, acc) in acc.iter_mut().enumerate() {
            step(&rows, g + c, &panel[g + c], acc);
        }
    }
    for (g, weights) in panel.iter().enumerate().skip(whole) {
        step(&rows, g, weights, &mut acc[0]);
    }
    for (r, out) in tile.as_chunks_mut::<NR>().0[..R].iter_mut().enumerate() {
        for (v, out) in out.as_chunks_mut::<LANES>().0[..V].iter_mut().enumerate() {
            let mut sum = acc[0][r][v];
            for acc in &acc[1..] {
                sum = _mm512_add_epi32(sum, acc[r][v]);
            }
            // SAFETY: `out` is valid for writes of 64 bytes, and `vmovdqu32` needs no alignment.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), sum) };
        }
    }
}

/// Adds the products of group `g` of K.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn step<const R: usize, const V: usize>(
    rows: &[&[[u8; KU]]; R],
    g: usize,
    weights: &[i8; NR * KU],
    acc: &mut [[__m512i; V]; R],
) {
    let weights = weights.as_chunks::<{ LANES * KU }>().0;
    // A loop: closures are not always compiled into the function that has the instructions.
    let mut columns = [_mm512_setzero_si512(); V];
    for (columns, weights) in columns.iter_mut().zip(weights) {
        *columns = load(weights);
    }
    for r in 0..R {
        let codes = _mm512_set1_epi32(bytemuck::cast(rows[r][g]));
        for v in 0..V {
            acc[r][v] = _mm512_dpbusd_epi32(acc[r][v], codes, columns[v]);
        }
    }
}

/// The weights of one group and 16 columns.
#[inline]
#[target_feature(enable = "avx512f")]
fn load(src: &[i8; LANES * KU]) -> __m512i {
    // SAFETY: `src` is valid for reads of 64 bytes, and `vmovdqu32` needs no alignment.
    unsafe { _mm512_loadu_si512(src.as_ptr().cast()) }
}
