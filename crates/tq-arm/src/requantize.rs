//! From 32-bit sums to codes.

use crate::memory::*;
use std::arch::aarch64::*;
use tq_kernels::row::requantize_row;
use tq_kernels::{Requantize, RowMultipliers};

/// The end of a requantization.
///
/// Conversions saturate here in 32, 16 and 8 bits, as the addition of the zero point does, so products are clamped as codes at
/// the end and not before they are rounded: the order of a clamp and of steps that never decrease does not matter.
#[derive(Clone, Copy)]
pub(crate) struct Narrow {
    zero_point: int16x8_t,
    low: uint8x16_t,
    high: uint8x16_t,
}

impl Narrow {
    /// The clamp is in 0..=255.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(crate) fn new(params: Requantize) -> Self {
        let (low, high) = params.clamp;
        Self {
            zero_point: vdupq_n_s16(params.zero_point as i16),
            low: vdupq_n_u8(low as u8),
            high: vdupq_n_u8(high as u8),
        }
    }

    /// 8 rounded products as codes that are not clamped.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(crate) fn eight(&self, first: int32x4_t, second: int32x4_t) -> uint8x8_t {
        let steps = vqmovn_high_s32(vqmovn_s32(first), second);
        vqmovun_s16(vqaddq_s16(steps, self.zero_point))
    }

    /// 16 codes, clamped.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(crate) fn clamp(&self, codes: uint8x16_t) -> uint8x16_t {
        vminq_u8(vmaxq_u8(codes, self.low), self.high)
    }

    /// 8 codes, clamped.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(crate) fn clamp_8(&self, codes: uint8x8_t) -> uint8x8_t {
        vmin_u8(vmax_u8(codes, vget_low_u8(self.low)), vget_low_u8(self.high))
    }
}

/// What 4 columns of sums are requantized by: reals, or with `FIXED` fixed-point multipliers below one.
#[derive(Clone, Copy)]
pub(crate) struct Four<const FIXED: bool> {
    pub(crate) offset: int32x4_t,
    /// The bits of reals, or fractions in units of `2^-31`.
    multiplier: int32x4_t,
    /// Powers of two, not above zero.
    shift: int32x4_t,
}

impl<const FIXED: bool> Four<FIXED> {
    /// The first 4 columns. Panics when there are fewer.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(crate) fn new(offset: &[i32], multipliers: RowMultipliers) -> Self {
        let (multiplier, shift) = match multipliers {
            RowMultipliers::Float(m) => (vreinterpretq_s32_f32(load_4_f32(first(m))), vdupq_n_s32(0)),
            RowMultipliers::FixedPoint { multiplier, shift } => {
                (load_4_i32(first(multiplier)), load_4_i32(first(shift)))
            }
        };
        Self { offset: load_4_i32(first(offset)), multiplier, shift }
    }

    /// The product of each sum, to which the offset has been added, with its multiplier, rounded.
    ///
    /// In fixed point `sqrdmulh` is the doubling high product, halves upwards, and `srshl` the shift, halves upwards too: one less
    /// makes negative halves go away from zero, and changes no other number's rounding.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(crate) fn steps(&self, sums: int32x4_t) -> int32x4_t {
        if FIXED {
            let high = vqrdmulhq_s32(sums, self.multiplier);
            let below_zero = vshrq_n_s32::<31>(vandq_s32(high, self.shift));
            vrshlq_s32(vqaddq_s32(high, below_zero), self.shift)
        } else {
            vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(sums), vreinterpretq_f32_s32(self.multiplier)))
        }
    }

    /// [`Four::steps`] of sums without offset.
    #[inline]
    #[target_feature(enable = "neon")]
    fn offset_steps(&self, acc: &[i32; 4]) -> int32x4_t {
        self.steps(vaddq_s32(load_4_i32(acc), self.offset))
    }
}

/// See [`tq_kernels::RowKernel::requantize_tile`].
#[target_feature(enable = "neon")]
#[allow(clippy::too_many_arguments, reason = "the signature of the contract")]
pub(crate) fn requantize_tile(
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
    // With an infinite multiplier the product of a sum of zero is no number, which conversions here turn into zero. Shifts to the
    // left, and those by more than a sum has bits, are left to the portable loop. Without a way out of the loops, which are then a few vector instructions.
    let mut fits = true;
    let c = match multipliers {
        RowMultipliers::Float(m) => {
            for m in &m[..columns] {
                fits &= m.is_finite();
            }
            let columns = if fits { columns } else { 0 };
            tile::<false>(rows, acc, acc_stride, &offset[..columns], multipliers, params, out, out_stride)
        }
        RowMultipliers::FixedPoint { shift, .. } => {
            for shift in &shift[..columns] {
                fits &= (-31..=0).contains(shift);
            }
            let columns = if fits { columns } else { 0 };
            tile::<true>(rows, acc, acc_stride, &offset[..columns], multipliers, params, out, out_stride)
        }
    };
    if c < columns {
        for r in 0..rows {
            let (acc, out) = (&acc[r * acc_stride..][c..columns], &mut out[r * out_stride..][c..columns]);
            requantize_row(acc, &offset[c..], multipliers.from(c), params, out);
        }
    }
}

/// The columns of `offset` up to a multiple of 8, whose number it gives.
#[target_feature(enable = "neon")]
#[allow(clippy::too_many_arguments, reason = "the signature of the contract")]
fn tile<const FIXED: bool>(
    rows: usize,
    acc: &[i32],
    acc_stride: usize,
    offset: &[i32],
    multipliers: RowMultipliers,
    params: Requantize,
    out: &mut [u8],
    out_stride: usize,
) -> usize {
    let narrow = Narrow::new(params);
    let four = |c: usize| Four::<FIXED>::new(&offset[c..], multipliers.from(c));
    let mut c = 0;
    while c + 16 <= offset.len() {
        let columns = [four(c), four(c + 4), four(c + 8), four(c + 12)];
        for r in 0..rows {
            let acc: &[i32; 16] = first(&acc[r * acc_stride + c..]);
            let acc = acc.as_chunks::<4>().0;
            let low = narrow.eight(columns[0].offset_steps(&acc[0]), columns[1].offset_steps(&acc[1]));
            let high = narrow.eight(columns[2].offset_steps(&acc[2]), columns[3].offset_steps(&acc[3]));
            let codes = narrow.clamp(vcombine_u8(low, high));
            store_16(first_mut(&mut out[r * out_stride + c..]), codes);
        }
        c += 16;
    }
    if c + 8 <= offset.len() {
        let (low, high) = (four(c), four(c + 4));
        for r in 0..rows {
            let acc: &[i32; 8] = first(&acc[r * acc_stride + c..]);
            let acc = acc.as_chunks::<4>().0;
            let codes = narrow.eight(low.offset_steps(&acc[0]), high.offset_steps(&acc[1]));
            store_8(first_mut(&mut out[r * out_stride + c..]), narrow.clamp_8(codes));
        }
        c += 8;
    }
    c
}
