//! Depthwise convolution of channels-last images, one output channel per input channel.

use crate::error::{check_len, check_zero_point, product};
use crate::gemm::{
    AccumulatorStage, ChannelSums, DequantizeStage, Epilogue, GemmOut, MAX_NR, OutputStage, Panel,
    RequantizeStage, Stage, check_epilogue, is_wide,
};
use crate::parallel::{for_each_run, task_count};
use crate::row::{Requantize, RowKernel, Tap};
use crate::{KernelError, Result, Window2d};
use std::fmt::Debug;

/// Multiplications below which a task is not worth a thread.
const GRAIN: usize = 256 * 1024;

/// Channels done at a time: their accumulators and parameters live on the stack.
const BLOCK: usize = MAX_NR;

/// Sums held at a time: a run of positions by a block of channels.
const TILE: usize = 1024;

/// Taps handed to the inner loop at a time.
const TAPS: usize = 32;

/// Weights of a depthwise convolution.
#[derive(Debug, Clone, Copy)]
pub struct DepthwiseRhs<'a> {
    /// `[channels][kernel height * kernel width]`, as in ONNX.
    pub data: &'a [i8],
    /// Channels, in and out.
    pub channels: usize,
    /// Height and width of the kernel.
    pub kernel: (usize, usize),
    /// One zero point for all channels, or one each; -128..=127, normally 0.
    pub zero_point: &'a [i32],
    /// One accumulator-scaled bias a channel.
    pub bias: Option<&'a [i32]>,
}

/// Weights as `[taps][channels]`, less their zero points.
#[derive(Debug, Clone)]
pub struct PackedDepthwise {
    kernel_name: &'static str,
    kernel: (usize, usize),
    channels: usize,
    weights: Vec<i16>,
    sums: Vec<i64>,
    bias: Vec<i32>,
    wide: Vec<usize>,
}

impl PackedDepthwise {
    /// Checks and packs; `kernel_name` is the kernel that may run them.
    ///
    /// # Errors
    /// Lengths that disagree; zero points outside -128..=127.
    pub fn new(kernel_name: &'static str, rhs: &DepthwiseRhs) -> Result<Self> {
        let (channels, taps) = (rhs.channels, product("depthwise kernel", &[rhs.kernel.0, rhs.kernel.1])?);
        check_len("depthwise weights", product("depthwise weights", &[channels, taps])?, rhs.data.len())?;
        if rhs.zero_point.len() != 1 {
            check_len("rhs zero points", channels, rhs.zero_point.len())?;
        }
        for &zero_point in rhs.zero_point {
            check_zero_point("rhs", zero_point, -128, 127)?;
        }
        if let Some(bias) = rhs.bias {
            check_len("bias", channels, bias.len())?;
        }
        let bias = rhs.bias.map_or_else(|| vec![0; channels], <[i32]>::to_vec);
        let mut weights = vec![0i16; rhs.data.len()];
        let (mut all_sums, mut wide) = (Vec::with_capacity(channels), Vec::new());
        for c in 0..channels {
            let zero_point = if rhs.zero_point.len() == 1 { rhs.zero_point[0] } else { rhs.zero_point[c] };
            let row = &rhs.data[c * taps..][..taps];
            for (t, &w) in row.iter().enumerate() {
                weights[t * channels + c] = i16::from(w) - zero_point as i16;
            }
            let sums = ChannelSums::of(row.iter().map(|&w| i64::from(w) - i64::from(zero_point)));
            all_sums.push(sums.total());
            if is_wide(sums, taps, 0, bias[c]) {
                wide.push(c);
            }
        }
        Ok(Self { kernel_name, kernel: rhs.kernel, channels, weights, sums: all_sums, bias, wide })
    }

    /// Name of the kernel that packed.
    #[must_use]
    pub fn kernel_name(&self) -> &'static str {
        self.kernel_name
    }

    /// Channels, in and out.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// `[taps][channels]`, each less its zero point: -255..=255.
    #[must_use]
    pub fn weights(&self) -> &[i16] {
        &self.weights
    }

    /// Channels that need 64-bit accumulators.
    #[must_use]
    pub fn wide_channels(&self) -> &[usize] {
        &self.wide
    }
}

/// Depthwise convolution: pack once, run many times.
///
/// `acc[y][x][c] = Σ (input - lhs_zero_point) * (w - rhs_zero_point[c]) + bias[c]` over the taps inside the image
/// (padding is real zero), then one [`OutputStage`].
pub trait QDepthwise: Send + Sync + Debug {
    /// Name of the kernel.
    fn name(&self) -> &'static str;

    /// Brings weights into this kernel's layout.
    ///
    /// # Errors
    /// Lengths that disagree; zero points outside -128..=127.
    fn pack(&self, rhs: &DepthwiseRhs) -> Result<PackedDepthwise>;

    /// Convolves. The output has one row of `channels` per output position.
    ///
    /// # Errors
    /// As [`crate::QGemm::run`], and [`KernelError::Length`] when the window and the weights disagree.
    fn run(
        &self,
        window: &Window2d,
        input: &[u8],
        rhs: &PackedDepthwise,
        epilogue: &Epilogue,
        out: GemmOut,
    ) -> Result<()>;
}

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
        PackedDepthwise::new(self.name(), rhs)
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
                let stage = RequantizeStage { multiplier, params: Requantize { zero_point, clamp } };
                Job { row_kernel, window, input, rhs, lhs_zero_point, stage, out_stride: row_stride }
                    .run(rows, data);
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
        let panel = Panel::new(start, count, &rhs.sums, &rhs.bias, self.lhs_zero_point, self.stage.factors());
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
        panel: &Panel,
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
            *out = self.stage.wide(sum, panel.factor[c]);
        }
    }
}
