//! Runs of windows as the loops read them.
#![allow(unsafe_code, reason = "one bound for a whole run in place of one for each load")]

use super::WIDTH;
use std::arch::aarch64::*;
use tq_kernels::DepthwiseRun;

/// The taps of a run, whose codes are known to be there.
pub(super) struct Windows<'a> {
    taps: &'a [&'a [u8]],
    step: usize,
    last_position: usize,
    channels: usize,
}

/// A place in a run: where 16 channels of a position begin.
#[derive(Clone, Copy, Default)]
pub(super) struct At(usize);

impl<'a> Windows<'a> {
    /// The taps of `run`.
    ///
    /// Panics where there is no tap or position, or a tap has not the codes that it promises.
    #[inline]
    pub(super) fn new(run: &DepthwiseRun<'a>) -> Self {
        assert!(run.positions > 0 && !run.taps.is_empty(), "a run has no windows");
        let (last_position, channels) = (run.positions - 1, run.channels);
        let end = last_position.checked_mul(run.step).and_then(|start| start.checked_add(channels));
        let long = |tap: &&[u8]| end.is_some_and(|end| end <= tap.len());
        assert!(run.taps.iter().all(long), "codes of a tap are too short");
        Self { taps: run.taps, step: run.step, last_position, channels }
    }

    /// The codes under each tap.
    #[inline]
    pub(super) fn taps(&self) -> &'a [&'a [u8]] {
        self.taps
    }

    /// 16 channels from channel `channel` on of `P` positions from `position` on. Panics where there are fewer of either.
    #[inline]
    pub(super) fn at<const P: usize>(&self, position: usize, channel: usize) -> [At; P] {
        assert!(position.checked_add(P).is_some_and(|end| end <= self.last_position + 1), "no such position");
        assert!(channel.checked_add(WIDTH).is_some_and(|end| end <= self.channels), "no such channels");
        std::array::from_fn(|p| At((position + p) * self.step + channel))
    }
}

/// The codes of a tap at a place.
///
/// # Safety
/// The tap is one of [`Windows::taps`], and [`Windows::at`] of the same windows gave the place.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn codes(tap: &[u8], at: At) -> uint8x16_t {
    // SAFETY: `Windows::new` proved that `last_position * step + channels` elements are in the tap; `at` is no position behind the
    // last, and no further than 16 before the end of its channels.
    unsafe { vld1q_u8(tap.as_ptr().add(at.0)) }
}
