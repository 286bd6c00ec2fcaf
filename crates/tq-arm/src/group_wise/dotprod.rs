//! The tile of dot products: two vectors of sums a row.

use super::{MR, NR, add_group, of_columns, split, store, unpack};
use crate::instructions::sdot_lane;
use crate::memory::{first, load_8, load_16};
use std::arch::aarch64::*;
use tq_kernels::{GroupPanel, GroupRows};

/// Elements of K that lie beside each other in a column.
pub(crate) const KU: usize = 4;

/// See [`tq_kernels::GroupKernel::tile`]. Panics where a slice is too short.
#[target_feature(enable = "neon,dotprod")]
pub(crate) fn dotprod(lhs: &GroupRows, rhs: &GroupPanel, sums: &mut [f32]) {
    match lhs.rows {
        1 => rows::<1>(lhs, rhs, sums),
        2 => rows::<2>(lhs, rhs, sums),
        3 => rows::<3>(lhs, rhs, sums),
        _ => rows::<MR>(lhs, rhs, sums),
    }
}

#[target_feature(enable = "neon,dotprod")]
fn rows<const R: usize>(lhs: &GroupRows, rhs: &GroupPanel, sums: &mut [f32]) {
    let mut rows: [&[u8]; R] = [&[]; R];
    for (r, row) in rows.iter_mut().enumerate() {
        *row = &lhs.codes[r * lhs.stride..][..rhs.codes.len() / NR * 2];
    }
    let flip = vdupq_n_u8(0x80);
    let mut totals = [[vdupq_n_f32(0.0); 2]; R];
    for group in rhs.groups::<NR>() {
        let zero_points = of_columns::<KU, 2>(group.zero_points);
        let mut acc = [[vdupq_n_s32(0); 2]; R];
        let (pairs, rest) = group.codes.as_chunks::<{ NR * KU }>().0.as_chunks::<2>();
        let (whole, end) = split::<R>(&mut rows, pairs.len(), rest.len());
        for (s, [even, odd]) in pairs.iter().enumerate() {
            let mut codes = [vdupq_n_s8(0); R];
            for r in 0..R {
                codes[r] = vreinterpretq_s8_u8(veorq_u8(load_16(&whole[r][s]), flip));
            }
            step::<R, 0, 1>(&codes, even, zero_points, &mut acc);
            step::<R, 2, 3>(&codes, odd, zero_points, &mut acc);
        }
        if let [last] = rest {
            let mut codes = [vdupq_n_s8(0); R];
            for r in 0..R {
                let eight = vcombine_u8(load_8(first(end[r])), vdup_n_u8(0));
                codes[r] = vreinterpretq_s8_u8(veorq_u8(eight, flip));
            }
            step::<R, 0, 1>(&codes, last, zero_points, &mut acc);
        }
        for r in 0..R {
            add_group(&mut totals[r], acc[r], lhs.zero_point - 128, &group);
        }
    }
    for (totals, out) in totals.into_iter().zip(sums.chunks_exact_mut(NR)) {
        store(totals, out);
    }
}

/// Adds the products of eight elements of K: byte groups `LOW` and `HIGH` of each row's codes.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn step<const R: usize, const LOW: i32, const HIGH: i32>(
    codes: &[int8x16_t; R],
    weights: &[u8; NR * KU],
    zero_points: [int8x16_t; 2],
    acc: &mut [[int32x4_t; 2]; R],
) {
    for (v, weights) in weights.as_chunks::<16>().0.iter().enumerate() {
        let [low, high] = unpack(weights, zero_points[v]);
        for r in 0..R {
            acc[r][v] = sdot_lane::<LOW>(acc[r][v], low, codes[r]);
            acc[r][v] = sdot_lane::<HIGH>(acc[r][v], high, codes[r]);
        }
    }
}
