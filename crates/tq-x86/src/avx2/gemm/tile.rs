//! The loops of the matrix-product tile.

use super::super::memory::{load_8_i32, load_16, load_32, store_8_i32};
use super::panel::{BLOCK_K, Block, blocks, class_of};
use super::{KU, NR};
use std::arch::x86_64::*;
use std::array::from_fn;
use std::ops::Range;
use tq_kernels::LhsTile;

/// A tile of `R` rows; see [`tq_kernels::Microkernel::tile`]. Panics when a slice is too short.
#[target_feature(enable = "avx2")]
pub(in super::super) fn tile<const R: usize>(lhs: &LhsTile, k: Range<usize>, panel: &[i8], tile: &mut [i32]) {
    let class = class_of(lhs.max);
    let rows: [&[[u8; KU]]; R] = from_fn(|r| lhs.codes[r * lhs.stride..][k.clone()].as_chunks().0);
    let mut acc = [[_mm256_setzero_si256(); 2]; R];
    let mut widen = false;
    for (b, block) in blocks(panel, k.start, k.len()).enumerate() {
        let rows = from_fn(|r| &rows[r][b * (BLOCK_K / KU)..][..block.groups]);
        let (two, one) = block.split(class);
        two_deep(&rows, &block, two, &mut acc);
        one_deep(&rows, &block, two..one, &mut acc);
        widen |= one < block.order.len();
    }
    let vectors = &mut tile.as_chunks_mut::<8>().0[..2 * R];
    for (out, sum) in vectors.iter_mut().zip(acc.as_flattened()) {
        store_8_i32(out, *sum);
    }
    if widen {
        let rows = from_fn(|r| lhs.widened[r * lhs.widened_stride..][k.clone()].as_chunks().0);
        for half in 0..2 {
            widened::<R>(&rows, k.clone(), panel, class, half, tile);
        }
    }
}

/// The first `pairs` pairs of groups, each added in 16 bits: packing proved that they fit.
#[inline]
#[target_feature(enable = "avx2")]
fn two_deep<const R: usize>(rows: &[&[[u8; KU]]; R], block: &Block, pairs: usize, acc: &mut [[__m256i; 2]; R]) {
    let ones = _mm256_set1_epi16(1);
    for (order, [first, second]) in block.order[..pairs].iter().zip(block.weights) {
        let [a, b] = order.map(usize::from);
        let (first, second) = (first.as_chunks::<32>().0, second.as_chunks::<32>().0);
        for r in 0..R {
            let a = _mm256_set1_epi32(bytemuck::cast(rows[r][a]));
            let b = _mm256_set1_epi32(bytemuck::cast(rows[r][b]));
            for half in 0..2 {
                let a = _mm256_maddubs_epi16(a, load_32(&first[half]));
                let b = _mm256_maddubs_epi16(b, load_32(&second[half]));
                let sum = _mm256_madd_epi16(_mm256_add_epi16(a, b), ones);
                acc[r][half] = _mm256_add_epi32(acc[r][half], sum);
            }
        }
    }
}

/// Pairs of groups, each group widened by itself: packing proved that its products fit.
#[inline]
#[target_feature(enable = "avx2")]
fn one_deep<const R: usize>(
    rows: &[&[[u8; KU]]; R],
    block: &Block,
    pairs: Range<usize>,
    acc: &mut [[__m256i; 2]; R],
) {
    let ones = _mm256_set1_epi16(1);
    let groups = block.order[pairs.clone()].as_flattened().iter();
    for (&place, weights) in groups.zip(block.weights[pairs].as_flattened()) {
        let halves = weights.as_chunks::<32>().0;
        let (w0, w1) = (load_32(&halves[0]), load_32(&halves[1]));
        for r in 0..R {
            let a = _mm256_set1_epi32(bytemuck::cast(rows[r][usize::from(place)]));
            acc[r][0] = _mm256_add_epi32(acc[r][0], _mm256_madd_epi16(_mm256_maddubs_epi16(a, w0), ones));
            acc[r][1] = _mm256_add_epi32(acc[r][1], _mm256_madd_epi16(_mm256_maddubs_epi16(a, w1), ones));
        }
    }
}

/// The pairs that no proof covers, by factors of 16 bits, for 8 columns; added to the tile.
///
/// A vector has the sums of the first and of the second half of KU of 4 columns beside each other.
#[target_feature(enable = "avx2")]
fn widened<const R: usize>(
    rows: &[&[[i16; KU]]; R],
    k: Range<usize>,
    panel: &[i8],
    class: usize,
    half: usize,
    tile: &mut [i32],
) {
    let mut acc = [[_mm256_setzero_si256(); 2]; R];
    for (b, block) in blocks(panel, k.start, k.len()).enumerate() {
        let rows: [&[[i16; KU]]; R] = from_fn(|r| &rows[r][b * (BLOCK_K / KU)..][..block.groups]);
        let (_, from) = block.split(class);
        let groups = block.order[from..].as_flattened().iter();
        for (&place, weights) in groups.zip(block.weights[from..].as_flattened()) {
            let columns = &weights.as_chunks::<16>().0[2 * half..][..2];
            let w0 = _mm256_cvtepi8_epi16(load_16(&columns[0]));
            let w1 = _mm256_cvtepi8_epi16(load_16(&columns[1]));
            for r in 0..R {
                let a = _mm256_set1_epi64x(bytemuck::cast(rows[r][usize::from(place)]));
                acc[r][0] = _mm256_add_epi32(acc[r][0], _mm256_madd_epi16(a, w0));
                acc[r][1] = _mm256_add_epi32(acc[r][1], _mm256_madd_epi16(a, w1));
            }
        }
    }
    for (row, acc) in tile.as_chunks_mut::<NR>().0.iter_mut().zip(acc) {
        // Sums of neighbours: columns 0, 1, 4, 5 and 2, 3, 6, 7.
        let sums = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi32(acc[0], acc[1]));
        let out = &mut row.as_chunks_mut::<8>().0[half];
        store_8_i32(out, _mm256_add_epi32(load_8_i32(out), sums));
    }
}
