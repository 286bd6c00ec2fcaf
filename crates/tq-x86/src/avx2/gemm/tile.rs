//! The loops of the matrix-product tile.

use super::panel::{BY_MAGNITUDE, Block, SEGMENTS, Way, block_groups, blocks_from, class_of};
use super::rows::{Lhs, Rows, Walk, Walks};
use super::{HALF, KU, MR};
use crate::memory::{first_mut, load_8_i32, load_32, store_8_i32};
use std::arch::x86_64::*;
use std::ops::Range;
use tq_kernels::LhsRows;

/// Pairs of groups of a short walk.
const SHORT: usize = 8;

/// Sums of each row: of as many halves of the columns as are in use.
type Sums<const R: usize, const H: usize> = [[__m256i; H]; R];

/// Sums of tiles of rows and of `columns` columns; see [`tq_kernels::Microkernel::tiles`]. Panics when a slice
/// is too short, but for sums or largest codes of several rows that lack whole tiles: those are left out.
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
    let mut rest = blocks_from(panel, k.start);
    let tiles = lhs.rows.div_ceil(MR);
    let (mut from, groups) = (k.start / KU, k.end / KU);
    while from < groups {
        let (block, behind) = Block::take(rest, block_groups(from, groups));
        let rows = Lhs::new(lhs, from * KU, &block);
        let part = Part { rows, first: from * KU == k.start, block: &block };
        (rest, from) = (behind, from + block.groups);
        if let (1, [max, ..]) = (lhs.rows, lhs.max) {
            // What is around its products is a large part of a single row.
            let walk = Walk::new(&block, class_of(*max));
            match columns > HALF {
                false => add::<1, 1>(&part, 0, &walk, first_mut(sums)),
                true => add::<1, 2>(&part, 0, &walk, first_mut(sums)),
            }
            continue;
        }
        // Of the next block, what each tile asks for.
        let lines = block.lines().div_ceil(tiles.max(1));
        let mut walks = Walks::new(&block);
        // Where a walk is short, tiles have one: what smaller codes would save some of them is less than what a processor
        // loses that cannot tell where loops end.
        let short = block.weights.len() <= SHORT;
        let of_all = short.then(|| class_of(lhs.max.iter().take(tiles).fold(0, |a, &b| a.max(b))));
        let class = |max: u8| of_all.unwrap_or_else(|| class_of(max));
        let whole = lhs.rows / MR;
        for ((tile, &max), sums) in (0..whole).zip(lhs.max).zip(sums.as_chunks_mut::<MR>().0) {
            let (row, walk) = (tile * MR, walks.of(class(max)));
            block.prefetch_behind(tile * lines, lines);
            match columns > HALF {
                false => add::<MR, 1>(&part, row, walk, sums),
                true => add::<MR, 2>(&part, row, walk, sums),
            }
        }
        const { assert!(MR == 3, "what is left of rows is one or two") };
        if let (Some(&max), Some(sums)) = (lhs.max.get(whole), sums.get_mut(whole * MR..)) {
            let (row, walk) = (whole * MR, walks.of(class(max)));
            match (lhs.rows - row, columns > HALF) {
                (0, _) => {}
                (1, false) => add::<1, 1>(&part, row, walk, first_mut(sums)),
                (1, true) => add::<1, 2>(&part, row, walk, first_mut(sums)),
                (_, false) => add::<2, 1>(&part, row, walk, first_mut(sums)),
                (_, true) => add::<2, 2>(&part, row, walk, first_mut(sums)),
            }
        }
    }
}

/// A block of K.
struct Part<'a, 'b> {
    rows: Lhs<'b>,
    /// No other block comes before it.
    first: bool,
    block: &'b Block<'a>,
}

/// Adds the products of a block to the sums of a tile of `R` rows from `row` on, and `H` halves of the columns. A function of its
/// own: its loops need all registers.
#[inline(never)]
#[target_feature(enable = "avx2")]
fn add<const R: usize, const H: usize>(
    part: &Part,
    row: usize,
    walk: &Walk,
    tile: &mut [[[i32; HALF]; 2]; R],
) {
    let rows = part.rows.tile::<R>(row);
    let mut sums = [[_mm256_setzero_si256(); H]; R];
    if !part.first {
        for (sums, row) in sums.iter_mut().zip(&*tile) {
            for (sum, before) in sums.iter_mut().zip(row) {
                *sum = load_8_i32(before);
            }
        }
    }
    segment::<R, H, 0>(&rows, part.block, walk, &mut sums);
    if walk.any(1, BY_MAGNITUDE) {
        segment::<R, H, 1>(&rows, part.block, walk, &mut sums);
        segment::<R, H, 2>(&rows, part.block, walk, &mut sums);
        segment::<R, H, 3>(&rows, part.block, walk, &mut sums);
    }
    if walk.any(BY_MAGNITUDE, SEGMENTS.len()) {
        for sums in &mut sums {
            for (sum, correction) in sums.iter_mut().zip(walk.correction) {
                *sum = _mm256_add_epi32(*sum, load_8_i32(correction));
            }
        }
        segment::<R, H, 4>(&rows, part.block, walk, &mut sums);
        segment::<R, H, 5>(&rows, part.block, walk, &mut sums);
        segment::<R, H, 6>(&rows, part.block, walk, &mut sums);
        segment::<R, H, 7>(&rows, part.block, walk, &mut sums);
        segment::<R, H, 8>(&rows, part.block, walk, &mut sums);
    }
    for (row, sums) in tile.iter_mut().zip(sums) {
        for (out, sum) in row.iter_mut().zip(sums) {
            store_8_i32(out, sum);
        }
    }
}

/// Four codes beside each other for every column.
#[inline]
#[target_feature(enable = "avx2")]
fn broadcast(codes: [u8; KU]) -> __m256i {
    _mm256_set1_epi32(bytemuck::cast(codes))
}

/// The weights of a half of one group, as they are multiplied.
#[derive(Clone, Copy)]
struct Factors {
    /// The weights, or their magnitudes.
    weights: __m256i,
    /// By magnitude: what the bits of the codes are flipped by.
    flip: __m256i,
}

impl Factors {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(way: Way, weights: &[i8; HALF * KU]) -> Self {
        let weights = load_32(weights);
        if way != Way::Magnitude {
            return Self { weights, flip: weights };
        }
        // 0x80 takes 128 from a code, 0x7F flips it besides.
        let positive = _mm256_cmpgt_epi8(weights, _mm256_set1_epi8(-1));
        Self { weights: _mm256_abs_epi8(weights), flip: _mm256_xor_si256(positive, _mm256_set1_epi8(0x7F)) }
    }

    /// Of both halves.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn of(ways: [Way; 2], weights: &[[i8; HALF * KU]; 2]) -> [Self; 2] {
        [Self::new(ways[0], &weights[0]), Self::new(ways[1], &weights[1])]
    }

    /// Products with `codes`, two added in 16 bits.
    ///
    /// By magnitude, the unsigned factors are the magnitudes of the weights, the signed ones the codes less 128, with all bits flipped
    /// where the weight is negative (`!x = -x - 1`). A product lies in `-128 |w| ..= 127 |w|`, and two of them in 16 bits,
    /// whatever the numbers. What the sums lack by that is a constant of each column: the correction of the walk.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn times(self, way: Way, codes: __m256i) -> __m256i {
        match way {
            Way::Magnitude => _mm256_maddubs_epi16(self.weights, _mm256_xor_si256(codes, self.flip)),
            _ => _mm256_maddubs_epi16(codes, self.weights),
        }
    }
}

/// Adds the products of the pairs of a segment.
#[inline]
#[target_feature(enable = "avx2")]
fn segment<const R: usize, const H: usize, const NUMBER: usize>(
    rows: &Rows<R>,
    block: &Block,
    walk: &Walk,
    sums: &mut Sums<R, H>,
) {
    if !walk.any(NUMBER, NUMBER + 1) {
        return;
    }
    let ways = const { SEGMENTS[NUMBER] };
    let ones = _mm256_set1_epi16(1);
    for step in walk.segment(NUMBER) {
        let ([a, b], weights) = (rows.pair(step), walk.weights(step));
        if R == 1 {
            block.prefetch_at(weights);
        }
        if ways[..H].contains(&Way::Two) {
            let (first, second) = (Factors::of(ways, &weights[0]), Factors::of(ways, &weights[1]));
            for (r, sums) in sums.iter_mut().enumerate() {
                let (a, b) = (broadcast(a(r)), broadcast(b(r)));
                for (h, sum) in sums.iter_mut().enumerate() {
                    let (a, b) = (first[h].times(ways[h], a), second[h].times(ways[h], b));
                    let products = match ways[h] {
                        Way::Two => _mm256_madd_epi16(_mm256_add_epi16(a, b), ones),
                        _ => _mm256_add_epi32(_mm256_madd_epi16(a, ones), _mm256_madd_epi16(b, ones)),
                    };
                    *sum = _mm256_add_epi32(*sum, products);
                }
            }
        } else {
            // One group after the other, for which the registers last.
            add_group(ways, &weights[0], a, sums);
            add_group(ways, &weights[1], b, sums);
        }
    }
}

/// Adds the products of a group that does not go two deep.
#[inline]
#[target_feature(enable = "avx2")]
fn add_group<const R: usize, const H: usize>(
    ways: [Way; 2],
    weights: &[[i8; HALF * KU]; 2],
    codes: impl Fn(usize) -> [u8; KU],
    sums: &mut Sums<R, H>,
) {
    let ones = _mm256_set1_epi16(1);
    let factors = Factors::of(ways, weights);
    for (r, sums) in sums.iter_mut().enumerate() {
        let codes = broadcast(codes(r));
        for (h, sum) in sums.iter_mut().enumerate() {
            let products = factors[h].times(ways[h], codes);
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(products, ones));
        }
    }
}
