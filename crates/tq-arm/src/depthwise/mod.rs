//! Depthwise convolution.
//!
//! [`sums`] gives 32-bit sums for any weights and any use. [`neon`] and [`dotprod`] go from codes to codes, 16 channels of a few
//! positions at a time, and sums never leave the registers.
#![allow(unsafe_code, reason = "reads of runs whose bounds are proved once")]

mod dotprod;
mod neon;
mod sums;
mod windows;

pub(crate) use dotprod::{dotprod, pack_dotprod};
pub(crate) use neon::{neon, pack_neon};
pub(crate) use sums::sums;

use crate::memory::first_mut;
use crate::requantize::{Four, Narrow};
use std::arch::aarch64::*;
use tq_kernels::DepthwiseRun;
use tq_kernels::depthwise::channel_blocks;

/// Channels of a block.
const WIDTH: usize = 16;

/// 32-bit sums of a block's channels.
type Sums = [int32x4_t; 4];

/// First channels of the blocks of `channels`. None where there are fewer than [`WIDTH`].
fn blocks(channels: usize) -> impl Iterator<Item = usize> + Clone {
    channel_blocks(channels, WIDTH, WIDTH).map(|(start, _)| start)
}

/// What the sums of a block are requantized by.
struct Columns<const FIXED: bool> {
    fours: [Four<FIXED>; 4],
    narrow: Narrow,
}

impl<const FIXED: bool> Columns<FIXED> {
    /// The channels from `start` on. Panics where there are too few.
    #[inline]
    #[target_feature(enable = "neon")]
    fn new(run: &DepthwiseRun, start: usize) -> Self {
        let four = |c: usize| Four::new(&run.offset[c..], run.multipliers.from(c));
        let fours = [four(start), four(start + 4), four(start + 8), four(start + 12)];
        Self { fours, narrow: Narrow::new(run.params) }
    }

    /// What sums of products begin with.
    #[inline]
    #[target_feature(enable = "neon")]
    fn offset(&self) -> Sums {
        [self.fours[0].offset, self.fours[1].offset, self.fours[2].offset, self.fours[3].offset]
    }

    /// The codes of a window's sums, to the first 16 elements of `out`. Panics where there are fewer.
    #[inline]
    #[target_feature(enable = "neon")]
    fn store(&self, sums: &Sums, out: &mut [u8]) {
        let f = &self.fours;
        let low = self.narrow.eight(f[0].steps(sums[0]), f[1].steps(sums[1]));
        let high = self.narrow.eight(f[2].steps(sums[2]), f[3].steps(sums[3]));
        crate::memory::store_16(first_mut(out), self.narrow.clamp(vcombine_u8(low, high)));
    }
}
