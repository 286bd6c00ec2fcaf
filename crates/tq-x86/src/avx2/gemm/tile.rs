//! The loops of the matrix-product tile.
//!
//! Each is a function of its own: together they would need more registers than there are.

use super::panel::{BLOCK_K, Block, Walk, blocks_from, class_of};
use super::rows::Rows;
use super::{KU, NR};
use crate::memory::{load_8_i32, load_16, load_32, store_8_i32};
use std::arch::x86_64::*;
use std::ops::Range;
use tq_kernels::LhsTile;

/// Sums of a row.
type Sums = [__m256i; 2];
/// A tile where it is stored.
type Tile<const R: usize> = [[[i32; 8]; 2]; R];

/// The sums of a tile.
#[inline]
#[target_feature(enable = "avx2")]
fn load<const R: usize>(tile: &Tile<R>) -> [Sums; R] {
    let mut sums = [[_mm256_setzero_si256(); 2]; R];
    for (sums, row) in sums.iter_mut().zip(tile) {
        *sums = [load_8_i32(&row[0]), load_8_i32(&row[1])];
    }
    sums
}

/// Stores the sums of a tile.
#[inline]
#[target_feature(enable = "avx2")]
fn store<const R: usize>(sums: &[Sums; R], tile: &mut Tile<R>) {
    for (sums, row) in sums.iter().zip(tile) {
        store_8_i32(&mut row[0], sums[0]);
        store_8_i32(&mut row[1], sums[1]);
    }
}

/// A tile of `R` rows; see [`tq_kernels::Microkernel::tile`]. Panics when a slice is too short.
#[target_feature(enable = "avx2")]
pub(in super::super) fn tile<const R: usize>(lhs: &LhsTile, k: Range<usize>, panel: &[i8], tile: &mut [i32]) {
    let class = class_of(lhs.max);
    let sums = &mut tile.as_chunks_mut::<8>().0.as_chunks_mut::<2>().0.as_chunks_mut::<R>().0[0];
    *sums = [[[0; 8]; 2]; R];
    let mut widen = false;
    let mut rest = blocks_from(panel, k.start);
    for start in k.clone().step_by(BLOCK_K) {
        let (block, behind) = Block::take(rest, (k.end - start) / KU);
        rest = behind;
        let rows = Rows::<u8, R>::new(lhs.codes, lhs.stride, start, block.groups);
        let walk = block.walk(class);
        if !walk.two.is_empty() {
            // More than four rows at a time would leave no registers for the products.
            match R {
                6 => {
                    two_deep::<3, R>(0, &rows, &block, walk.two, sums);
                    two_deep::<3, R>(3, &rows, &block, walk.two, sums);
                }
                5 => {
                    two_deep::<3, R>(0, &rows, &block, walk.two, sums);
                    two_deep::<2, R>(3, &rows, &block, walk.two, sums);
                }
                _ => two_deep::<R, R>(0, &rows, &block, walk.two, sums),
            }
        }
        if !walk.one.is_empty() {
            one_deep(rows, &block, &walk, sums);
        }
        widen |= walk.widened < block.order.len();
    }
    if widen {
        for half in 0..2 {
            widened::<R>(lhs, k.clone(), panel, class, half, tile);
        }
    }
}

/// Pairs of groups, each added in 16 bits, for `P` rows from row `first` on: packing proved that they fit.
#[inline(never)]
#[target_feature(enable = "avx2")]
fn two_deep<const P: usize, const R: usize>(
    first: usize,
    rows: &Rows<u8, R>,
    block: &Block,
    pairs: &[u8],
    sums: &mut Tile<R>,
) {
    let ones = _mm256_set1_epi16(1);
    let rows = rows.starting_at::<P>(first);
    let sums = &mut sums[first..].as_chunks_mut::<P>().0[0];
    let mut acc = load(sums);
    for (i, &pair) in pairs.iter().enumerate() {
        if R == 1 {
            block.prefetch_behind(i);
        }
        let [a, b] = block.order[usize::from(pair)];
        let weights = block.weights[2 * usize::from(pair)..][..2].as_flattened().as_chunks::<32>().0;
        for (r, acc) in acc.iter_mut().enumerate() {
            let a = _mm256_set1_epi32(bytemuck::cast(rows.group(r, a)));
            let b = _mm256_set1_epi32(bytemuck::cast(rows.group(r, b)));
            for half in 0..2 {
                let a = _mm256_maddubs_epi16(a, load_32(&weights[half]));
                let b = _mm256_maddubs_epi16(b, load_32(&weights[2 + half]));
                let sum = _mm256_madd_epi16(_mm256_add_epi16(a, b), ones);
                acc[half] = _mm256_add_epi32(acc[half], sum);
            }
        }
    }
    store(&acc, sums);
}

/// Pairs of groups, each group widened by itself: packing proved that its products fit.
#[inline(never)]
#[target_feature(enable = "avx2")]
fn one_deep<const R: usize>(rows: Rows<u8, R>, block: &Block, walk: &Walk, sums: &mut Tile<R>) {
    let ones = _mm256_set1_epi16(1);
    let mut acc = load(sums);
    for (i, &pair) in walk.one.iter().enumerate() {
        if R == 1 {
            block.prefetch_behind(walk.two.len() + i);
        }
        let places = block.order[usize::from(pair)];
        for (place, weights) in places.into_iter().zip(&block.weights[2 * usize::from(pair)..][..2]) {
            let halves = weights.as_chunks::<32>().0;
            let (w0, w1) = (load_32(&halves[0]), load_32(&halves[1]));
            for (r, acc) in acc.iter_mut().enumerate() {
                let a = _mm256_set1_epi32(bytemuck::cast(rows.group(r, place)));
                acc[0] = _mm256_add_epi32(acc[0], _mm256_madd_epi16(_mm256_maddubs_epi16(a, w0), ones));
                acc[1] = _mm256_add_epi32(acc[1], _mm256_madd_epi16(_mm256_maddubs_epi16(a, w1), ones));
            }
        }
    }
    store(&acc, sums);
}

/// The pairs that no proof covers, by factors of 16 bits, for 8 columns; added to the tile.
#[inline(never)]
#[target_feature(enable = "avx2")]
fn widened<const R: usize>(
    lhs: &LhsTile,
    k: Range<usize>,
    panel: &[i8],
    class: usize,
    half: usize,
    tile: &mut [i32],
) {
    // A vector has the sums of the first and of the second half of KU of 4 columns beside each other.
    let mut acc = [[_mm256_setzero_si256(); 2]; R];
    let mut rest = blocks_from(panel, k.start);
    for start in k.clone().step_by(BLOCK_K) {
        let (block, behind) = Block::take(rest, (k.end - start) / KU);
        rest = behind;
        let rows = Rows::<i16, R>::new(lhs.widened, lhs.widened_stride, start, block.groups);
        let from = block.walk(class).widened;
        if from < block.order.len() {
            widened_block(rows, &block, from, half, &mut acc);
        }
    }
    for (row, acc) in tile.as_chunks_mut::<NR>().0.iter_mut().zip(acc) {
        // Sums of neighbours: columns 0, 1, 4, 5 and 2, 3, 6, 7.
        let sums = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi32(acc[0], acc[1]));
        let out = &mut row.as_chunks_mut::<8>().0[half];
        store_8_i32(out, _mm256_add_epi32(load_8_i32(out), sums));
    }
}

/// The pairs of one block from pair `from` on.
#[inline]
#[target_feature(enable = "avx2")]
fn widened_block<const R: usize>(
    rows: Rows<i16, R>,
    block: &Block,
    from: usize,
    half: usize,
    sums: &mut [Sums; R],
) {
    const { assert!(KU == 4, "a broadcast takes 64 bits") };
    let mut acc = *sums;
    let groups = block.order[from..].as_flattened().iter();
    for (i, (&place, weights)) in groups.zip(&block.weights[2 * from..]).enumerate() {
        if R == 1 && half == 0 {
            block.prefetch_behind(from + i / 2);
        }
        let columns = &weights.as_chunks::<32>().0[half].as_chunks::<16>().0;
        let w0 = _mm256_cvtepi8_epi16(load_16(&columns[0]));
        let w1 = _mm256_cvtepi8_epi16(load_16(&columns[1]));
        for (r, acc) in acc.iter_mut().enumerate() {
            let a = _mm256_set1_epi64x(bytemuck::cast(rows.group(r, place)));
            acc[0] = _mm256_add_epi32(acc[0], _mm256_madd_epi16(a, w0));
            acc[1] = _mm256_add_epi32(acc[1], _mm256_madd_epi16(a, w1));
        }
    }
    *sums = acc;
}
