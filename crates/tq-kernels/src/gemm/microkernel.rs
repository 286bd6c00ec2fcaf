//! Level 3: the inner loop of the matrix product.

use crate::RowKernel;
use std::ops::Range;

/// The largest MR·NR of a microkernel.
pub const MAX_TILE: usize = 512;

/// Sums that are computed at a time, of one tile at least; they live in a thread's scratch.
pub const MAX_SUMS: usize = 3 * MAX_TILE;

/// The largest NR of a microkernel.
pub const MAX_NR: usize = 64;

/// Rows of the lhs as a tile reads them.
#[derive(Debug, Clone, Copy)]
pub struct LhsTile<'a> {
    /// Rows, 1 to MR.
    pub rows: usize,
    /// Rows of codes, `stride` apart, each padded with zeros to a multiple of KU.
    pub codes: &'a [u8],
    /// Codes from one row to the next.
    pub stride: usize,
    /// No code of these rows is larger, by [`Microkernel::range`]: what proofs that nothing saturates may build on.
    pub max: u8,
}

/// Rows of the lhs, cut into tiles of MR rows, the last of which may have fewer.
#[derive(Debug, Clone, Copy)]
pub struct LhsRows<'a> {
    /// Rows, 1 at least.
    pub rows: usize,
    /// Rows of codes, `stride` apart, each padded with zeros to a multiple of KU.
    pub codes: &'a [u8],
    /// Codes from one row to the next.
    pub stride: usize,
    /// Of each tile: no code of it is larger, by [`Microkernel::range`].
    pub max: &'a [u8],
}

impl<'a> LhsRows<'a> {
    /// The tiles of `mr` rows, each with its first row.
    pub fn tiles(self, mr: usize) -> impl Iterator<Item = (usize, LhsTile<'a>)> {
        (0..self.rows).step_by(mr).zip(self.max).map(move |(first, &max)| {
            let codes = self.codes.get(first * self.stride..).unwrap_or_default();
            (first, LhsTile { rows: mr.min(self.rows - first), codes, stride: self.stride, max })
        })
    }

    /// The rows from tile `tile` of `mr` rows on, at most `rows` of them.
    #[must_use]
    pub fn part(self, tile: usize, mr: usize, rows: usize) -> Self {
        let first = (tile * mr).min(self.rows);
        let codes = self.codes.get(first * self.stride..).unwrap_or_default();
        let max = self.max.get(tile..).unwrap_or_default();
        Self { rows: rows.min(self.rows - first), codes, max, ..self }
    }
}

/// How long packing may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// For one run, or a few: nothing is searched for.
    Least,
    /// For many runs, which should be as fast as they can be.
    Most,
}

/// Up to NR columns of the rhs, to be packed.
#[derive(Debug, Clone, Copy)]
pub struct RhsColumns<'a> {
    /// Row-major: one row of `k` weights for each column.
    pub data: &'a [i8],
    /// Weights a column.
    pub k: usize,
}

/// A packed panel of NR columns.
#[derive(Debug, Clone, Copy)]
pub struct RhsPanel<'a> {
    /// What [`Microkernel::pack_panel`] wrote.
    pub data: &'a [i8],
    /// Columns in use, 1 to NR: sums of the others are not looked at.
    pub columns: usize,
}

/// How many of a panel's multiply-adds run in which way; the unit is the kernel's own, the same for all three.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Depths {
    /// Products of two steps of K added in 16 bits before they are widened.
    pub two: usize,
    /// Products of one step of K added in 16 bits.
    pub one: usize,
    /// Products that are exact for any codes and weights, by instructions that cannot saturate or by factors that are made so.
    pub plain: usize,
}

impl Depths {
    /// The sum over several panels, or matrices packed by one kernel.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self { two: self.two + other.two, one: self.one + other.one, plain: self.plain + other.plain }
    }
}

/// Multiplies a panel of lhs rows with a panel of rhs columns into a tile.
///
/// A safe trait: slices in, a tile out. It knows nothing of zero points, edges, threads or output types.
///
/// Packed weights are `[k / KU][NR][KU]`, so that the KU consecutive weights of each of NR columns are adjacent, for a
/// `k` padded with zeros to a multiple of KU. A kernel that wants another layout has its own
/// [`Microkernel::panel_bytes`] and [`Microkernel::pack_panel`].
pub trait Microkernel: RowKernel {
    /// Rows of a tile.
    const MR: usize;
    /// Columns of a tile.
    const NR: usize;
    /// Elements of K taken at a time; rows and panels are padded with zeros to a multiple.
    const KU: usize;

    /// Name of the kernel: architecture, types, `MRxNRcKU`, instruction set.
    fn name(&self) -> &'static str;

    /// Bytes of a packed panel of `k` elements, a multiple of KU. `None` where they do not fit.
    fn panel_bytes(k: usize) -> Option<usize> {
        k.checked_mul(Self::NR)
    }

    /// Packs up to NR columns to `panel`, which holds [`Microkernel::panel_bytes`] zeros.
    ///
    /// Gives the largest lhs code with which all products run the shortest way that the kernel has: 255 where it has one.
    fn pack_panel(&self, columns: RhsColumns, effort: Effort, panel: &mut [i8]) -> u8 {
        let _ = effort;
        if columns.k > 0 {
            for (c, row) in columns.data.chunks_exact(columns.k).enumerate() {
                for (group, weights) in row.chunks(Self::KU).enumerate() {
                    panel[(group * Self::NR + c) * Self::KU..][..weights.len()].copy_from_slice(weights);
                }
            }
        }
        u8::MAX
    }

    /// The smallest and the largest code of `rows` rows of `k`, `stride` apart, or 0 and 255 where the kernel does not ask how
    /// large they are.
    ///
    /// Where the smallest is well above 0, the driver subtracts it from all codes, and from their zero point.
    fn range(&self, codes: &[u8], rows: usize, stride: usize, k: usize) -> (u8, u8) {
        let _ = (codes, rows, stride, k);
        (0, u8::MAX)
    }

    /// How the products of the panel's columns in use run where no lhs code is above `max`.
    fn depths(&self, k: usize, rhs: RhsPanel, max: u8) -> Depths {
        let _ = (rhs, max);
        Depths { plain: k.div_ceil(Self::KU), ..Depths::default() }
    }

    /// `tile[r * NR + c] = Σ_k lhs[r][k] * rhs[k][c]` over the elements `k` of K, for every row `r` of `lhs` and column
    /// `c` in use.
    ///
    /// Whatever `tile` held before. `k` starts at a multiple of 32768 (rounded down to a multiple of KU) and ends at a multiple of KU. `lhs.codes` begins at K = 0 and
    /// holds at least `(rows - 1) * stride + k.end` codes, `tile` at least `rows * NR` sums. Every partial sum in
    /// any order fits 32 bits: the caller has proved it.
    /// Arguments that break these rules may give wrong sums or a panic, but nothing worse.
    fn tile(&self, lhs: &LhsTile, k: Range<usize>, rhs: RhsPanel, tile: &mut [i32]);

    /// [`Microkernel::tile`] for rows of several tiles, one behind the other in `sums`: for kernels that look at a panel before
    /// they multiply.
    fn tiles(&self, lhs: &LhsRows, k: Range<usize>, rhs: RhsPanel, sums: &mut [i32]) {
        for (first, tile) in lhs.tiles(Self::MR) {
            self.tile(&tile, k.clone(), rhs, &mut sums[first * Self::NR..]);
        }
    }
}
