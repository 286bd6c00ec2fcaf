//! Concatenation of codes.

use crate::error::StepError;
use crate::frame::{Frame, Step};
use crate::slots::BufferId;
use tq_kernels::{KernelError, Lookup, runs};

/// One input of a concatenation.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) from: BufferId,
    /// Codes of this input in each row of the result.
    pub(crate) width: usize,
    /// Codes of the result for codes of the input, where their parameters differ.
    pub(crate) table: Option<Box<[u8; 256]>>,
}

/// Codes below which those of a row are looked up one by one.
const FEW: usize = 32;
/// Codes from which on a row is worth a lookup of its own.
const MANY: usize = 256;
/// Codes of shorter rows that are looked up together.
const TOGETHER: usize = 4096;

/// Looks the rows of `from` up, each `width` codes, into rows of `out`, each `stride` codes, from their code `at` on.
fn look_up(
    lookup: &dyn Lookup,
    table: &[u8; 256],
    (from, width): (&[u8], usize),
    (out, stride, at): (&mut [u8], usize, usize),
) -> Result<(), KernelError> {
    if width < FEW {
        for (from, out) in from.chunks_exact(width).zip(out.chunks_exact_mut(stride)) {
            for (out, code) in out[at..].iter_mut().zip(from) {
                *out = table[usize::from(*code)];
            }
        }
        return Ok(());
    }
    if width >= MANY {
        let mut rows = from.chunks_exact(width).zip(out.chunks_exact_mut(stride));
        return rows.try_for_each(|(from, out)| lookup.lookup(table, from, &mut out[at..at + width]));
    }
    // A lookup prepares the table first, which so short a row is not worth.
    let mut found = [0; TOGETHER];
    let rows = TOGETHER / width;
    for (from, out) in from.chunks(rows * width).zip(out.chunks_mut(rows * stride)) {
        let found = &mut found[..from.len()];
        lookup.lookup(table, from, found)?;
        for (found, out) in found.chunks_exact(width).zip(out.chunks_exact_mut(stride)) {
            runs::copy(&mut out[at..at + width], found);
        }
    }
    Ok(())
}

/// Rows of the result are the inputs' rows one after the other.
#[derive(Debug)]
pub(crate) struct Concat {
    pub(crate) parts: Vec<Part>,
    pub(crate) to: BufferId,
}

impl Step for Concat {
    fn run(&self, frame: &mut Frame<'_>) -> Result<(), StepError> {
        let row: usize = self.parts.iter().map(|p| p.width).sum();
        frame.write_codes(self.to, |frame, out| {
            let mut at = 0;
            for part in &self.parts {
                if part.width == 0 {
                    continue;
                }
                let from = frame.codes(part.from)?;
                if from.len() / part.width != out.len() / row {
                    return Err(StepError::Shape(format!(
                        "{} codes in rows of {} for {} in rows of {row}",
                        from.len(),
                        part.width,
                        out.len()
                    )));
                }
                match &part.table {
                    None => {
                        for (from, out) in from.chunks_exact(part.width).zip(out.chunks_exact_mut(row)) {
                            runs::copy(&mut out[at..at + part.width], from);
                        }
                    }
                    Some(table) => {
                        let (from, out) = ((from, part.width), (&mut *out, row, at));
                        look_up(frame.kernels.lookup(), table, from, out)?;
                    }
                }
                at += part.width;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tq_kernels::Kernels;

    #[test]
    fn rows_of_any_width_are_looked_up_in_their_place() {
        let kernels = Kernels::scalar();
        let table = std::array::from_fn(|code| (code as u8).wrapping_mul(7));
        for width in [1, FEW - 1, FEW, 100, MANY - 1, MANY, 300] {
            for (rows, stride, at) in [(0, width + 9, 4), (1, width, 0), (131, width + 5, 3)] {
                let from: Vec<u8> = (0..rows * width).map(|i| (i % 251) as u8).collect();
                let mut out = vec![0xA5; rows * stride];
                let mut expected = out.clone();
                for (i, code) in from.iter().enumerate() {
                    expected[i / width * stride + at + i % width] = code.wrapping_mul(7);
                }
                look_up(kernels.lookup(), &table, (&from, width), (&mut out, stride, at)).unwrap();
                assert_eq!(out, expected, "{rows} rows of {width}");
            }
        }
    }
}
