//! Level 3: the inner loop of the group-wise product.

use std::fmt::Debug;

/// Rows of the lhs as a tile reads them.
#[derive(Debug, Clone, Copy)]
pub struct GroupRows<'a> {
    /// Rows, 1 to MR.
    pub rows: usize,
    /// Rows of codes, `stride` apart: group after group, each padded to a multiple of `2 · KU` by any codes.
    pub codes: &'a [u8],
    /// Codes from one row to the next.
    pub stride: usize,
    /// Code of real zero, 0..=255.
    pub zero_point: i32,
}

/// A packed panel of NR columns.
#[derive(Debug, Clone, Copy)]
pub struct GroupPanel<'a> {
    /// `[k / (2 · KU)][NR][KU]` for each group, padded to a multiple of `2 · KU` by weights of zero. The low four bits of a byte
    /// are of the first KU elements of K, the high four of the KU behind them. Codes are 0..=15.
    pub codes: &'a [u8],
    /// Bytes of a group's codes; the last may have fewer.
    pub group_bytes: usize,
    /// `[group][NR]`: codes of real zero, 0..=15.
    pub zero_points: &'a [u8],
    /// `[group][NR]`: `Σ (code - zero_point)`.
    pub sums: &'a [i32],
    /// `[group][NR]`.
    pub scales: &'a [f32],
}

/// One group of a panel.
#[derive(Debug, Clone, Copy)]
pub struct Group<'a, const NR: usize> {
    /// See [`GroupPanel::codes`].
    pub codes: &'a [u8],
    /// Codes of real zero.
    pub zero_points: &'a [u8; NR],
    /// `Σ (code - zero_point)`.
    pub sums: &'a [i32; NR],
    /// Scales.
    pub scales: &'a [f32; NR],
}

impl<'a> GroupPanel<'a> {
    /// The groups, in their order, of a panel of NR columns.
    pub fn groups<const NR: usize>(&self) -> impl Iterator<Item = Group<'a, NR>> {
        let zero_points = self.zero_points.as_chunks().0;
        let (sums, scales) = (self.sums.as_chunks().0, self.scales.as_chunks().0);
        let of_columns = zero_points.iter().zip(sums).zip(scales);
        self.codes
            .chunks(self.group_bytes.max(1))
            .zip(of_columns)
            .map(|(codes, ((zero_points, sums), scales))| Group { codes, zero_points, sums, scales })
    }
}

/// Multiplies rows of the lhs with a panel of the rhs into a tile. A safe trait: slices in, a tile out.
pub trait GroupKernel: Copy + Send + Sync + Debug {
    /// Rows of a tile.
    const MR: usize;
    /// Columns of a tile.
    const NR: usize;
    /// Elements of K that lie beside each other in a column.
    const KU: usize;

    /// Name of the kernel: architecture, types, `MRxNRcKU`, instruction set.
    fn name(&self) -> &'static str;

    /// `sums[r * NR + c] = Σ_g f32(acc[r][c][g]) · scales[g][c]` with the exact integers
    /// `acc[r][c][g] = Σ_k (lhs[r][k] - lhs.zero_point) · (code[k][c] - zero_points[g][c])` of a group, starting from 0, in the
    /// order of the groups, every product and every sum rounded to f32.
    ///
    /// `lhs.codes` holds at least `(rows - 1) * stride` codes and those of a row, `sums` at least `rows * NR` elements.
    /// Arguments that break these rules may give wrong sums or a panic, but nothing worse.
    fn tile(&self, lhs: &GroupRows, rhs: &GroupPanel, sums: &mut [f32]);
}
