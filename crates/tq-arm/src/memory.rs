//! Loads and stores of arrays: the length is in the type, so nothing is left to prove where they are used.
#![allow(unsafe_code, reason = "vector loads and stores take raw pointers")]

use std::arch::aarch64::*;

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

macro_rules! loads {
    ($($(#[$what:meta])* $name:ident: $element:ty, $count:literal => $vector:ty, $load:ident;)*) => {
        $(
            $(#[$what])*
            #[inline]
            #[target_feature(enable = "neon")]
            pub(crate) fn $name(src: &[$element; $count]) -> $vector {
                // SAFETY: `src` is valid for reads of this many elements, as many as the vector has, and loads of vectors
                // need no alignment but that of an element.
                unsafe { $load(src.as_ptr()) }
            }
        )*
    };
}

loads! {
    /// 8 codes.
    load_8: u8, 8 => uint8x8_t, vld1_u8;
    /// 16 codes.
    load_16: u8, 16 => uint8x16_t, vld1q_u8;
    /// 16 weights.
    load_16_i8: i8, 16 => int8x16_t, vld1q_s8;
    /// 8 weights of 16 bits.
    load_8_i16: i16, 8 => int16x8_t, vld1q_s16;
    /// 4 accumulators.
    load_4_i32: i32, 4 => int32x4_t, vld1q_s32;
    /// 4 reals.
    load_4_f32: f32, 4 => float32x4_t, vld1q_f32;
}

macro_rules! stores {
    ($($(#[$what:meta])* $name:ident: $element:ty, $count:literal <= $vector:ty, $store:ident;)*) => {
        $(
            $(#[$what])*
            #[inline]
            #[target_feature(enable = "neon")]
            pub(crate) fn $name(dst: &mut [$element; $count], value: $vector) {
                // SAFETY: `dst` is valid for writes of this many elements, as many as the vector has, and stores of vectors
                // need no alignment but that of an element.
                unsafe { $store(dst.as_mut_ptr(), value) }
            }
        )*
    };
}

stores! {
    /// 8 codes.
    store_8: u8, 8 <= uint8x8_t, vst1_u8;
    /// 16 codes.
    store_16: u8, 16 <= uint8x16_t, vst1q_u8;
    /// 4 accumulators.
    store_4_i32: i32, 4 <= int32x4_t, vst1q_s32;
    /// 4 reals.
    store_4_f32: f32, 4 <= float32x4_t, vst1q_f32;
}
