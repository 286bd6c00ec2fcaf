//! Loads and stores of arrays: the length is in the type, so nothing is left to prove where they are used. Rows of arrays that are
//! proved to lie in a slice once for all.
#![allow(unsafe_code, reason = "vector loads and stores take raw pointers; one bound for all rows")]

use std::arch::x86_64::*;

/// The first `N` elements. Panics when there are fewer.
#[inline]
pub(crate) fn first<T, const N: usize>(slice: &[T]) -> &[T; N] {
    &slice.as_chunks().0[0]
}

/// The first `N` elements, to write. Panics when there are fewer.
#[inline]
pub(crate) fn first_mut<T, const N: usize>(slice: &mut [T]) -> &mut [T; N] {
    &mut slice.as_chunks_mut().0[0]
}

/// The first `N` elements of `rows` rows, `stride` apart. Panics when there are fewer.
///
/// One bound for all rows in place of one for each.
#[inline(always)]
pub(crate) fn strided<T, const N: usize>(
    slice: &[T],
    rows: usize,
    stride: usize,
) -> impl Iterator<Item = &[T; N]> {
    assert!(
        end_of_rows(rows, stride, N).is_some_and(|end| end <= slice.len()),
        "rows end behind their slice"
    );
    let first = slice.as_ptr();
    // SAFETY: `r < rows`, so the N elements from `r * stride` on end where the last row does or before, which is inside of `slice`.
    // The slice is borrowed as long as what is given.
    (0..rows).map(move |r| unsafe { &*first.add(r * stride).cast::<[T; N]>() })
}

/// As [`strided`], to write. Panics when rows overlap.
#[inline(always)]
pub(crate) fn strided_mut<T, const N: usize>(
    slice: &mut [T],
    rows: usize,
    stride: usize,
) -> impl Iterator<Item = &mut [T; N]> {
    assert!(
        end_of_rows(rows, stride, N).is_some_and(|end| end <= slice.len()),
        "rows end behind their slice"
    );
    assert!(rows <= 1 || stride >= N, "rows overlap");
    let first = slice.as_mut_ptr();
    // SAFETY: as in `strided`. Every `r` comes once, as what is given cannot be cloned, and rows are at least N apart, so no two of what
    // it gives overlap.
    (0..rows).map(move |r| unsafe { &mut *first.add(r * stride).cast::<[T; N]>() })
}

/// Where the last of `rows` rows of `len` elements ends; `None` for an end that cannot be counted.
fn end_of_rows(rows: usize, stride: usize, len: usize) -> Option<usize> {
    match rows.checked_sub(1) {
        Some(before) => before.checked_mul(stride)?.checked_add(len),
        None => Some(0),
    }
}

/// 8 bytes in the low half.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn load_8<T: bytemuck::Pod>(src: &[T; 8]) -> __m128i {
    const { assert!(size_of::<T>() == 1) };
    // SAFETY: `src` is valid for reads of 8 elements of 1 byte, and `movq` needs no alignment.
    unsafe { _mm_loadl_epi64(src.as_ptr().cast()) }
}

/// 16 bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn load_16<T: bytemuck::Pod>(src: &[T; 16]) -> __m128i {
    const { assert!(size_of::<T>() == 1) };
    // SAFETY: `src` is valid for reads of 16 elements of 1 byte, and `movdqu` needs no alignment.
    unsafe { _mm_loadu_si128(src.as_ptr().cast()) }
}

/// 32 bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn load_32<T: bytemuck::Pod>(src: &[T; 32]) -> __m256i {
    const { assert!(size_of::<T>() == 1) };
    // SAFETY: `src` is valid for reads of 32 elements of 1 byte, and `vmovdqu` needs no alignment.
    unsafe { _mm256_loadu_si256(src.as_ptr().cast()) }
}

/// 8 weights of 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn load_8_i16(src: &[i16; 8]) -> __m128i {
    // SAFETY: `src` is valid for reads of 16 bytes, and `movdqu` needs no alignment.
    unsafe { _mm_loadu_si128(src.as_ptr().cast()) }
}

/// 16 weights of 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn load_16_i16(src: &[i16; 16]) -> __m256i {
    // SAFETY: `src` is valid for reads of 32 bytes, and `vmovdqu` needs no alignment.
    unsafe { _mm256_loadu_si256(src.as_ptr().cast()) }
}

/// 4 accumulators.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn load_4_i32(src: &[i32; 4]) -> __m128i {
    // SAFETY: `src` is valid for reads of 16 bytes, and `movdqu` needs no alignment.
    unsafe { _mm_loadu_si128(src.as_ptr().cast()) }
}

/// 4 reals.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn load_4_f32(src: &[f32; 4]) -> __m128 {
    // SAFETY: `src` is valid for reads of 16 bytes, and `movups` needs no alignment.
    unsafe { _mm_loadu_ps(src.as_ptr()) }
}

/// 8 accumulators.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn load_8_i32(src: &[i32; 8]) -> __m256i {
    // SAFETY: `src` is valid for reads of 32 bytes, and `vmovdqu` needs no alignment.
    unsafe { _mm256_loadu_si256(src.as_ptr().cast()) }
}

/// 8 reals.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn load_8_f32(src: &[f32; 8]) -> __m256 {
    // SAFETY: `src` is valid for reads of 32 bytes, and `vmovups` needs no alignment.
    unsafe { _mm256_loadu_ps(src.as_ptr()) }
}

/// 16 accumulators.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load_16_i32(src: &[i32; 16]) -> __m512i {
    // SAFETY: `src` is valid for reads of 64 bytes, and `vmovdqu32` needs no alignment.
    unsafe { _mm512_loadu_si512(src.as_ptr().cast()) }
}

/// 16 reals.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn load_16_f32(src: &[f32; 16]) -> __m512 {
    // SAFETY: `src` is valid for reads of 64 bytes, and `vmovups` needs no alignment.
    unsafe { _mm512_loadu_ps(src.as_ptr()) }
}

/// The low 8 bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn store_8(dst: &mut [u8; 8], value: __m128i) {
    // SAFETY: `dst` is valid for writes of 8 bytes, and `movq` needs no alignment.
    unsafe { _mm_storel_epi64(dst.as_mut_ptr().cast(), value) }
}

/// 16 bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn store_16(dst: &mut [u8; 16], value: __m128i) {
    // SAFETY: `dst` is valid for writes of 16 bytes, and `movdqu` needs no alignment.
    unsafe { _mm_storeu_si128(dst.as_mut_ptr().cast(), value) }
}

/// 32 bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn store_32(dst: &mut [u8; 32], value: __m256i) {
    // SAFETY: `dst` is valid for writes of 32 bytes, and `vmovdqu` needs no alignment.
    unsafe { _mm256_storeu_si256(dst.as_mut_ptr().cast(), value) }
}

/// 8 accumulators.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn store_8_i32(dst: &mut [i32; 8], value: __m256i) {
    // SAFETY: `dst` is valid for writes of 32 bytes, and `vmovdqu` needs no alignment.
    unsafe { _mm256_storeu_si256(dst.as_mut_ptr().cast(), value) }
}

/// 8 reals.
#[inline]
#[target_feature(enable = "avx2")]
pub(crate) fn store_8_f32(dst: &mut [f32; 8], value: __m256) {
    // SAFETY: `dst` is valid for writes of 32 bytes, and `vmovups` needs no alignment.
    unsafe { _mm256_storeu_ps(dst.as_mut_ptr(), value) }
}

/// 16 reals.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn store_16_f32(dst: &mut [f32; 16], value: __m512) {
    // SAFETY: `dst` is valid for writes of 64 bytes, and `vmovups` needs no alignment.
    unsafe { _mm512_storeu_ps(dst.as_mut_ptr(), value) }
}

/// Asks for the cache line at `address`, which may be any.
#[inline]
pub(crate) fn prefetch(address: *const u8) {
    // SAFETY: `prefetcht0` reads nothing that a program could see and does not fault, whatever the address; SSE, which it
    // belongs to, is part of x86-64.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn rows_lie_where_their_stride_says() {
        let data: Vec<u8> = (0..11).collect();
        let rows: Vec<[u8; 3]> = strided::<u8, 3>(&data, 3, 4).copied().collect();
        assert_eq!(rows, [[0, 1, 2], [4, 5, 6], [8, 9, 10]]);
        // Rows that are read may overlap, and no rows need no slice.
        assert_eq!(strided::<u8, 3>(&data, 2, 1).nth(1), Some(&[1, 2, 3]));
        assert_eq!(strided::<u8, 3>(&[], 0, usize::MAX).count(), 0);
        let mut data = data;
        strided_mut::<u8, 3>(&mut data, 3, 4).for_each(|row| row.fill(0));
        assert_eq!(data, [0, 0, 0, 3, 0, 0, 0, 7, 0, 0, 0]);
        assert_eq!(strided_mut::<u8, 3>(&mut data, 1, 0).count(), 1);
    }

    #[test]
    fn rows_outside_of_their_slice_are_refused() {
        let mut data = [0u8; 11];
        for (rows, stride) in [(3, 5), (4, 4), (usize::MAX, 4), (2, usize::MAX)] {
            assert!(catch_unwind(|| strided::<u8, 3>(&[0; 11], rows, stride).count()).is_err());
            let write = || strided_mut::<u8, 3>(&mut data, rows, stride).count();
            assert!(catch_unwind(AssertUnwindSafe(write)).is_err());
        }
        let overlapping = || strided_mut::<u8, 3>(&mut data, 2, 2).count();
        assert!(catch_unwind(AssertUnwindSafe(overlapping)).is_err());
    }
}
