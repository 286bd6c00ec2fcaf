//! From 32-bit sums to codes.

use crate::memory::*;
use std::arch::aarch64::*;
use tq_kernels::Requantize;
use tq_kernels::row::requantize_row;

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

    /// 8 products as codes that are not clamped.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(crate) fn eight(&self, first: float32x4_t, second: float32x4_t) -> uint8x8_t {
        let steps = vqmovn_high_s32(vqmovn_s32(vcvtnq_s32_f32(first)), vcvtnq_s32_f32(second));
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

/// What 4 columns of sums are requantized by.
#[derive(Clone, Copy)]
pub(crate) struct Four {
    pub(crate) offset: int32x4_t,
    pub(crate) multiplier: float32x4_t,
}

impl Four {
    /// The first 4 columns. Panics when there are fewer.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(crate) fn new(offset: &[i32], multiplier: &[f32]) -> Self {
        Self { offset: load_4_i32(first(offset)), multiplier: load_4_f32(first(multiplier)) }
    }

    /// The product of each sum, to which the offset has been added, with its multiplier.
    #[inline]
    #[target_feature(enable = "neon")]
    pub(crate) fn products(&self, sums: int32x4_t) -> float32x4_t {
        vmulq_f32(vcvtq_f32_s32(sums), self.multiplier)
    }

    /// [`Four::products`] of sums without offset.
    #[inline]
    #[target_feature(enable = "neon")]
    fn offset_products(&self, acc: &[i32; 4]) -> float32x4_t {
        self.products(vaddq_s32(load_4_i32(acc), self.offset))
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
    multiplier: &[f32],
    params: Requantize,
    out: &mut [u8],
    out_stride: usize,
) {
    let columns = offset.len().min(multiplier.len());
    let mut c = 0;
    // With an infinite multiplier the product of a sum of zero is no number, which conversions here turn into zero. Without a
    // way out of the loop, which is then a few vector instructions.
    let mut finite = true;
    for m in &multiplier[..columns] {
        finite &= m.is_finite();
    }
    if finite {
        let narrow = Narrow::new(params);
        while c + 16 <= columns {
            let four = [0, 4, 8, 12].map(|i| (&offset[c + i..], &multiplier[c + i..]));
            let mut columns = [Four::new(four[0].0, four[0].1); 4];
            for (columns, (offset, multiplier)) in columns.iter_mut().zip(four) {
                *columns = Four::new(offset, multiplier);
            }
            for r in 0..rows {
                let acc: &[i32; 16] = first(&acc[r * acc_stride + c..]);
                let acc = acc.as_chunks::<4>().0;
                let low =
                    narrow.eight(columns[0].offset_products(&acc[0]), columns[1].offset_products(&acc[1]));
                let high =
                    narrow.eight(columns[2].offset_products(&acc[2]), columns[3].offset_products(&acc[3]));
                let codes = narrow.clamp(vcombine_u8(low, high));
                store_16(first_mut(&mut out[r * out_stride + c..]), codes);
            }
            c += 16;
        }
        if c + 8 <= columns {
            let low = Four::new(&offset[c..], &multiplier[c..]);
            let high = Four::new(&offset[c + 4..], &multiplier[c + 4..]);
            for r in 0..rows {
                let acc: &[i32; 8] = first(&acc[r * acc_stride + c..]);
                let acc = acc.as_chunks::<4>().0;
                let codes = narrow.eight(low.offset_products(&acc[0]), high.offset_products(&acc[1]));
                store_8(first_mut(&mut out[r * out_stride + c..]), narrow.clamp_8(codes));
            }
            c += 8;
        }
    }
    if c < columns {
        for r in 0..rows {
            let (acc, out) = (&acc[r * acc_stride..][c..columns], &mut out[r * out_stride..][c..columns]);
            requantize_row(acc, &offset[c..], &multiplier[c..], params, out);
        }
    }
}
