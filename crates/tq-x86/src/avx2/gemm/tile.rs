//! The loops of the matrix-product tile.

use super::panel::{BLOCK_K, Block, Walk, blocks_from, class_of};
use super::rows::{Place, Rows};
use super::{HALF, KU};
use crate::memory::{load_8_i32, load_32, store_8_i32};
use std::arch::x86_64::*;
use std::ops::Range;
use tq_kernels::LhsTile;

/// Sums of each row.
type Sums<const R: usize> = [__m256i; R];

/// A tile of `R` rows and `columns` columns; see [`tq_kernels::Microkernel::tile`]. Panics when a slice is too short.
#[target_feature(enable = "avx2")]
pub(in super::super) fn tile<const R: usize>(
    lhs: &LhsTile,
    k: Range<usize>,
    panel: &[i8],
    columns: usize,
    tile: &mut [i32],
) {
    let (class, half_bytes) = (class_of(lhs.max), panel.len() / 2);
    let tile: &mut [[[i32; HALF]; 2]; R] =
        &mut tile.as_chunks_mut::<HALF>().0.as_chunks_mut::<2>().0.as_chunks_mut::<R>().0[0];
    for half in 0..columns.div_ceil(HALF).min(2) {
        let mut rest = blocks_from(panel, half, k.start);
        let mut sums = [_mm256_setzero_si256(); R];
        for start in k.clone().step_by(BLOCK_K) {
            let (block, behind) = Block::take(rest, (k.end - start) / KU);
            rest = behind;
            let rows = Rows::<R>::new(lhs.codes, lhs.stride, start, block.groups, block.order);
            let walk = block.walk(class);
            two_deep(rows, &block, &walk, half_bytes, &mut sums);
            one_deep(rows, &block, &walk, half_bytes, &mut sums);
            by_magnitude(rows, &block, &walk, half_bytes, &mut sums);
        }
        for (row, sums) in tile.iter_mut().zip(sums) {
            store_8_i32(&mut row[half], sums);
        }
    }
}

/// Four codes of row `row` beside each other for every column.
#[inline]
#[target_feature(enable = "avx2")]
fn codes<const R: usize>(rows: &Rows<R>, row: usize, place: Place) -> __m256i {
    _mm256_set1_epi32(bytemuck::cast(rows.group(row, place)))
}

/// Pairs of groups, each added in 16 bits: packing proved that they fit.
#[inline]
#[target_feature(enable = "avx2")]
fn two_deep<const R: usize>(
    rows: Rows<R>,
    block: &Block,
    walk: &Walk,
    behind: usize,
    sums: &mut Sums<R>,
) {
    let ones = _mm256_set1_epi16(1);
    for &pair in walk.two {
        block.prefetch_behind(behind, usize::from(pair));
        let ([a, b], weights) = (rows.places(usize::from(pair)), &block.weights[usize::from(pair)]);
        let weights = [load_32(&weights[0]), load_32(&weights[1])];
        for (r, sum) in sums.iter_mut().enumerate() {
            let a = _mm256_maddubs_epi16(codes(&rows, r, a), weights[0]);
            let b = _mm256_maddubs_epi16(codes(&rows, r, b), weights[1]);
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(_mm256_add_epi16(a, b), ones));
        }
    }
}

/// Pairs of groups, each group widened by itself: packing proved that its products fit.
#[inline]
#[target_feature(enable = "avx2")]
fn one_deep<const R: usize>(
    rows: Rows<R>,
    block: &Block,
    walk: &Walk,
    behind: usize,
    sums: &mut Sums<R>,
) {
    let ones = _mm256_set1_epi16(1);
    for &pair in walk.one {
        block.prefetch_behind(behind, usize::from(pair));
        let (places, weights) = (rows.places(usize::from(pair)), &block.weights[usize::from(pair)]);
        for (place, weights) in places.into_iter().zip(weights) {
            let weights = load_32(weights);
            for (r, sum) in sums.iter_mut().enumerate() {
                let products = _mm256_maddubs_epi16(codes(&rows, r, place), weights);
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(products, ones));
            }
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
fn by_magnitude<const R: usize>(
    rows: Rows<R>,
    block: &Block,
    walk: &Walk,
    behind: usize,
    sums: &mut Sums<R>,
) {
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
        block.prefetch_behind(behind, pair);
        for (place, weights) in rows.places(pair).into_iter().zip(weights) {
            let weights = load_32(weights);
            let magnitudes = _mm256_abs_epi8(weights);
            // 0x80 takes 128 from a code, 0x7F flips it besides.
            let flip = _mm256_xor_si256(_mm256_cmpgt_epi8(weights, all), low);
            for (r, sum) in sums.iter_mut().enumerate() {
                let products = _mm256_maddubs_epi16(magnitudes, _mm256_xor_si256(codes(&rows, r, place), flip));
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(products, ones));
            }
        }
    }
}
