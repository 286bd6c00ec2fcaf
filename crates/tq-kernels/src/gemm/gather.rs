//! Rows that are put together from runs of codes: those of a convolution.

use super::PAD;
use crate::error::{product, reserve};
use crate::{KernelError, Result, runs};

/// Where each row of an [`super::Lhs::Indirect`] finds its codes. Made once for many runs: neighbours are joined, and what
/// each row needs of the data is known, so that nothing is looked through when it runs.
///
/// ```
/// use tq_kernels::{GatheredRows, PAD};
/// // Two rows of three taps of two codes: the second one has its last tap outside of the image.
/// let rows = GatheredRows::new(&[0, 2, 8, 4, 6, PAD], 2, 3, 2)?;
/// assert_eq!((rows.rows(), rows.k()), (2, 6));
/// # Ok::<(), tq_kernels::KernelError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatheredRows {
    runs: Vec<Run>,
    rows: Vec<Row>,
    k: usize,
}

/// Codes that lie one after the other, or padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    /// The first code, or [`PADDING`].
    start: u32,
    len: u32,
}

/// The start of padding.
const PADDING: u32 = u32::MAX;

/// What is known of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Row {
    /// Runs of this row and all before it.
    end: u32,
    /// Codes that the data of this row and all before it has at least.
    reach: u32,
}

impl GatheredRows {
    /// Row `r` is the concatenation over `t < taps` of the `run` codes from `offsets[r * taps + t]` on, or of `run` times the
    /// code of padding where the offset is [`PAD`]. K is `taps * run`.
    ///
    /// For a channels-last convolution a run is the channels (of one group) of one tap, and weights are ordered `[tap][channel]`.
    ///
    /// # Errors
    /// [`KernelError::Length`] for more or fewer offsets than `rows * taps`; [`KernelError::SizeOverflow`] for places, rows or
    /// runs that 32 bits do not count, and for lists that memory has no room for.
    pub fn new(offsets: &[usize], rows: usize, taps: usize, run: usize) -> Result<Self> {
        let what = "gathered rows";
        crate::error::check_len("lhs offsets", product("lhs offsets", &[rows, taps])?, offsets.len())?;
        let k = product(what, &[taps, run])?;
        let narrow = |n: usize| u32::try_from(n).map_err(|_| KernelError::SizeOverflow { what });
        // So that no sum of lengths within a row is larger.
        narrow(k)?;
        let mut all = Self { runs: Vec::new(), rows: Vec::new(), k };
        reserve(what, &mut all.rows, rows)?;
        let mut reach = 0;
        for r in 0..rows {
            let first = all.runs.len();
            let taps = offsets[r * taps..][..taps].iter();
            for &offset in taps.filter(|_| run > 0) {
                let (start, len) = (if offset == PAD { PADDING } else { narrow(offset)? }, narrow(run)?);
                if offset != PAD {
                    // Which also keeps the sign of padding apart from places: no run begins there.
                    let end = start.checked_add(len).ok_or(KernelError::SizeOverflow { what })?;
                    reach = reach.max(end);
                }
                match all.runs[first..].last_mut().filter(|last| last.is_before(start)) {
                    Some(last) => last.len += len,
                    None => all.runs.push(Run { start, len }),
                }
            }
            all.rows.push(Row { end: narrow(all.runs.len())?, reach });
        }
        all.runs.shrink_to_fit();
        Ok(all)
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// Codes a row.
    #[must_use]
    pub fn k(&self) -> usize {
        self.k
    }

    /// Codes that data must have for the first `rows` rows.
    pub(super) fn reach(&self, rows: usize) -> usize {
        rows.checked_sub(1).and_then(|last| self.rows.get(last)).map_or(0, |row| row.reach as usize)
    }

    /// Writes the codes of `row` to `dst`, which has K of them, and `pad` for padding.
    #[inline]
    pub(super) fn write(&self, row: usize, data: &[u8], pad: u8, dst: &mut [u8]) {
        let first = row.checked_sub(1).map_or(0, |before| self.rows[before].end as usize);
        let mut rest = dst;
        for run in &self.runs[first..self.rows[row].end as usize] {
            let (dst, behind) = rest.split_at_mut(run.len as usize);
            rest = behind;
            match run.start {
                PADDING => runs::fill(dst, pad),
                start => runs::copy(dst, &data[start as usize..][..dst.len()]),
            }
        }
    }
}

impl Run {
    /// Whether what starts at `start` goes on where this run ends.
    fn is_before(&self, start: u32) -> bool {
        match (self.start, start) {
            (PADDING, PADDING) => true,
            (PADDING, _) | (_, PADDING) => false,
            (own, start) => own.checked_add(self.len) == Some(start),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_joined_within_a_row() {
        let rows = GatheredRows::new(&[PAD, PAD, 0, 3, 6, 0, 0, 3, 6, 9, PAD, PAD], 2, 6, 3).unwrap();
        let run = |start, len| Run { start, len };
        let second = [run(0, 12), run(PADDING, 6)];
        assert_eq!(rows.runs, [[run(PADDING, 6), run(0, 9), run(0, 3)].as_slice(), &second].concat());
        assert_eq!([0, 1, 2].map(|n| rows.reach(n)), [0, 9, 12]);
        let mut row = [0; 18];
        rows.write(1, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], 99, &mut row);
        assert_eq!(row, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 99, 99, 99, 99, 99, 99]);
    }

    #[test]
    fn what_32_bits_do_not_count_is_refused() {
        let refused = |offset, run| {
            matches!(GatheredRows::new(&[offset], 1, 1, run), Err(KernelError::SizeOverflow { .. }))
        };
        assert!(refused(usize::MAX - 1, 1) && refused(usize::MAX - 1, 8) && refused(PAD, 1 << 40));
        assert!(refused(u32::MAX as usize, 1) && refused(u32::MAX as usize - 1, 2));
        assert!(GatheredRows::new(&[u32::MAX as usize - 1], 1, 1, 1).is_ok());
        assert!(GatheredRows::new(&[0; 3], 2, 2, 1).is_err());
    }

    #[test]
    fn rows_without_codes_have_no_runs() {
        assert_eq!(GatheredRows::new(&[5, PAD], 2, 1, 0).unwrap().reach(2), 0);
        assert_eq!(GatheredRows::new(&[], 3, 0, 4).unwrap().rows(), 3);
    }
}
