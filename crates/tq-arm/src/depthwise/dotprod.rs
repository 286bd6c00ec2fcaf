//! Codes from codes by `sdot`: the bytes of four taps are brought beside each other for every channel, by interleaving bytes and
//! then words, and multiplied with their weights.

use super::windows::{codes, places};
use super::{Columns, Sums, WIDTH, blocks};
use crate::instructions::sdot;
use crate::memory::{load_4_i32, load_16_i8};
use std::arch::aarch64::*;
use tq_kernels::buffer::AlignedBuffer;
use tq_kernels::depthwise::{Place, RunWindows};
use tq_kernels::{DepthwiseRun, RowMultipliers};

/// Taps of a group.
const TAPS: usize = 4;
/// Positions whose sums are in registers together.
const POSITIONS: usize = 2;
/// Weights of a group.
const GROUP: usize = TAPS * WIDTH;
/// Bytes of what the sums of a block lack.
const CORRECTIONS: usize = WIDTH * size_of::<i32>();

/// Block by block, what the sum of each channel lacks: 128 times that of its weights, as codes are multiplied less 128. Then
/// group by group the weights of four taps for each of 16 channels. Nothing where there are fewer channels, or where a weight
/// is no byte.
pub(crate) fn pack_dotprod(channels: usize, weights: &[i16]) -> AlignedBuffer {
    let taps = weights.len().checked_div(channels).unwrap_or(0);
    if weights.iter().any(|&w| i8::try_from(w).is_err()) {
        return AlignedBuffer::default();
    }
    let bytes = CORRECTIONS + taps.div_ceil(TAPS) * GROUP;
    let mut packed = AlignedBuffer::zeroed(blocks(channels).count() * bytes);
    for (start, block) in blocks(channels).zip(packed.as_mut_slice::<u8>().chunks_exact_mut(bytes)) {
        let (corrections, groups) = block.split_at_mut(CORRECTIONS);
        let corrections: &mut [i32] = bytemuck::cast_slice_mut(corrections);
        for (tap, weights) in weights.chunks_exact(channels).enumerate() {
            let group = &mut groups[tap / TAPS * GROUP..][..GROUP];
            for (c, &w) in weights[start..][..WIDTH].iter().enumerate() {
                group[c * TAPS + tap % TAPS] = w as u8;
                corrections[c] += 128 * i32::from(w);
            }
        }
    }
    packed
}

/// See [`tq_kernels::RowKernel::depthwise_codes`]. Panics where a slice is too short.
#[target_feature(enable = "neon,dotprod")]
pub(crate) fn dotprod(run: &DepthwiseRun, out: &mut [u8], out_stride: usize) {
    match run.multipliers {
        RowMultipliers::Float(_) => blocked::<false>(run, out, out_stride),
        RowMultipliers::FixedPoint { .. } => blocked::<true>(run, out, out_stride),
    }
}

#[target_feature(enable = "neon,dotprod")]
fn blocked<const FIXED: bool>(run: &DepthwiseRun, out: &mut [u8], out_stride: usize) {
    let windows = RunWindows::new(run);
    let bytes = CORRECTIONS + run.taps.len().div_ceil(TAPS) * GROUP;
    for (start, block) in blocks(run.channels).zip(run.weights.chunks_exact(bytes)) {
        let mut columns = Columns::<FIXED>::new(run, start);
        let (corrections, groups) = block.split_at(CORRECTIONS);
        let corrections = bytemuck::cast_slice::<u8, i32>(corrections).as_chunks::<4>().0;
        for (four, correction) in columns.fours.iter_mut().zip(corrections) {
            four.offset = vaddq_s32(four.offset, load_4_i32(correction));
        }
        let groups = bytemuck::cast_slice::<u8, i8>(groups).as_chunks::<GROUP>().0;
        let out = &mut out[start..];
        let mut p = 0;
        while p + POSITIONS <= run.positions {
            let sums = sums::<POSITIONS>(&windows, groups, columns.offset(), places(&windows, p, start));
            for (q, sums) in sums.iter().enumerate() {
                columns.store(sums, &mut out[(p + q) * out_stride..]);
            }
            p += POSITIONS;
        }
        if p < run.positions {
            let [sums] = sums::<1>(&windows, groups, columns.offset(), places(&windows, p, start));
            columns.store(&sums, &mut out[p * out_stride..]);
        }
    }
}

/// The sums of the windows at `P` places of these windows.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sums<const P: usize>(
    windows: &RunWindows,
    groups: &[[i8; GROUP]],
    offset: Sums,
    at: [Place; P],
) -> [Sums; P] {
    let mut acc = [offset; P];
    let (fours, rest) = windows.taps().as_chunks::<TAPS>();
    for (taps, weights) in fours.iter().zip(groups) {
        for p in 0..P {
            // SAFETY: taps and place are of these windows.
            let codes = unsafe { interleaved(*taps, at[p]) };
            add(&mut acc[p], &codes, weights);
        }
    }
    // Absent taps have weights of zero, so any codes do in their place.
    if let ([first, ..], Some(weights)) = (rest, groups.get(fours.len())) {
        let tap = |t: usize| *rest.get(t).unwrap_or(first);
        let taps = [first, tap(1), tap(2), tap(3)];
        for p in 0..P {
            // SAFETY: taps and place are of these windows.
            let codes = unsafe { interleaved(taps, at[p]) };
            add(&mut acc[p], &codes, weights);
        }
    }
    acc
}

/// Adds the products of a group.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn add(acc: &mut Sums, codes: &[int8x16_t; 4], weights: &[i8; GROUP]) {
    for (v, weights) in weights.as_chunks::<16>().0.iter().enumerate() {
        acc[v] = sdot(acc[v], codes[v], load_16_i8(weights));
    }
}

/// The codes of four taps less 128, beside each other for every channel.
///
/// # Safety
/// As [`codes`], for each tap.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn interleaved(taps: [&[u8]; TAPS], at: Place) -> [int8x16_t; 4] {
    let flip = vdupq_n_u8(0x80);
    let mut moved = [flip; TAPS];
    for (moved, tap) in moved.iter_mut().zip(taps) {
        // SAFETY: the caller's promise.
        *moved = veorq_u8(unsafe { codes(tap, at) }, flip);
    }
    let [a, b, c, d] = moved;
    let (ab_low, ab_high) = (vzip1q_u8(a, b), vzip2q_u8(a, b));
    let (cd_low, cd_high) = (vzip1q_u8(c, d), vzip2q_u8(c, d));
    let (ab_low, ab_high) = (vreinterpretq_u16_u8(ab_low), vreinterpretq_u16_u8(ab_high));
    let (cd_low, cd_high) = (vreinterpretq_u16_u8(cd_low), vreinterpretq_u16_u8(cd_high));
    [
        vreinterpretq_s8_u16(vzip1q_u16(ab_low, cd_low)),
        vreinterpretq_s8_u16(vzip2q_u16(ab_low, cd_low)),
        vreinterpretq_s8_u16(vzip1q_u16(ab_high, cd_high)),
        vreinterpretq_s8_u16(vzip2q_u16(ab_high, cd_high)),
    ]
}
