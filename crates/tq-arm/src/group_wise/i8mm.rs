//! The tile of matrix products: pairs of rows by pairs of columns, 2 × 2 sums a vector. `usmmla` takes codes as they are.

use super::{MR, NR, add_group, of_columns, store, unpack};
use crate::instructions::usmmla;
use crate::memory::{first, load_16};
use std::arch::aarch64::*;
use tq_kernels::{GroupPanel, GroupRows};

/// Elements of K that lie beside each other in a column.
pub(crate) const KU: usize = 8;
/// Elements of K that a step of a panel holds.
const STEP: usize = 2 * KU;
/// Pairs of columns.
const PAIRS: usize = NR / 2;

/// See [`tq_kernels::GroupKernel::tile`]. Panics where a slice is too short.
#[target_feature(enable = "neon,i8mm")]
pub(crate) fn i8mm(lhs: &GroupRows, rhs: &GroupPanel, sums: &mut [f32]) {
    match lhs.rows.div_ceil(2) {
        1 => pairs::<1>(lhs, rhs, sums),
        _ => pairs::<{ MR / 2 }>(lhs, rhs, sums),
    }
}

/// `P` pairs of rows. An odd last row goes with itself.
#[target_feature(enable = "neon,i8mm")]
fn pairs<const P: usize>(lhs: &GroupRows, rhs: &GroupPanel, sums: &mut [f32]) {
    let k = rhs.codes.len() / NR * 2;
    let mut rows: [[&[[u8; STEP]]; 2]; P] = [[&[]; 2]; P];
    for (p, rows) in rows.iter_mut().enumerate() {
        *rows = [2 * p, 2 * p + 1].map(|r| lhs.codes[r.min(lhs.rows - 1) * lhs.stride..][..k].as_chunks().0);
    }
    let mut totals = [[[vdupq_n_f32(0.0); 2]; 2]; P];
    for group in rhs.groups::<NR>() {
        let zero_points = of_columns::<KU, PAIRS>(group.zero_points);
        let mut acc = [[vdupq_n_s32(0); PAIRS]; P];
        let steps = group.codes.as_chunks::<{ NR * KU }>().0;
        // One bound for all steps of the group.
        let mut now: [[&[[u8; STEP]]; 2]; P] = [[&[]; 2]; P];
        for p in 0..P {
            now[p] = rows[p].map(|row| &row[..steps.len()]);
            rows[p] = rows[p].map(|row| &row[steps.len()..]);
        }
        for (s, weights) in steps.iter().enumerate() {
            // Of both rows of a pair the first eight elements in one vector, the others in another one.
            let (mut low, mut high) = ([vdupq_n_u8(0); P], [vdupq_n_u8(0); P]);
            for p in 0..P {
                let a = vreinterpretq_u64_u8(load_16(&now[p][0][s]));
                let b = vreinterpretq_u64_u8(load_16(&now[p][1][s]));
                low[p] = vreinterpretq_u8_u64(vzip1q_u64(a, b));
                high[p] = vreinterpretq_u8_u64(vzip2q_u64(a, b));
            }
            for v in 0..PAIRS {
                let columns = unpack(first(&weights[16 * v..]), zero_points[v]);
                for p in 0..P {
                    acc[p][v] = usmmla(usmmla(acc[p][v], low[p], columns[0]), high[p], columns[1]);
                }
            }
        }
        for p in 0..P {
            let mut sums = [[vdupq_n_s32(0); 2]; 2];
            for half in 0..2 {
                let left = vreinterpretq_s64_s32(acc[p][2 * half]);
                let right = vreinterpretq_s64_s32(acc[p][2 * half + 1]);
                sums[0][half] = vreinterpretq_s32_s64(vzip1q_s64(left, right));
                sums[1][half] = vreinterpretq_s32_s64(vzip2q_s64(left, right));
            }
            for i in 0..2 {
                add_group(&mut totals[p][i], sums[i], lhs.zero_point, &group);
            }
        }
    }
    for (totals, out) in totals.as_flattened().iter().zip(sums.chunks_exact_mut(NR).take(lhs.rows)) {
        store(*totals, out);
    }
}
