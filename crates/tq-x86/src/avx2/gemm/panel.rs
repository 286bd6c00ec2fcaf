//! Packed panels: pairs of groups of weights, and how each is to be multiplied.
//!
//! K is cut into blocks of up to 256 groups ([`block_groups`]), which are paired. A block is
//!
//! | bytes | |
//! |---|---|
//! | 55 | for each of 5 classes of codes: which of its 9 segments have steps, a bit each, and where each ends in the walk |
//! | | zeros up to a multiple of 64 |
//! | 20 a pair | for each class the walk, a multiple of 8 steps: where in the block's K each group of a pair belongs (1 byte each) and where their weights are (2 bytes), segment by segment |
//! | | zeros up to a multiple of 64 |
//! | 320 | for each class and half of the columns what is added for products by magnitude, a column |
//! | 128 a pair | weights: two groups of two halves of `[HALF][KU]`; a group of zeros makes their number even |
//!
//! Codes up to 127 are the first class, as nearly all is two deep there, then come classes of 32 codes. A segment has the pairs that
//! are multiplied in one way on the left and in one way on the right ([`Way`]). The pairs stand in the order of the walk of the
//! last class.

use super::{GroupPair, HALF, KU};
use crate::memory::prefetch;
use tq_kernels::{Depths, RhsPanel};

/// Groups of the largest block: a place in it fits a byte.
pub(super) const BLOCK: usize = 256;
/// Groups of a stretch of K that is cut by itself, so that a product may start and end there.
const STRETCH: usize = 32 * 1024 / KU;
/// Steps that are read at a time.
const STEPS: usize = 8;
/// Classes of codes.
pub(super) const CLASSES: usize = 5;
/// Codes of a class but the first.
const CLASS_CODES: u8 = 32;
/// The largest code of the first class.
const FIRST_CLASS: u8 = 127;

/// How a pair of groups is multiplied in half of the columns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The products of both are added in 16 bits: proved to fit.
    Two,
    /// The products of each are added in 16 bits: proved to fit.
    One,
    /// Magnitudes of weights are multiplied with codes that take the signs: exact for any codes and weights.
    Magnitude,
}

/// The ways of the left and of the right half, in the order of the segments of a walk.
pub(super) const SEGMENTS: [[Way; 2]; 9] = {
    use Way::*;
    [
        [Two, Two],
        [Two, One],
        [One, Two],
        [One, One],
        [Two, Magnitude],
        [One, Magnitude],
        [Magnitude, Two],
        [Magnitude, One],
        [Magnitude, Magnitude],
    ]
};

/// The first segment in which something is multiplied by magnitude.
pub(super) const BY_MAGNITUDE: usize = 4;

/// The class that a tile belongs to by its largest code.
pub(super) fn class_of(max: u8) -> usize {
    usize::from(max.saturating_sub(FIRST_CLASS).div_ceil(CLASS_CODES))
}

/// The largest code of a class.
pub(super) fn class_max(class: usize) -> u8 {
    FIRST_CLASS + class as u8 * CLASS_CODES
}

/// The segments of a walk.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct Segments {
    /// A bit for each that has steps.
    present: [u8; 2],
    /// Where each ends.
    ends: [u8; SEGMENTS.len()],
}

impl Segments {
    /// Those that end there.
    pub(super) fn ending(ends: [u8; SEGMENTS.len()]) -> Self {
        let (mut present, mut before) = (0u16, 0);
        for (number, end) in ends.into_iter().enumerate() {
            present |= u16::from(end > before) << number;
            before = end;
        }
        Self { present: present.to_le_bytes(), ends }
    }

    /// One of the segments `from..to` has steps.
    #[inline(always)]
    pub(super) fn any(&self, from: usize, to: usize) -> bool {
        u32::from(u16::from_le_bytes(self.present)) & ((1 << to) - (1 << from)) != 0
    }

    /// The steps of segment `number` of a walk.
    #[inline(always)]
    pub(super) fn of<'a>(&self, steps: &'a [Step], number: usize) -> &'a [Step] {
        let end = usize::from(self.ends[number]).min(steps.len());
        let start = if number == 0 { 0 } else { usize::from(self.ends[number - 1]).min(end) };
        &steps[start..end]
    }
}

/// What products by magnitude leave out, a column of each half.
pub(super) type Correction = [[i32; HALF]; 2];

/// A step of a walk: a pair of groups.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub(super) struct Step {
    /// Where in the block's K its groups belong.
    pub(super) places: [u8; 2],
    /// Where its weights begin, in bytes.
    pub(super) weights: [u8; 2],
}

/// Bytes of the segments of all walks, padded.
const SEGMENTS_BYTES: usize = (CLASSES * size_of::<Segments>()).next_multiple_of(64);

/// Groups of the block that begins with group `from` of `to`.
///
/// Whole blocks, but for the last two of a stretch, which share what is left: a small one has too few groups that go together.
pub(super) const fn block_groups(from: usize, to: usize) -> usize {
    let stretch_end = (from / STRETCH + 1) * STRETCH;
    let left = if stretch_end < to { stretch_end - from } else { to - from };
    match left {
        0..=BLOCK => left,
        _ if left < 2 * BLOCK => left.div_ceil(2),
        _ => BLOCK,
    }
}

/// Steps of a walk of `pairs` pairs, with those of zeros that fill it up.
pub(super) const fn walk_steps(pairs: usize) -> usize {
    pairs.next_multiple_of(STEPS)
}

/// Bytes before the corrections of a block of `pairs` pairs of groups.
const fn header_bytes(pairs: usize) -> usize {
    SEGMENTS_BYTES + (CLASSES * walk_steps(pairs) * size_of::<Step>()).next_multiple_of(64)
}

/// Bytes of a block of `groups` groups.
const fn block_bytes(groups: usize) -> usize {
    let pairs = groups.div_ceil(2);
    header_bytes(pairs) + CLASSES * size_of::<Correction>() + pairs * size_of::<GroupPair>()
}

/// Bytes of a whole stretch, all of whose blocks are whole.
const STRETCH_BYTES: usize = STRETCH / BLOCK * block_bytes(BLOCK);

/// Bytes of a panel of `k` elements of K, a multiple of KU.
pub(in super::super) fn panel_bytes(k: usize) -> Option<usize> {
    let groups = k / KU;
    let mut bytes = (groups / STRETCH).checked_mul(STRETCH_BYTES)?;
    let mut from = groups / STRETCH * STRETCH;
    while from < groups {
        let count = block_groups(from, groups);
        bytes = bytes.checked_add(block_bytes(count))?;
        from += count;
    }
    Some(bytes)
}

/// One block of a packed panel.
pub(super) struct Block<'a> {
    /// Groups of K in it.
    pub(super) groups: usize,
    bytes: &'a [u8],
    segments: &'a [Segments],
    steps: &'a [Step],
    corrections: &'a [Correction],
    /// The weights of each pair.
    pub(super) weights: &'a [GroupPair],
}

/// A block of a panel that is being packed.
pub(super) struct BlockMut<'a> {
    pub(super) segments: &'a mut [Segments],
    /// A walk a class.
    pub(super) steps: &'a mut [Step],
    pub(super) corrections: &'a mut [Correction],
    pub(super) weights: &'a mut [GroupPair],
}

impl<'a> Block<'a> {
    /// The first block of `panel`, of `groups` groups, and the panel behind it. Panics where the panel is too short.
    #[inline(always)]
    pub(super) fn take(panel: &'a [u8], groups: usize) -> (Self, &'a [u8]) {
        let pairs = groups.div_ceil(2);
        let (bytes, behind) = panel.split_at(block_bytes(groups));
        let (header, rest) = bytes.split_at(header_bytes(pairs));
        let (corrections, weights) = rest.split_at(CLASSES * size_of::<Correction>());
        let (segments, steps) = header.split_at(SEGMENTS_BYTES);
        let block = Block {
            groups,
            bytes,
            segments: bytemuck::cast_slice(&segments[..CLASSES * size_of::<Segments>()]),
            steps: bytemuck::cast_slice(&steps[..CLASSES * walk_steps(pairs) * size_of::<Step>()]),
            corrections: bytemuck::cast_slice(corrections),
            weights: bytemuck::cast_slice(weights),
        };
        (block, behind)
    }

    /// In how many cache lines it lies, at least.
    pub(super) fn lines(&self) -> usize {
        self.bytes.len() / 64
    }

    /// Asks for `count` cache lines, one at least, from line `first` on of the block behind this one. That is what is needed
    /// next, and the processor does not guess where a walk goes.
    #[inline(always)]
    pub(super) fn prefetch_behind(&self, first: usize, count: usize) {
        let behind = self.bytes.as_ptr().wrapping_add(self.bytes.len());
        prefetch(behind.wrapping_add(64 * first));
        // One, as of a small block, is not worth what a loop takes to begin.
        if count > 1 {
            for line in first + 1..first + count {
                prefetch(behind.wrapping_add(64 * line));
            }
        }
    }

    /// Asks for the weights that stand where `weights` do in the block behind this one.
    #[inline(always)]
    pub(super) fn prefetch_at(&self, weights: &GroupPair) {
        for group in weights {
            prefetch(group.as_ptr().wrapping_byte_add(self.bytes.len()).cast());
        }
    }

    /// The steps of a class, segment by segment and filled up with zeros, the segments, and the correction.
    #[inline(always)]
    pub(super) fn class(&self, class: usize) -> (&'a [[Step; STEPS]], &'a Segments, &'a Correction) {
        let count = self.weights.len().div_ceil(STEPS);
        let steps = &self.steps.as_chunks().0[class * count..][..count];
        (steps, &self.segments[class], &self.corrections[class])
    }
}

impl<'a> BlockMut<'a> {
    /// The first block of `panel`, of `groups` groups, and the panel behind it. Panics where the panel is too short.
    pub(super) fn take(panel: &'a mut [u8], groups: usize) -> (Self, &'a mut [u8]) {
        let pairs = groups.div_ceil(2);
        let (bytes, behind) = panel.split_at_mut(block_bytes(groups));
        let (header, rest) = bytes.split_at_mut(header_bytes(pairs));
        let (corrections, weights) = rest.split_at_mut(CLASSES * size_of::<Correction>());
        let (segments, steps) = header.split_at_mut(SEGMENTS_BYTES);
        let block = BlockMut {
            segments: bytemuck::cast_slice_mut(&mut segments[..CLASSES * size_of::<Segments>()]),
            steps: bytemuck::cast_slice_mut(&mut steps[..CLASSES * walk_steps(pairs) * size_of::<Step>()]),
            corrections: bytemuck::cast_slice_mut(corrections),
            weights: bytemuck::cast_slice_mut(weights),
        };
        (block, behind)
    }
}

/// A panel from the block on that begins with element `from` of K, where a stretch does. Panics where the panel is too short.
#[inline]
pub(super) fn blocks_from(panel: &[i8], from: usize) -> &[u8] {
    &bytemuck::cast_slice(panel)[from / KU / STRETCH * STRETCH_BYTES..]
}

/// See [`tq_kernels::Microkernel::depths`]; the unit is a pair of groups of half a panel.
pub(in super::super) fn depths(k: usize, rhs: RhsPanel, max: u8) -> Depths {
    let mut depths = Depths::default();
    let (mut panel, mut from) = (blocks_from(rhs.data, 0), 0);
    while from < k / KU {
        let (block, behind) = Block::take(panel, block_groups(from, k / KU));
        let (steps, segments, _) = block.class(class_of(max));
        for (number, ways) in SEGMENTS.iter().enumerate() {
            let pairs = segments.of(steps.as_flattened(), number).len();
            for way in &ways[..rhs.columns.div_ceil(HALF)] {
                *match way {
                    Way::Two => &mut depths.two,
                    Way::One => &mut depths.one,
                    Way::Magnitude => &mut depths.plain,
                } += pairs;
            }
        }
        (panel, from) = (behind, from + block.groups);
    }
    depths
}
