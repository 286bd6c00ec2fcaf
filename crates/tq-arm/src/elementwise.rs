//! Conversions and binary operators, 8 or 16 elements at a time.
//!
//! Bit-identical to the scalar definitions: the same f32 operations in the same order, none fused; clamping in f32 before
//! `fcvtns`, which rounds half to even; `fmaxnm` gives the bound for a NaN. Every function gives the number of elements
//! done and leaves the last few to the scalar loop.

use crate::memory::*;
use std::arch::aarch64::*;
use tq_kernels::{AffineU8, BinaryOp, BinaryParams};

/// The last step of every quantizer: clamp, round, add the zero point.
#[derive(Clone, Copy)]
struct Rounder {
    low: float32x4_t,
    high: float32x4_t,
    zero_point: int32x4_t,
}

impl Rounder {
    #[inline]
    #[target_feature(enable = "neon")]
    fn new(zero_point: i32, (min, max): (i32, i32)) -> Self {
        Self {
            low: vdupq_n_f32((min - zero_point) as f32),
            high: vdupq_n_f32((max - zero_point) as f32),
            zero_point: vdupq_n_s32(zero_point),
        }
    }

    /// 4 codes as 32-bit integers.
    #[inline]
    #[target_feature(enable = "neon")]
    fn round(&self, x: float32x4_t) -> int32x4_t {
        let clamped = vminnmq_f32(vmaxnmq_f32(x, self.low), self.high);
        vaddq_s32(vcvtnq_s32_f32(clamped), self.zero_point)
    }

    /// 8 codes.
    #[inline]
    #[target_feature(enable = "neon")]
    fn eight(&self, first: float32x4_t, second: float32x4_t) -> uint8x8_t {
        // Codes are 0..=255 already.
        let words = vmovn_high_s32(vmovn_s32(self.round(first)), self.round(second));
        vmovn_u16(vreinterpretq_u16_s16(words))
    }
}

/// See [`tq_kernels::RowKernel::quantize`].
#[target_feature(enable = "neon")]
pub(crate) fn quantize(src: &[f32], params: AffineU8, clamp: (i32, i32), dst: &mut [u8]) -> usize {
    let rounder = Rounder::new(params.zero_point, clamp);
    let scale = vdupq_n_f32(params.scale);
    let (src, dst) = (src.as_chunks::<8>().0, dst.as_chunks_mut::<8>().0);
    for (src, dst) in src.iter().zip(&mut *dst) {
        let halves = src.as_chunks::<4>().0;
        let first = vdivq_f32(load_4_f32(&halves[0]), scale);
        let second = vdivq_f32(load_4_f32(&halves[1]), scale);
        store_8(dst, rounder.eight(first, second));
    }
    8 * src.len().min(dst.len())
}

/// Scale and zero point of an operand.
#[derive(Clone, Copy)]
struct Side {
    scale: float32x4_t,
    zero_point: uint8x8_t,
}

impl Side {
    /// The zero point is in 0..=255.
    #[inline]
    #[target_feature(enable = "neon")]
    fn new(params: AffineU8) -> Self {
        Self { scale: vdupq_n_f32(params.scale), zero_point: vdup_n_u8(params.zero_point as u8) }
    }

    /// The reals of 8 codes.
    #[inline]
    #[target_feature(enable = "neon")]
    fn reals(&self, codes: uint8x8_t) -> [float32x4_t; 2] {
        // The difference wraps to the right one in 16 bits, and its conversion is exact.
        let steps = vreinterpretq_s16_u16(vsubl_u8(codes, self.zero_point));
        let low = vcvtq_f32_s32(vmovl_s16(vget_low_s16(steps)));
        let high = vcvtq_f32_s32(vmovl_high_s16(steps));
        [vmulq_f32(low, self.scale), vmulq_f32(high, self.scale)]
    }
}

/// See [`tq_kernels::RowKernel::dequantize`].
#[target_feature(enable = "neon")]
pub(crate) fn dequantize(src: &[u8], params: AffineU8, dst: &mut [f32]) -> usize {
    let side = Side::new(params);
    let (src, dst) = (src.as_chunks::<8>().0, dst.as_chunks_mut::<8>().0);
    for (src, dst) in src.iter().zip(&mut *dst) {
        let [low, high] = side.reals(load_8(src));
        let halves = dst.as_chunks_mut::<4>().0;
        store_4_f32(&mut halves[0], low);
        store_4_f32(&mut halves[1], high);
    }
    8 * src.len().min(dst.len())
}

/// See [`tq_kernels::RowKernel::binary`].
#[target_feature(enable = "neon")]
pub(crate) fn binary(params: &BinaryParams, lhs: &[u8], rhs: &[u8], out: &mut [u8]) -> usize {
    let (left, right) = (Side::new(params.lhs), Side::new(params.rhs));
    let rounder = Rounder::new(params.out.zero_point, params.clamp);
    let scale = vdupq_n_f32(params.out.scale);
    let (lhs, rhs, out) = (lhs.as_chunks::<8>().0, rhs.as_chunks::<8>().0, out.as_chunks_mut::<8>().0);
    for ((lhs, rhs), out) in lhs.iter().zip(rhs).zip(&mut *out) {
        let (a, b) = (left.reals(load_8(lhs)), right.reals(load_8(rhs)));
        let first = vdivq_f32(combine(params.op, a[0], b[0]), scale);
        let second = vdivq_f32(combine(params.op, a[1], b[1]), scale);
        store_8(out, rounder.eight(first, second));
    }
    8 * lhs.len().min(rhs.len()).min(out.len())
}

#[inline]
#[target_feature(enable = "neon")]
fn combine(op: BinaryOp, a: float32x4_t, b: float32x4_t) -> float32x4_t {
    match op {
        BinaryOp::Add => vaddq_f32(a, b),
        BinaryOp::Sub => vsubq_f32(a, b),
        BinaryOp::ReverseSub => vsubq_f32(b, a),
        BinaryOp::Mul => vmulq_f32(a, b),
    }
}
