//! Depthwise convolution from codes to codes: `vpdpbusd` takes four taps at a time.
//!
//! The weights of a block of channels are 4 bytes a channel and group of four taps, in the order in which interleaving bytes
//! and then words leaves the channels: see [`Sums`]. Absent taps have weights of zero.

use crate::avx2::depthwise::columns::{Columns, Sums, interleaved};
use crate::memory::*;
use crate::windows::{SMALLEST, Windows, blocks};
use std::arch::x86_64::*;
use tq_kernels::DepthwiseRun;
use tq_kernels::buffer::AlignedBuffer;

/// Channels of the widest block.
const WIDEST: usize = 32;
/// Taps of a group.
const TAPS: usize = 4;

/// Packs `[taps][channels]`; see [`tq_kernels::RowKernel::pack_depthwise`].
pub(super) fn pack(channels: usize, weights: &[i16]) -> AlignedBuffer {
    if channels < SMALLEST || weights.iter().any(|&w| i8::try_from(w).is_err()) {
        return AlignedBuffer::default();
    }
    let groups = (weights.len() / channels).div_ceil(TAPS);
    let width = |blocks: usize, (_, width): (usize, usize)| blocks + width;
    let bytes = TAPS * groups * blocks(channels, WIDEST).fold(0, width);
    let mut packed = AlignedBuffer::zeroed(bytes);
    let mut rest = packed.as_mut_slice::<i8>().as_chunks_mut::<TAPS>().0.iter_mut();
    for (start, width) in blocks(channels, WIDEST) {
        for group in 0..groups {
            for (place, four) in rest.by_ref().take(width).enumerate() {
                let (vector, lane, i) = (place / 8, place / 4 % 2, place % 4);
                let c = start + lane * width / 2 + 4 * vector + i;
                for (t, w) in four.iter_mut().enumerate() {
                    *w = weights.get((TAPS * group + t) * channels + c).map_or(0, |&w| w as i8);
                }
            }
        }
    }
    packed
}

/// The loop over blocks and positions for one form of the instruction.
macro_rules! depthwise {
    ($name:ident, $features:literal, $dot:ident) => {
        pub(super) mod $name {
            use super::*;

            /// See [`tq_kernels::RowKernel::depthwise_codes`]. Panics where a slice is too short.
            #[target_feature(enable = $features)]
            pub(in super::super) fn codes(run: &DepthwiseRun, out: &mut [u8], out_stride: usize) {
                let windows = Windows::new(run);
                let mut weights = run.weights.as_chunks::<32>().0.as_chunks::<2>().0;
                for (start, width) in blocks(run.channels, WIDEST) {
                    let (block, behind) = weights.split_at(run.taps.len().div_ceil(TAPS) * width / SMALLEST);
                    weights = behind;
                    let out = &mut out[start..];
                    match width {
                        WIDEST => self::block::<2>(run, &windows, block, start, out, out_stride),
                        _ => self::block::<1>(run, &windows, block, start, out, out_stride),
                    }
                }
            }

            /// The channels of one block, `16 H` from channel `start` on.
            #[target_feature(enable = $features)]
            fn block<const H: usize>(
                run: &DepthwiseRun,
                windows: &Windows,
                weights: &[[[u8; 32]; 2]],
                start: usize,
                out: &mut [u8],
                out_stride: usize,
            ) {
                let columns = Columns::<H>::new(run, start);
                let groups = weights.as_chunks::<H>().0;
                let taps = run.taps.len();
                let mut p = 0;
                while p + 2 <= run.positions {
                    let sums = sums::<H, 2>(windows, taps, groups, &columns, start, p);
                    columns.store(&sums[0], &mut out[p * out_stride..]);
                    columns.store(&sums[1], &mut out[(p + 1) * out_stride..]);
                    p += 2;
                }
                if p < run.positions {
                    let sums = sums::<H, 1>(windows, taps, groups, &columns, start, p);
                    columns.store(&sums[0], &mut out[p * out_stride..]);
                }
            }

            /// The sums of `P` windows from position `p` on.
            #[inline]
            #[target_feature(enable = $features)]
            fn sums<const H: usize, const P: usize>(
                windows: &Windows,
                taps: usize,
                groups: &[[[[u8; 32]; 2]; H]],
                columns: &Columns<H>,
                start: usize,
                p: usize,
            ) -> [Sums<H>; P] {
                let mut acc = [columns.offset; P];
                for (g, weights) in groups.iter().enumerate() {
                    let tap = TAPS * g;
                    for (q, acc) in acc.iter_mut().enumerate() {
                        let a = interleaved::<H>(windows, [tap as u8, tap as u8 + 1], start, p + q);
                        let mut b = [_mm256_setzero_si256(); H];
                        if tap + 2 < taps {
                            b = interleaved::<H>(windows, [tap as u8 + 2, tap as u8 + 3], start, p + q);
                        }
                        for h in 0..H {
                            let low = _mm256_unpacklo_epi16(a[h], b[h]);
                            let high = _mm256_unpackhi_epi16(a[h], b[h]);
                            acc[h][0] = $dot(acc[h][0], low, load_32(&weights[h][0]));
                            acc[h][1] = $dot(acc[h][1], high, load_32(&weights[h][1]));
                        }
                    }
                }
                acc
            }
        }
    };
}

depthwise!(avx, "avx2,avxvnni", _mm256_dpbusd_avx_epi32);
depthwise!(avx512, "avx2,avx512f,avx512vl,avx512vnni", _mm256_dpbusd_epi32);
