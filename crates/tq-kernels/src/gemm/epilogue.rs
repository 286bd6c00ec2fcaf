//! The output stages, applied tile by tile.

use super::MAX_NR;
use crate::row::{Requantize, RowKernel};
use tq_qtypes::requantize::requantize_wide;

/// What the epilogue needs to know about the columns of one panel.
pub(crate) struct Panel {
    /// Columns in use.
    pub(crate) columns: usize,
    /// Added to each accumulator: the bias less the correction for the lhs zero point.
    pub(crate) offset: [i64; MAX_NR],
    /// The same where the channel is proved to fit 32 bits.
    pub(crate) narrow_offset: [i32; MAX_NR],
    /// Multiplier or scale per column.
    pub(crate) factor: [f32; MAX_NR],
}

impl Panel {
    /// Columns `first..first + columns` of a matrix with these sums and biases.
    pub(crate) fn new(
        first: usize,
        columns: usize,
        column_sums: &[i64],
        bias: &[i32],
        lhs_zero_point: i32,
        factors: &[f32],
    ) -> Self {
        let mut panel =
            Self { columns, offset: [0; MAX_NR], narrow_offset: [0; MAX_NR], factor: [0.0; MAX_NR] };
        for c in 0..columns {
            let offset = i64::from(bias[first + c]) - i64::from(lhs_zero_point) * column_sums[first + c];
            panel.offset[c] = offset;
            // Truncated only for wide channels, which do not use it.
            panel.narrow_offset[c] = offset as i32;
            panel.factor[c] = match factors {
                [] => 1.0,
                [one] => *one,
                all => all[first + c],
            };
        }
        panel
    }
}

/// From accumulators to one type of output.
pub(crate) trait Stage: Sync {
    type Out: Copy + Send;

    /// Multiplier or scale, one or one a channel; empty if there is none.
    fn factors(&self) -> &[f32];

    /// Writes `rows` rows of 32-bit accumulators, `acc_stride` apart.
    #[allow(clippy::too_many_arguments, reason = "one tile: two strided matrices and their columns")]
    fn narrow<R: RowKernel>(
        &self,
        row_kernel: &R,
        rows: usize,
        acc: &[i32],
        acc_stride: usize,
        panel: &Panel,
        out: &mut [Self::Out],
        out_stride: usize,
    );

    /// The output of one complete accumulator (offset included).
    fn wide(&self, acc: i64, factor: f32) -> Self::Out;
}

pub(crate) struct RequantizeStage<'a> {
    pub(crate) multiplier: &'a [f32],
    pub(crate) params: Requantize,
}

impl Stage for RequantizeStage<'_> {
    type Out = u8;

    fn factors(&self) -> &[f32] {
        self.multiplier
    }

    fn narrow<R: RowKernel>(
        &self,
        row_kernel: &R,
        rows: usize,
        acc: &[i32],
        acc_stride: usize,
        panel: &Panel,
        out: &mut [u8],
        out_stride: usize,
    ) {
        let n = panel.columns;
        let (offset, multiplier) = (&panel.narrow_offset[..n], &panel.factor[..n]);
        row_kernel.requantize_tile(rows, acc, acc_stride, offset, multiplier, self.params, out, out_stride);
    }

    fn wide(&self, acc: i64, factor: f32) -> u8 {
        let Requantize { zero_point, clamp: (min, max) } = self.params;
        requantize_wide(acc, factor, zero_point, min, max) as u8
    }
}

pub(crate) struct DequantizeStage<'a> {
    pub(crate) scale: &'a [f32],
}

impl Stage for DequantizeStage<'_> {
    type Out = f32;

    fn factors(&self) -> &[f32] {
        self.scale
    }

    fn narrow<R: RowKernel>(
        &self,
        _: &R,
        rows: usize,
        acc: &[i32],
        acc_stride: usize,
        panel: &Panel,
        out: &mut [f32],
        out_stride: usize,
    ) {
        let columns = panel.narrow_offset[..panel.columns].iter().zip(&panel.factor);
        for r in 0..rows {
            let row = out[r * out_stride..].iter_mut().zip(&acc[r * acc_stride..]);
            for ((out, &acc), (&offset, &scale)) in row.zip(columns.clone()) {
                *out = (acc + offset) as f32 * scale;
            }
        }
    }

    fn wide(&self, acc: i64, factor: f32) -> f32 {
        acc as f32 * factor
    }
}

pub(crate) struct AccumulatorStage;

impl Stage for AccumulatorStage {
    type Out = i32;

    fn factors(&self) -> &[f32] {
        &[]
    }

    fn narrow<R: RowKernel>(
        &self,
        _: &R,
        rows: usize,
        acc: &[i32],
        acc_stride: usize,
        panel: &Panel,
        out: &mut [i32],
        out_stride: usize,
    ) {
        for r in 0..rows {
            let row = out[r * out_stride..].iter_mut().zip(&acc[r * acc_stride..]);
            for ((out, &acc), &offset) in row.zip(&panel.narrow_offset[..panel.columns]) {
                *out = acc + offset;
            }
        }
    }

    fn wide(&self, acc: i64, _: f32) -> i32 {
        // `check_run` lets no wide channel come here.
        acc as i32
    }
}
