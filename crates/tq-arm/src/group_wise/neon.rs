//! The tile of plain NEON: four vectors of sums a row, of two columns each.
//!
//! Products of codes less 128 with weights of -15..=15 are summed four deep in 16 bits: 4 · 128 · 15 = 7680.

use super::{MR, NR, add_group, of_columns, store, unpack};
use crate::memory::{first, load_8};
use std::arch::aarch64::*;
use tq_kernels::{GroupPanel, GroupRows};

/// Elements of K that lie beside each other in a column.
pub(crate) const KU: usize = 4;
/// Elements of K that a step of a panel holds.
const STEP: usize = 2 * KU;

/// See [`tq_kernels::GroupKernel::tile`]. Panics where a slice is too short.
#[target_feature(enable = "neon")]
pub(crate) fn neon(lhs: &GroupRows, rhs: &GroupPanel, sums: &mut [f32]) {
    match lhs.rows {
        1 => rows::<1>(lhs, rhs, sums),
        2 => rows::<2>(lhs, rhs, sums),
        3 => rows::<3>(lhs, rhs, sums),
        _ => rows::<MR>(lhs, rhs, sums),
    }
}

#[target_feature(enable = "neon")]
fn rows<const R: usize>(lhs: &GroupRows, rhs: &GroupPanel, sums: &mut [f32]) {
    let mut rows: [&[u8]; R] = [&[]; R];
    for (r, row) in rows.iter_mut().enumerate() {
        *row = &lhs.codes[r * lhs.stride..][..rhs.codes.len() / NR * 2];
    }
    let mut totals = [[vdupq_n_f32(0.0); 2]; R];
    for group in rhs.groups::<NR>() {
        let zero_points = of_columns::<KU, 2>(group.zero_points);
        let mut acc = [[vdupq_n_s32(0); 4]; R];
        let (pairs, rest) = group.codes.as_chunks::<{ NR * KU }>().0.as_chunks::<2>();
        let mut at = 0;
        for [even, odd] in pairs {
            let codes = [eights::<R>(&rows, at), eights::<R>(&rows, at + STEP)];
            for v in 0..2 {
                let even = unpack(first(&even[16 * v..]), zero_points[v]);
                let odd = unpack(first(&odd[16 * v..]), zero_points[v]);
                for r in 0..R {
                    let [low, high] = products(codes[0][r], even);
                    let [low, high] = add_products(low, high, codes[1][r], odd);
                    acc[r][2 * v] = vpadalq_s16(acc[r][2 * v], low);
                    acc[r][2 * v + 1] = vpadalq_s16(acc[r][2 * v + 1], high);
                }
            }
            at += 2 * STEP;
        }
        if let [last] = rest {
            let codes = eights::<R>(&rows, at);
            for v in 0..2 {
                let weights = unpack(first(&last[16 * v..]), zero_points[v]);
                for r in 0..R {
                    let [low, high] = products(codes[r], weights);
                    acc[r][2 * v] = vpadalq_s16(acc[r][2 * v], low);
                    acc[r][2 * v + 1] = vpadalq_s16(acc[r][2 * v + 1], high);
                }
            }
            at += STEP;
        }
        for r in 0..R {
            rows[r] = &rows[r][at..];
            let sums = [vpaddq_s32(acc[r][0], acc[r][1]), vpaddq_s32(acc[r][2], acc[r][3])];
            add_group(&mut totals[r], sums, lhs.zero_point - 128, &group);
        }
    }
    for (totals, out) in totals.into_iter().zip(sums.chunks_exact_mut(NR)) {
        store(totals, out);
    }
}

/// Of each row eight codes less 128 from `at` on: the first four twice, and the other four twice.
#[inline]
#[target_feature(enable = "neon")]
fn eights<const R: usize>(rows: &[&[u8]; R], at: usize) -> [[int8x8_t; 2]; R] {
    let mut codes = [[vdup_n_s8(0); 2]; R];
    for r in 0..R {
        let eight = veor_u8(load_8(first(&rows[r][at..])), vdup_n_u8(0x80));
        let eight = vreinterpret_s32_u8(eight);
        codes[r] =
            [vreinterpret_s8_s32(vdup_lane_s32::<0>(eight)), vreinterpret_s8_s32(vdup_lane_s32::<1>(eight))];
    }
    codes
}

/// Products with the weights of four columns, two columns in each vector, for eight elements of K.
#[inline]
#[target_feature(enable = "neon")]
fn products(codes: [int8x8_t; 2], [low, high]: [int8x16_t; 2]) -> [int16x8_t; 2] {
    let first = vmull_s8(codes[0], vget_low_s8(low));
    let second = vmull_s8(codes[0], vget_high_s8(low));
    [vmlal_s8(first, codes[1], vget_low_s8(high)), vmlal_s8(second, codes[1], vget_high_s8(high))]
}

/// [`products`] of eight more elements of K on top of those.
#[inline]
#[target_feature(enable = "neon")]
fn add_products(
    first: int16x8_t,
    second: int16x8_t,
    codes: [int8x8_t; 2],
    [low, high]: [int8x16_t; 2],
) -> [int16x8_t; 2] {
    let first = vmlal_s8(first, codes[0], vget_low_s8(low));
    let second = vmlal_s8(second, codes[0], vget_high_s8(low));
    [vmlal_s8(first, codes[1], vget_low_s8(high)), vmlal_s8(second, codes[1], vget_high_s8(high))]
}
