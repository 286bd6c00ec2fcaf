//! Quantize and dequantize at the borders of integer regions.

use crate::Result;
use crate::error::{check_clamp, check_len, check_scale, check_zero_point};
use crate::parallel::{for_each_run, task_count};
use crate::row::{AffineU8, RowKernel, real_range_row, wider};
use std::fmt::Debug;

/// Elements below which a task is not worth a thread.
const GRAIN: usize = 16 * 1024;
/// The same where elements are only looked through.
const RANGE_GRAIN: usize = 64 * 1024;
/// Tasks at most of a search for a range.
const RANGE_TASKS: usize = 64;

/// Conversions between f32 and `u8` codes with one scale and zero point.
pub trait QConvert: Send + Sync + Debug {
    /// Name of the kernel.
    fn name(&self) -> &'static str;

    /// `dst[i] = clamp(round_half_even(src[i] / scale) + zero_point)`, NaN giving the lower bound: exactly
    /// [`tq_qtypes::affine::quantize_f32`] with [`tq_qtypes::Rounding::Divide`].
    ///
    /// # Errors
    /// Lengths that differ, a bad scale, zero point or clamp range.
    fn quantize(&self, src: &[f32], params: AffineU8, clamp: (i32, i32), dst: &mut [u8]) -> Result<()>;

    /// `dst[i] = scale * (src[i] - zero_point)`: exactly [`tq_qtypes::affine::dequantize_f32`].
    ///
    /// # Errors
    /// Lengths that differ, a bad scale or zero point.
    fn dequantize(&self, src: &[u8], params: AffineU8, dst: &mut [f32]) -> Result<()>;

    /// Smallest and largest of the values and zero: what parameters that are chosen at run time are made from.
    ///
    /// NaN is passed over, infinities are kept, and a zero at either end is positive, so that the result has the same bits
    /// whatever the order of the values.
    fn range(&self, src: &[f32]) -> (f32, f32) {
        real_range_row(src)
    }
}

/// [`QConvert`] over the inner loops of `R`.
#[derive(Debug, Clone, Copy)]
pub struct ConvertDriver<R>(pub R);

fn check(params: AffineU8, expected: usize, got: usize) -> Result<()> {
    check_len("converted elements", expected, got)?;
    check_scale("conversion", params.scale)?;
    check_zero_point("conversion", params.zero_point, 0, 255)
}

impl<R: RowKernel> QConvert for ConvertDriver<R> {
    fn name(&self) -> &'static str {
        self.0.row_names().convert
    }

    fn quantize(&self, src: &[f32], params: AffineU8, clamp: (i32, i32), dst: &mut [u8]) -> Result<()> {
        check(params, src.len(), dst.len())?;
        check_clamp(clamp)?;
        for_each_run(dst, 1, 64, task_count(src.len(), GRAIN), |first, dst| {
            self.0.quantize(&src[first..][..dst.len()], params, clamp, dst);
        });
        Ok(())
    }

    fn dequantize(&self, src: &[u8], params: AffineU8, dst: &mut [f32]) -> Result<()> {
        check(params, src.len(), dst.len())?;
        for_each_run(dst, 1, 64, task_count(src.len(), GRAIN), |first, dst| {
            self.0.dequantize(&src[first..][..dst.len()], params, dst);
        });
        Ok(())
    }

    fn range(&self, src: &[f32]) -> (f32, f32) {
        let tasks = task_count(src.len(), RANGE_GRAIN).min(RANGE_TASKS);
        // An array, since sessions allocate nothing while they run.
        let mut ends = [(0.0, 0.0); RANGE_TASKS];
        let ends = &mut ends[..tasks];
        let part = src.len().div_ceil(tasks).max(1);
        for_each_run(ends, 1, 1, tasks, |first, ends| {
            for (ends, src) in ends.iter_mut().zip(src.chunks(part).skip(first)) {
                *ends = self.0.real_range(src);
            }
        });
        ends.iter().copied().fold((0.0, 0.0), wider)
    }
}
