//! Weights of depthwise windows as magnitudes and signs, in runs of taps whose sums are proved to fit 16 bits.
//!
//! `vpmaddubsw` multiplies unsigned bytes with signed ones. Given codes as they are, pairs of products need up to 17 bits. Given
//! the weights' magnitudes as the unsigned factors, and codes less 128, with the bits of those flipped that a negative weight
//! multiplies, a product lies in `-128·|w| ..= 127·|w|`: taps whose magnitudes sum up to at most 256 never leave 16 bits, and
//! any two do not. As `~x = -x - 1`,
//!
//! `Σ a·w = Σ |w|·flip(a - 128) + 128·Σ w + Σ_{w<0} |w|`.
//!
//! The weights of a block of channels are
//!
//! | bytes | |
//! |---|---|
//! | 2 a pair | the taps of each pair; in place of an absent one any, with weights of zero |
//! | 1 a pair | where each run of pairs ends that may be added in 16 bits; the number of pairs behind the last |
//! | | zeros up to a multiple of 64 |
//! | 4 a channel | the last two sums of the formula |
//! | 4 a channel and pair | of every 16 channels: 16 pairs of magnitudes, and what flips their codes |
//!
//! Channels stand in the order in which interleaving by 128-bit lanes leaves them.

use crate::windows::{SMALLEST, blocks};
use tq_kernels::buffer::AlignedBuffer;

/// Channels of the widest block: each lane of a vector takes 8 from each of two halves.
pub(super) const WIDEST: usize = 32;

/// The largest sum of magnitudes with which no sum of products leaves 16 bits.
const ROOM: u16 = 256;

/// Magnitudes and flips of a pair of taps for 16 channels.
pub(super) type Weights = [[u8; 32]; 2];

/// Bytes before the sums.
fn header_bytes(pairs: usize) -> usize {
    (3 * pairs).next_multiple_of(64)
}

/// Bytes of a block of `width` channels.
fn block_bytes(pairs: usize, width: usize) -> usize {
    header_bytes(pairs) + 4 * width + 4 * width * pairs
}

/// One block of packed weights; `H` is its width in units of 16 channels.
pub(super) struct Block<'a, const H: usize> {
    /// The taps of each pair.
    pub(super) order: &'a [[u8; 2]],
    ends: &'a [u8],
    /// What a sum lacks, in the order of the vectors: two of 8 channels each for 16 channels.
    pub(super) base: &'a [[[i32; 8]; 2]],
    /// Of each pair.
    pub(super) weights: &'a [[Weights; H]],
}

impl<'a, const H: usize> Block<'a, H> {
    /// The first block of `packed`, and what is behind it. Panics where there is too little.
    pub(super) fn take(packed: &'a [u8], pairs: usize) -> (Self, &'a [u8]) {
        let (block, behind) = packed.split_at(block_bytes(pairs, SMALLEST * H));
        let (header, block) = block.split_at(header_bytes(pairs));
        let (base, weights) = block.split_at(4 * SMALLEST * H);
        let (order, ends) = header.split_at(2 * pairs);
        let order = order.as_chunks::<2>().0;
        let base = bytemuck::cast_slice::<u8, i32>(base).as_chunks::<8>().0.as_chunks::<2>().0;
        let weights = weights.as_chunks::<32>().0.as_chunks::<2>().0.as_chunks::<H>().0;
        (Self { order, ends: &ends[..pairs], base, weights }, behind)
    }

    /// The runs of pairs that may be added in 16 bits, in order.
    #[inline]
    pub(super) fn runs(&self) -> impl Iterator<Item = (usize, usize)> {
        let pairs = self.order.len();
        let mut from = 0;
        self.ends.iter().map_while(move |&end| {
            let run = (from, usize::from(end).min(pairs));
            from = run.1;
            (run.0 < run.1).then_some(run)
        })
    }
}

/// Packs `[taps][channels]`; see [`tq_kernels::RowKernel::pack_depthwise`].
pub(in super::super) fn pack(channels: usize, weights: &[i16]) -> AlignedBuffer {
    let fits = weights.iter().all(|w| w.unsigned_abs() <= 128);
    if channels < SMALLEST || !fits {
        return AlignedBuffer::default();
    }
    let taps = weights.len() / channels;
    let pairs = taps.div_ceil(2);
    let bytes = blocks(channels, WIDEST).map(|(_, width)| block_bytes(pairs, width)).sum();
    let mut packed = AlignedBuffer::zeroed(bytes);
    let mut rest = packed.as_mut_slice::<u8>();
    for (start, width) in blocks(channels, WIDEST) {
        let (block, behind) = rest.split_at_mut(block_bytes(pairs, width));
        rest = behind;
        let weight = |tap: usize, c: usize| weights.get(tap * channels + start + c).copied().unwrap_or(0);
        pack_block(taps, width, weight, block);
    }
    packed
}

/// Packs the weights `weight(tap, channel)` of a block.
fn pack_block(taps: usize, width: usize, weight: impl Fn(usize, usize) -> i16, block: &mut [u8]) {
    let pairs = taps.div_ceil(2);
    let runs = runs_of(taps, width, &weight);
    let (header, block) = block.split_at_mut(header_bytes(pairs));
    let (base, packed) = block.split_at_mut(4 * width);
    let (order, ends) = header.split_at_mut(2 * pairs);
    ends[..pairs].fill(pairs as u8);
    let mut done = 0;
    for (run, end) in runs.iter().zip(ends) {
        done += run.len();
        *end = done as u8;
    }
    for (slot, &pair) in runs.iter().flatten().enumerate() {
        let two = [2 * pair, 2 * pair + 1];
        order[2 * slot..][..2].copy_from_slice(&two.map(|tap| tap.min(taps - 1) as u8));
        for (place, c) in lanes(width).enumerate() {
            let w = two.map(|tap| if tap < taps { weight(tap, c) } else { 0 });
            // 64 bytes for every 16 places: their magnitudes, then their flips.
            let at = 4 * width * slot + place / 16 * 64 + place % 16 * 2;
            for (i, w) in w.into_iter().enumerate() {
                packed[at + i] = w.unsigned_abs() as u8;
                packed[at + 32 + i] = if w < 0 { 0x7F } else { 0x80 };
            }
        }
    }
    let base: &mut [i32] = bytemuck::cast_slice_mut(base);
    for (base, c) in base.iter_mut().zip(sums(width)) {
        let of = |tap| {
            let w = i32::from(weight(tap, c));
            128 * w + w.min(0).abs()
        };
        *base = (0..taps).map(of).sum();
    }
}

/// The pairs of taps in runs whose magnitudes sum up to no more than [`ROOM`] in any channel, each pair in the first that has
/// room for it.
fn runs_of(taps: usize, width: usize, weight: impl Fn(usize, usize) -> i16) -> Vec<Vec<usize>> {
    let mut runs: Vec<(Vec<usize>, [u16; WIDEST])> = Vec::new();
    for pair in 0..taps.div_ceil(2) {
        let mut magnitudes = [0; WIDEST];
        for tap in 2 * pair..taps.min(2 * pair + 2) {
            for (c, magnitude) in magnitudes.iter_mut().enumerate().take(width) {
                *magnitude += weight(tap, c).unsigned_abs();
            }
        }
        let room = |sums: &[u16; WIDEST]| sums.iter().zip(magnitudes).all(|(sum, m)| sum + m <= ROOM);
        match runs.iter_mut().find(|(_, sums)| room(sums)) {
            Some((run, sums)) => {
                run.push(pair);
                for (sum, m) in sums.iter_mut().zip(magnitudes) {
                    *sum += m;
                }
            }
            None => runs.push((vec![pair], magnitudes)),
        }
    }
    runs.into_iter().map(|(run, _)| run).collect()
}

/// The channels of a block of 16 or 32 in the order of interleaved pairs of bytes: 8 a lane.
fn lanes(width: usize) -> impl Iterator<Item = usize> {
    (0..width).map(move |place| {
        let (vector, lane, i) = (place / 16, place / 8 % 2, place % 8);
        lane * width / 2 + 8 * vector + i
    })
}

/// The channels of a block in the order of the 32-bit sums: 4 a lane.
fn sums(width: usize) -> impl Iterator<Item = usize> {
    (0..width).map(move |place| {
        let (vector, lane, i) = (place / 8, place / 4 % 2, place % 4);
        lane * width / 2 + 4 * vector + i
    })
}
