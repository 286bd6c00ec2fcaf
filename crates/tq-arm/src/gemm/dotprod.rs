//! The tile of dot products: 5 rows by 16 columns, four vectors of sums a row.

use super::panel::Part;
use super::{NR, Shape};
use crate::instructions::sdot_lane;
use crate::memory::{load_4_i32, load_16, load_16_i8, store_4_i32};
use std::arch::aarch64::*;
use std::ops::Range;
use tq_kernels::{LhsTile, RhsPanel};

/// 20 of the 32 registers are sums, 5 are rows, and weights pass through the others. A sixth row would have to move sums about.
pub(crate) const DOTPROD: Shape = Shape { mr: 5, ku: KU };
const KU: usize = 4;
/// Elements of K that a vector of a row's codes holds.
const STEP: usize = 16;

/// See [`tq_kernels::Microkernel::tile`]. Panics when a slice is too short.
#[target_feature(enable = "neon,dotprod")]
pub(crate) fn dotprod(lhs: &LhsTile, k: Range<usize>, rhs: RhsPanel, tile: &mut [i32]) {
    let part = Part::new(rhs.data, &k, KU);
    match (lhs.rows, rhs.columns > 8) {
        (1, true) => rows::<1, 4>(lhs, k, &part, tile),
        (2, true) => rows::<2, 4>(lhs, k, &part, tile),
        (3, true) => rows::<3, 4>(lhs, k, &part, tile),
        (4, true) => rows::<4, 4>(lhs, k, &part, tile),
        (_, true) => rows::<5, 4>(lhs, k, &part, tile),
        (1, false) => rows::<1, 2>(lhs, k, &part, tile),
        (2, false) => rows::<2, 2>(lhs, k, &part, tile),
        (3, false) => rows::<3, 2>(lhs, k, &part, tile),
        (4, false) => rows::<4, 2>(lhs, k, &part, tile),
        (_, false) => rows::<5, 2>(lhs, k, &part, tile),
    }
}

/// `R` rows by `V` vectors of four columns.
#[target_feature(enable = "neon,dotprod")]
fn rows<const R: usize, const V: usize>(lhs: &LhsTile, k: Range<usize>, part: &Part, tile: &mut [i32]) {
    let groups = part.weights.as_chunks::<{ NR * KU }>().0;
    let (whole, rest) = groups.as_chunks::<{ STEP / KU }>();
    // Of each row the steps, and the groups behind them.
    let mut rows: [&[[u8; STEP]]; R] = [&[]; R];
    let mut ends: [&[[u8; KU]]; R] = [&[]; R];
    for r in 0..R {
        let (steps, end) = lhs.codes[r * lhs.stride + k.start..].split_at(whole.len() * STEP);
        rows[r] = &steps.as_chunks().0[..whole.len()];
        ends[r] = &end.as_chunks().0[..rest.len()];
    }
    let flip = vdupq_n_u8(0x80);
    let mut acc = [[vdupq_n_s32(0); V]; R];
    for acc in &mut acc {
        for (acc, corrections) in acc.iter_mut().zip(part.corrections.as_chunks().0) {
            *acc = load_4_i32(corrections);
        }
    }
    for (s, weights) in whole.iter().enumerate() {
        let mut codes = [vdupq_n_s8(0); R];
        for r in 0..R {
            codes[r] = vreinterpretq_s8_u8(veorq_u8(load_16(&rows[r][s]), flip));
        }
        step::<R, V, 0>(&codes, &weights[0], &mut acc);
        step::<R, V, 1>(&codes, &weights[1], &mut acc);
        step::<R, V, 2>(&codes, &weights[2], &mut acc);
        step::<R, V, 3>(&codes, &weights[3], &mut acc);
    }
    for (g, weights) in rest.iter().enumerate() {
        let mut codes = [vdupq_n_s8(0); R];
        for r in 0..R {
            let four = vreinterpretq_u8_u32(vdupq_n_u32(u32::from_ne_bytes(ends[r][g])));
            codes[r] = vreinterpretq_s8_u8(veorq_u8(four, flip));
        }
        step::<R, V, 0>(&codes, weights, &mut acc);
    }
    for (acc, out) in acc.iter().zip(tile.as_chunks_mut::<NR>().0[..R].iter_mut()) {
        for (acc, out) in acc.iter().zip(out.as_chunks_mut::<4>().0) {
            store_4_i32(out, *acc);
        }
    }
}

/// Adds the products of four elements of K: group `LANE` of each row's codes.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn step<const R: usize, const V: usize, const LANE: i32>(
    codes: &[int8x16_t; R],
    weights: &[i8; NR * KU],
    acc: &mut [[int32x4_t; V]; R],
) {
    let weights = weights.as_chunks::<16>().0;
    for v in 0..V {
        let columns = load_16_i8(&weights[v]);
        for r in 0..R {
            acc[r][v] = sdot_lane::<LANE>(acc[r][v], columns, codes[r]);
        }
    }
}
