//! The tile of plain NEON: four vectors of sums a row, of two columns each.
//!
//! Products of codes less 128 with weights of -15..=15 are summed four deep in 16 bits: 4 · 128 · 15 = 7680.

use super::{MR, NR, add_group, of_columns, split, store, unpack};
use crate::memory::{first, load_8};
use std::arch::aarch64::*;
use tq_kernels::{GroupPanel, GroupRows};

/// Elements of K that lie beside each other in a column.
pub(crate) const KU: usize = 4;

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
        let (whole, end) = split::<R>(&mut rows, pairs.len(), rest.len());
        for (s, [even, odd]) in pairs.iter().enumerate() {
            // Weights of both vectors together are fewer registers than the codes of all rows.
            let mut weights = [[[vdupq_n_s8(0); 2]; 2]; 2];
            for v in 0..2 {
                weights[v][0] = unpack(first(&even[16 * v..]), zero_points[v]);
                weights[v][1] = unpack(first(&odd[16 * v..]), zero_points[v]);
            }
            for r in 0..R {
                let [low, high]: &[[u8; 8]; 2] = bytemuck::cast_ref(&whole[r][s]);
                let codes = [fours(low), fours(high)];
                for v in 0..2 {
                    let two = products(codes[0], weights[v][0]);
                    let four = add_products(two, codes[1], weights[v][1]);
                    acc[r][2 * v] = vpadalq_s16(acc[r][2 * v], four[0]);
                    acc[r][2 * v + 1] = vpadalq_s16(acc[r][2 * v + 1], four[1]);
                }
            }
        }
        if let [last] = rest {
            for v in 0..2 {
                let weights = unpack(first(&last[16 * v..]), zero_points[v]);
                for r in 0..R {
                    let two = products(fours(first(end[r])), weights);
                    acc[r][2 * v] = vpadalq_s16(acc[r][2 * v], two[0]);
                    acc[r][2 * v + 1] = vpadalq_s16(acc[r][2 * v + 1], two[1]);
                }
            }
        }
        for r in 0..R {
            let sums = [vpaddq_s32(acc[r][0], acc[r][1]), vpaddq_s32(acc[r][2], acc[r][3])];
            add_group(&mut totals[r], sums, lhs.zero_point - 128, &group);
        }
    }
    for (totals, out) in totals.into_iter().zip(sums.chunks_exact_mut(NR)) {
        store(totals, out);
    }
}

/// Eight codes less 128: the first four all over a vector, and the other four.
#[inline]
#[target_feature(enable = "neon")]
fn fours(codes: &[u8; 8]) -> [int8x16_t; 2] {
    let eight = vreinterpret_s32_u8(veor_u8(load_8(codes), vdup_n_u8(0x80)));
    [vreinterpretq_s8_s32(vdupq_lane_s32::<0>(eight)), vreinterpretq_s8_s32(vdupq_lane_s32::<1>(eight))]
}

/// Products with the weights of four columns, two columns in each vector, for eight elements of K.
#[inline]
#[target_feature(enable = "neon")]
fn products(codes: [int8x16_t; 2], [low, high]: [int8x16_t; 2]) -> [int16x8_t; 2] {
    let first = vmull_s8(vget_low_s8(codes[0]), vget_low_s8(low));
    let second = vmull_high_s8(codes[0], low);
    [vmlal_s8(first, vget_low_s8(codes[1]), vget_low_s8(high)), vmlal_high_s8(second, codes[1], high)]
}

/// [`products`] of eight more elements of K on top of those.
#[inline]
#[target_feature(enable = "neon")]
fn add_products(sums: [int16x8_t; 2], codes: [int8x16_t; 2], [low, high]: [int8x16_t; 2]) -> [int16x8_t; 2] {
    let first = vmlal_s8(sums[0], vget_low_s8(codes[0]), vget_low_s8(low));
    let second = vmlal_high_s8(sums[1], codes[0], low);
    [vmlal_s8(first, vget_low_s8(codes[1]), vget_low_s8(high)), vmlal_high_s8(second, codes[1], high)]
}
