//! The tile of plain NEON: 4 rows by 16 columns, four columns at a time with a vector of sums for each row and column.
//!
//! `smull` multiplies eight bytes into 16 bits, `smlal2` adds the products of the other eight where that is proved to fit,
//! `sadalp` adds pairs of them into 32 bits.

use super::panel::Part;
use super::{NR, Shape};
use crate::memory::{first_mut, load_4_i32, load_16, load_16_i8, store_4_i32};
use std::arch::aarch64::*;
use std::ops::Range;
use tq_kernels::{LhsTile, RhsPanel};

/// 16 of the 32 registers are sums, 4 are rows: columns of weights and products take few.
pub(crate) const NEON: Shape = Shape { mr: 4, ku: KU };
const KU: usize = 16;
/// Columns whose sums are in registers together.
const COLUMNS: usize = 4;

/// See [`tq_kernels::Microkernel::tile`]. Panics when a slice is too short.
#[target_feature(enable = "neon")]
pub(crate) fn neon(lhs: &LhsTile, k: Range<usize>, rhs: RhsPanel, tile: &mut [i32]) {
    let part = Part::new(rhs.data, &k, KU);
    match (lhs.rows, part.pairs_fit) {
        (1, true) => rows::<1, true>(lhs, k, &part, rhs.columns, tile),
        (2, true) => rows::<2, true>(lhs, k, &part, rhs.columns, tile),
        (3, true) => rows::<3, true>(lhs, k, &part, rhs.columns, tile),
        (_, true) => rows::<4, true>(lhs, k, &part, rhs.columns, tile),
        (1, false) => rows::<1, false>(lhs, k, &part, rhs.columns, tile),
        (2, false) => rows::<2, false>(lhs, k, &part, rhs.columns, tile),
        (3, false) => rows::<3, false>(lhs, k, &part, rhs.columns, tile),
        (_, false) => rows::<4, false>(lhs, k, &part, rhs.columns, tile),
    }
}

#[target_feature(enable = "neon")]
fn rows<const R: usize, const PAIRS: bool>(
    lhs: &LhsTile,
    k: Range<usize>,
    part: &Part,
    columns: usize,
    tile: &mut [i32],
) {
    let groups = k.len() / KU;
    let mut rows: [&[[u8; KU]]; R] = [&[]; R];
    for (r, row) in rows.iter_mut().enumerate() {
        *row = &lhs.codes[r * lhs.stride + k.start..].as_chunks().0[..groups];
    }
    let weights = &part.weights.as_chunks::<{ NR * KU }>().0[..groups];
    let flip = vdupq_n_u8(0x80);
    for first in (0..columns.min(NR)).step_by(COLUMNS) {
        let mut acc = [[vdupq_n_s32(0); COLUMNS]; R];
        for (g, weights) in weights.iter().enumerate() {
            let mut codes = [vdupq_n_s8(0); R];
            for r in 0..R {
                codes[r] = vreinterpretq_s8_u8(veorq_u8(load_16(&rows[r][g]), flip));
            }
            let weights = &weights.as_chunks::<KU>().0[first..][..COLUMNS];
            for (c, weights) in weights.iter().enumerate() {
                let weights = load_16_i8(weights);
                for r in 0..R {
                    acc[r][c] = add::<PAIRS>(acc[r][c], codes[r], weights);
                }
            }
        }
        let corrections = load_4_i32(crate::memory::first(&part.corrections[first..]));
        for (acc, out) in acc.iter().zip(tile.as_chunks_mut::<NR>().0[..R].iter_mut()) {
            let sums = vpaddq_s32(vpaddq_s32(acc[0], acc[1]), vpaddq_s32(acc[2], acc[3]));
            store_4_i32(first_mut(&mut out[first..]), vaddq_s32(sums, corrections));
        }
    }
}

/// Adds 16 products, four to each sum.
#[inline]
#[target_feature(enable = "neon")]
fn add<const PAIRS: bool>(sums: int32x4_t, codes: int8x16_t, weights: int8x16_t) -> int32x4_t {
    let low = vmull_s8(vget_low_s8(codes), vget_low_s8(weights));
    if PAIRS {
        vpadalq_s16(sums, vmlal_high_s8(low, codes, weights))
    } else {
        vpadalq_s16(vpadalq_s16(sums, low), vmull_high_s8(codes, weights))
    }
}
