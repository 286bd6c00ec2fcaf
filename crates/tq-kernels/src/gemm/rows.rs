//! Rows of the lhs in the shape that tiles read.

use super::Microkernel;

/// The most lhs rows packed at a time (MC): they stay in the second-level cache while the rhs streams past.
pub(super) const MAX_ROWS: usize = 96;

/// The smallest code that is worth being subtracted from all: half of what classes of codes that proofs tell apart are wide.
const WORTH_MOVING: u8 = 16;

/// The codes of up to [`MAX_ROWS`] rows: how small and how large.
pub(super) struct Ranges {
    least: u8,
    /// The largest code of each tile.
    pub(super) max: [u8; MAX_ROWS],
}

impl Ranges {
    /// Of `rows` rows of `k` codes, `stride` apart.
    pub(super) fn of<K: Microkernel>(
        kernel: &K,
        (codes, stride): (&[u8], usize),
        rows: usize,
        k: usize,
    ) -> Self {
        let mut ranges = Self { least: u8::MAX, max: [0; MAX_ROWS] };
        for (first, max) in (0..rows).step_by(K::MR).zip(&mut ranges.max) {
            let (least, most) = kernel.range(&codes[first * stride..], K::MR.min(rows - first), stride, k);
            ranges.least = ranges.least.min(least);
            *max = most;
        }
        ranges
    }

    /// What to subtract from all codes, so that they become small: 0 where that is not worth it.
    pub(super) fn base(&self) -> u8 {
        if self.least >= WORTH_MOVING { self.least } else { 0 }
    }

    /// The ranges of codes less `base`.
    pub(super) fn less(mut self, base: u8) -> Self {
        self.least -= base;
        for max in &mut self.max {
            *max = max.saturating_sub(base);
        }
        self
    }
}
