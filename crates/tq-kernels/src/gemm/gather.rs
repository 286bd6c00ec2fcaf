//! Rows that are put together from runs of codes: those of a convolution.

use super::PAD;
use crate::error::{check_len, product, reserve};
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
    /// One for each row, or none at all where rows have no codes.
    ends: Vec<End>,
    rows: usize,
    k: usize,
}

/// Codes that lie one after the other, or padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    /// The first code, or [`PADDING`].
    start: u32,
    len: u32,
}

/// The start of padding. No run of codes begins there: it would end behind what 32 bits count.
const PADDING: u32 = u32::MAX;

/// What is known of a row and all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    /// Their runs.
    runs: u32,
    /// Codes that their data has at least.
    reach: u32,
}

/// What is refused here, and where it is too much.
const WHAT: &str = "gathered rows";

fn narrow(n: usize) -> Result<u32> {
    u32::try_from(n).map_err(|_| KernelError::SizeOverflow { what: WHAT })
}

impl GatheredRows {
    /// Row `r` is the concatenation over `t < taps` of the `run` codes from `offsets[r * taps + t]` on, or of `run` times the
    /// code of padding where the offset is [`PAD`]. K is `taps * run`.
    ///
    /// For a channels-last convolution a run is the channels (of one group) of one tap, and weights are ordered `[tap][channel]`.
    ///
    /// It takes 8 bytes a row, and 8 more for each run that is left of its taps; nothing where rows have no codes.
    ///
    /// # Errors
    /// [`KernelError::Length`] for more or fewer offsets than `rows * taps`; [`KernelError::SizeOverflow`] for a K, places in the
    /// data or runs that 32 bits do not count, and for lists that memory has no room for.
    pub fn new(offsets: &[usize], rows: usize, taps: usize, run: usize) -> Result<Self> {
        check_len("lhs offsets", product("lhs offsets", &[rows, taps])?, offsets.len())?;
        let k = product(WHAT, &[taps, run])?;
        // So that no sum of lengths within a row is larger.
        narrow(k)?;
        let mut all = Self { runs: Vec::new(), ends: Vec::new(), rows, k };
        if k == 0 {
            return Ok(all);
        }
        let len = narrow(run)?;
        let mut reach = 0;
        reserve(WHAT, &mut all.ends, rows)?;
        for row in offsets.chunks_exact(taps) {
            let first = all.runs.len();
            all.runs.try_reserve(row.len()).map_err(|_| KernelError::SizeOverflow { what: WHAT })?;
            for &offset in row {
                let start = if offset == PAD { PADDING } else { narrow(offset)? };
                if offset != PAD {
                    reach =
                        reach.max(start.checked_add(len).ok_or(KernelError::SizeOverflow { what: WHAT })?);
                }
                match all.runs[first..].last_mut().filter(|last| last.is_before(start)) {
                    Some(last) => last.len += len,
                    None => all.runs.push(Run { start, len }),
                }
            }
            all.ends.push(End { runs: narrow(all.runs.len())?, reach });
        }
        all.runs.shrink_to_fit();
        Ok(all)
    }

    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Codes a row.
    #[must_use]
    pub fn k(&self) -> usize {
        self.k
    }

    /// Codes that data must have for the first `rows` rows.
    pub(super) fn reach(&self, rows: usize) -> usize {
        rows.checked_sub(1).and_then(|last| self.ends.get(last)).map_or(0, |end| end.reach as usize)
    }

    /// Writes the codes of `row` to `dst`, which has K of them, and `pad` for padding.
    #[inline]
    pub(super) fn write(&self, row: usize, data: &[u8], pad: u8, dst: &mut [u8]) {
        if self.k == 0 {
            return;
        }
        let first = row.checked_sub(1).map_or(0, |before| self.ends[before].runs as usize);
        let mut rest = dst;
        for run in &self.runs[first..self.ends[row].runs as usize] {
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

    fn run(start: u32, len: u32) -> Run {
        Run { start, len }
    }

    #[test]
    fn neighbours_are_joined_within_a_row() {
        let rows = GatheredRows::new(&[PAD, PAD, 0, 3, 6, 0, 0, 3, PAD, 6, 9, PAD], 2, 6, 3).unwrap();
        let first = [run(PADDING, 6), run(0, 9), run(0, 3)];
        let second = [run(0, 6), run(PADDING, 3), run(6, 6), run(PADDING, 3)];
        assert_eq!(rows.runs, [first.as_slice(), &second].concat());
        assert_eq!([0, 1, 2].map(|n| rows.reach(n)), [0, 9, 12]);
        let data = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        let mut row = [0; 18];
        rows.write(0, &data[..9], 99, &mut row);
        assert_eq!(row, [99, 99, 99, 99, 99, 99, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3]);
        rows.write(1, &data, 99, &mut row);
        assert_eq!(row, [1, 2, 3, 4, 5, 6, 99, 99, 99, 7, 8, 9, 10, 11, 12, 99, 99, 99]);
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn what_32_bits_do_not_count_is_refused() {
        let refused = |offset, run| {
            matches!(GatheredRows::new(&[offset], 1, 1, run), Err(KernelError::SizeOverflow { .. }))
        };
        let most = u32::MAX as usize;
        assert!(refused(usize::MAX - 1, 1) && refused(usize::MAX - 1, 8) && refused(PAD, most + 1));
        assert!(refused(most, 1) && refused(most - 1, 2));
        assert!(GatheredRows::new(&[most - 1], 1, 1, 1).is_ok());
        assert_eq!(GatheredRows::new(&[PAD], 1, 1, most).unwrap().runs, [run(PADDING, u32::MAX)]);
        assert!(matches!(GatheredRows::new(&[0; 3], 2, 2, 1), Err(KernelError::Length { .. })));
    }

    #[test]
    fn rows_without_codes_take_no_memory() {
        let (no_run, no_taps) =
            (GatheredRows::new(&[5, PAD], 2, 1, 0), GatheredRows::new(&[], 1 << 30, 0, 4));
        let (no_run, no_taps) = (no_run.unwrap(), no_taps.unwrap());
        assert_eq!((no_run.rows(), no_run.reach(2), no_taps.rows(), no_taps.reach(9)), (2, 0, 1 << 30, 0));
        no_taps.write(7, &[], 1, &mut []);
        assert_eq!(GatheredRows::new(&[], 0, 3, 4).unwrap().reach(0), 0);
    }
}
