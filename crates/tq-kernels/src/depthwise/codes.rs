//! From codes to codes in one go: what runs where no channel needs more than 32 bits, and the multipliers are below 1.

use super::PackedDepthwise;
use super::driver::GRAIN;
use crate::Window3d;
use crate::buffer::with_scratch;
use crate::gemm::Multipliers;
use crate::parallel::{for_each_run, task_count};
use crate::row::{Requantize, RowKernel, RowMultipliers};
use crate::volume::Position;

/// The most taps of a window: their places live on the stack.
pub(super) const MAX_TAPS: usize = 64;

/// Windows beside each other, for [`RowKernel::depthwise_codes`].
#[derive(Debug, Clone, Copy)]
pub struct DepthwiseRun<'a> {
    /// Windows.
    pub positions: usize,
    /// Channels, in and out.
    pub channels: usize,
    /// The codes under each tap, from the first position and channel on: as many as were packed, at least one, at most 64.
    pub taps: &'a [&'a [u8]],
    /// Codes from one position to the next.
    pub step: usize,
    /// What [`RowKernel::pack_depthwise`] made.
    pub weights: &'a [u8],
    /// Added to each sum, one a channel. The result fits 32 bits: the caller has proved it.
    pub offset: &'a [i32],
    /// One a channel, between -1 and 1.
    pub multipliers: RowMultipliers<'a>,
    /// The rest of the requantization.
    pub params: Requantize,
}

/// One run of a layer.
pub(super) struct CodesJob<'a, R> {
    pub(super) row_kernel: R,
    pub(super) window: &'a Window3d,
    pub(super) input: &'a [u8],
    pub(super) rhs: &'a PackedDepthwise,
    pub(super) lhs_zero_point: i32,
    pub(super) multiplier: Multipliers<'a>,
    pub(super) params: Requantize,
}

/// What all windows of a task share.
struct Shared<'a> {
    offset: &'a [i32],
    multipliers: RowMultipliers<'a>,
    /// Codes of zero: what taps outside the input read.
    padding: &'a [u8],
}

/// Bytes of padding, where one position does not need more. Longer runs are cut.
const PADDING_BYTES: usize = 32 * 1024;

impl<R: RowKernel> CodesJob<'_, R> {
    pub(super) fn run(&self, rows: usize, out: &mut [u8], out_stride: usize) {
        let channels = self.rhs.channels;
        if rows == 0 || channels == 0 {
            return;
        }
        // A single row may have any stride: nothing follows it.
        let stride = if rows == 1 { channels } else { out_stride };
        let cost = rows.saturating_mul(channels).saturating_mul(self.window.taps());
        let out = &mut out[..(rows - 1) * stride + channels];
        let step = self.step();
        let longest = self.window.plane.interior_columns().len().max(1);
        let longest = longest.min(1 + PADDING_BYTES.saturating_sub(channels) / step);
        let padding_len = (longest - 1) * step + channels;
        for_each_run(out, stride, 1, task_count(cost, GRAIN), |first, out| {
            let bytes = 3 * channels * size_of::<i32>() + padding_len.next_multiple_of(size_of::<i32>());
            with_scratch(bytes, |scratch: &mut [i32]| {
                let (offset, rest) = scratch.split_at_mut(channels);
                let (multiplier, rest) = rest.split_at_mut(channels);
                let (shift, rest) = rest.split_at_mut(channels);
                let padding = &mut bytemuck::cast_slice_mut::<i32, u8>(rest)[..padding_len];
                self.offsets(offset);
                let multipliers = self.multipliers(multiplier, shift);
                padding.fill(self.lhs_zero_point as u8);
                self.positions(first, longest, &Shared { offset, multipliers, padding }, out, stride);
            });
        });
    }

    /// Codes from one position to the next.
    fn step(&self) -> usize {
        self.window.plane.stride.1 * self.rhs.channels
    }

    /// The offsets of all channels.
    fn offsets(&self, offset: &mut [i32]) {
        let zero_point = i64::from(self.lhs_zero_point);
        for ((offset, &bias), &sum) in offset.iter_mut().zip(&self.rhs.bias).zip(&self.rhs.sums) {
            // No channel is wide, so this fits.
            *offset = (i64::from(bias) - zero_point * sum) as i32;
        }
    }

    /// The multipliers of all channels, in the memory given for the two parts that they may have.
    fn multipliers<'m>(&self, multiplier: &'m mut [i32], shift: &'m mut [i32]) -> RowMultipliers<'m> {
        match self.multiplier {
            Multipliers::Float(values) => {
                let multiplier: &mut [f32] = bytemuck::cast_slice_mut(multiplier);
                match values {
                    [one] => multiplier.fill(*one),
                    all => multiplier.copy_from_slice(all),
                }
                RowMultipliers::Float(multiplier)
            }
            Multipliers::FixedPoint(values) => {
                let parts = multiplier.iter_mut().zip(shift.iter_mut()).enumerate();
                for (c, (multiplier, shift)) in parts {
                    let value = if values.len() == 1 { values[0] } else { values[c] };
                    (*multiplier, *shift) = (value.multiplier(), value.shift());
                }
                RowMultipliers::FixedPoint { multiplier, shift }
            }
        }
    }

    /// All positions of `out`, which starts at position `first`, in runs of up to `longest`.
    fn positions(&self, first: usize, longest: usize, shared: &Shared, out: &mut [u8], stride: usize) {
        let interior = self.window.plane.interior_columns();
        let positions = out.len().div_ceil(stride);
        let mut taps = [shared.padding; MAX_TAPS];
        let taps = &mut taps[..self.window.taps()];
        let (mut done, mut at) = (0, self.window.position(first));
        while done < positions {
            // Neighbours of a row whose columns all lie in the input move through it in step; others go one by one.
            let count = if interior.contains(&at.x) {
                (interior.end - at.x).min(positions - done).min(longest)
            } else {
                1
            };
            self.place(at, count, shared.padding, taps);
            let run = DepthwiseRun {
                positions: count,
                channels: self.rhs.channels,
                taps,
                step: self.step(),
                weights: self.rhs.own.as_slice(),
                offset: shared.offset,
                multipliers: shared.multipliers,
                params: self.params,
            };
            self.row_kernel.depthwise_codes(&run, &mut out[done * stride..], stride);
            self.window.advance(&mut at, count);
            done += count;
        }
    }

    /// The taps of `positions` windows of a row, from `at` on.
    ///
    /// Taps outside the input hold the code of zero. They add `za * w`, which the offset takes away again.
    fn place<'a>(&'a self, at: Position, positions: usize, padding: &'a [u8], taps: &mut [&'a [u8]]) {
        let channels = self.rhs.channels;
        let len = (positions - 1) * self.step() + channels;
        taps.fill(&padding[..len]);
        self.window.each_tap(at, |tap, element| taps[tap] = &self.input[element * channels..][..len]);
    }
}
