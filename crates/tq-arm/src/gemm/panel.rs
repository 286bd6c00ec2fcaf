//! Packed panels: `[k / KU][16 columns][KU]` weights and, for kernels that take 128 from the codes, what that lacks.

use super::NR;
use std::ops::Range;

/// Bytes behind the weights: one 32-bit sum a column, and a line that begins with whether pairs of products fit 16 bits.
const TAIL: usize = 4 * NR + 64;

/// Bytes of a panel with sums.
pub(crate) fn sums_bytes(k: usize) -> Option<usize> {
    k.checked_mul(NR)?.checked_add(TAIL)
}

/// Packs weights alone, for the layout with this KU.
fn pack(data: &[i8], k: usize, ku: usize, panel: &mut [i8]) {
    if k > 0 {
        for (c, row) in data.chunks_exact(k).enumerate() {
            for (group, weights) in row.chunks(ku).enumerate() {
                panel[(group * NR + c) * ku..][..weights.len()].copy_from_slice(weights);
            }
        }
    }
}

/// Packs weights, and behind them 128 times the sum of each column, and 1 where [`pairs_fit`] holds for all.
pub(crate) fn pack_sums(data: &[i8], k: usize, ku: usize, panel: &mut [i8]) {
    let (weights, tail) = panel.split_at_mut(panel.len().saturating_sub(TAIL));
    pack(data, k, ku, weights);
    let sums = corrections(weights, ku);
    tail[..4 * NR].copy_from_slice(bytemuck::cast_slice(&sums));
    tail[4 * NR] = i8::from(weights.as_chunks::<16>().0.iter().all(pairs_fit));
}

/// True where products of these weights with codes of -128..=127 can be added in 16 bits, each of the first eight with the one
/// of the last eight below it: only -128 · -128 twice is too large, by one.
fn pairs_fit(weights: &[i8; 16]) -> bool {
    let (low, high) = weights.split_at(8);
    low.iter().zip(high).all(|(&a, &b)| a != i8::MIN || b != i8::MIN)
}

/// 128 times the sum of each column. Sums wrap, as those do that they belong to.
fn corrections(weights: &[i8], ku: usize) -> [i32; NR] {
    let mut sums = [0i32; NR];
    for group in weights.chunks_exact(NR * ku) {
        for (sum, weights) in sums.iter_mut().zip(group.chunks_exact(ku)) {
            *sum = weights.iter().fold(*sum, |sum, &w| sum.wrapping_add(128 * i32::from(w)));
        }
    }
    sums
}

/// A panel that [`pack_sums`] packed, and the part of it that a tile takes.
pub(super) struct Part<'a> {
    /// The weights.
    pub(super) weights: &'a [i8],
    /// What the sum of each column lacks.
    pub(super) corrections: [i32; NR],
    /// True where [`pairs_fit`] holds for all weights.
    pub(super) pairs_fit: bool,
}

impl<'a> Part<'a> {
    /// Elements `k` of K. Panics where the panel has not as many.
    #[inline]
    pub(super) fn new(panel: &'a [i8], k: &Range<usize>, ku: usize) -> Self {
        let (all, tail) = panel.split_at(panel.len() - TAIL);
        let weights = &all[k.start * NR..k.end * NR];
        // A part of K has a part of the sums; only channels whose sums take 64 bits are multiplied in parts.
        let corrections = if weights.len() == all.len() {
            bytemuck::cast(*crate::memory::first::<i8, { 4 * NR }>(tail))
        } else {
            corrections(weights, ku)
        };
        Self { weights, corrections, pairs_fit: tail[4 * NR] != 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_of_the_least_weights_do_not_fit() {
        let mut weights = [127i8; 16];
        weights[3] = -128;
        assert!(pairs_fit(&weights));
        weights[12] = -128;
        assert!(pairs_fit(&weights));
        weights[11] = -128;
        assert!(!pairs_fit(&weights));
    }
}
