//! Maximum and average over windows of channels-last images.

mod max_rows;

use crate::buffer::{SCRATCH_BYTES, with_scratch};
use crate::error::{check_clamp, check_len, check_scale, check_zero_point};
use crate::parallel::{for_each_run, task_count};
use crate::row::{AffineU8, Requantize, RowKernel, RowMultipliers};
use crate::{GatheredAverage, GatheredWindows, KernelError, Result, Window2d};
use max_rows::RowsOfWindows;
use std::fmt::Debug;
use tq_qtypes::requantize::{average_multiplier, requantize_wide};

/// Codes read below which a task is not worth a thread.
const GRAIN: usize = 64 * 1024;

/// Channels done at a time: their sums live on the stack.
const BLOCK: usize = 256;

/// Rows of codes that any 32-bit sum can take: 255 times this is below 2³¹.
const NARROW_ROWS: usize = 1 << 23;

/// Parameters of a maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxParams {
    /// Smallest and largest output code: a fused ReLU or clamp.
    pub clamp: (i32, i32),
}

impl Default for MaxParams {
    /// No clamp.
    fn default() -> Self {
        Self { clamp: (0, 255) }
    }
}

/// Parameters of an average.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AverageParams {
    /// Scale and zero point of the input.
    pub input: AffineU8,
    /// Scale and zero point of the output.
    pub out: AffineU8,
    /// True to divide by the taps in the padded image, false by the taps in the image. Padding is real zero.
    pub count_include_pad: bool,
    /// Smallest and largest output code: a fused ReLU or clamp.
    pub clamp: (i32, i32),
}

/// Pooling of `u8` codes. The output has one row of `channels` per output position, rows adjacent.
pub trait QPool: Send + Sync + Debug {
    /// Name of the kernel.
    fn name(&self) -> &'static str;

    /// The largest code of each window, padding left out. Scale and zero point pass through.
    ///
    /// # Errors
    /// Lengths that do not follow the window; [`crate::KernelError::EmptyWindow`].
    fn max(&self, window: &Window2d, params: &MaxParams, input: &[u8], out: &mut [u8]) -> Result<()>;

    /// The average of each window: the exact sum `Σ (code - zx)` in integers, then one multiplication by
    /// `f32(sx / (sy * count))`, then [`tq_qtypes::requantize::round_clamped`].
    ///
    /// # Errors
    /// As [`QPool::max`]; bad scales, zero points or clamp range.
    fn average(&self, window: &Window2d, params: &AverageParams, input: &[u8], out: &mut [u8]) -> Result<()>;

    /// [`QPool::max`] over windows that are lists of places.
    ///
    /// # Errors
    /// Lengths that disagree, places outside an image, a clamp range that is none, windows that hold no place.
    fn gathered_max(
        &self,
        windows: &GatheredWindows,
        params: &MaxParams,
        input: &[u8],
        out: &mut [u8],
    ) -> Result<()>;

    /// [`QPool::average`] over windows that are lists of places, each with a divisor of its own.
    ///
    /// # Errors
    /// As [`QPool::gathered_max`]; bad scales or zero points, divisors that are zero.
    fn gathered_average(
        &self,
        windows: &GatheredWindows,
        params: &GatheredAverage,
        input: &[u8],
        out: &mut [u8],
    ) -> Result<()>;
}

/// [`QPool`] over the inner loops of `R`.
#[derive(Debug, Clone, Copy)]
pub struct PoolDriver<R>(pub R);

/// Checks sizes; `None` when there is nothing to do.
fn check(window: &Window2d, input: &[u8], out: &[u8]) -> Result<Option<usize>> {
    window.validate()?;
    window.check_input(input.len())?;
    let rows = window.out_rows()?;
    check_len("pool output", rows * window.channels, out.len())?;
    if out.is_empty() {
        return Ok(None);
    }
    window.check_no_empty_window()?;
    Ok(Some(out.len().saturating_mul(window.taps())))
}

/// Where an output position lies: row and column of the window, and the first row of its image.
fn place(window: &Window2d, position: usize) -> (usize, usize, usize) {
    let (x, y) = (position % window.out_w, position / window.out_w % window.out_h);
    (y, x, position / (window.out_w * window.out_h) * window.in_h)
}

/// The codes under a window, all channels of each element in the image.
pub(crate) trait Taps {
    fn for_each<'s>(&'s self, f: impl FnMut(&'s [u8]));
}

/// Those of one position of a [`Window2d`].
struct WindowTaps<'a> {
    window: &'a Window2d,
    place: (usize, usize, usize),
    input: &'a [u8],
}

impl Taps for WindowTaps<'_> {
    fn for_each<'s>(&'s self, mut f: impl FnMut(&'s [u8])) {
        let (window, (y, x, image)) = (self.window, self.place);
        for ky in window.rows(y) {
            let row = (image + window.in_row(y, ky)) * window.in_w;
            for kx in window.columns(x) {
                f(&self.input[(row + window.in_column(x, kx)) * window.channels..][..window.channels]);
            }
        }
    }
}

/// What becomes of the sums of a window.
#[derive(Clone, Copy)]
pub(crate) struct Averaging {
    pub(crate) input: AffineU8,
    pub(crate) out: AffineU8,
    pub(crate) clamp: (i32, i32),
}

impl Averaging {
    pub(crate) fn check(&self) -> Result<()> {
        check_clamp(self.clamp)?;
        for (what, side) in [("pool input", self.input), ("pool output", self.out)] {
            check_scale(what, side.scale)?;
            check_zero_point(what, side.zero_point, 0, 255)?;
        }
        Ok(())
    }
}

impl<R: RowKernel> QPool for PoolDriver<R> {
    fn name(&self) -> &'static str {
        self.0.row_names().pool
    }

    fn max(&self, window: &Window2d, params: &MaxParams, input: &[u8], out: &mut [u8]) -> Result<()> {
        check_clamp(params.clamp)?;
        let Some(cost) = check(window, input, out)? else { return Ok(()) };
        let tasks = task_count(cost, GRAIN);
        // A few rows are no work for many threads.
        let rows = (window.batch * window.out_h >= tasks).then(|| RowsOfWindows::new(window, SCRATCH_BYTES));
        if let Some(rows) = rows.flatten() {
            for_each_run(out, window.out_w * window.channels, 1, tasks, |first, out| {
                with_scratch(rows.scratch().unwrap_or_default(), |scratch: &mut [u8]| {
                    rows.max(&self.0, first, params, input, scratch, out);
                });
            });
            return Ok(());
        }
        for_each_run(out, window.channels, 1, tasks, |first, out| {
            for (i, out) in out.chunks_exact_mut(window.channels).enumerate() {
                self.max_of(&WindowTaps { window, place: place(window, first + i), input }, params, out);
            }
        });
        Ok(())
    }

    fn average(&self, window: &Window2d, params: &AverageParams, input: &[u8], out: &mut [u8]) -> Result<()> {
        let averaging = Averaging { input: params.input, out: params.out, clamp: params.clamp };
        averaging.check()?;
        let Some(cost) = check(window, input, out)? else { return Ok(()) };
        for_each_run(out, window.channels, 1, task_count(cost, GRAIN), |first, out| {
            for (i, out) in out.chunks_exact_mut(window.channels).enumerate() {
                let place = place(window, first + i);
                let (y, x, _) = place;
                let inside = window.rows(y).len() * window.columns(x).len();
                let count = if params.count_include_pad {
                    let (rows, columns) = window.padded_taps(y, x);
                    rows * columns
                } else {
                    inside
                };
                self.average_of(&WindowTaps { window, place, input }, (inside, count), averaging, out);
            }
        });
        Ok(())
    }

    fn gathered_max(
        &self,
        windows: &GatheredWindows,
        params: &MaxParams,
        input: &[u8],
        out: &mut [u8],
    ) -> Result<()> {
        check_clamp(params.clamp)?;
        let Some(cost) = windows.check(input, out)? else { return Ok(()) };
        for_each_run(out, windows.channels, 1, task_count(cost, GRAIN), |first, out| {
            for (i, out) in out.chunks_exact_mut(windows.channels).enumerate() {
                self.max_of(&windows.taps_at(first + i, input), params, out);
            }
        });
        Ok(())
    }

    fn gathered_average(
        &self,
        windows: &GatheredWindows,
        params: &GatheredAverage,
        input: &[u8],
        out: &mut [u8],
    ) -> Result<()> {
        let averaging = Averaging { input: params.input, out: params.out, clamp: params.clamp };
        averaging.check()?;
        check_len("pool divisors", windows.rows, params.divisors.len())?;
        if params.divisors.contains(&0) {
            return Err(KernelError::Zero { what: "pool divisor" });
        }
        let Some(cost) = windows.check(input, out)? else { return Ok(()) };
        for_each_run(out, windows.channels, 1, task_count(cost, GRAIN), |first, out| {
            for (i, out) in out.chunks_exact_mut(windows.channels).enumerate() {
                let taps = windows.taps_at(first + i, input);
                let count = params.divisors[(first + i) % windows.rows];
                self.average_of(&taps, (taps.inside(), count), averaging, out);
            }
        });
        Ok(())
    }
}

impl<R: RowKernel> PoolDriver<R> {
    fn max_of(&self, taps: &impl Taps, params: &MaxParams, out: &mut [u8]) {
        let (min, max) = (params.clamp.0 as u8, params.clamp.1 as u8);
        out.fill(min);
        taps.for_each(|tap| self.0.max_row(out, tap));
        if max < 255 {
            out.iter_mut().for_each(|code| *code = (*code).min(max));
        }
    }

    /// The average of `inside` codes, with `count` for divisor.
    fn average_of(
        &self,
        taps: &impl Taps,
        (inside, count): (usize, usize),
        averaging: Averaging,
        out: &mut [u8],
    ) {
        let Averaging { input, out: to, clamp } = averaging;
        let multiplier = average_multiplier(input.scale, to.scale, count);
        // Padding is real zero, so only taps in the image are corrected for the zero point.
        let correction = inside as i64 * i64::from(input.zero_point);
        let channels = out.len();
        for start in (0..channels).step_by(BLOCK) {
            let out = &mut out[start..channels.min(start + BLOCK)];
            let mut narrow = [0i32; BLOCK];
            let narrow = &mut narrow[..out.len()];
            let mut sums = [0i64; BLOCK];
            let mut rows = 0;
            taps.for_each(|tap| {
                self.0.sum_row(narrow, &tap[start..]);
                rows += 1;
                if rows == NARROW_ROWS {
                    flush(&mut sums, narrow);
                    rows = 0;
                }
            });
            let params = Requantize { zero_point: to.zero_point, clamp };
            if inside < NARROW_ROWS {
                let (offset, multiplier) = ([-correction as i32; BLOCK], [multiplier; BLOCK]);
                let (n, offset) = (out.len(), &offset[..out.len()]);
                let multipliers = RowMultipliers::Float(&multiplier[..n]);
                self.0.requantize_tile(1, narrow, n, offset, multipliers, params, out, n);
                continue;
            }
            flush(&mut sums, narrow);
            for (out, &sum) in out.iter_mut().zip(&sums) {
                let (min, max) = params.clamp;
                *out = requantize_wide(sum - correction, multiplier, params.zero_point, min, max) as u8;
            }
        }
    }
}

/// Moves 32-bit sums to 64-bit ones.
fn flush(sums: &mut [i64], narrow: &mut [i32]) {
    for (sum, narrow) in sums.iter_mut().zip(narrow) {
        *sum += i64::from(std::mem::take(narrow));
    }
}
