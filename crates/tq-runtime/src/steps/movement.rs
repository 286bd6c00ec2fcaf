//! Moving codes: copies along a list of positions.

use crate::error::StepError;
use crate::frame::{Frame, Step};
use crate::movement::{FILL, IndexMap};
use crate::slots::BufferId;
use tq_kernels::parallel::for_each_part;
use tq_kernels::runs;

/// Copies codes to where an [`IndexMap`] says.
#[derive(Debug)]
pub(crate) struct Move {
    pub(crate) from: BufferId,
    pub(crate) to: BufferId,
    /// For one of `images` equal parts of both.
    pub(crate) map: IndexMap,
    /// Equal parts, each of which the map describes.
    pub(crate) images: usize,
    /// The code of padding.
    pub(crate) fill: u8,
}

impl Step for Move {
    fn run(&self, frame: &mut Frame<'_>) -> Result<(), StepError> {
        frame.write_codes(self.to, |frame, out| {
            let from = frame.codes(self.from)?;
            let part = |len: usize| (len / self.images.max(1)).max(1);
            let parts = from.chunks_exact(part(from.len())).zip(out.chunks_exact_mut(part(out.len())));
            parts.take(self.images).try_for_each(|(from, out)| copy(&self.map, from, self.fill, out))
        })
    }
}

fn copy(map: &IndexMap, from: &[u8], fill: u8, out: &mut [u8]) -> Result<(), StepError> {
    let outside = || StepError::Shape("a movement leaves its input".into());
    match map {
        IndexMap::Same => {
            let from = from.get(..out.len()).ok_or_else(outside)?;
            out.copy_from_slice(from);
        }
        IndexMap::Each(positions) => {
            for (out, &i) in out.iter_mut().zip(positions) {
                *out = match usize::try_from(i) {
                    Ok(i) => *from.get(i).ok_or_else(outside)?,
                    Err(_) => fill,
                };
            }
        }
        IndexMap::Runs(all) => for_each_part(out, all.ends(), &|part, mut rest| -> Result<(), StepError> {
            for run in all.part(part) {
                let (piece, next) = rest.split_at_mut_checked(run.len).ok_or_else(outside)?;
                if run.from == FILL {
                    runs::fill(piece, fill);
                } else {
                    let start = usize::try_from(run.from).map_err(|_| outside())?;
                    let source = from.get(start..).and_then(|s| s.get(..run.len)).ok_or_else(outside)?;
                    runs::copy(piece, source);
                }
                rest = next;
            }
            Ok(())
        })?,
    }
    Ok(())
}

/// Swaps channels and positions of each image: from channels-first to channels-last, or back.
#[derive(Debug)]
pub(crate) struct Swap {
    pub(crate) from: BufferId,
    pub(crate) to: BufferId,
    /// Images.
    pub(crate) images: usize,
    /// Rows of each image before; its columns afterwards.
    pub(crate) rows: usize,
    /// Columns of each image before; its rows afterwards.
    pub(crate) columns: usize,
}

impl Step for Swap {
    fn run(&self, frame: &mut Frame<'_>) -> Result<(), StepError> {
        let (rows, columns) = (self.rows, self.columns);
        frame.write_codes(self.to, |frame, out| {
            let from = frame.codes(self.from)?;
            let image = rows * columns;
            if image == 0 || from.len() != image * self.images || out.len() != from.len() {
                return Err(StepError::Shape(format!(
                    "{} codes for {} images of {rows} x {columns}",
                    from.len(),
                    self.images
                )));
            }
            for (from, out) in from.chunks_exact(image).zip(out.chunks_exact_mut(image)) {
                transpose(from, rows, columns, out);
            }
            Ok(())
        })
    }
}

/// Side of the square blocks in which matrices are transposed: both sides of a block stay in the cache.
const BLOCK: usize = 32;

fn transpose(from: &[u8], rows: usize, columns: usize, out: &mut [u8]) {
    // A picture: few planes, interleaved pixel by pixel.
    match rows {
        2 => return interleave::<2>(from, columns, out),
        3 => return interleave::<3>(from, columns, out),
        4 => return interleave::<4>(from, columns, out),
        _ => {}
    }
    for r0 in (0..rows).step_by(BLOCK) {
        let r1 = (r0 + BLOCK).min(rows);
        for c0 in (0..columns).step_by(BLOCK) {
            for c in c0..(c0 + BLOCK).min(columns) {
                let line = &mut out[c * rows + r0..c * rows + r1];
                for (r, code) in (r0..).zip(line) {
                    *code = from[r * columns + c];
                }
            }
        }
    }
}

/// Brings the codes of `P` planes of `len` beside each other.
fn interleave<const P: usize>(from: &[u8], len: usize, out: &mut [u8]) {
    let planes: [&[u8]; P] = std::array::from_fn(|p| &from[p * len..][..len]);
    for (i, pixel) in out.as_chunks_mut::<P>().0[..len].iter_mut().enumerate() {
        *pixel = planes.map(|plane| plane[i]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposes_agree_with_the_definition() {
        for (rows, columns) in [(1, 5), (2, 31), (3, 70), (4, 17), (4, 4), (5, 1), (33, 65), (64, 32)] {
            let from: Vec<u8> = (0..rows * columns).map(|i| (i * 7 % 251) as u8).collect();
            let mut out = vec![0; from.len()];
            transpose(&from, rows, columns, &mut out);
            for r in 0..rows {
                for c in 0..columns {
                    assert_eq!(out[c * rows + r], from[r * columns + c]);
                }
            }
        }
    }
}
