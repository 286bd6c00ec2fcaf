//! Runs of depthwise windows as the vector loops read them: channels in blocks, taps by address.
#![allow(unsafe_code, reason = "one bound for a whole run in place of one for each load")]

use tq_kernels::{DepthwiseRun, Tap};

/// Channels of the smallest block.
pub(crate) const SMALLEST: usize = 16;

/// Cuts `channels`, 16 at least, into blocks of 16, 32, … up to `widest`, a power of two: first channel and width of each.
///
/// As many of the widest as there are; then the smallest that holds the rest, which ends with the last channel and may
/// repeat some of the block before, or two that do.
pub(crate) fn blocks(channels: usize, widest: usize) -> impl Iterator<Item = (usize, usize)> {
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
pub(crate) struct Windows<'a> {
    taps: &'a [Tap<'a>],
    last_position: usize,
    channels: usize,
}

/// A place in a run: position and first of `N` channels.
#[derive(Clone, Copy)]
pub(crate) struct At<const N: usize> {
    position: usize,
    channel: usize,
}

impl<'a> Windows<'a> {
    /// The taps of `run`.
    ///
    /// Panics where there is no tap or position, or a tap has not the codes that it promises.
    #[inline]
    pub(crate) fn new(run: &DepthwiseRun<'a>) -> Self {
        assert!(run.positions > 0 && !run.taps.is_empty(), "a run has no windows");
        let (last_position, channels) = (run.positions - 1, run.channels);
        for Tap { codes, step } in run.taps {
            let end = last_position.checked_mul(*step).and_then(|start| start.checked_add(channels));
            assert!(end.is_some_and(|end| end <= codes.len()), "codes of a tap are too short");
        }
        Self { taps: run.taps, last_position, channels }
    }

    /// `N` channels from channel `channel` on at position `position`; the last ones where there are none. Panics where there are
    /// fewer than `N` channels.
    #[inline]
    pub(crate) fn at<const N: usize>(&self, position: usize, channel: usize) -> At<N> {
        assert!(N <= self.channels, "a block is wider than the channels");
        At { position: position.min(self.last_position), channel: channel.min(self.channels - N) }
    }

    /// The codes of tap `tap`, or of the last one where there is none.
    ///
    /// # Safety
    /// [`Windows::at`] of these windows gave `at`.
    #[inline(always)]
    pub(crate) unsafe fn codes<const N: usize>(&self, tap: u8, at: At<N>) -> &'a [u8; N] {
        let last = self.taps.len() - 1;
        // SAFETY: `new` proved that there is a tap; this one is no further than the last.
        let Tap { codes, step } = unsafe { self.taps.get_unchecked(usize::from(tap).min(last)) };
        // SAFETY: `new` proved that `last_position * step + channels` elements lie in `codes`; `at` is at most
        // `last_position` and at most `channels - N`.
        unsafe { &*codes.as_ptr().add(at.position * step + at.channel).cast::<[u8; N]>() }
    }
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
