//! Channels in blocks, and runs of windows as the loops read them.
#![allow(unsafe_code, reason = "one bound for a whole run in place of one for each load")]

use super::SMALLEST;
use tq_kernels::DepthwiseRun;

/// Cuts `channels`, 16 at least, into blocks of 16, 32, … up to `widest`, a power of two: first channel and width of each.
///
/// As many of the widest as there are; then the smallest that holds the rest, which ends with the last channel and may
/// repeat some of the block before, or two that do.
pub(super) fn blocks(channels: usize, widest: usize) -> impl Iterator<Item = (usize, usize)> + Clone {
    let mut start = 0;
    std::iter::from_fn(move || {
        let left = channels.saturating_sub(start);
        if left == 0 || channels < SMALLEST {
            return None;
        }
        let wanted = left.next_power_of_two().clamp(SMALLEST, widest);
        // Not wider than all channels together: then a narrower one comes first.
        let width = if wanted <= channels { wanted } else { wanted / 2 };
        let first = start.min(channels - width);
        start = first + width;
        Some((first, width))
    })
}

/// The taps of a run, whose codes are known to be there.
pub(super) struct Windows<'a> {
    taps: &'a [&'a [u8]],
    step: usize,
    last_position: usize,
    channels: usize,
}

/// A place in a run: where some channels of a position begin.
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

    /// `width` channels from channel `channel` on at position `position`; the last ones where there are none. Panics where there
    /// are fewer.
    #[inline]
    pub(super) fn at(&self, position: usize, channel: usize, width: usize) -> At {
        assert!(width <= self.channels, "a block is wider than the channels");
        At(position.min(self.last_position) * self.step + channel.min(self.channels - width))
    }
}

/// The codes of a tap at a place.
///
/// # Safety
/// The tap is one of [`Windows::taps`], and [`Windows::at`] of the same windows gave the place for `N` channels or more.
#[inline(always)]
pub(super) unsafe fn codes<const N: usize>(tap: &[u8], at: At) -> &[u8; N] {
    // SAFETY: `Windows::new` proved that `last_position * step + channels` elements are in the tap; `at` is no further than
    // `N` before them.
    unsafe { &*tap.as_ptr().add(at.0).cast::<[u8; N]>() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_hold_every_channel() {
        for widest in [16, 32, 64] {
            assert_eq!(blocks(15, widest).count(), 0);
            for channels in 16..300 {
                let mut next = 0;
                for (start, width) in blocks(channels, widest) {
                    assert!(start <= next && start + width > next, "{channels}");
                    assert!(width.is_power_of_two() && (16..=widest).contains(&width));
                    next = start + width;
                }
                assert_eq!(next, channels);
            }
        }
    }
}
