//! Level 3: the inner loop of the matrix product.

use crate::RowKernel;
use bytemuck::Pod;

/// The largest MR·NR of a microkernel: its tile lives on the stack.
pub const MAX_TILE: usize = 512;

/// The largest NR of a microkernel.
pub const MAX_NR: usize = 64;

/// Multiplies a panel of lhs rows with a panel of rhs columns into a tile.
///
/// A safe trait: slices in, a tile out. It knows nothing of zero points, edges, threads or output types.
///
/// Packed layouts, for `k` a multiple of [`Microkernel::KU`]:
/// * lhs: rows of `k` elements, `lhs_stride` elements apart;
/// * rhs: `[k / KU][NR][KU]`, so that the KU consecutive weights of each of NR columns are adjacent.
pub trait Microkernel: RowKernel {
    /// Element type of packed lhs rows: `u8`, or a wider type if the inner loop wants its codes widened once.
    type Lhs: Pod + From<u8> + Into<i32> + Send + Sync;

    /// Rows of a tile.
    const MR: usize;
    /// Columns of a tile.
    const NR: usize;
    /// Elements of K taken at a time; packed rows and panels are padded with zeros to a multiple.
    const KU: usize;

    /// Name of the kernel: architecture, types, `MRxNRcKU`, instruction set.
    fn name(&self) -> &'static str;

    /// `tile[r * NR + c] = Σ_k lhs[r * lhs_stride + k] * rhs[(k / KU * NR + c) * KU + k % KU]` for `r < rows`.
    ///
    /// `1 <= rows <= MR`, `lhs` holds at least `(rows - 1) * lhs_stride + k` elements, `rhs` at least `k * NR`,
    /// `tile` at least `rows * NR`. Every partial sum in any order fits 32 bits: the caller has proved it.
    /// Arguments that break these rules may give wrong sums or a panic, but nothing worse.
    fn tile(&self, rows: usize, k: usize, lhs: &[Self::Lhs], lhs_stride: usize, rhs: &[i8], tile: &mut [i32]);

    /// Copies codes to packed elements; the slices are equally long.
    fn pack_lhs(&self, src: &[u8], dst: &mut [Self::Lhs]) {
        for (d, &s) in dst.iter_mut().zip(src) {
            *d = Self::Lhs::from(s);
        }
    }

    /// The codes themselves, where packed elements are plain codes: dense rows are then read in place.
    fn borrow_lhs(src: &[u8]) -> Option<&[Self::Lhs]> {
        let _ = src;
        None
    }
}
