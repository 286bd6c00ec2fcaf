//! Products with 4-bit weights in groups: 4 rows by 8 columns, whose weights are unpacked to bytes once for all rows.
//!
//! Weights less their zero point are -15..=15. NEON and dot products take codes less 128, as in [`crate::gemm`]: that moves their
//! zero point, and nothing else has to be made up for.

mod dotprod;
mod i8mm;
mod neon;

use crate::memory::{load_4_f32, load_4_i32, load_16, store_4_f32};
use std::arch::aarch64::*;
use tq_kernels::Group;

pub(crate) use dotprod::{KU as DOTPROD_KU, dotprod};
pub(crate) use i8mm::{KU as I8MM_KU, i8mm};
pub(crate) use neon::{KU as NEON_KU, neon};

/// Rows of a tile.
pub(crate) const MR: usize = 4;
/// Columns of a tile.
pub(crate) const NR: usize = 8;

/// Takes the codes of a group off the rows: of each row those of `pairs` times 16 elements of K, and those of `single` times 8
/// behind them.
#[inline]
fn split<'a, const R: usize>(
    rows: &mut [&'a [u8]; R],
    pairs: usize,
    single: usize,
) -> ([&'a [[u8; 16]]; R], [&'a [u8]; R]) {
    let (mut whole, mut end): ([&[[u8; 16]]; R], [&[u8]; R]) = ([&[]; R], [&[]; R]);
    for r in 0..R {
        let (now, behind) = rows[r].split_at(16 * pairs + 8 * single);
        let (all, rest) = now.as_chunks();
        // One bound for all steps of the group.
        (whole[r], end[r], rows[r]) = (&all[..pairs], rest, behind);
    }
    (whole, end)
}

/// Both halves of a column's bytes, for eight columns: of each vector the low four bits, less the zero points, and the high.
#[inline]
#[target_feature(enable = "neon")]
fn unpack(codes: &[u8; 16], zero_points: int8x16_t) -> [int8x16_t; 2] {
    let codes = load_16(codes);
    let low = vreinterpretq_s8_u8(vandq_u8(codes, vdupq_n_u8(15)));
    let high = vreinterpretq_s8_u8(vshrq_n_u8::<4>(codes));
    [vsubq_s8(low, zero_points), vsubq_s8(high, zero_points)]
}

/// Zero points, each repeated `WIDTH` times.
#[inline]
#[target_feature(enable = "neon")]
fn of_columns<const WIDTH: usize, const VECTORS: usize>(zero_points: &[u8; NR]) -> [int8x16_t; VECTORS] {
    let all = vcombine_u8(crate::memory::load_8(zero_points), vdup_n_u8(0));
    let mut spread = [vdupq_n_s8(0); VECTORS];
    for (v, spread) in spread.iter_mut().enumerate() {
        let places: [u8; 16] = std::array::from_fn(|i| (v * (16 / WIDTH) + i / WIDTH) as u8);
        *spread = vreinterpretq_s8_u8(vqtbl1q_u8(all, load_16(&places)));
    }
    spread
}

/// Adds the sums of a group to the totals of a row: less what the zero point of the codes makes, times the scales.
#[inline]
#[target_feature(enable = "neon")]
fn add_group(totals: &mut [float32x4_t; 2], sums: [int32x4_t; 2], zero_point: i32, group: &Group<NR>) {
    let (moved, scales) = (group.sums.as_chunks().0, group.scales.as_chunks().0);
    for half in 0..2 {
        let sums = vmlsq_n_s32(sums[half], load_4_i32(&moved[half]), zero_point);
        let product = vmulq_f32(vcvtq_f32_s32(sums), load_4_f32(&scales[half]));
        totals[half] = vaddq_f32(totals[half], product);
    }
}

/// Writes the totals of a row.
#[inline]
#[target_feature(enable = "neon")]
fn store(totals: [float32x4_t; 2], out: &mut [f32]) {
    for (total, out) in totals.into_iter().zip(out.as_chunks_mut().0) {
        store_4_f32(out, total);
    }
}
