//! From 32-bit sums to codes.

use super::elementwise::{Rounder, pack_8, pack_16};
use crate::memory::*;
use std::arch::x86_64::*;
use tq_kernels::row::requantize_row;
use tq_kernels::{Requantize, RowMultipliers};

/// What 8 sums are multiplied by: reals, or with `FIXED` fixed-point multipliers below one.
#[derive(Clone, Copy)]
pub(crate) struct Factors<const FIXED: bool> {
    /// The bits of reals, or fractions in units of `2^-31`.
    multiplier: __m256i,
    /// How far products are shifted to the right.
    exponent: __m256i,
}

impl<const FIXED: bool> Factors<FIXED> {
    /// The first 8. Panics when there are fewer.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn new(multipliers: RowMultipliers) -> Self {
        match multipliers {
            RowMultipliers::Float(m) => Self::of_reals(load_8_f32(first(m))),
            RowMultipliers::FixedPoint { multiplier, shift } => {
                Self::of_parts(load_8_i32(first(multiplier)), load_8_i32(first(shift)))
            }
        }
    }

    /// 4 from `low` on and 4 from `high` on. Panics when there are fewer.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn halves(multipliers: RowMultipliers, low: usize, high: usize) -> Self {
        match multipliers {
            RowMultipliers::Float(m) => {
                let low = load_4_f32(first(&m[low..]));
                Self::of_reals(_mm256_set_m128(load_4_f32(first(&m[high..])), low))
            }
            RowMultipliers::FixedPoint { multiplier, shift } => {
                let both = |parts: &[i32]| {
                    let low = load_4_i32(first(&parts[low..]));
                    _mm256_set_m128i(load_4_i32(first(&parts[high..])), low)
                };
                Self::of_parts(both(multiplier), both(shift))
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn of_reals(reals: __m256) -> Self {
        Self { multiplier: _mm256_castps_si256(reals), exponent: _mm256_setzero_si256() }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn of_parts(multiplier: __m256i, shift: __m256i) -> Self {
        Self { multiplier, exponent: _mm256_sub_epi32(_mm256_setzero_si256(), shift) }
    }

    /// The products of 8 sums, rounded.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn steps(&self, sums: __m256i) -> __m256i {
        if FIXED { self.fixed_steps(sums) } else { _mm256_cvtps_epi32(self.products(sums)) }
    }

    /// The products of 8 sums with reals.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn products(&self, sums: __m256i) -> __m256 {
        _mm256_mul_ps(_mm256_cvtepi32_ps(sums), _mm256_castsi256_ps(self.multiplier))
    }

    /// `fixed_point::requantize` up to the zero point.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn fixed_steps(&self, sums: __m256i) -> __m256i {
        // Products of 64 bits, of the even and of the odd sums, with one half of 2^31 added. Bits 31..63 are what is left: no
        // product of a multiplier below 2^31 is so large that the sign would be missed.
        let half = _mm256_set1_epi64x(1 << 30);
        let even = _mm256_add_epi64(_mm256_mul_epi32(sums, self.multiplier), half);
        let odd = _mm256_mul_epi32(_mm256_srli_epi64::<32>(sums), _mm256_srli_epi64::<32>(self.multiplier));
        let odd = _mm256_add_epi64(odd, half);
        let high =
            _mm256_blend_epi32::<0b1010_1010>(_mm256_srli_epi64::<31>(even), _mm256_slli_epi64::<1>(odd));
        // Halves away from zero: a negative number needs more than half to be rounded upwards.
        let one = _mm256_set1_epi32(1);
        let mask = _mm256_sub_epi32(_mm256_sllv_epi32(one, self.exponent), one);
        let threshold = _mm256_sub_epi32(_mm256_srli_epi32::<1>(mask), _mm256_srai_epi32::<31>(high));
        let up = _mm256_cmpgt_epi32(_mm256_and_si256(high, mask), threshold);
        _mm256_sub_epi32(_mm256_srav_epi32(high, self.exponent), up)
    }
}

/// The end of a requantization whose products are rounded already and fit 32 bits, as those of sums and multipliers between -1 and 1 do.
///
/// They need no clamp before they are rounded. What follows only saturates, in 16 and in 8 bits,
/// and clamps codes: the order of a clamp and a monotone step does not matter.
#[derive(Clone, Copy)]
pub(crate) struct Narrow {
    zero_point: __m256i,
    low: __m256i,
    high: __m256i,
}

impl Narrow {
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn new(params: Requantize) -> Self {
        let (low, high) = params.clamp;
        Self {
            zero_point: _mm256_set1_epi16(params.zero_point as i16),
            low: _mm256_set1_epi8(low as u8 as i8),
            high: _mm256_set1_epi8(high as u8 as i8),
        }
    }

    /// Two vectors of rounded products as 16-bit codes, not clamped: by lanes, four of the first, four of the second.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn words(&self, first: __m256i, second: __m256i) -> __m256i {
        _mm256_adds_epi16(_mm256_packs_epi32(first, second), self.zero_point)
    }

    /// Two vectors of 16-bit codes as bytes: by lanes, eight of the first, eight of the second.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn bytes(&self, first: __m256i, second: __m256i) -> __m256i {
        let codes = _mm256_packus_epi16(first, second);
        _mm256_min_epu8(_mm256_max_epu8(codes, self.low), self.high)
    }
}

/// One tile: two strided matrices, and what belongs to its columns.
struct Tile<'a> {
    rows: usize,
    acc: &'a [i32],
    acc_stride: usize,
    offset: &'a [i32],
    multipliers: RowMultipliers<'a>,
    out: &'a mut [u8],
    out_stride: usize,
}

impl<'a> Tile<'a> {
    /// The columns from `c` on. Panics when there are fewer.
    fn from(&mut self, c: usize) -> Tile<'_> {
        Tile {
            rows: self.rows,
            acc: &self.acc[c..],
            acc_stride: self.acc_stride,
            offset: &self.offset[c..],
            multipliers: self.multipliers.from(c),
            out: &mut self.out[c..],
            out_stride: self.out_stride,
        }
    }

    /// The first `N` columns of every row, of sums and of codes. Panics when there are fewer.
    #[inline(always)]
    fn rows<const N: usize>(self) -> impl Iterator<Item = (&'a [i32; N], &'a mut [u8; N])> {
        strided(self.acc, self.rows, self.acc_stride).zip(strided_mut(self.out, self.rows, self.out_stride))
    }
}

/// See [`tq_kernels::RowKernel::requantize_tile`].
#[target_feature(enable = "avx2")]
#[allow(clippy::too_many_arguments, reason = "the signature of the contract")]
pub(super) fn requantize_tile(
    rows: usize,
    acc: &[i32],
    acc_stride: usize,
    offset: &[i32],
    multipliers: RowMultipliers,
    params: Requantize,
    out: &mut [u8],
    out_stride: usize,
) {
    let columns = offset.len().min(multipliers.len());
    let mut tile = Tile { rows, acc, acc_stride, offset, multipliers, out, out_stride };
    // Without a way out of the loops, which are then a few vector instructions.
    let mut below_one = true;
    let done = match multipliers {
        RowMultipliers::Float(m) => {
            for m in &m[..columns] {
                below_one &= m.abs() < 1.0;
            }
            if below_one {
                narrow::<false>(&mut tile, columns, params)
            } else {
                clamped(&mut tile, columns, params)
            }
        }
        RowMultipliers::FixedPoint { shift, .. } => {
            for shift in &shift[..columns] {
                below_one &= (-31..=0).contains(shift);
            }
            if below_one { narrow::<true>(&mut tile, columns, params) } else { 0 }
        }
    };
    if done < columns {
        let Tile { acc, offset, multipliers, out, .. } = tile.from(done);
        let left = columns - done;
        for r in 0..rows {
            let (acc, out) = (&acc[r * acc_stride..][..left], &mut out[r * out_stride..][..left]);
            requantize_row(acc, offset, multipliers, params, out);
        }
    }
}

/// Multipliers below one. Gives the number of columns done.
#[target_feature(enable = "avx2")]
fn narrow<const FIXED: bool>(tile: &mut Tile, columns: usize, params: Requantize) -> usize {
    let narrow = Narrow::new(params);
    let mut c = 0;
    while c + 32 <= columns {
        narrow_32::<FIXED>(&narrow, tile.from(c));
        c += 32;
    }
    if c + 16 <= columns {
        narrow_16::<FIXED>(&narrow, tile.from(c));
        c += 16;
    }
    if c + 8 <= columns {
        narrow_8::<FIXED>(&narrow, tile.from(c));
        c += 8;
    }
    c
}

/// Any real multipliers: products are clamped before they are rounded. Gives the number of columns done.
#[target_feature(enable = "avx2")]
fn clamped(tile: &mut Tile, columns: usize, params: Requantize) -> usize {
    let rounder = Rounder::new(params.zero_point, params.clamp);
    let mut c = 0;
    while c + 16 <= columns {
        let tile = tile.from(c);
        let first = Columns::<false>::new(tile.offset, tile.multipliers);
        let second = Columns::<false>::new(&tile.offset[8..], tile.multipliers.from(8));
        for (acc, out) in tile.rows::<16>() {
            let (acc, _) = acc.as_chunks::<8>();
            let first = rounder.round(first.products(&acc[0]));
            store_16(out, pack_16(first, rounder.round(second.products(&acc[1]))));
        }
        c += 16;
    }
    if c + 8 <= columns {
        let tile = tile.from(c);
        let eight = Columns::<false>::new(tile.offset, tile.multipliers);
        for (acc, out) in tile.rows::<8>() {
            store_8(out, pack_8(rounder.round(eight.products(acc))));
        }
        c += 8;
    }
    c
}

/// 32 columns.
#[inline]
#[target_feature(enable = "avx2")]
fn narrow_32<const FIXED: bool>(narrow: &Narrow, tile: Tile) {
    let Tile { offset, multipliers, .. } = tile;
    let columns = [
        Columns::<FIXED>::new(offset, multipliers),
        Columns::new(&offset[8..], multipliers.from(8)),
        Columns::new(&offset[16..], multipliers.from(16)),
        Columns::new(&offset[24..], multipliers.from(24)),
    ];
    // Packing works by lanes of 128 bits and leaves the quarters of each vector apart.
    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (acc, out) in tile.rows::<32>() {
        let (acc, _) = acc.as_chunks::<8>();
        let first = narrow.words(columns[0].steps(&acc[0]), columns[1].steps(&acc[1]));
        let second = narrow.words(columns[2].steps(&acc[2]), columns[3].steps(&acc[3]));
        store_32(out, _mm256_permutevar8x32_epi32(narrow.bytes(first, second), order));
    }
}

/// 16 columns.
#[inline]
#[target_feature(enable = "avx2")]
fn narrow_16<const FIXED: bool>(narrow: &Narrow, tile: Tile) {
    let columns = [
        Columns::<FIXED>::new(tile.offset, tile.multipliers),
        Columns::new(&tile.offset[8..], tile.multipliers.from(8)),
    ];
    for (acc, out) in tile.rows::<16>() {
        let (acc, _) = acc.as_chunks::<8>();
        let words = narrow.words(columns[0].steps(&acc[0]), columns[1].steps(&acc[1]));
        let bytes = narrow.bytes(words, words);
        // Four of each half of the columns in either lane, twice.
        let (low, high) = (_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes));
        store_16(out, _mm_unpacklo_epi32(low, high));
    }
}

/// 8 columns.
#[inline]
#[target_feature(enable = "avx2")]
fn narrow_8<const FIXED: bool>(narrow: &Narrow, tile: Tile) {
    let columns = Columns::<FIXED>::new(tile.offset, tile.multipliers);
    for (acc, out) in tile.rows::<8>() {
        let steps = columns.steps(acc);
        let words = narrow.words(steps, steps);
        let bytes = narrow.bytes(words, words);
        let (low, high) = (_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes));
        store_8(out, _mm_unpacklo_epi32(low, high));
    }
}

/// What 8 columns of accumulators are requantized by.
struct Columns<const FIXED: bool> {
    offset: __m256i,
    factors: Factors<FIXED>,
}

impl<const FIXED: bool> Columns<FIXED> {
    /// The first 8 columns.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(offset: &[i32], multipliers: RowMultipliers) -> Self {
        Self { offset: load_8_i32(first(offset)), factors: Factors::new(multipliers) }
    }

    /// The 8 products with reals.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn products(&self, acc: &[i32; 8]) -> __m256 {
        self.factors.products(_mm256_add_epi32(load_8_i32(acc), self.offset))
    }

    /// The 8 products, rounded.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn steps(&self, acc: &[i32; 8]) -> __m256i {
        self.factors.steps(_mm256_add_epi32(load_8_i32(acc), self.offset))
    }
}
