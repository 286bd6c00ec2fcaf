//! The output stages, applied tile by tile.

use super::MAX_NR;
use crate::row::{Addend, Requantize, RowKernel, RowMultipliers};
use std::fmt::Debug;
use tq_qtypes::fixed_point::FixedPointMultiplier;
use tq_qtypes::requantize::requantize_wide;

/// What the epilogue needs to know about the columns of one panel. Begins on a cache line, so that no vector of it lies across two.
#[repr(C, align(64))]
pub(crate) struct Panel<P> {
    /// Added to each accumulator, the bias less the correction for the lhs zero point: of channels that are proved to fit 32 bits. Of
    /// others it is the low 32 bits, which nobody reads.
    pub(crate) offset: [i32; MAX_NR],
    /// What each column is multiplied by.
    pub(crate) factors: P,
    /// Columns in use.
    pub(crate) columns: usize,
}

impl<P> Panel<P> {
    /// For the panels of a stage, of no columns yet.
    pub(crate) fn new(stage: &impl Stage<Factors = P>) -> Self {
        Self { offset: [0; MAX_NR], factors: stage.factors(), columns: 0 }
    }

    /// Becomes that of columns `first..first + columns` of a matrix with these sums and biases. What stood in others stays.
    pub(crate) fn set(
        &mut self,
        stage: &impl Stage<Factors = P>,
        first: usize,
        columns: usize,
        column_sums: &[i64],
        bias: &[i32],
        lhs_zero_point: i32,
    ) {
        self.columns = columns;
        stage.set_factors(first, columns, &mut self.factors);
        let sums = column_sums[first..][..columns].iter().zip(&bias[first..][..columns]);
        for ((sum, bias), offset) in sums.zip(&mut self.offset) {
            // Wrapping is exact modulo 2³²: channels proved to fit 32 bits get the true value, by the multiplication that vectors have.
            *offset = bias.wrapping_sub(lhs_zero_point.wrapping_mul(*sum as i32));
        }
    }
}

/// From accumulators to one type of output.
pub(crate) trait Stage: Sync {
    type Out: Copy + Send;
    /// What the columns of a panel are multiplied by.
    type Factors;

    /// Those of no columns.
    fn factors(&self) -> Self::Factors;

    /// Makes them those of `columns` columns from `first` on. What stood in others stays.
    fn set_factors(&self, first: usize, columns: usize, factors: &mut Self::Factors);

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

    /// Writes the output of one complete accumulator (offset included) of column `c` of a panel.
    fn wide(&self, acc: i64, panel: &Panel<Self::Factors>, c: usize, out: &mut Self::Out);
}

/// Puts the values of a panel's columns, one for all or one each, in the first places of `out`.
fn set_columns<T: Copy>(values: &[T], first: usize, out: &mut [T]) {
    match values {
        [one] => out.fill(*one),
        all => out.copy_from_slice(&all[first..][..out.len()]),
    }
}

/// One multiplier of a requantization.
pub(crate) trait Factor: Copy + Sync + Debug {
    /// Those of a panel, as loops over rows take them.
    type Columns;

    /// Those of no columns.
    fn no_columns() -> Self::Columns;

    /// See [`set_columns`].
    fn set_columns(values: &[Self], first: usize, count: usize, columns: &mut Self::Columns);

    /// The first `columns` of them.
    fn row(columns: &Self::Columns, count: usize) -> RowMultipliers<'_>;

    /// The code of an accumulator that may need 64 bits, in column `c`.
    fn wide(columns: &Self::Columns, c: usize, acc: i64, params: Requantize) -> i32;
}

impl Factor for f32 {
    type Columns = [f32; MAX_NR];

    fn no_columns() -> [f32; MAX_NR] {
        [0.0; MAX_NR]
    }

    fn set_columns(values: &[f32], first: usize, count: usize, columns: &mut [f32; MAX_NR]) {
        set_columns(values, first, &mut columns[..count]);
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

    fn no_columns() -> FixedColumns {
        FixedColumns {
            whole: [FixedPointMultiplier::default(); MAX_NR],
            multiplier: [0; MAX_NR],
            shift: [0; MAX_NR],
        }
    }

    fn set_columns(values: &[Self], first: usize, count: usize, columns: &mut FixedColumns) {
        let FixedColumns { whole, multiplier, shift } = columns;
        set_columns(values, first, &mut whole[..count]);
        for ((whole, multiplier), shift) in whole[..count].iter().zip(multiplier).zip(shift) {
            (*multiplier, *shift) = (whole.multiplier(), whole.shift());
        }
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

    fn factors(&self) -> F::Columns {
        F::no_columns()
    }

    fn set_factors(&self, first: usize, columns: usize, factors: &mut F::Columns) {
        F::set_columns(self.multiplier, first, columns, factors);
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
        let (offset, multipliers) = (&panel.offset[..n], F::row(&panel.factors, n));
        row_kernel.requantize_tile(rows, acc, acc_stride, offset, multipliers, self.params, out, out_stride);
    }

    fn wide(&self, acc: i64, panel: &Panel<F::Columns>, c: usize, out: &mut u8) {
        *out = F::wide(&panel.factors, c, acc, self.params) as u8;
    }
}

pub(crate) struct DequantizeStage<'a> {
    pub(crate) scale: &'a [f32],
    pub(crate) lhs_scale: f32,
    pub(crate) addend: Addend<'a>,
}

/// What the columns of a panel of real outputs are multiplied by, and what is added to them.
pub(crate) struct RealColumns {
    scale: [f32; MAX_NR],
    addend: [f32; MAX_NR],
}

impl Stage for DequantizeStage<'_> {
    type Out = f32;
    type Factors = RealColumns;

    fn factors(&self) -> RealColumns {
        RealColumns { scale: [0.0; MAX_NR], addend: [0.0; MAX_NR] }
    }

    fn set_factors(&self, first: usize, columns: usize, factors: &mut RealColumns) {
        let scale = &mut factors.scale[..columns];
        set_columns(self.scale, first, scale);
        scale.iter_mut().for_each(|scale| *scale *= self.lhs_scale);
        if let Addend::Columns(bias) = self.addend {
            factors.addend[..columns].copy_from_slice(&bias[first..][..columns]);
        }
    }

    fn narrow<R: RowKernel>(
        &self,
        row_kernel: &R,
        rows: usize,
        acc: &[i32],
        acc_stride: usize,
        panel: &Panel<RealColumns>,
        out: &mut [f32],
        out_stride: usize,
    ) {
        let n = panel.columns;
        let (offset, scale) = (&panel.offset[..n], &panel.factors.scale[..n]);
        let addend = match self.addend {
            Addend::Columns(_) => Addend::Columns(&panel.factors.addend[..n]),
            other => other,
        };
        row_kernel.dequantize_tile(rows, acc, acc_stride, offset, scale, addend, out, out_stride);
    }

    fn wide(&self, acc: i64, panel: &Panel<RealColumns>, c: usize, out: &mut f32) {
        let product = acc as f32 * panel.factors.scale[c];
        *out = match self.addend {
            Addend::None => product,
            Addend::Columns(_) => product + panel.factors.addend[c],
            Addend::Output => product + *out,
        };
    }
}

pub(crate) struct AccumulatorStage;

impl Stage for AccumulatorStage {
    type Out = i32;
    type Factors = ();

    fn factors(&self) {}

    fn set_factors(&self, _: usize, _: usize, (): &mut ()) {}

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
            for ((out, &acc), &offset) in row.zip(&panel.offset[..panel.columns]) {
                *out = acc + offset;
            }
        }
    }

    fn wide(&self, acc: i64, _: &Panel<()>, _: usize, out: &mut i32) {
        // `check_run` lets no wide channel come here.
        *out = acc as i32;
    }
}
