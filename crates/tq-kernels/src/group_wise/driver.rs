//! Everything around a group-wise microkernel: packing, edges, threads, the last scale and the bias.

use super::{GroupKernel, GroupRows, GroupWiseLhs, GroupWiseRhs, PackedGroupWise, QGroupWise};
use crate::buffer::{SCRATCH_BYTES, with_scratch};
use crate::error::{check_rows, check_zero_point};
use crate::parallel::{for_each_run, task_count};
use crate::{KernelError, Result};
use std::ops::Range;

/// Multiplications below which a task is not worth a thread.
const GRAIN: usize = 512 * 1024;

/// The largest MR·NR of a microkernel.
const MAX_TILE: usize = 256;

/// The most rows that pass over one panel after the other.
const MAX_ROWS: usize = 64;

/// [`QGroupWise`] over the microkernel `K`.
///
/// Loops, from the outside: tasks of rows (of columns, for a single row) over the ambient pool; blocks of rows, copied to
/// scratch where groups have padding; panels of NR columns; tiles of MR rows.
#[derive(Debug, Clone, Copy)]
pub struct GroupWiseDriver<K>(pub K);

impl<K: GroupKernel> QGroupWise for GroupWiseDriver<K> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn pack(&self, rhs: &GroupWiseRhs) -> Result<PackedGroupWise> {
        PackedGroupWise::new(&self.0, rhs)
    }

    fn run(
        &self,
        lhs: &GroupWiseLhs,
        rhs: &PackedGroupWise,
        out: &mut [f32],
        out_stride: usize,
    ) -> Result<()> {
        const { assert!(K::MR >= 1 && K::NR >= 1 && K::KU >= 1 && K::MR * K::NR <= MAX_TILE && K::MR <= MAX_ROWS) };
        if rhs.kernel() != self.name() {
            return Err(KernelError::KernelMismatch { packed: rhs.kernel(), running: self.name() });
        }
        let (rows, n, k) = (lhs.rows, rhs.n(), rhs.k());
        check_rows("lhs", rows, k, lhs.row_stride, lhs.data.len())?;
        check_zero_point("lhs", lhs.zero_point, 0, 255)?;
        check_rows("output", rows, n, out_stride, out.len())?;
        if rows == 0 || n == 0 {
            return Ok(());
        }
        let job = Job { kernel: self.0, lhs, rhs };
        let tasks = task_count(rows.saturating_mul(n).saturating_mul(k.max(1)), GRAIN);
        if rows == 1 {
            for_each_run(&mut out[..n], 1, K::NR, tasks, |first, out| {
                job.block(0..1, first..first + out.len(), out, n);
            });
            return Ok(());
        }
        let out = &mut out[..(rows - 1) * out_stride + n];
        let multiple = if rows.div_ceil(K::MR) < 4 * tasks { 1 } else { K::MR };
        for_each_run(out, out_stride, multiple, tasks, |first, out| {
            // The last row of the last run is `n` long, all others are whole strides.
            let count = out.len().div_ceil(out_stride);
            for r in (0..count).step_by(MAX_ROWS) {
                let rows = first + r..first + count.min(r + MAX_ROWS);
                job.block(rows, 0..n, &mut out[r * out_stride..], out_stride);
            }
        });
        Ok(())
    }
}

/// One run: the arguments that no task changes.
struct Job<'a, K> {
    kernel: K,
    lhs: &'a GroupWiseLhs<'a>,
    rhs: &'a PackedGroupWise,
}

impl<K: GroupKernel> Job<'_, K> {
    /// Computes `rows`, [`MAX_ROWS`] at most, of `columns`, whose first starts a panel. `out` starts at the first row and column.
    fn block(&self, rows: Range<usize>, columns: Range<usize>, out: &mut [f32], out_stride: usize) {
        let groups = self.rhs.groups();
        let GroupWiseLhs { data, row_stride, .. } = *self.lhs;
        if groups.are_whole(self.rhs.k()) {
            let lhs = self.rows(rows.len(), &data[rows.start * row_stride..], row_stride);
            return self.panels(&lhs, columns, out, out_stride);
        }
        // An odd number of cache lines from row to row: powers of two would crowd into few cache sets.
        let stride = (groups.k_padded.div_ceil(64) | 1) * 64;
        let at_once = ((SCRATCH_BYTES / stride).max(1) / K::MR).max(1) * K::MR;
        with_scratch(at_once.min(rows.len()) * stride, |packed: &mut [u8]| {
            for r in rows.clone().step_by(at_once) {
                let count = at_once.min(rows.end - r);
                for (i, dst) in packed.chunks_exact_mut(stride).take(count).enumerate() {
                    let src = &data[(r + i) * row_stride..][..self.rhs.k()];
                    // Scratch keeps codes of other runs as padding, which weights of zero do away with.
                    for (src, dst) in src.chunks(groups.size).zip(dst.chunks_mut(groups.padded)) {
                        dst[..src.len()].copy_from_slice(src);
                    }
                }
                let lhs = self.rows(count, packed, stride);
                self.panels(&lhs, columns.clone(), &mut out[(r - rows.start) * out_stride..], out_stride);
            }
        });
    }

    fn rows<'b>(&self, rows: usize, codes: &'b [u8], stride: usize) -> GroupRows<'b> {
        GroupRows { rows, codes, stride, zero_point: self.lhs.zero_point }
    }

    /// Multiplies rows with the panels of `columns`.
    fn panels(&self, lhs: &GroupRows, columns: Range<usize>, out: &mut [f32], out_stride: usize) {
        let mut sums = [0f32; MAX_TILE];
        for column in columns.clone().step_by(K::NR) {
            let count = K::NR.min(columns.end - column);
            let panel = self.rhs.panel(column / K::NR, K::NR);
            let bias = &self.rhs.bias()[column..][..count];
            let c = column - columns.start;
            for r in (0..lhs.rows).step_by(K::MR) {
                let tile =
                    GroupRows { rows: K::MR.min(lhs.rows - r), codes: &lhs.codes[r * lhs.stride..], ..*lhs };
                self.kernel.tile(&tile, &panel, &mut sums);
                for (i, sums) in sums.chunks_exact(K::NR).take(tile.rows).enumerate() {
                    let out = &mut out[(r + i) * out_stride + c..][..count];
                    for ((out, sum), bias) in out.iter_mut().zip(sums).zip(bias) {
                        *out = sum * self.lhs.scale + bias;
                    }
                }
            }
        }
    }
}
