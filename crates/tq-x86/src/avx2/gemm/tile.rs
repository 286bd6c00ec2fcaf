//! The loops of the matrix-product tile.

use super::panel::{BLOCK_K, Block, Walk, blocks_from, class_of};
use super::rows::{Places, Rows};
use super::{HALF, KU, MR};
use crate::memory::{load_8_i32, load_32, store_8_i32};
use std::arch::x86_64::*;
use std::ops::Range;
use tq_kernels::{LhsRows, LhsTile};

/// Sums of each row.
type Sums<const R: usize> = [__m256i; R];

/// Sums of tiles of rows and of `columns` columns; see [`tq_kernels::Microkernel::tiles`]. Panics when a slice is too short.
#[target_feature(enable = "avx2")]
pub(in super::super) fn tiles(
    lhs: &LhsRows,
    k: Range<usize>,
    panel: &[i8],
    columns: usize,
    sums: &mut [i32],
) {
    let sums = sums.as_chunks_mut::<HALF>().0.as_chunks_mut::<2>().0;
    if k.is_empty() {
        sums[..lhs.rows].fill([[0; HALF]; 2]);
    }
    for half in 0..columns.div_ceil(HALF).min(2) {
        let mut rest = blocks_from(panel, half, k.start);
        for start in k.clone().step_by(BLOCK_K) {
            let (block, behind) = Block::take(rest, (k.end - start) / KU);
            rest = behind;
            let places = Places::new(block.order, block.groups);
            for (first, tile) in lhs.tiles(MR) {
                let part = Part { tile, start, first: start == k.start, half, places };
                let walk = block.walk(class_of(tile.max));
                let sums = &mut sums[first..];
                match tile.rows {
                    1 => add::<1>(&part, &block, &walk, sums),
                    2 => add::<2>(&part, &block, &walk, sums),
                    3 => add::<3>(&part, &block, &walk, sums),
                    4 => add::<4>(&part, &block, &walk, sums),
                    5 => add::<5>(&part, &block, &walk, sums),
                    _ => add::<6>(&part, &block, &walk, sums),
                }
            }
        }
    }
}

/// A block of K of one tile.
struct Part<'a> {
    tile: LhsTile<'a>,
    /// Where the block starts.
    start: usize,
    /// No other block comes before it.
    first: bool,
    /// Which half of the columns.
    half: usize,
    places: Places<'a>,
}

/// Adds the products of a block to the sums of a tile of `R` rows.
#[inline(never)]
#[target_feature(enable = "avx2")]
fn add<const R: usize>(part: &Part, block: &Block, walk: &Walk, tile: &mut [[[i32; HALF]; 2]]) {
    let tile = &mut tile.as_chunks_mut::<R>().0[0];
    let rows = Rows::<R>::new(part.tile.codes, part.tile.stride, part.start, part.places);
    // One bound for both: a pair has places and weights.
    assert_eq!(part.places.len(), block.weights.len());
    let mut sums = [_mm256_setzero_si256(); R];
    if !part.first {
        for (sum, row) in sums.iter_mut().zip(&*tile) {
            *sum = load_8_i32(&row[part.half]);
        }
    }
    match walk.order {
        _ if R == 1 => one_by_one(&rows, block, walk, &mut sums),
        Some(order) => {
            let (two, one) = order.split_at(walk.two);
            two_deep(&rows, block, two.iter().map(|&pair| usize::from(pair)), &mut sums);
            one_deep(&rows, block, one.iter().map(|&pair| usize::from(pair)), &mut sums);
        }
        None => {
            two_deep(&rows, block, 0..walk.two, &mut sums);
            one_deep(&rows, block, walk.two..walk.plain, &mut sums);
        }
    }
    by_magnitude(&rows, block, walk, &mut sums);
    for (row, sum) in tile.iter_mut().zip(sums) {
        store_8_i32(&mut row[part.half], sum);
    }
}

/// Four codes beside each other for every column.
#[inline]
#[target_feature(enable = "avx2")]
fn broadcast(codes: [u8; KU]) -> __m256i {
    _mm256_set1_epi32(bytemuck::cast(codes))
}

/// Pairs of groups, each added in 16 bits: packing proved that they fit.
#[inline]
#[target_feature(enable = "avx2")]
fn two_deep<const R: usize>(
    rows: &Rows<R>,
    block: &Block,
    pairs: impl Iterator<Item = usize>,
    sums: &mut Sums<R>,
) {
    let ones = _mm256_set1_epi16(1);
    for pair in pairs {
        let ([a, b], weights) = (rows.pair(pair), &block.weights[pair]);
        block.prefetch_behind(weights);
        let weights = [load_32(&weights[0]), load_32(&weights[1])];
        for (r, sum) in sums.iter_mut().enumerate() {
            let a = _mm256_maddubs_epi16(broadcast(a(r)), weights[0]);
            let b = _mm256_maddubs_epi16(broadcast(b(r)), weights[1]);
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(_mm256_add_epi16(a, b), ones));
        }
    }
}

/// Pairs of groups, each group widened by itself: packing proved that its products fit.
#[inline]
#[target_feature(enable = "avx2")]
fn one_deep<const R: usize>(
    rows: &Rows<R>,
    block: &Block,
    pairs: impl Iterator<Item = usize>,
    sums: &mut Sums<R>,
) {
    let ones = _mm256_set1_epi16(1);
    for pair in pairs {
        let (groups, weights) = (rows.pair(pair), &block.weights[pair]);
        block.prefetch_behind(weights);
        for (codes, weights) in groups.iter().zip(weights) {
            let weights = load_32(weights);
            for (r, sum) in sums.iter_mut().enumerate() {
                let products = _mm256_maddubs_epi16(broadcast(codes(r)), weights);
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(products, ones));
            }
        }
    }
}

/// [`two_deep`] and [`one_deep`] for a single row, for which looking places up takes longer than what going deep saves: each group is
/// widened by itself, in the order in which they stand.
#[inline]
#[target_feature(enable = "avx2")]
fn one_by_one<const R: usize>(rows: &Rows<R>, block: &Block, walk: &Walk, sums: &mut Sums<R>) {
    let ones = _mm256_set1_epi16(1);
    for (pair, weights) in block.weights.iter().enumerate().take(walk.plain) {
        block.prefetch_behind(weights);
        let [a, b] = rows.pair(pair);
        let weights = [load_32(&weights[0]), load_32(&weights[1])];
        for (r, sum) in sums.iter_mut().enumerate() {
            let a = _mm256_madd_epi16(_mm256_maddubs_epi16(broadcast(a(r)), weights[0]), ones);
            let b = _mm256_madd_epi16(_mm256_maddubs_epi16(broadcast(b(r)), weights[1]), ones);
            *sum = _mm256_add_epi32(*sum, _mm256_add_epi32(a, b));
        }
    }
}

/// The pairs that no proof covers.
///
/// The unsigned factors are the magnitudes of the weights, the signed ones the codes less 128, with all bits flipped where the
/// weight is negative (`!x = -x - 1`). A product lies in `-128 |w| ..= 127 |w|`, and two of them in 16 bits, whatever the
/// numbers. What the sums lack by that is a constant of each column.
#[inline]
#[target_feature(enable = "avx2")]
fn by_magnitude<const R: usize>(rows: &Rows<R>, block: &Block, walk: &Walk, sums: &mut Sums<R>) {
    if walk.plain >= block.weights.len() {
        return;
    }
    let ones = _mm256_set1_epi16(1);
    let (all, low) = (_mm256_set1_epi8(-1), _mm256_set1_epi8(0x7F));
    let correction = load_8_i32(walk.correction);
    for sum in &mut *sums {
        *sum = _mm256_add_epi32(*sum, correction);
    }
    for (pair, weights) in block.weights.iter().enumerate().skip(walk.plain) {
        block.prefetch_behind(weights);
        for (codes, weights) in rows.pair(pair).iter().zip(weights) {
            let weights = load_32(weights);
            let magnitudes = _mm256_abs_epi8(weights);
            // 0x80 takes 128 from a code, 0x7F flips it besides.
            let flip = _mm256_xor_si256(_mm256_cmpgt_epi8(weights, all), low);
            for (r, sum) in sums.iter_mut().enumerate() {
                let codes = _mm256_xor_si256(broadcast(codes(r)), flip);
                *sum =
                    _mm256_add_epi32(*sum, _mm256_madd_epi16(_mm256_maddubs_epi16(magnitudes, codes), ones));
            }
        }
    }
}
