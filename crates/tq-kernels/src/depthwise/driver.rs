//! The driver: everything around the inner loops.

use super::codes::CodesJob;
use super::{DepthwiseRhs, PackedDepthwise, QDepthwise};
use crate::error::check_len;
use crate::gemm::{
    AccumulatorStage, DequantizeStage, Epilogue, GemmOut, MAX_NR, Multipliers, OutputStage, Panel,
    RequantizeStage, Stage, check_epilogue,
};
use crate::parallel::{for_each_run, task_count};
use crate::row::{Requantize, RowKernel, Tap};
use crate::{KernelError, Result, Window2d};

/// Multiplications below which a task is not worth a thread.
pub(super) const GRAIN: usize = 96 * 1024;

/// Channels done at a time: their accumulators and parameters live on the stack.
const BLOCK: usize = MAX_NR;

/// Sums held at a time: a run of positions by a block of channels.
const TILE: usize = 1024;

/// Taps handed to the inner loop at a time.
const TAPS: usize = 32;

/// [`QDepthwise`] over the inner loops of `R`.
#[derive(Debug, Clone, Copy)]
pub struct DepthwiseDriver<R>(pub R);

struct Job<'a, R, S> {
    row_kernel: R,
    window: &'a Window2d,
    input: &'a [u8],
    rhs: &'a PackedDepthwise,
    lhs_zero_point: i32,
    stage: S,
    out_stride: usize,
}

impl<R: RowKernel> QDepthwise for DepthwiseDriver<R> {
    fn name(&self) -> &'static str {
        self.0.row_names().depthwise
    }

    fn pack(&self, rhs: &DepthwiseRhs) -> Result<PackedDepthwise> {
        PackedDepthwise::new(&self.0, rhs)
    }

    fn run(
        &self,
        window: &Window2d,
        input: &[u8],
        rhs: &PackedDepthwise,
        epilogue: &Epilogue,
        out: GemmOut,
    ) -> Result<()> {
        if rhs.kernel_name != self.name() {
            return Err(KernelError::KernelMismatch { packed: rhs.kernel_name, running: self.name() });
        }
        window.validate()?;
        window.check_input(input.len())?;
        check_len("window channels", rhs.channels, window.channels)?;
        check_len("window kernel height", rhs.kernel.0, window.kernel.0)?;
        check_len("window kernel width", rhs.kernel.1, window.kernel.1)?;
        let rows = window.out_rows()?;
        check_epilogue(epilogue, rhs.channels, rhs.wide.first().copied(), rows, &out)?;
        let (row_kernel, lhs_zero_point) = (self.0, epilogue.lhs_zero_point);
        match (epilogue.stage, out) {
            (OutputStage::Requantize { multiplier, zero_point, clamp }, GemmOut::U8 { data, row_stride }) => {
                let params = Requantize { zero_point, clamp };
                if !rhs.own.is_empty() && multiplier.are_below_one() {
                    let job = CodesJob { row_kernel, window, input, rhs, lhs_zero_point, multiplier, params };
                    job.run(rows, data, row_stride);
                    return Ok(());
                }
                match multiplier {
                    Multipliers::Float(multiplier) => {
                        let stage = RequantizeStage { multiplier, params };
                        Job { row_kernel, window, input, rhs, lhs_zero_point, stage, out_stride: row_stride }
                            .run(rows, data);
                    }
                    Multipliers::FixedPoint(multiplier) => {
                        let stage = RequantizeStage { multiplier, params };
                        Job { row_kernel, window, input, rhs, lhs_zero_point, stage, out_stride: row_stride }
                            .run(rows, data);
                    }
                }
            }
            (OutputStage::Dequantize { scale }, GemmOut::F32 { data, row_stride }) => {
                let stage = DequantizeStage { scale };
                Job { row_kernel, window, input, rhs, lhs_zero_point, stage, out_stride: row_stride }
                    .run(rows, data);
            }
            (OutputStage::Accumulators, GemmOut::I32 { data, row_stride }) => {
                let stage = AccumulatorStage;
                Job { row_kernel, window, input, rhs, lhs_zero_point, stage, out_stride: row_stride }
                    .run(rows, data);
            }
            // `check_epilogue` has turned all other pairs away.
            _ => {}
        }
        Ok(())
    }
}

impl<R: RowKernel, S: Stage> Job<'_, R, S> {
    fn run(&self, rows: usize, out: &mut [S::Out]) {
        let channels = self.rhs.channels;
        if rows == 0 || channels == 0 {
            return;
        }
        // A single row may have any stride: nothing follows it.
        let stride = if rows == 1 { channels } else { self.out_stride };
        let cost = rows.saturating_mul(channels).saturating_mul(self.window.taps());
        let out = &mut out[..(rows - 1) * stride + channels];
        for_each_run(out, stride, 1, task_count(cost, GRAIN), |first, out| {
            for start in (0..channels).step_by(BLOCK) {
                self.channel_block(first, start, BLOCK.min(channels - start), stride, out);
            }
        });
    }

    /// All positions of `out`, which starts at position `first`, for channels `start..start + count`.
    fn channel_block(&self, first: usize, start: usize, count: usize, stride: usize, out: &mut [S::Out]) {
        let (w, rhs) = (self.window, self.rhs);
        let mut panel = Panel::new(&self.stage);
        panel.set(&self.stage, start, count, &rhs.sums, &rhs.bias, self.lhs_zero_point);
        let wide = rhs.wide.iter().any(|&c| (start..start + count).contains(&c));
        let interior = w.interior_columns();
        let positions = out.len().div_ceil(stride);
        let mut tile = [0i32; TILE];
        let mut done = 0;
        while done < positions {
            let position = first + done;
            let (x, y) = (position % w.out_w, position / w.out_w % w.out_h);
            let image = position / (w.out_w * w.out_h) * w.in_h;
            let out = &mut out[done * stride + start..];
            if wide {
                self.wide_position(image, y, x, &panel, start, out);
                done += 1;
                continue;
            }
            // Neighbours whose taps all lie in the image move through it in step; others go one by one.
            let run = if interior.contains(&x) {
                (interior.end - x).min(positions - done).min(TILE / count)
            } else {
                1
            };
            let acc = &mut tile[..run * count];
            acc.fill(0);
            self.accumulate(image, y, x, start, run, count, acc);
            self.stage.narrow(&self.row_kernel, run, acc, count, &panel, out, stride);
            done += run;
        }
    }

    /// Sums the products of `run` positions of a row.
    ///
    /// Taps outside the image hold the code of zero. They add `za * w`, which the offset of the epilogue takes
    /// away again.
    #[allow(clippy::too_many_arguments, reason = "one tile: where it is and how large it is")]
    fn accumulate(
        &self,
        image: usize,
        y: usize,
        x: usize,
        start: usize,
        run: usize,
        count: usize,
        acc: &mut [i32],
    ) {
        let (w, channels) = (self.window, self.rhs.channels);
        let pad_codes = [self.lhs_zero_point as u8; BLOCK];
        let padding = Tap { codes: &pad_codes[..count], step: 0 };
        let step = w.stride.1 * channels;
        let (rows, columns) = (w.rows(y), w.columns(x));
        let mut taps = [padding; TAPS];
        let (mut filled, mut done) = (0, 0);
        for ky in 0..w.kernel.0 {
            let in_row = rows.contains(&ky).then(|| (image + w.in_row(y, ky)) * w.in_w);
            for kx in 0..w.kernel.1 {
                taps[filled] = match in_row {
                    Some(row) if columns.contains(&kx) => {
                        let from = (row + w.in_column(x, kx)) * channels + start;
                        Tap { codes: &self.input[from..][..(run - 1) * step + count], step }
                    }
                    _ => padding,
                };
                filled += 1;
                if filled == TAPS {
                    let weights = &self.rhs.weights[done * channels + start..];
                    self.row_kernel.depthwise(run, count, &taps, weights, channels, acc);
                    done += TAPS;
                    filled = 0;
                }
            }
        }
        if filled > 0 {
            let weights = &self.rhs.weights[done * channels + start..];
            self.row_kernel.depthwise(run, count, &taps[..filled], weights, channels, acc);
        }
    }

    /// One position with 64-bit sums.
    fn wide_position(
        &self,
        image: usize,
        y: usize,
        x: usize,
        panel: &Panel<S::Factors>,
        start: usize,
        out: &mut [S::Out],
    ) {
        let (w, rhs) = (self.window, self.rhs);
        for (c, out) in out.iter_mut().enumerate().take(panel.columns) {
            let mut sum = i64::from(rhs.bias[start + c]);
            for ky in w.rows(y) {
                for kx in w.columns(x) {
                    let pixel = (image + w.in_row(y, ky)) * w.in_w + w.in_column(x, kx);
                    let a = i64::from(self.input[pixel * rhs.channels + start + c]);
                    let tap = ky * w.kernel.1 + kx;
                    let weight = i64::from(rhs.weights[tap * rhs.channels + start + c]);
                    sum += (a - i64::from(self.lhs_zero_point)) * weight;
                }
            }
            *out = self.stage.wide(sum, panel, c);
        }
    }
}
