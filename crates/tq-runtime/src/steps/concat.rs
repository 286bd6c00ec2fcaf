//! Concatenation of codes.

use crate::error::StepError;
use crate::frame::{Frame, Step};
use crate::slots::BufferId;
use tq_kernels::runs;

/// One input of a concatenation.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) from: BufferId,
    /// Codes of this input in each row of the result.
    pub(crate) width: usize,
    /// Codes of the result for codes of the input, where their parameters differ.
    pub(crate) table: Option<Box<[u8; 256]>>,
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
                for (from, out) in from.chunks_exact(part.width).zip(out.chunks_exact_mut(row)) {
                    let out = &mut out[at..at + part.width];
                    match &part.table {
                        None => runs::copy(out, from),
                        Some(table) => {
                            for (out, code) in out.iter_mut().zip(from) {
                                *out = table[usize::from(*code)];
                            }
                        }
                    }
                }
                at += part.width;
            }
            Ok(())
        })
    }
}
