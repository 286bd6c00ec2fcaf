//! Depthwise convolution from codes to codes: four taps at a time, their bytes beside each other for every channel.
//!
//! Interleaving bytes and then words by lanes of 128 bits moves the channels about; the packing of 32-bit codes into bytes at
//! the end moves them back. So sums never leave the registers, and nothing has to be put in order.

#![allow(unsafe_code, reason = "reads of runs whose bounds are proved once")]

mod columns;
mod magnitudes;
mod packed;
mod windows;

use columns::{Columns, Sums, pairs};
use std::arch::x86_64::*;
use tq_kernels::depthwise::{Place, RunWindows, channel_blocks};
use tq_kernels::{DepthwiseRun, RowMultipliers};

pub(crate) use magnitudes::pack as pack_magnitudes;
pub(crate) use packed::pack;

/// Channels of the smallest block.
const SMALLEST: usize = 16;
/// Channels of the widest block.
const WIDEST: usize = 32;
/// Taps of a group.
const TAPS: usize = 4;

/// The loops over blocks, positions and groups for one way to add four products to a sum.
macro_rules! depthwise {
    ($(#[$what:meta])* $name:ident, $features:literal, $weights:ty, $base:expr, $dot:path) => {
        $(#[$what])*
        pub(crate) mod $name {
            use super::*;

            /// Of 8 channels and a group.
            type Weights = $weights;

            /// See [`tq_kernels::RowKernel::depthwise_codes`]. Panics where a slice is too short.
            #[target_feature(enable = $features)]
            pub(crate) fn codes(run: &DepthwiseRun, out: &mut [u8], out_stride: usize) {
                match run.multipliers {
                    RowMultipliers::Float(_) => blocked::<false>(run, out, out_stride),
                    RowMultipliers::FixedPoint { .. } => blocked::<true>(run, out, out_stride),
                }
            }

            #[target_feature(enable = $features)]
            fn blocked<const FIXED: bool>(run: &DepthwiseRun, out: &mut [u8], out_stride: usize) {
                let windows = RunWindows::new(run);
                let mut weights = run.weights;
                for (start, width) in channel_blocks(run.channels, SMALLEST, WIDEST) {
                    let out = &mut out[start..];
                    weights = match width {
                        WIDEST => block::<2, FIXED>(run, &windows, weights, start, out, out_stride),
                        _ => block::<1, FIXED>(run, &windows, weights, start, out, out_stride),
                    };
                }
            }

            /// The channels of one block, `16 H` from channel `start` on. Gives the weights behind its own.
            #[target_feature(enable = $features)]
            fn block<'a, const H: usize, const FIXED: bool>(
                run: &DepthwiseRun<'a>,
                windows: &RunWindows,
                weights: &'a [u8],
                start: usize,
                out: &mut [u8],
                out_stride: usize,
            ) -> &'a [u8] {
                let mut columns = Columns::<H, FIXED>::new(run, start);
                let weights = if $base { columns.add_base(weights) } else { weights };
                let groups = run.taps.len().div_ceil(TAPS);
                let (groups, behind) = weights.split_at(groups * 2 * H * size_of::<Weights>());
                let groups = bytemuck::cast_slice::<u8, Weights>(groups).as_chunks::<2>().0.as_chunks::<H>().0;
                let mut p = 0;
                while p + 2 <= run.positions {
                    let sums = sums::<H, 2>(windows, groups, columns.offset, start, p);
                    columns.store(&sums[0], &mut out[p * out_stride..]);
                    columns.store(&sums[1], &mut out[(p + 1) * out_stride..]);
                    p += 2;
                }
                if p < run.positions {
                    let sums = sums::<H, 1>(windows, groups, columns.offset, start, p);
                    columns.store(&sums[0], &mut out[p * out_stride..]);
                }
                behind
            }

            /// The sums of `P` windows from position `p` on.
            #[inline]
            #[target_feature(enable = $features)]
            fn sums<const H: usize, const P: usize>(
                windows: &RunWindows,
                groups: &[[[Weights; 2]; H]],
                offset: Sums<H>,
                start: usize,
                p: usize,
            ) -> [Sums<H>; P] {
                let mut acc = [offset; P];
                let mut at = [Place::default(); P];
                for (q, at) in at.iter_mut().enumerate() {
                    *at = windows.at(p + q, start, SMALLEST * H);
                }
                let (fours, rest) = windows.taps().as_chunks::<TAPS>();
                for (taps, weights) in fours.iter().zip(groups) {
                    for (acc, at) in acc.iter_mut().zip(at) {
                        // SAFETY: taps and place are of these windows.
                        let (a, b) = unsafe { (pairs(taps[0], taps[1], at), pairs(taps[2], taps[3], at)) };
                        add(acc, columns::interleaved(a, b), weights);
                    }
                }
                // Absent taps have weights of zero, so any codes do in their place.
                if let ([first, ..], Some(weights)) = (rest, groups.get(fours.len())) {
                    let second = rest.get(1).unwrap_or(first);
                    for (acc, at) in acc.iter_mut().zip(at) {
                        // SAFETY: taps and place are of these windows.
                        let a = unsafe { pairs(first, second, at) };
                        let mut b = [_mm256_setzero_si256(); H];
                        if let Some(third) = rest.get(2) {
                            // SAFETY: taps and place are of these windows.
                            b = unsafe { pairs(third, third, at) };
                        }
                        add(acc, columns::interleaved(a, b), weights);
                    }
                }
                acc
            }

            /// Adds the products of one group.
            #[inline]
            #[target_feature(enable = $features)]
            fn add<const H: usize>(acc: &mut Sums<H>, codes: Sums<H>, weights: &[[Weights; 2]; H]) {
                for h in 0..H {
                    for i in 0..2 {
                        acc[h][i] = $dot(acc[h][i], codes[h][i], &weights[h][i]);
                    }
                }
            }
        }
    };
}

depthwise!(
    /// By `vpmaddubsw`; see [`magnitudes`].
    avx2, "avx2", magnitudes::Weights, true, magnitudes::dot
);
depthwise!(
    /// By `vpdpbusd` of AVX-VNNI.
    avxvnni, "avx2,avxvnni", [u8; 32], false, dot_avxvnni
);
depthwise!(
    /// By `vpdpbusd` of AVX-512 VNNI, in 256 bits: the bytes' way through the lanes costs as much in 512.
    avx512vnni, "avx2,avx512f,avx512vl,avx512vnni", [u8; 32], false, dot_avx512vnni
);

/// Adds four products to each of 8 sums.
#[inline]
#[target_feature(enable = "avx2,avxvnni")]
fn dot_avxvnni(sums: __m256i, codes: __m256i, weights: &[u8; 32]) -> __m256i {
    _mm256_dpbusd_avx_epi32(sums, codes, crate::memory::load_32(weights))
}

/// Adds four products to each of 8 sums.
#[inline]
#[target_feature(enable = "avx2,avx512f,avx512vl,avx512vnni")]
fn dot_avx512vnni(sums: __m256i, codes: __m256i, weights: &[u8; 32]) -> __m256i {
    _mm256_dpbusd_epi32(sums, codes, crate::memory::load_32(weights))
}
