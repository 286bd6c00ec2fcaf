//! The tile of matrix products: 4 rows by 16 columns, of which each vector of sums has 2 × 2.
//!
//! `usmmla` multiplies unsigned with signed bytes: codes need no shift, and sums no correction.

use super::{NR, Shape};
use crate::instructions::usmmla;
use crate::memory::{first, load_8, load_16, load_16_i8, store_4_i32};
use std::arch::aarch64::*;
use std::ops::Range;
use tq_kernels::{LhsTile, RhsPanel};

/// 16 of the 32 registers are sums, 4 are rows. With a third pair of rows, sums would not stay in registers.
pub(crate) const I8MM: Shape = Shape { mr: 4, ku: KU };
const KU: usize = 8;

/// See [`tq_kernels::Microkernel::tile`]. Panics when a slice is too short.
#[target_feature(enable = "neon,i8mm")]
pub(crate) fn i8mm(lhs: &LhsTile, k: Range<usize>, rhs: RhsPanel, tile: &mut [i32]) {
    match (lhs.rows.div_ceil(2), rhs.columns > 8) {
        (1, true) => pairs::<1, 8>(lhs, k, rhs.data, tile),
        (_, true) => pairs::<2, 8>(lhs, k, rhs.data, tile),
        (1, false) => pairs::<1, 4>(lhs, k, rhs.data, tile),
        (_, false) => pairs::<2, 4>(lhs, k, rhs.data, tile),
    }
}

/// `P` pairs of rows by `V` pairs of columns. An odd last row goes with itself.
#[target_feature(enable = "neon,i8mm")]
fn pairs<const P: usize, const V: usize>(lhs: &LhsTile, k: Range<usize>, panel: &[i8], tile: &mut [i32]) {
    let steps = k.len() / (2 * KU);
    let row = |r: usize| &lhs.codes[r.min(lhs.rows - 1) * lhs.stride..][k.clone()];
    let mut rows: [[&[[u8; 2 * KU]]; 2]; P] = [[&[]; 2]; P];
    for (p, rows) in rows.iter_mut().enumerate() {
        *rows = [2 * p, 2 * p + 1].map(|r| &row(r).as_chunks().0[..steps]);
    }
    let groups = panel[k.start * NR..k.end * NR].as_chunks::<{ NR * KU }>().0;
    let (whole, rest) = groups.split_at(2 * steps);
    let mut acc = [[vdupq_n_s32(0); V]; P];
    for (s, [even, odd]) in whole.as_chunks::<2>().0.iter().enumerate() {
        // Of both rows of a pair the first eight elements in one vector, the others in another one.
        let (mut low, mut high) = ([vdupq_n_u8(0); P], [vdupq_n_u8(0); P]);
        for p in 0..P {
            let [a, b] = rows[p].map(|row| vreinterpretq_u64_u8(load_16(&row[s])));
            low[p] = vreinterpretq_u8_u64(vzip1q_u64(a, b));
            high[p] = vreinterpretq_u8_u64(vzip2q_u64(a, b));
        }
        step(&low, even, &mut acc);
        step(&high, odd, &mut acc);
    }
    if let [weights] = rest {
        let mut codes = [vdupq_n_u8(0); P];
        for (p, codes) in codes.iter_mut().enumerate() {
            let [a, b] = [2 * p, 2 * p + 1].map(|r| &row(r)[2 * KU * steps..]);
            *codes = vcombine_u8(load_8(first(a)), load_8(first(b)));
        }
        step(&codes, weights, &mut acc);
    }
    for (p, acc) in acc.iter().enumerate() {
        let rows = lhs.rows - 2 * p;
        let out = &mut tile.as_chunks_mut::<NR>().0[2 * p..][..rows.min(2)];
        for (v, two) in acc.as_chunks::<2>().0.iter().enumerate() {
            let [left, right] = two.map(|sums| vreinterpretq_s64_s32(sums));
            let both = [vzip1q_s64(left, right), vzip2q_s64(left, right)];
            for (out, sums) in out.iter_mut().zip(both) {
                store_4_i32(&mut out.as_chunks_mut::<4>().0[v], vreinterpretq_s32_s64(sums));
            }
        }
    }
}

/// Adds the products of eight elements of K.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn step<const P: usize, const V: usize>(
    codes: &[uint8x16_t; P],
    weights: &[i8; NR * KU],
    acc: &mut [[int32x4_t; V]; P],
) {
    let weights = weights.as_chunks::<16>().0;
    for v in 0..V {
        let columns = load_16_i8(&weights[v]);
        for p in 0..P {
            acc[p][v] = usmmla(acc[p][v], codes[p], columns);
        }
    }
}
