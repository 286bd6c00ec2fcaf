//! Codes from codes by `smlal`: weights of 16 bits, so that any weight fits that is -255..=255 less its zero point.

use super::windows::{codes, places};
use super::{Columns, Sums, WIDTH, blocks};
use crate::memory::load_8_i16;
use std::arch::aarch64::*;
use tq_kernels::buffer::AlignedBuffer;
use tq_kernels::depthwise::{Place, RunWindows};
use tq_kernels::{DepthwiseRun, RowMultipliers};

/// Positions whose sums are in registers together.
const POSITIONS: usize = 4;

/// Block by block, the weights of 16 channels for every tap; nothing where there are fewer channels.
pub(crate) fn pack_neon(channels: usize, weights: &[i16]) -> AlignedBuffer {
    let taps = weights.len().checked_div(channels).unwrap_or(0);
    let starts = blocks(channels);
    let mut packed = AlignedBuffer::zeroed(starts.clone().count() * taps * WIDTH * size_of::<i16>());
    let rows = packed.as_mut_slice::<i16>().chunks_exact_mut(WIDTH);
    let places = starts.flat_map(|start| (0..taps).map(move |tap| tap * channels + start));
    for (row, place) in rows.zip(places) {
        row.copy_from_slice(&weights[place..][..WIDTH]);
    }
    packed
}

/// See [`tq_kernels::RowKernel::depthwise_codes`]. Panics where a slice is too short.
#[target_feature(enable = "neon")]
pub(crate) fn neon(run: &DepthwiseRun, out: &mut [u8], out_stride: usize) {
    match run.multipliers {
        RowMultipliers::Float(_) => blocked::<false>(run, out, out_stride),
        RowMultipliers::FixedPoint { .. } => blocked::<true>(run, out, out_stride),
    }
}

#[target_feature(enable = "neon")]
fn blocked<const FIXED: bool>(run: &DepthwiseRun, out: &mut [u8], out_stride: usize) {
    let windows = RunWindows::new(run);
    let weights = bytemuck::cast_slice::<u8, i16>(run.weights).as_chunks::<WIDTH>().0;
    for (start, weights) in blocks(run.channels).zip(weights.chunks_exact(run.taps.len())) {
        let columns = Columns::<FIXED>::new(run, start);
        let out = &mut out[start..];
        let mut p = 0;
        while p + POSITIONS <= run.positions {
            let sums = sums::<POSITIONS>(&windows, weights, columns.offset(), places(&windows, p, start));
            for (q, sums) in sums.iter().enumerate() {
                columns.store(sums, &mut out[(p + q) * out_stride..]);
            }
            p += POSITIONS;
        }
        while p < run.positions {
            let [sums] = sums::<1>(&windows, weights, columns.offset(), places(&windows, p, start));
            columns.store(&sums, &mut out[p * out_stride..]);
            p += 1;
        }
    }
}

/// The sums of the windows at `P` places of these windows.
#[inline]
#[target_feature(enable = "neon")]
fn sums<const P: usize>(
    windows: &RunWindows,
    weights: &[[i16; WIDTH]],
    offset: Sums,
    at: [Place; P],
) -> [Sums; P] {
    let mut acc = [offset; P];
    for (tap, weights) in windows.taps().iter().zip(weights) {
        let halves = weights.as_chunks::<8>().0;
        let (low, high) = (load_8_i16(&halves[0]), load_8_i16(&halves[1]));
        for p in 0..P {
            // SAFETY: tap and place are of these windows.
            let codes = unsafe { codes(tap, at[p]) };
            let first = vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(codes)));
            let second = vreinterpretq_s16_u16(vmovl_high_u8(codes));
            acc[p][0] = vmlal_s16(acc[p][0], vget_low_s16(first), vget_low_s16(low));
            acc[p][1] = vmlal_high_s16(acc[p][1], first, low);
            acc[p][2] = vmlal_s16(acc[p][2], vget_low_s16(second), vget_low_s16(high));
            acc[p][3] = vmlal_high_s16(acc[p][3], second, high);
        }
    }
    acc
}
