//! Sums for any weights and any use: 8 channels at a time by `smlal`.

use crate::memory::{first, load_4_i32, load_8, load_8_i16, store_4_i32};
use std::arch::aarch64::*;
use tq_kernels::Tap;

/// See [`tq_kernels::RowKernel::depthwise`]; gives the number of channels done, all but the last few.
#[target_feature(enable = "neon")]
pub(crate) fn sums(
    positions: usize,
    channels: usize,
    taps: &[Tap],
    weights: &[i16],
    weight_stride: usize,
    acc: &mut [i32],
) -> usize {
    let whole = channels / 8 * 8;
    for (p, acc) in acc.chunks_exact_mut(channels.max(1)).take(positions).enumerate() {
        for (block, acc) in acc.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let c = 8 * block;
            let halves = acc.as_chunks_mut::<4>().0;
            let (mut low, mut high) = (load_4_i32(&halves[0]), load_4_i32(&halves[1]));
            for (t, tap) in taps.iter().enumerate() {
                let codes = vmovl_u8(load_8(first(&tap.codes[p * tap.step + c..])));
                let codes = vreinterpretq_s16_u16(codes);
                let weights = load_8_i16(first(&weights[t * weight_stride + c..]));
                low = vmlal_s16(low, vget_low_s16(codes), vget_low_s16(weights));
                high = vmlal_high_s16(high, codes, weights);
            }
            store_4_i32(&mut halves[0], low);
            store_4_i32(&mut halves[1], high);
        }
    }
    whole
}
