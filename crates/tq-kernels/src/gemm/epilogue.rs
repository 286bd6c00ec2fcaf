//! The output stages, applied tile by tile.

use super::MAX_NR;
use crate::row::{Requantize, RowKernel, RowMultipliers};
use std::fmt::Debug;
use tq_qtypes::fixed_point::FixedPointMultiplier;
use tq_qtypes::requantize::requantize_wide;

/// What the epilogue needs to know about the columns of one panel.
pub(crate) struct Panel<P> {
    /// Columns in use.
    pub(crate) columns: usize,
    /// Added to each accumulator: the bias less the correction for the lhs zero point.
    pub(crate) offset: [i64; MAX_NR],
    /// The same where the channel is proved to fit 32 bits.
    pub(crate) narrow_offset: [i32; MAX_NR],
    /// What each column is multiplied by.
    pub(crate) factors: P,
}

impl<P> Panel<P> {
    /// Columns `first..first + columns` of a matrix with these sums and biases, and with these columns' own `factors`.
    pub(crate) fn new(
        first: usize,
        columns: usize,
        column_sums: &[i64],
        bias: &[i32],
        lhs_zero_point: i32,
        factors: P,
    ) -> Self {
        let mut panel = Self { columns, offset: [0; MAX_NR], narrow_offset: [0; MAX_NR], factors };
        for c in 0..columns {
            let offset = i64::from(bias[first + c]) - i64::from(lhs_zero_point) * column_sums[first + c];
            panel.offset[c] = offset;
            // Truncated only for wide channels, which do not use it.
            panel.narrow_offset[c] = offset as i32;
        }
        panel
    }
}

/// From accumulators to one type of output.
pub(crate) trait Stage: Sync {
    type Out: Copy + Send;
    /// What the columns of a panel are multiplied by.
    type Factors;

    /// Those of `columns` columns from `first` on.
    fn factors(&self, first: usize, columns: usize) -> Self::Factors;

    /// Writes `rows` rows of 32-bit accumulators, `acc_stride` apart.
    #[allow(clippy::too_many_arguments, reason = "one tile: two strided matrices and their columns")]
    fn narrow<R: RowKernel>(
        &self,
        row_kernel: &R,
        rows: usize,
        acc: &[i32],
        acc_stride: usize,
        panel: &Panel<Self::Factors>,
        out: &mut [Self::Out],
        out_stride: usize,
    );

    /// The output of one complete accumulator (offset included) of column `c` of a panel.
    fn wide(&self, acc: i64, panel: &Panel<Self::Factors>, c: usize) -> Self::Out;
}

/// The values of a panel's columns: one for all, or one each. The rest is `T::default()`.
fn of_columns<T: Copy + Default>(values: &[T], first: usize, columns: usize) -> [T; MAX_NR] {
    let mut out = [T::default(); MAX_NR];
    match values {
        [one] => out[..columns].fill(*one),
        all => out[..columns].copy_from_slice(&all[first..][..columns]),
    }
    out
}

/// One multiplier of a requantization.
pub(crate) trait Factor: Copy + Sync + Debug {
    /// Those of a panel, as loops over rows take them.
    type Columns;

    /// See [`of_columns`].
    fn of_columns(values: &[Self], first: usize, columns: usize) -> Self::Columns;

    /// The first `columns` of them.
    fn row(columns: &Self::Columns, count: usize) -> RowMultipliers<'_>;

    /// The code of an accumulator that may need 64 bits, in column `c`.
    fn wide(columns: &Self::Columns, c: usize, acc: i64, params: Requantize) -> i32;
}

impl Factor for f32 {
    type Columns = [f32; MAX_NR];

    fn of_columns(values: &[f32], first: usize, columns: usize) -> [f32; MAX_NR] {
        of_columns(values, first, columns)
    }

    fn row(columns: &[f32; MAX_NR], count: usize) -> RowMultipliers<'_> {
        RowMultipliers::Float(&columns[..count])
    }

    fn wide(columns: &[f32; MAX_NR], c: usize, acc: i64, params: Requantize) -> i32 {
        requantize_wide(acc, columns[c], params.zero_point, params.clamp.0, params.clamp.1)
    }
}

/// The parts of fixed-point multipliers.
pub(crate) struct FixedColumns {
    whole: [FixedPointMultiplier; MAX_NR],
    multiplier: [i32; MAX_NR],
    shift: [i32; MAX_NR],
}

impl Factor for FixedPointMultiplier {
    type Columns = FixedColumns;

    fn of_columns(values: &[Self], first: usize, columns: usize) -> FixedColumns {
        let whole = of_columns(values, first, columns);
        FixedColumns { whole, multiplier: whole.map(|m| m.multiplier()), shift: whole.map(|m| m.shift()) }
    }

    fn row(columns: &FixedColumns, count: usize) -> RowMultipliers<'_> {
        RowMultipliers::FixedPoint {
            multiplier: &columns.multiplier[..count],
            shift: &columns.shift[..count],
        }
    }

    fn wide(columns: &FixedColumns, c: usize, acc: i64, params: Requantize) -> i32 {
        columns.whole[c].requantize_wide(acc, params.zero_point, params.clamp.0, params.clamp.1)
    }
}

pub(crate) struct RequantizeStage<'a, F> {
    pub(crate) multiplier: &'a [F],
    pub(crate) params: Requantize,
}

impl<F: Factor> Stage for RequantizeStage<'_, F> {
    type Out = u8;
    type Factors = F::Columns;

    fn factors(&self, first: usize, columns: usize) -> F::Columns {
        F::of_columns(self.multiplier, first, columns)
    }

    fn narrow<R: RowKernel>(
        &self,
        row_kernel: &R,
        rows: usize,
        acc: &[i32],
        acc_stride: usize,
        panel: &Panel<F::Columns>,
        out: &mut [u8],
        out_stride: usize,
    ) {
        let n = panel.columns;
        let (offset, multipliers) = (&panel.narrow_offset[..n], F::row(&panel.factors, n));
        row_kernel.requantize_tile(rows, acc, acc_stride, offset, multipliers, self.params, out, out_stride);
    }

    fn wide(&self, acc: i64, panel: &Panel<F::Columns>, c: usize) -> u8 {
        F::wide(&panel.factors, c, acc, self.params) as u8
    }
}

pub(crate) struct DequantizeStage<'a> {
    pub(crate) scale: &'a [f32],
}

impl Stage for DequantizeStage<'_> {
    type Out = f32;
    type Factors = [f32; MAX_NR];

    fn factors(&self, first: usize, columns: usize) -> [f32; MAX_NR] {
        of_columns(self.scale, first, columns)
    }

    fn narrow<R: RowKernel>(
        &self,
        _: &R,
        rows: usize,
        acc: &[i32],
        acc_stride: usize,
        panel: &Panel<[f32; MAX_NR]>,
        out: &mut [f32],
        out_stride: usize,
    ) {
        let columns = panel.narrow_offset[..panel.columns].iter().zip(&panel.factors);
        for r in 0..rows {
            let row = out[r * out_stride..].iter_mut().zip(&acc[r * acc_stride..]);
            for ((out, &acc), (&offset, &scale)) in row.zip(columns.clone()) {
                *out = (acc + offset) as f32 * scale;
            }
        }
    }

    fn wide(&self, acc: i64, panel: &Panel<[f32; MAX_NR]>, c: usize) -> f32 {
        acc as f32 * panel.factors[c]
    }
}

pub(crate) struct AccumulatorStage;

impl Stage for AccumulatorStage {
    type Out = i32;
    type Factors = ();

    fn factors(&self, _: usize, _: usize) {}

    fn narrow<R: RowKernel>(
        &self,
        _: &R,
        rows: usize,
        acc: &[i32],
        acc_stride: usize,
        panel: &Panel<()>,
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

    fn wide(&self, acc: i64, _: &Panel<()>, _: usize) -> i32 {
        // `check_run` lets no wide channel come here.
        acc as i32
    }
}
