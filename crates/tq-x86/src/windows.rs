//! Runs of depthwise windows as the vector loops read them: channels in blocks, taps by address.
#![allow(unsafe_code, reason = "one bound for a whole run in place of one for each load")]

use std::marker::PhantomData;
use tq_kernels::{DepthwiseRun, Tap};

/// Channels of the smallest block.
pub(crate) const SMALLEST: usize = 16;

/// The most taps of a window.
const MAX_TAPS: usize = 64;

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

/// Where a tap reads.
#[derive(Clone, Copy)]
struct Place {
    codes: *const u8,
    step: usize,
}

/// The taps of a run's windows in slots of `T`, in any order.
pub(crate) struct Windows<'a, const T: usize> {
    slots: [[Place; T]; MAX_TAPS],
    last: usize,
    channels: usize,
    _codes: PhantomData<&'a [u8]>,
}

/// A checked place in a run: position and first channel of `N`.
#[derive(Clone, Copy)]
pub(crate) struct At<const N: usize> {
    position: usize,
    channel: usize,
}

impl<'a, const T: usize> Windows<'a, T> {
    /// The taps of `run` that `order` names, slot by slot; the last one where there are not so many.
    ///
    /// Panics where there is no tap or position, or a tap has not the codes that it promises.
    #[inline]
    pub(crate) fn new(run: &DepthwiseRun<'a>, order: impl Iterator<Item = [u8; T]>) -> Self {
        let (last, channels) = (run.positions - 1, run.channels);
        for Tap { codes, step } in run.taps {
            let end = last.checked_mul(*step).and_then(|start| start.checked_add(channels));
            assert!(end.is_some_and(|end| end <= codes.len()), "codes of a tap are too short");
        }
        let nowhere = Place { codes: run.taps[0].codes.as_ptr(), step: run.taps[0].step };
        let mut slots = [[nowhere; T]; MAX_TAPS];
        for (slot, order) in slots.iter_mut().zip(order) {
            *slot = order.map(|tap| {
                let Tap { codes, step } = run.taps[usize::from(tap).min(run.taps.len() - 1)];
                Place { codes: codes.as_ptr(), step }
            });
        }
        Self { slots, last, channels, _codes: PhantomData }
    }

    /// `N` channels from channel `channel` on at position `position`; the last ones where there are none. Panics where there are
    /// fewer than `N` channels.
    #[inline]
    pub(crate) fn at<const N: usize>(&self, position: usize, channel: usize) -> At<N> {
        assert!(N <= self.channels, "a block is wider than the channels");
        At { position: position.min(self.last), channel: channel.min(self.channels - N) }
    }

    /// The codes of slots `slots` at a place that [`Windows::at`] of the same windows gave.
    ///
    /// # Safety
    /// `at` is of these windows.
    #[inline(always)]
    pub(crate) unsafe fn codes<const N: usize>(&self, slot: usize, tap: usize, at: At<N>) -> &[u8; N] {
        let place = &self.slots[slot % MAX_TAPS][tap];
        // SAFETY: `new` proved that `last * step + channels` elements from `codes` on lie in one slice, which lives for `'a`;
        // `at` is at most `last` and at most `channels - N`.
        unsafe { &*place.codes.add(at.position * place.step + at.channel).cast::<[u8; N]>() }
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
