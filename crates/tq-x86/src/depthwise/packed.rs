//! Weights in the order in which the loops meet them: blocks of channels, groups of taps, channels as the vectors have them.

use super::{SMALLEST, TAPS, WIDEST};
use tq_kernels::buffer::AlignedBuffer;
use tq_kernels::depthwise::channel_blocks;

/// Packs `[taps][channels]` for `vpdpbusd`, 4 bytes a channel and group; see [`tq_kernels::RowKernel::pack_depthwise`].
pub(crate) fn pack(channels: usize, weights: &[i16]) -> AlignedBuffer {
    if channels < SMALLEST || weights.iter().any(|&w| i8::try_from(w).is_err()) {
        return AlignedBuffer::default();
    }
    let blocks = Blocks::new(channels, weights);
    let mut packed = AlignedBuffer::zeroed(blocks.clone().map(|block| block.bytes()).sum());
    let mut rest = packed.as_mut_slice::<i8>().as_chunks_mut::<TAPS>().0.iter_mut();
    for block in blocks {
        for (four, to) in block.fours().zip(&mut rest) {
            *to = four.map(|w| w as i8);
        }
    }
    packed
}

/// The blocks of a layer's weights.
#[derive(Clone)]
pub(super) struct Blocks<'a, I> {
    weights: &'a [i16],
    channels: usize,
    blocks: I,
}

/// The weights of one block of channels.
pub(super) struct Block<'a> {
    weights: &'a [i16],
    channels: usize,
    start: usize,
    pub(super) width: usize,
}

impl<'a> Blocks<'a, ()> {
    /// Of `[taps][channels]`.
    #[allow(clippy::new_ret_no_self, reason = "the iterator over blocks is an opaque type")]
    pub(super) fn new(
        channels: usize,
        weights: &'a [i16],
    ) -> Blocks<'a, impl Iterator<Item = (usize, usize)> + Clone> {
        Blocks { weights, channels, blocks: channel_blocks(channels, SMALLEST, WIDEST) }
    }
}

impl<'a, I: Iterator<Item = (usize, usize)>> Iterator for Blocks<'a, I> {
    type Item = Block<'a>;

    fn next(&mut self) -> Option<Block<'a>> {
        let (start, width) = self.blocks.next()?;
        Some(Block { weights: self.weights, channels: self.channels, start, width })
    }
}

impl Block<'_> {
    fn groups(&self) -> usize {
        (self.weights.len() / self.channels).div_ceil(TAPS)
    }

    /// One byte for each weight and absent tap.
    pub(super) fn bytes(&self) -> usize {
        TAPS * self.groups() * self.width
    }

    /// The channels in the order of the 32-bit sums: 4 a lane of 128 bits.
    fn order(&self) -> impl Iterator<Item = usize> + use<> {
        let (start, width) = (self.start, self.width);
        (0..width).map(move |place| {
            let (vector, lane, i) = (place / 8, place / 4 % 2, place % 4);
            start + lane * width / 2 + 4 * vector + i
        })
    }

    /// Group by group, the weights of four taps for every channel.
    pub(super) fn fours(&self) -> impl Iterator<Item = [i16; TAPS]> {
        let weight = |tap, c| self.weights.get(tap * self.channels + c).copied().unwrap_or(0);
        (0..self.groups())
            .flat_map(move |g| self.order().map(move |c| [0, 1, 2, 3].map(|t| weight(TAPS * g + t, c))))
    }

    /// Of every channel, the sum of `of` over its weights.
    pub(super) fn sums(&self, of: impl Fn(i32) -> i32) -> impl Iterator<Item = i32> {
        let taps = self.weights.len() / self.channels;
        self.order().map(move |c| (0..taps).map(|t| of(i32::from(self.weights[t * self.channels + c]))).sum())
    }
}
