//! What kernels for [`depthwise_codes`](crate::RowKernel::depthwise_codes) are made of: channels in blocks, and runs whose length
//! is looked at once.

use super::DepthwiseRun;

/// Cuts `channels` into blocks of `smallest`, twice that, … up to `widest` (both powers of two): first channel and width of each.
/// Fewer than `smallest` channels have no blocks.
///
/// As many of the widest as there are; then the smallest that holds the rest, which ends with the last channel and may
/// repeat some of the block before, or two that do.
///
/// ```
/// use tq_kernels::depthwise::channel_blocks;
///
/// assert!(channel_blocks(70, 16, 32).eq([(0, 32), (32, 32), (54, 16)]));
/// ```
pub fn channel_blocks(
    channels: usize,
    smallest: usize,
    widest: usize,
) -> impl Iterator<Item = (usize, usize)> + Clone {
    let mut start = 0;
    std::iter::from_fn(move || {
        let left = channels.saturating_sub(start);
        if left == 0 || channels < smallest {
            return None;
        }
        let wanted = left.next_power_of_two().clamp(smallest, widest);
        // Not wider than all channels together: then a narrower one comes first.
        let width = if wanted <= channels { wanted } else { wanted / 2 };
        let first = start.min(channels - width);
        start = first + width;
        Some((first, width))
    })
}

/// The taps of a run, whose codes are known to be there: one bound for the whole run in place of one for each load.
#[derive(Debug)]
pub struct RunWindows<'a> {
    taps: &'a [&'a [u8]],
    step: usize,
    last_position: usize,
    channels: usize,
}

/// A place in a run: where some channels of a position begin.
///
/// Made by [`RunWindows::at`] alone (or the very beginning, by default), and not to be changed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Place(usize);

impl<'a> RunWindows<'a> {
    /// The taps of `run`.
    ///
    /// # Panics
    /// Where there is no tap or position, or a tap has not the codes that it promises.
    #[inline]
    #[must_use]
    pub fn new(run: &DepthwiseRun<'a>) -> Self {
        assert!(run.positions > 0 && !run.taps.is_empty(), "a run has no windows");
        let (last_position, channels) = (run.positions - 1, run.channels);
        let end = last_position.checked_mul(run.step).and_then(|start| start.checked_add(channels));
        let long = |tap: &&[u8]| end.is_some_and(|end| end <= tap.len());
        assert!(run.taps.iter().all(long), "codes of a tap are too short");
        Self { taps: run.taps, step: run.step, last_position, channels }
    }

    /// The codes under each tap.
    #[inline]
    #[must_use]
    pub fn taps(&self) -> &'a [&'a [u8]] {
        self.taps
    }

    /// `width` channels from channel `channel` on at position `position`; the last ones where there are none. Each of
    /// [`taps`](Self::taps) has `width` codes from there on.
    ///
    /// # Panics
    /// Where a position has fewer channels.
    #[inline]
    #[must_use]
    pub fn at(&self, position: usize, channel: usize, width: usize) -> Place {
        assert!(width <= self.channels, "a block is wider than the channels");
        Place(position.min(self.last_position) * self.step + channel.min(self.channels - width))
    }
}

impl Place {
    /// Codes before it.
    #[inline]
    #[must_use]
    pub fn offset(self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Requantize, RowMultipliers};

    #[test]
    fn blocks_hold_every_channel() {
        for widest in [16, 32, 64] {
            assert_eq!(channel_blocks(15, 16, widest).count(), 0);
            for channels in 16..300 {
                let mut next = 0;
                for (start, width) in channel_blocks(channels, 16, widest) {
                    assert!(start <= next && start + width > next, "{channels}");
                    assert!(width.is_power_of_two() && (16..=widest).contains(&width));
                    next = start + width;
                }
                assert_eq!(next, channels);
            }
        }
    }

    fn run<'a>(positions: usize, taps: &'a [&'a [u8]]) -> DepthwiseRun<'a> {
        let params = Requantize { zero_point: 0, clamp: (0, 255) };
        let (weights, offset, multipliers) = (&[], &[], RowMultipliers::Float(&[]));
        DepthwiseRun { positions, channels: 20, step: 25, taps, weights, offset, multipliers, params }
    }

    #[test]
    fn every_place_has_its_codes_in_every_tap() {
        let (exact, longer) = (vec![0u8; 2 * 25 + 20], vec![0u8; 100]);
        let taps = [&exact[..], &longer[..]];
        let windows = RunWindows::new(&run(3, &taps));
        for (position, channel, width) in [(0, 0, 20), (1, 4, 16), (2, 4, 16), (2, 5, 16), (7, 19, 1)] {
            let offset = windows.at(position, channel, width).offset();
            assert_eq!(offset, position.min(2) * 25 + channel.min(20 - width));
            assert!(windows.taps().iter().all(|tap| offset + width <= tap.len()));
        }
    }

    #[test]
    #[should_panic(expected = "codes of a tap are too short")]
    fn a_tap_that_is_one_code_short_is_refused() {
        let (exact, short) = (vec![0u8; 2 * 25 + 20], vec![0u8; 2 * 25 + 19]);
        let _ = RunWindows::new(&run(3, &[&exact, &short]));
    }

    #[test]
    #[should_panic(expected = "codes of a tap are too short")]
    fn a_run_that_is_longer_than_memory_is_refused() {
        let codes = [0u8; 64];
        let _ = RunWindows::new(&run(usize::MAX, &[&codes]));
    }

    #[test]
    #[should_panic(expected = "wider than the channels")]
    fn blocks_of_more_channels_than_there_are_are_refused() {
        let codes = [0u8; 64];
        let _ = RunWindows::new(&run(1, &[&codes])).at(0, 0, 21);
    }
}
