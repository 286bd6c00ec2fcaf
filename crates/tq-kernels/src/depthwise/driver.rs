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
use crate::volume::Position;
use crate::{KernelError, Result, Window3d};

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
    window: &'a Window3d,
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
        window: &Window3d,
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
        check_len("window channels", rhs.channels, window.plane.channels)?;
        let sizes = ["window kernel depth", "window kernel height", "window kernel width"];
        for ((what, packed), size) in sizes.into_iter().zip(rhs.kernel).zip(window.kernel()) {
            check_len(what, packed, size)?;
        }
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
            (OutputStage::Dequantize { scale, lhs_scale, addend }, GemmOut::F32 { data, row_stride }) => {
                let stage = DequantizeStage { scale, lhs_scale, addend };
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
        let rhs = self.rhs;
        let mut panel = Panel::new(&self.stage);
        panel.set(&self.stage, start, count, &rhs.sums, &rhs.bias, self.lhs_zero_point);
        let wide = rhs.wide.iter().any(|&c| (start..start + count).contains(&c));
        let interior = self.window.plane.interior_columns();
        let positions = out.len().div_ceil(stride);
        let mut tile = [0i32; TILE];
        let (mut done, mut at) = (0, self.window.position(first));
        while done < positions {
            let out = &mut out[done * stride + start..];
            if wide {
                self.wide_position(at, &panel, start, out);
                self.window.advance(&mut at, 1);
                done += 1;
                continue;
            }
            // Neighbours of a row whose columns all lie in the input move through it in step; others go one by one.
            let run = if interior.contains(&at.x) {
                (interior.end - at.x).min(positions - done).min(TILE / count)
            } else {
                1
            };
            let acc = &mut tile[..run * count];
            acc.fill(0);
            self.accumulate(at, start, run, count, acc);
            self.stage.narrow(&self.row_kernel, run, acc, count, &panel, out, stride);
            self.window.advance(&mut at, run);
            done += run;
        }
    }

    /// Sums the products of `run` positions of a row.
    ///
    /// Taps outside the input hold the code of zero. They add `za * w`, which the offset of the epilogue takes
    /// away again.
    fn accumulate(&self, at: Position, start: usize, run: usize, count: usize, acc: &mut [i32]) {
        let (w, depth, channels) = (&self.window.plane, &self.window.depth, self.rhs.channels);
        let pad_codes = [self.lhs_zero_point as u8; BLOCK];
        let padding = Tap { codes: &pad_codes[..count], step: 0 };
        let step = w.stride.1 * channels;
        let (planes, rows, columns) = (depth.taps(at.z), w.rows(at.y), w.columns(at.x));
        let mut taps = [padding; TAPS];
        let (mut filled, mut done) = (0, 0);
        for (kz, ky) in (0..depth.kernel).flat_map(|kz| (0..w.kernel.0).map(move |ky| (kz, ky))) {
            let in_row = (planes.contains(&kz) && rows.contains(&ky))
                .then(|| ((at.images + depth.element(at.z, kz)) * w.in_h + w.in_row(at.y, ky)) * w.in_w);
            for kx in 0..w.kernel.1 {
                taps[filled] = match in_row {
                    Some(row) if columns.contains(&kx) => {
                        let from = (row + w.in_column(at.x, kx)) * channels + start;
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
    fn wide_position(&self, at: Position, panel: &Panel<S::Factors>, start: usize, out: &mut [S::Out]) {
        let rhs = self.rhs;
        for (c, out) in out.iter_mut().enumerate().take(panel.columns) {
            let mut sum = i64::from(rhs.bias[start + c]);
            self.window.each_tap(at, |tap, element| {
                let a = i64::from(self.input[element * rhs.channels + start + c]);
                let weight = i64::from(rhs.weights[tap * rhs.channels + start + c]);
                sum += (a - i64::from(self.lhs_zero_point)) * weight;
            });
            self.stage.wide(sum, panel, c, out);
        }
    }
}
