//! Products by `vpmaddubsw` that cannot saturate, whatever the weights and codes.
//!
//! The instruction multiplies unsigned bytes with signed ones and adds pairs of products in 16 bits. Codes as the unsigned
//! factors need up to 17. But with the weights' magnitudes as the unsigned factors, and as the signed ones the codes less 128, all
//! their bits flipped where the weight is negative, a product lies in `-128·|w| ..= 127·|w|`, and no pair leaves 16 bits. As
//! `!x = -x - 1`,
//!
//! `Σ a·w = Σ |w|·flip(a - 128) + 128·Σ w + Σ_{w<0} |w|`.
//!
//! A block of channels has the last two terms of every channel, then magnitudes and flips of every 8 channels and group.

use super::SMALLEST;
use super::packed::Blocks;
use crate::memory::load_32;
use std::arch::x86_64::*;
use tq_kernels::buffer::AlignedBuffer;

/// Magnitudes of 8 channels and four taps, and what their codes are flipped by.
pub(super) type Weights = [[u8; 32]; 2];

/// Adds four products to each of 8 sums.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn dot(sums: __m256i, codes: __m256i, [magnitudes, flips]: &Weights) -> __m256i {
    let flipped = _mm256_xor_si256(codes, load_32(flips));
    let pairs = _mm256_maddubs_epi16(load_32(magnitudes), flipped);
    _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

/// Packs `[taps][channels]`; see [`tq_kernels::RowKernel::pack_depthwise`].
pub(crate) fn pack(channels: usize, weights: &[i16]) -> AlignedBuffer {
    if channels < SMALLEST || weights.iter().any(|w| w.unsigned_abs() > 128) {
        return AlignedBuffer::default();
    }
    let blocks = Blocks::new(channels, weights);
    let bytes = blocks.clone().map(|block| 4 * block.width + 2 * block.bytes()).sum();
    let mut packed = AlignedBuffer::zeroed(bytes);
    let mut rest = packed.as_mut_slice::<u8>();
    for block in blocks {
        let (base, behind) = rest.split_at_mut(4 * block.width);
        let (weights, behind) = behind.split_at_mut(2 * block.bytes());
        rest = behind;
        for (to, sum) in base.as_chunks_mut::<4>().0.iter_mut().zip(block.sums(|w| 128 * w + w.min(0).abs()))
        {
            *to = sum.to_ne_bytes();
        }
        let vectors = bytemuck::cast_slice_mut::<u8, [[[u8; 4]; 8]; 2]>(weights);
        let mut fours = block.fours();
        for [magnitudes, flips] in vectors {
            for ((magnitudes, flips), w) in magnitudes.iter_mut().zip(flips).zip(&mut fours) {
                *magnitudes = w.map(|w| w.unsigned_abs() as u8);
                // Less 128, and all bits but that one flipped, or none.
                *flips = w.map(|w| if w < 0 { 0x7F } else { 0x80 });
            }
        }
    }
    packed
}
