//! From 32-bit sums to codes.

use super::elementwise::{Rounder, pack_8, pack_16};
use crate::memory::*;
use std::arch::x86_64::*;
use tq_kernels::Requantize;
use tq_kernels::row::requantize_row;

/// The end of a requantization for sums whose multipliers are between -1 and 1.
///
/// Their products fit 32 bits and need no clamp before they are rounded. What follows only saturates, in 16 and in 8 bits,
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

    /// Two vectors of products as 16-bit codes, not clamped: by lanes, four of the first, four of the second.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn words(&self, first: __m256, second: __m256) -> __m256i {
        let steps = _mm256_packs_epi32(_mm256_cvtps_epi32(first), _mm256_cvtps_epi32(second));
        _mm256_adds_epi16(steps, self.zero_point)
    }

    /// Two vectors of 16-bit codes as bytes: by lanes, eight of the first, eight of the second.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(crate) fn bytes(&self, first: __m256i, second: __m256i) -> __m256i {
        let codes = _mm256_packus_epi16(first, second);
        _mm256_min_epu8(_mm256_max_epu8(codes, self.low), self.high)
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
    multiplier: &[f32],
    params: Requantize,
    out: &mut [u8],
    out_stride: usize,
) {
    let columns = offset.len().min(multiplier.len());
    let mut c = 0;
    // Without a way out of the loop, which is then a few vector instructions.
    let mut below_one = true;
    for m in &multiplier[..columns] {
        below_one &= m.abs() < 1.0;
    }
    if below_one {
        let narrow = Narrow::new(params);
        while c + 32 <= columns {
            narrow_32(
                &narrow,
                rows,
                &acc[c..],
                acc_stride,
                &offset[c..],
                &multiplier[c..],
                &mut out[c..],
                out_stride,
            );
            c += 32;
        }
        if c + 16 <= columns {
            narrow_16(
                &narrow,
                rows,
                &acc[c..],
                acc_stride,
                &offset[c..],
                &multiplier[c..],
                &mut out[c..],
                out_stride,
            );
            c += 16;
        }
    }
    let rounder = Rounder::new(params.zero_point, params.clamp);
    while c + 16 <= columns {
        let first = Columns::new(&offset[c..], &multiplier[c..]);
        let second = Columns::new(&offset[c + 8..], &multiplier[c + 8..]);
        for r in 0..rows {
            let halves = acc[r * acc_stride + c..].as_chunks::<8>().0;
            let first = rounder.round(first.products(&halves[0]));
            let second = rounder.round(second.products(&halves[1]));
            store_16(first_mut(&mut out[r * out_stride + c..]), pack_16(first, second));
        }
        c += 16;
    }
    if c + 8 <= columns {
        let eight = Columns::new(&offset[c..], &multiplier[c..]);
        for r in 0..rows {
            let codes = rounder.round(eight.products(first(&acc[r * acc_stride + c..])));
            store_8(first_mut(&mut out[r * out_stride + c..]), pack_8(codes));
        }
        c += 8;
    }
    if c < columns {
        for r in 0..rows {
            let (acc, out) = (&acc[r * acc_stride..][c..columns], &mut out[r * out_stride..][c..columns]);
            requantize_row(acc, &offset[c..], &multiplier[c..], params, out);
        }
    }
}

/// 32 columns.
#[inline]
#[target_feature(enable = "avx2")]
#[allow(clippy::too_many_arguments, reason = "the signature of the contract")]
fn narrow_32(
    narrow: &Narrow,
    rows: usize,
    acc: &[i32],
    acc_stride: usize,
    offset: &[i32],
    multiplier: &[f32],
    out: &mut [u8],
    out_stride: usize,
) {
    let columns = [
        Columns::new(offset, multiplier),
        Columns::new(&offset[8..], &multiplier[8..]),
        Columns::new(&offset[16..], &multiplier[16..]),
        Columns::new(&offset[24..], &multiplier[24..]),
    ];
    // Packing works by lanes of 128 bits and leaves the quarters of each vector apart.
    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for r in 0..rows {
        let acc = acc[r * acc_stride..].as_chunks::<8>().0;
        let first = narrow.words(columns[0].products(&acc[0]), columns[1].products(&acc[1]));
        let second = narrow.words(columns[2].products(&acc[2]), columns[3].products(&acc[3]));
        let bytes = _mm256_permutevar8x32_epi32(narrow.bytes(first, second), order);
        store_32(first_mut(&mut out[r * out_stride..]), bytes);
    }
}

/// 16 columns, of two rows at a time.
#[inline]
#[target_feature(enable = "avx2")]
#[allow(clippy::too_many_arguments, reason = "the signature of the contract")]
fn narrow_16(
    narrow: &Narrow,
    rows: usize,
    acc: &[i32],
    acc_stride: usize,
    offset: &[i32],
    multiplier: &[f32],
    out: &mut [u8],
    out_stride: usize,
) {
    let columns = [Columns::new(offset, multiplier), Columns::new(&offset[8..], &multiplier[8..])];
    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    let mut r = 0;
    while r < rows {
        // An odd last row goes with itself.
        let other = (r + 1).min(rows - 1);
        let first = acc[r * acc_stride..].as_chunks::<8>().0;
        let second = acc[other * acc_stride..].as_chunks::<8>().0;
        let first = narrow.words(columns[0].products(&first[0]), columns[1].products(&first[1]));
        let second = narrow.words(columns[0].products(&second[0]), columns[1].products(&second[1]));
        let bytes = _mm256_permutevar8x32_epi32(narrow.bytes(first, second), order);
        store_16(first_mut(&mut out[r * out_stride..]), _mm256_castsi256_si128(bytes));
        store_16(first_mut(&mut out[other * out_stride..]), _mm256_extracti128_si256::<1>(bytes));
        r += 2;
    }
}

/// What 8 columns of accumulators are requantized by.
struct Columns {
    offset: __m256i,
    multiplier: __m256,
}

impl Columns {
    /// The first 8 columns.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(offset: &[i32], multiplier: &[f32]) -> Self {
        Self { offset: load_8_i32(first(offset)), multiplier: load_8_f32(first(multiplier)) }
    }

    /// The 8 products.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn products(&self, acc: &[i32; 8]) -> __m256 {
        let sum = _mm256_add_epi32(load_8_i32(acc), self.offset);
        _mm256_mul_ps(_mm256_cvtepi32_ps(sum), self.multiplier)
    }
}
