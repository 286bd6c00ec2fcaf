//! The tiled driver: everything around a microkernel.

use super::{
    AccumulatorStage, DequantizeStage, Epilogue, GemmOut, Lhs, MAX_NR, MAX_TILE, Microkernel, OutputStage,
    PAD, PackedRhs, Panel, QGemm, RequantizeStage, RhsMatrix, Stage, check_run,
};
use crate::Result;
use crate::buffer::{SCRATCH_BYTES, with_scratch};
use crate::error::product;
use crate::parallel::{for_each_run, task_count};
use crate::row::Requantize;

/// Multiplications below which a task is not worth a thread.
const GRAIN: usize = 1024 * 1024;

/// The most lhs rows packed at a time (MC): they stay in the second-level cache while the rhs streams past.
const MAX_ROWS: usize = 96;

/// Elements of K that any kernel can sum in 32 bits: 255 · 128 · this is below 2³¹.
const WIDE_BLOCK: usize = 32 * 1024;

/// [`QGemm`] over the microkernel `K`.
///
/// Loops, from the outside: tasks of rows (of columns, for a single row) over the ambient pool; blocks of rows,
/// packed to scratch; panels of NR columns; tiles of MR rows. A tile's whole K is summed at once, and its
/// epilogue follows while the sums are hot.
#[derive(Debug, Clone, Copy)]
pub struct TiledGemm<K>(pub K);

/// One run: the arguments that no task changes.
struct Job<'a, K: Microkernel, S: Stage> {
    kernel: K,
    lhs: Lhs<'a>,
    rhs: &'a PackedRhs,
    lhs_zero_point: i32,
    stage: S,
    out_stride: usize,
}

impl<K: Microkernel> QGemm for TiledGemm<K> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn pack(&self, rhs: &RhsMatrix) -> Result<PackedRhs> {
        let mut packed = PackedRhs::default();
        self.pack_into(rhs, &mut packed)?;
        Ok(packed)
    }

    fn pack_into(&self, rhs: &RhsMatrix, packed: &mut PackedRhs) -> Result<()> {
        let k_padded = product("padded K", &[rhs.k.div_ceil(K::KU), K::KU])?;
        let bytes = product("packed rhs", &[rhs.n.div_ceil(K::NR), K::NR, k_padded])?;
        let panels = packed.renew(self.name(), rhs, bytes)?;
        if rhs.k > 0 {
            for (n, row) in rhs.data.chunks_exact(rhs.k).enumerate() {
                let panel = &mut panels[n / K::NR * K::NR * k_padded..];
                for (group, weights) in row.chunks(K::KU).enumerate() {
                    panel[(group * K::NR + n % K::NR) * K::KU..][..weights.len()].copy_from_slice(weights);
                }
            }
        }
        Ok(())
    }

    fn run(&self, lhs: Lhs, rhs: &PackedRhs, epilogue: &Epilogue, out: GemmOut) -> Result<()> {
        const {
            assert!(K::MR >= 1 && K::NR >= 1 && K::KU >= 1);
            assert!(K::MR <= MAX_ROWS && K::NR <= MAX_NR && K::MR * K::NR <= MAX_TILE);
        };
        check_run(self.name(), &lhs, rhs, epilogue, &out)?;
        let (kernel, lhs_zero_point) = (self.0, epilogue.lhs_zero_point);
        match (epilogue.stage, out) {
            (OutputStage::Requantize { multiplier, zero_point, clamp }, GemmOut::U8 { data, row_stride }) => {
                let stage = RequantizeStage { multiplier, params: Requantize { zero_point, clamp } };
                Job { kernel, lhs, rhs, lhs_zero_point, stage, out_stride: row_stride }.run(data);
            }
            (OutputStage::Dequantize { scale }, GemmOut::F32 { data, row_stride }) => {
                let stage = DequantizeStage { scale };
                Job { kernel, lhs, rhs, lhs_zero_point, stage, out_stride: row_stride }.run(data);
            }
            (OutputStage::Accumulators, GemmOut::I32 { data, row_stride }) => {
                let stage = AccumulatorStage;
                Job { kernel, lhs, rhs, lhs_zero_point, stage, out_stride: row_stride }.run(data);
            }
            // `check_run` has turned all other pairs away.
            _ => {}
        }
        Ok(())
    }
}

impl<K: Microkernel, S: Stage> Job<'_, K, S> {
    /// Splits the work over the pool. `out` starts at row 0, column 0.
    fn run(&self, out: &mut [S::Out]) {
        let (rows, n, k) = (self.lhs.rows(), self.rhs.n(), self.rhs.k());
        if rows == 0 || n == 0 {
            return;
        }
        let cost = rows.saturating_mul(n).saturating_mul(k.max(1));
        let tasks = task_count(cost, GRAIN);
        if rows == 1 {
            for_each_run(&mut out[..n], 1, K::NR, tasks, |first, out| {
                self.block(0, 1, first, out.len(), out)
            });
            return;
        }
        let out = &mut out[..(rows - 1) * self.out_stride + n];
        // With few tiles a task, even shares are worth more than whole tiles.
        let multiple = if rows.div_ceil(K::MR) < 4 * tasks { 1 } else { K::MR };
        for_each_run(out, self.out_stride, multiple, tasks, |first, out| {
            // The last row of the last run is `n` long, all others are whole strides.
            let count = out.len().div_ceil(self.out_stride);
            self.block(first, count, 0, n, out);
        });
    }

    /// Computes rows `first..first + rows` of columns `column..column + columns`, where `column` starts a panel
    /// and `out` starts at the first row and column.
    fn block(&self, first: usize, rows: usize, column: usize, columns: usize, out: &mut [S::Out]) {
        let k = self.rhs.k();
        let k_padded = k.div_ceil(K::KU) * K::KU;
        if let Lhs::Dense { data, row_stride, .. } = self.lhs
            && k == k_padded
            && let Some(codes) = K::borrow_lhs(&data[first * row_stride..])
        {
            let block_rows = MAX_ROWS / K::MR * K::MR;
            for r in (0..rows).step_by(block_rows) {
                let count = block_rows.min(rows - r);
                let out = &mut out[r * self.out_stride..];
                self.packed_block(&codes[r * row_stride..], row_stride, count, column, columns, out);
            }
            return;
        }
        // An odd number of cache lines from row to row: powers of two would crowd into few cache sets.
        let per_line = 64 / size_of::<K::Lhs>();
        let stride = (k_padded.div_ceil(per_line) | 1) * per_line;
        let fit = SCRATCH_BYTES / (stride * size_of::<K::Lhs>());
        let block_rows = (fit.min(MAX_ROWS) / K::MR).max(1) * K::MR;
        let bytes = block_rows.min(rows) * stride * size_of::<K::Lhs>();
        with_scratch(bytes, |scratch: &mut [K::Lhs]| {
            for r in (0..rows).step_by(block_rows) {
                let count = block_rows.min(rows - r);
                for (i, dst) in scratch.chunks_exact_mut(stride).take(count).enumerate() {
                    self.pack_row(first + r + i, &mut dst[..k_padded]);
                }
                let out = &mut out[r * self.out_stride..];
                self.packed_block(scratch, stride, count, column, columns, out);
            }
        });
    }

    /// Packs row `row` of the lhs, padding with zeros.
    fn pack_row(&self, row: usize, dst: &mut [K::Lhs]) {
        let (codes, padding) = dst.split_at_mut(self.rhs.k());
        padding.fill(K::Lhs::from(0));
        match self.lhs {
            Lhs::Dense { data, row_stride, .. } => {
                self.kernel.pack_lhs(&data[row * row_stride..][..codes.len()], codes);
            }
            Lhs::Indirect { data, offsets, taps, run, pad, .. } => {
                let offsets = &offsets[row * taps..][..taps];
                let mut t = 0;
                while t < taps {
                    let start = offsets[t];
                    // Neighbouring taps are often neighbours in memory: copy them in one piece.
                    let mut end = t + 1;
                    if start == PAD {
                        while end < taps && offsets[end] == PAD {
                            end += 1;
                        }
                        codes[t * run..end * run].fill(K::Lhs::from(pad));
                    } else {
                        while end < taps && offsets[end] == start + (end - t) * run {
                            end += 1;
                        }
                        let len = (end - t) * run;
                        self.kernel.pack_lhs(&data[start..][..len], &mut codes[t * run..][..len]);
                    }
                    t = end;
                }
            }
        }
    }

    /// Multiplies packed rows with the panels of the given columns.
    fn packed_block(
        &self,
        lhs: &[K::Lhs],
        stride: usize,
        rows: usize,
        column: usize,
        columns: usize,
        out: &mut [S::Out],
    ) {
        let rhs = self.rhs;
        let k = rhs.k().div_ceil(K::KU) * K::KU;
        let mut row_sums = [0i64; MAX_ROWS];
        if !rhs.zero_points().is_empty() {
            for (r, sum) in row_sums.iter_mut().enumerate().take(rows) {
                *sum = lhs[r * stride..][..k].iter().map(|&a| i64::from(a.into())).sum();
            }
        }
        let mut tile = [0i32; MAX_TILE];
        for first in (column..column + columns).step_by(K::NR) {
            let count = K::NR.min(column + columns - first);
            let weights = &rhs.panels()[first * k..][..K::NR * k];
            let factors = self.stage.factors();
            let panel = Panel::new(first, count, rhs.column_sums(), rhs.bias(), self.lhs_zero_point, factors);
            let wide = holds_any(rhs.wide_channels(), first, count);
            for r in (0..rows).step_by(K::MR) {
                let tile_rows = K::MR.min(rows - r);
                let lhs = &lhs[r * stride..][..(tile_rows - 1) * stride + k];
                let out = &mut out[r * self.out_stride + first - column..];
                if wide {
                    self.wide_tile(tile_rows, lhs, stride, weights, &row_sums[r..], &panel, first, out);
                    continue;
                }
                self.kernel.tile(tile_rows, k, lhs, stride, weights, &mut tile);
                if !rhs.zero_points().is_empty() {
                    let zero_points = &rhs.zero_points()[first..][..count];
                    for (row, &sum) in tile.chunks_exact_mut(K::NR).zip(&row_sums[r..][..tile_rows]) {
                        // Exact: packing proved the product and the difference to fit.
                        for (acc, &zero_point) in row.iter_mut().zip(zero_points) {
                            *acc -= zero_point * sum as i32;
                        }
                    }
                }
                self.stage.narrow(&self.kernel, tile_rows, &tile, K::NR, &panel, out, self.out_stride);
            }
        }
    }

    /// One tile with 64-bit sums: K in blocks that fit 32 bits.
    #[allow(clippy::too_many_arguments, reason = "one tile with everything known about it")]
    fn wide_tile(
        &self,
        rows: usize,
        lhs: &[K::Lhs],
        stride: usize,
        weights: &[i8],
        row_sums: &[i64],
        panel: &Panel,
        first: usize,
        out: &mut [S::Out],
    ) {
        let k = weights.len() / K::NR;
        let block = WIDE_BLOCK / K::KU * K::KU;
        let mut tile = [0i32; MAX_TILE];
        let mut sums = [0i64; MAX_TILE];
        for start in (0..k).step_by(block) {
            let len = block.min(k - start);
            self.kernel.tile(rows, len, &lhs[start..], stride, &weights[start * K::NR..], &mut tile);
            for (sum, &acc) in sums.iter_mut().zip(&tile[..rows * K::NR]) {
                *sum += i64::from(acc);
            }
        }
        for r in 0..rows {
            for c in 0..panel.columns {
                let zero_point = self.rhs.zero_points().get(first + c).copied().unwrap_or(0);
                let correction = panel.offset[c] - i64::from(zero_point) * row_sums[r];
                out[r * self.out_stride + c] =
                    self.stage.wide(sums[r * K::NR + c] + correction, panel.factor[c]);
            }
        }
    }
}

/// True when the ascending `channels` hold one of `first..first + count`.
fn holds_any(channels: &[usize], first: usize, count: usize) -> bool {
    let from = channels.partition_point(|&c| c < first);
    channels.get(from).is_some_and(|&c| c < first + count)
}
