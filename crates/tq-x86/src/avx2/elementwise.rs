//! Conversions and binary operators, 8 to 32 elements at a time.
//!
//! Bit-identical to the scalar definitions: the same f32 operations in the same order, none fused; clamping in f32
//! before `vcvtps2dq`, which rounds half to even, or in codes behind it where no quotient can leave 32 bits; `vmaxps` gives
//! its second operand for a NaN, so NaN becomes the lower bound. Functions that write give the number of elements done and
//! leave the last few to the scalar loop.

use super::requantize::Narrow;
use crate::memory::*;
use std::arch::x86_64::*;
use tq_kernels::row::real_range_row;
use tq_kernels::{AffineU8, BinaryOp, BinaryParams, Requantize};

/// The last step of every quantizer: clamp, round, add the zero point.
#[derive(Clone, Copy)]
pub(super) struct Rounder {
    low: __m256,
    high: __m256,
    zero_point: __m256i,
}

impl Rounder {
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn new(zero_point: i32, (min, max): (i32, i32)) -> Self {
        Self {
            low: _mm256_set1_ps((min - zero_point) as f32),
            high: _mm256_set1_ps((max - zero_point) as f32),
            zero_point: _mm256_set1_epi32(zero_point),
        }
    }

    /// 8 codes as 32-bit integers.
    #[inline]
    #[target_feature(enable = "avx2")]
    pub(super) fn round(&self, x: __m256) -> __m256i {
        let clamped = _mm256_min_ps(_mm256_max_ps(x, self.low), self.high);
        _mm256_add_epi32(_mm256_cvtps_epi32(clamped), self.zero_point)
    }
}

/// 16 codes of 32 bits, each 0..=255, as bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn pack_16(first: __m256i, second: __m256i) -> __m128i {
    // `vpackssdw` works by 128-bit lanes: the quarters come out as 0, 2, 1, 3.
    let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(first, second));
    _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words))
}

/// 8 codes of 32 bits, each 0..=255, as bytes in the low half.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn pack_8(codes: __m256i) -> __m128i {
    let words = _mm_packs_epi32(_mm256_castsi256_si128(codes), _mm256_extracti128_si256::<1>(codes));
    _mm_packus_epi16(words, words)
}

/// See [`tq_kernels::RowKernel::quantize`].
#[target_feature(enable = "avx2")]
pub(super) fn quantize(src: &[f32], params: AffineU8, clamp: (i32, i32), dst: &mut [u8]) -> usize {
    let rounder = Rounder::new(params.zero_point, clamp);
    let scale = _mm256_set1_ps(params.scale);
    let (src, dst) = (src.as_chunks::<16>().0, dst.as_chunks_mut::<16>().0);
    for (src, dst) in src.iter().zip(&mut *dst) {
        let halves = src.as_chunks::<8>().0;
        let first = rounder.round(_mm256_div_ps(load_8_f32(&halves[0]), scale));
        let second = rounder.round(_mm256_div_ps(load_8_f32(&halves[1]), scale));
        store_16(dst, pack_16(first, second));
    }
    16 * src.len().min(dst.len())
}

/// See [`tq_kernels::RowKernel::dequantize`].
#[target_feature(enable = "avx2")]
pub(super) fn dequantize(src: &[u8], params: AffineU8, dst: &mut [f32]) -> usize {
    let side = Side::new(params);
    let (src, dst) = (src.as_chunks::<8>().0, dst.as_chunks_mut::<8>().0);
    for (src, dst) in src.iter().zip(&mut *dst) {
        store_8_f32(dst, side.reals(load_8(src)));
    }
    8 * src.len().min(dst.len())
}

/// See [`tq_kernels::RowKernel::real_range`].
#[target_feature(enable = "avx2")]
pub(super) fn real_range(src: &[f32]) -> (f32, f32) {
    let (blocks, rest) = src.as_chunks::<32>();
    // Four vectors of each end, so that none waits for the one before.
    let (mut low, mut high) = ([_mm256_setzero_ps(); 4], [_mm256_setzero_ps(); 4]);
    for block in blocks {
        for ((low, high), x) in low.iter_mut().zip(&mut high).zip(block.as_chunks::<8>().0) {
            let x = load_8_f32(x);
            // The second operand is given for a NaN and for two zeros: the end stays as it is.
            *low = _mm256_min_ps(x, *low);
            *high = _mm256_max_ps(x, *high);
        }
    }
    let mut ends = [0f32; 64];
    for (ends, vector) in ends.as_chunks_mut::<8>().0.iter_mut().zip(low.into_iter().chain(high)) {
        store_8_f32(ends, vector);
    }
    // Lows are at most zero and highs at least, so they can be looked through as if they were values.
    let (of_rest, of_blocks) = (real_range_row(rest), real_range_row(&ends));
    (of_rest.0.min(of_blocks.0), of_rest.1.max(of_blocks.1))
}

/// Scale and zero point of an operand.
#[derive(Clone, Copy)]
struct Side {
    scale: __m256,
    zero_point: __m256i,
}

impl Side {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(params: AffineU8) -> Self {
        Self { scale: _mm256_set1_ps(params.scale), zero_point: _mm256_set1_epi32(params.zero_point) }
    }

    /// The reals of the low 8 codes.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn reals(&self, codes: __m128i) -> __m256 {
        self.of(_mm256_cvtepu8_epi32(codes))
    }

    /// The reals of 8 codes.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn of(&self, codes: __m256i) -> __m256 {
        // The difference has 9 bits: its conversion is exact.
        let steps = _mm256_sub_epi32(codes, self.zero_point);
        _mm256_mul_ps(_mm256_cvtepi32_ps(steps), self.scale)
    }
}

/// See [`tq_kernels::RowKernel::binary`].
#[target_feature(enable = "avx2")]
pub(super) fn binary(params: &BinaryParams, lhs: &[u8], rhs: &[u8], out: &mut [u8]) -> usize {
    // Loops of their own for every operator.
    match params.op {
        BinaryOp::Add => by(params, |a, b| _mm256_add_ps(a, b), lhs, rhs, out),
        BinaryOp::Sub => by(params, |a, b| _mm256_sub_ps(a, b), lhs, rhs, out),
        BinaryOp::ReverseSub => by(params, |a, b| _mm256_sub_ps(b, a), lhs, rhs, out),
        BinaryOp::Mul => by(params, |a, b| _mm256_mul_ps(a, b), lhs, rhs, out),
    }
}

/// [`binary`] by one operator, `combine`.
#[target_feature(enable = "avx2")]
fn by(
    params: &BinaryParams,
    combine: impl Fn(__m256, __m256) -> __m256 + Copy,
    lhs: &[u8],
    rhs: &[u8],
    out: &mut [u8],
) -> usize {
    let len = lhs.len().min(rhs.len()).min(out.len());
    // Where no real leaves f32, and the largest result in steps of the output is far from the ends of 32 bits, nothing has to be clamped
    // before it is rounded.
    let reach = |side: AffineU8| 255.0 * f64::from(side.scale);
    let (a, b) = (reach(params.lhs), reach(params.rhs));
    let most = if params.op == BinaryOp::Mul { a * b } else { a + b };
    let fits = a.max(b).max(most) < 1e38 && most / f64::from(params.out.scale) < f64::from(1 << 30);
    let steps = Steps::new(params, combine);
    let narrow = Narrow::new(Requantize { zero_point: params.out.zero_point, clamp: params.clamp });
    let mut done = 0;
    while fits && len >= 32 && done < len {
        // The last ones reach back to some that are done.
        let at = done.min(len - 32);
        let (a, b) = (load_32(first(&lhs[at..])), load_32(first(&rhs[at..])));
        let of = PLACES.each_ref().map(|places| steps.of(a, b, load_32(places)));
        let codes = narrow.bytes(narrow.words(of[0], of[1]), narrow.words(of[2], of[3]));
        store_32(first_mut(&mut out[at..]), codes);
        done = at + 32;
    }
    let rounder = Rounder::new(params.out.zero_point, params.clamp);
    while len - done >= 8 {
        let (a, b) = (load_8(first(&lhs[done..])), load_8(first(&rhs[done..])));
        let quotients = steps.quotients(_mm256_cvtepu8_epi32(a), _mm256_cvtepu8_epi32(b));
        store_8(first_mut(&mut out[done..]), pack_8(rounder.round(quotients)));
        done += 8;
    }
    done
}

/// Four times 4 codes of each half of a vector, as 32-bit integers: packed by twos, by lanes, they stand in their order again.
const PLACES: [[u8; 32]; 4] = {
    let mut places = [[0x80; 32]; 4];
    let mut i = 0;
    while i < 32 {
        places[i % 16 / 4][i / 16 * 16 + i % 4 * 4] = (i % 16) as u8;
        i += 1;
    }
    places
};

/// A binary operator.
#[derive(Clone, Copy)]
struct Steps<F> {
    combine: F,
    lhs: Side,
    rhs: Side,
    scale: __m256,
}

impl<F: Fn(__m256, __m256) -> __m256> Steps<F> {
    #[inline]
    #[target_feature(enable = "avx2")]
    fn new(params: &BinaryParams, combine: F) -> Self {
        let scale = _mm256_set1_ps(params.out.scale);
        Self { combine, lhs: Side::new(params.lhs), rhs: Side::new(params.rhs), scale }
    }

    /// The results of 8 codes of each operand in steps of the output, not rounded.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn quotients(&self, lhs: __m256i, rhs: __m256i) -> __m256 {
        _mm256_div_ps((self.combine)(self.lhs.of(lhs), self.rhs.of(rhs)), self.scale)
    }

    /// The results of the codes at some places, rounded.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn of(&self, lhs: __m256i, rhs: __m256i, places: __m256i) -> __m256i {
        let (lhs, rhs) = (_mm256_shuffle_epi8(lhs, places), _mm256_shuffle_epi8(rhs, places));
        _mm256_cvtps_epi32(self.quotients(lhs, rhs))
    }
}

/// See [`tq_kernels::RowKernel::max_row`]. Compilers vectorise it.
#[target_feature(enable = "avx2")]
pub(super) fn max_row(acc: &mut [u8], row: &[u8]) {
    for (acc, &a) in acc.iter_mut().zip(row) {
        *acc = (*acc).max(a);
    }
}

/// See [`tq_kernels::RowKernel::sum_row`]. Compilers vectorise it.
#[target_feature(enable = "avx2")]
pub(super) fn sum_row(acc: &mut [i32], row: &[u8]) {
    for (acc, &a) in acc.iter_mut().zip(row) {
        *acc += i32::from(a);
    }
}
