//! The tiled driver: everything around a microkernel.

use super::{
    AccumulatorStage, Depths, DequantizeStage, Effort, Epilogue, GemmOut, Lhs, LhsRows, MAX_NR, MAX_SUMS,
    MAX_TILE, Microkernel, Multipliers, OutputStage, PackedRhs, Panel, QGemm, RequantizeStage, RhsColumns,
    RhsMatrix, RhsPanel, Stage, check_run,
    rows::{MAX_ROWS, Ranges},
};
use crate::buffer::{SCRATCH_BYTES, with_scratch};
use crate::error::product;
use crate::parallel::{for_each_run, task_count};
use crate::row::Requantize;
use crate::runs;
use crate::{KernelError, Result};
use std::ops::Range;

/// Multiplications below which a task is not worth a thread: they take 5 microseconds with AVX2. Waking a thread takes longer, but
/// until it comes the caller goes on with the work itself, and one that has work in every layer does not fall asleep between them.
const GRAIN: usize = 512 * 1024;

/// Elements of K that any kernel can sum in 32 bits: 255 · 128 · this is below 2³¹.
const WIDE_BLOCK: usize = 32 * 1024;

/// The longest rows that are moved: longer ones have more to copy than they gain.
const MOVED_K: usize = 1024;

/// What sums take of a thread's scratch. It begins on a cache line, as no place on the stack does by itself: vectors of sums that lie
/// across two lines take two accesses, in some builds and not in others.
const SUMS_BYTES: usize = MAX_SUMS * size_of::<i32>();

/// Bytes of a panel of columns of `k` weights.
fn panel_bytes<K: Microkernel>(k: usize) -> Result<usize> {
    let k = product("padded K", &[k.div_ceil(K::KU), K::KU])?;
    K::panel_bytes(k).ok_or(KernelError::SizeOverflow { what: "packed rhs" })
}

/// Packs `rhs` for `kernel`, panel by panel.
fn pack<K: Microkernel>(kernel: K, rhs: &RhsMatrix, effort: Effort, packed: &mut PackedRhs) -> Result<()> {
    let panel = panel_bytes::<K>(rhs.k)?;
    let bytes = product("packed rhs", &[rhs.n.div_ceil(K::NR), panel])?;
    packed.renew(kernel.name(), rhs, bytes, |panels| {
        let columns = rhs.data.chunks((rhs.k * K::NR).max(1));
        let panels = panels.chunks_exact_mut(panel.max(1));
        let pack = |(data, panel)| kernel.pack_panel(RhsColumns { data, k: rhs.k }, effort, panel);
        columns.zip(panels).map(pack).fold(u8::MAX, u8::min)
    })
}

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
        pack(self.0, rhs, Effort::Most, &mut packed)?;
        Ok(packed)
    }

    fn pack_into(&self, rhs: &RhsMatrix, packed: &mut PackedRhs) -> Result<()> {
        pack(self.0, rhs, Effort::Least, packed)
    }

    fn depths(&self, packed: &PackedRhs, max: u8) -> Depths {
        if packed.kernel() != self.name() {
            return Depths::default();
        }
        let panel = panel_bytes::<K>(packed.k()).unwrap_or(0).max(1);
        let panels = packed.panels().chunks_exact(panel).enumerate();
        let of = |(p, data)| {
            let columns = K::NR.min(packed.n().saturating_sub(p * K::NR));
            self.0.depths(packed.k(), RhsPanel { data, columns }, max)
        };
        panels.map(of).fold(Depths::default(), Depths::plus)
    }

    fn run(&self, lhs: Lhs, rhs: &PackedRhs, epilogue: &Epilogue, out: GemmOut) -> Result<()> {
        const {
            assert!(K::MR >= 1 && K::NR >= 1 && K::KU >= 1);
            assert!(K::MR <= MAX_ROWS && K::NR <= MAX_NR && K::MR * K::NR <= MAX_TILE);
            // Packed rows lie behind the sums, on lines of their own.
            assert!(MAX_NR <= MAX_SUMS && SUMS_BYTES.is_multiple_of(64));
        };
        check_run(self.name(), &lhs, rhs, epilogue, &out)?;
        let (kernel, lhs_zero_point) = (self.0, epilogue.lhs_zero_point);
        match (epilogue.stage, out) {
            (OutputStage::Requantize { multiplier, zero_point, clamp }, GemmOut::U8 { data, row_stride }) => {
                let params = Requantize { zero_point, clamp };
                match multiplier {
                    Multipliers::Float(multiplier) => {
                        let stage = RequantizeStage { multiplier, params };
                        Job { kernel, lhs, rhs, lhs_zero_point, stage, out_stride: row_stride }.run(data);
                    }
                    Multipliers::FixedPoint(multiplier) => {
                        let stage = RequantizeStage { multiplier, params };
                        Job { kernel, lhs, rhs, lhs_zero_point, stage, out_stride: row_stride }.run(data);
                    }
                }
            }
            (OutputStage::Dequantize { scale, lhs_scale, addend }, GemmOut::F32 { data, row_stride }) => {
                let stage = DequantizeStage { scale, lhs_scale, addend };
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
        let (k, k_padded) = (self.rhs.k(), self.k_padded());
        let in_place = match self.lhs {
            Lhs::Dense { data, row_stride, .. } if k_padded == k => Some((data, row_stride)),
            _ => None,
        };
        // An odd number of cache lines from row to row: powers of two would crowd into few cache sets.
        let lines = |bytes: usize| (bytes.div_ceil(64) | 1) * 64;
        // Rows that could stay where they are may have to be moved to smaller codes, which pays with several panels.
        let may_move = k <= MOVED_K && columns > K::NR && self.rhs.shortest_up_to() < u8::MAX;
        let stride = if in_place.is_some() && !may_move { 0 } else { lines(k_padded) };
        let fit = (SCRATCH_BYTES - SUMS_BYTES).checked_div(stride).unwrap_or(MAX_ROWS);
        let block_rows = ((fit.min(MAX_ROWS) / K::MR).max(1) * K::MR).min(rows.next_multiple_of(K::MR));
        with_scratch(SUMS_BYTES + block_rows * stride, |scratch: &mut [u8]| {
            let (sums, packed) = scratch.split_at_mut(SUMS_BYTES);
            let sums = bytemuck::cast_slice_mut(sums);
            for r in (0..rows).step_by(block_rows) {
                let count = block_rows.min(rows - r);
                if in_place.is_none() {
                    for (i, dst) in packed.chunks_exact_mut(stride).take(count).enumerate() {
                        self.pack_row(first + r + i, &mut dst[..k_padded]);
                    }
                }
                let (codes, codes_stride) = match in_place {
                    Some((data, row_stride)) => (&data[(first + r) * row_stride..], row_stride),
                    None => (&*packed, stride),
                };
                let ranges = Ranges::of(&self.kernel, (codes, codes_stride), count, k);
                let base = if may_move { ranges.base() } else { 0 };
                let codes = match in_place {
                    Some((data, row_stride)) if base == 0 => (&data[(first + r) * row_stride..], row_stride),
                    _ => {
                        self.move_rows(in_place, first + r, count, base, (packed, stride));
                        (&*packed, stride)
                    }
                };
                let ranges = ranges.less(base);
                let rows = LhsRows { rows: count, codes: codes.0, stride: codes.1, max: &ranges.max };
                self.packed_block(rows, base, column, columns, sums, &mut out[r * self.out_stride..]);
            }
        });
    }

    /// Subtracts `base` from the codes of `count` rows: from those in `packed`, or from those of the lhs from row `first` on on
    /// their way there.
    fn move_rows(
        &self,
        in_place: Option<(&[u8], usize)>,
        first: usize,
        count: usize,
        base: u8,
        (packed, stride): (&mut [u8], usize),
    ) {
        if base == 0 {
            return;
        }
        for (i, dst) in packed.chunks_exact_mut(stride).take(count).enumerate() {
            let dst = &mut dst[..self.rhs.k()];
            match in_place {
                Some((data, row_stride)) => {
                    let src = &data[(first + i) * row_stride..][..dst.len()];
                    dst.iter_mut().zip(src).for_each(|(d, s)| *d = s - base);
                }
                None => dst.iter_mut().for_each(|d| *d -= base),
            }
        }
    }

    /// K, padded with zeros to what the kernel takes at a time.
    fn k_padded(&self) -> usize {
        self.rhs.k().div_ceil(K::KU) * K::KU
    }

    /// Packs row `row` of the lhs, padding with zeros.
    fn pack_row(&self, row: usize, dst: &mut [u8]) {
        let (codes, padding) = dst.split_at_mut(self.rhs.k());
        runs::fill(padding, 0);
        match self.lhs {
            Lhs::Dense { data, row_stride, .. } => {
                runs::copy(codes, &data[row * row_stride..][..codes.len()]);
            }
            Lhs::Indirect { data, gather, pad, .. } => gather.write(row, data, pad, codes),
        }
    }

    /// Multiplies packed rows, whose codes are less by `base` than those of the lhs, with the panels of the given columns. `sums` is
    /// room for [`MAX_SUMS`] of them.
    fn packed_block(
        &self,
        lhs: LhsRows,
        base: u8,
        column: usize,
        columns: usize,
        sums: &mut [i32],
        out: &mut [S::Out],
    ) {
        // Sums that a kernel leaves as they were would be noticed.
        if cfg!(debug_assertions) {
            sums.fill(i32::MIN);
        }
        // `Σ (a − za)(w − zw)` is the same with `a` and `za` less by `base`.
        let zero_point = self.lhs_zero_point - i32::from(base);
        let mut row_sums = [0i64; MAX_ROWS];
        if !self.rhs.zero_points().is_empty() {
            for (r, sum) in row_sums.iter_mut().enumerate().take(lhs.rows) {
                *sum = lhs.codes[r * lhs.stride..][..self.k_padded()].iter().map(|&a| i64::from(a)).sum();
            }
        }
        let rows = Rows { lhs, zero_point, sums: &row_sums[..lhs.rows] };
        let columns = column..column + columns;
        // Of a single row the sums of several panels lie beside each other, so that what follows them is done for all at once.
        if lhs.rows == 1 && !holds_any(self.rhs.wide_channels(), columns.start, columns.len()) {
            self.panels(&rows, columns, const { MAX_NR / K::NR * K::NR }, &mut sums[..MAX_NR], out);
        } else {
            self.panels(&rows, columns, K::NR, sums, out);
        }
    }

    /// Multiplies rows with the panels of `columns`: as many whole tiles at a time as `sums` has room for, and for a single row
    /// panels of `width` columns. `out` starts at the first of them.
    fn panels(&self, rows: &Rows, columns: Range<usize>, width: usize, sums: &mut [i32], out: &mut [S::Out]) {
        let (rhs, k) = (self.rhs, self.k_padded());
        let panels = rhs.panels();
        let panel_len = panels.len() / rhs.n().div_ceil(K::NR);
        let mut panel = Panel::new(&self.stage);
        let tiles = sums.len() / width / K::MR;
        for first in columns.clone().step_by(width) {
            let count = width.min(columns.end - first);
            panel.set(&self.stage, first, count, rhs.column_sums(), rhs.bias(), rows.zero_point);
            let weights = |c: usize| {
                let data = &panels[(first + c) / K::NR * panel_len..][..panel_len];
                RhsPanel { data, columns: K::NR.min(count - c) }
            };
            let wide = holds_any(rhs.wide_channels(), first, count);
            debug_assert!(!wide || width == K::NR, "64-bit sums are those of one panel");
            for t in (0..rows.lhs.rows.div_ceil(K::MR)).step_by(tiles.max(1)) {
                let rows = rows.part(t, K::MR, tiles.max(1));
                let out = &mut out[t * K::MR * self.out_stride + first - columns.start..];
                if wide {
                    self.wide_tiles(&rows, weights(0), &panel, first, out);
                    continue;
                }
                for c in (0..count).step_by(K::NR) {
                    self.kernel.tiles(&rows.lhs, 0..k, weights(c), &mut sums[c..]);
                }
                if !rhs.zero_points().is_empty() {
                    let zero_points = &rhs.zero_points()[first..][..count];
                    for (sums, &row_sum) in sums.chunks_exact_mut(width).zip(rows.sums) {
                        // Exact: packing proved the product and the difference to fit.
                        for (acc, &zero_point) in sums.iter_mut().zip(zero_points) {
                            *acc -= zero_point * row_sum as i32;
                        }
                    }
                }
                self.stage.narrow(&self.kernel, rows.lhs.rows, sums, width, &panel, out, self.out_stride);
            }
        }
    }

    /// Tiles with 64-bit sums: K in blocks that fit 32 bits.
    fn wide_tiles(
        &self,
        rows: &Rows,
        weights: RhsPanel,
        panel: &Panel<S::Factors>,
        first: usize,
        out: &mut [S::Out],
    ) {
        let k = self.k_padded();
        let mut tile = [0i32; MAX_TILE];
        let block = WIDE_BLOCK / K::KU * K::KU;
        for (row, lhs) in rows.lhs.tiles(K::MR) {
            let mut sums = [0i64; MAX_TILE];
            for start in (0..k).step_by(block) {
                let end = (start + block).min(k);
                self.kernel.tile(&lhs, start..end, weights, &mut tile);
                for (sum, &acc) in sums.iter_mut().zip(&tile[..lhs.rows * K::NR]) {
                    *sum += i64::from(acc);
                }
            }
            for c in 0..panel.columns {
                let (bias, column_sum) = (self.rhs.bias()[first + c], self.rhs.column_sums()[first + c]);
                let offset = i64::from(bias) - i64::from(rows.zero_point) * column_sum;
                let zero_point = self.rhs.zero_points().get(first + c).copied().unwrap_or(0);
                for r in 0..lhs.rows {
                    let sum = sums[r * K::NR + c] + offset - i64::from(zero_point) * rows.sums[row + r];
                    self.stage.wide(sum, panel, c, &mut out[(row + r) * self.out_stride + c]);
                }
            }
        }
    }
}

/// Packed rows of the lhs, and what belongs to them.
struct Rows<'a> {
    lhs: LhsRows<'a>,
    /// Of their codes.
    zero_point: i32,
    /// The sum of the codes of each, where a zero point of the rhs asks for it.
    sums: &'a [i64],
}

impl Rows<'_> {
    /// Tiles of `mr` rows from tile `tile` on, at most `tiles` of them.
    fn part(&self, tile: usize, mr: usize, tiles: usize) -> Self {
        let lhs = self.lhs.part(tile, mr, tiles * mr);
        Self { lhs, sums: &self.sums[tile * mr..][..lhs.rows], ..*self }
    }
}

/// True when the ascending `channels` hold one of `first..first + count`.
fn holds_any(channels: &[usize], first: usize, count: usize) -> bool {
    let from = channels.partition_point(|&c| c < first);
    channels.get(from).is_some_and(|&c| c < first + count)
}
