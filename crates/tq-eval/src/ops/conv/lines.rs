//! Where a sliding window meets its input, as offsets into planes that are padded and have neighbours side by side.

use crate::window::{Axis, Window};
use std::ops::Range;

/// One axis of a sliding window, or of one that writes: position `j` of `count` meets the input elements
/// `j * step + offset` and makes output element `start + j * write`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Length of the input.
    input: usize,
    step: usize,
    /// Elements of the kernel, with their offsets.
    taps: Vec<(usize, isize)>,
    pub(super) count: usize,
    pub(super) start: usize,
    pub(super) write: usize,
}

impl Line {
    /// As a convolution reads.
    pub(super) fn reading(axis: &Axis) -> Self {
        let offset = |k| (k * axis.dilation) as isize - axis.begin as isize;
        Self {
            input: axis.input,
            step: axis.stride,
            taps: (0..axis.kernel).map(|k| (k, offset(k))).collect(),
            count: axis.output,
            start: 0,
            write: 1,
        }
    }

    /// As a transposed convolution writes, the other way round: output elements that lie a multiple of the stride apart
    /// meet the same elements of the kernel, so there is one line for each of them that are left.
    fn writing(axis: &Axis) -> Vec<Self> {
        let line = |start: usize| {
            let meets = |k: usize| {
                let from = (start + axis.begin) as isize - (k * axis.dilation) as isize;
                (from % axis.stride as isize == 0).then_some((k, from / axis.stride as isize))
            };
            Self {
                input: axis.output,
                step: 1,
                taps: (0..axis.kernel).filter_map(meets).collect(),
                count: (axis.input - start).div_ceil(axis.stride),
                start,
                write: axis.stride,
            }
        };
        (0..axis.stride.min(axis.input)).map(line).collect()
    }

    /// One that meets nothing but what lies at its own place.
    pub(super) fn pointwise(len: usize) -> Self {
        Self { input: len, step: 1, taps: vec![(0, 0)], count: len, start: 0, write: 1 }
    }

    fn base(&self) -> isize {
        self.taps.iter().map(|t| t.1).min().unwrap_or(0)
    }

    /// How far a tap lies from the first one.
    fn reach(&self) -> usize {
        self.taps.iter().map(|t| t.1.abs_diff(self.base())).max().unwrap_or(0)
    }
}

/// Height and width of a window without depth; those of a pointwise one are one long row.
pub(super) fn reading(window: &Window) -> Option<[Line; 2]> {
    let [z, y, x] = &window.axes;
    if window.is_pointwise() {
        return Some([Line::pointwise(1), Line::pointwise(window.input_len())]);
    }
    flat(z).then(|| [Line::reading(y), Line::reading(x)])
}

/// The same for a window that writes: all pairs of lines; `None` too where the stride makes too many of them.
pub(super) fn writing(window: &Window) -> Option<Vec<[Line; 2]>> {
    /// Pairs that are worth their planes: more come of strides far beyond any kernel.
    const PAIRS: usize = 1 << 10;
    let [z, y, x] = &window.axes;
    // Output padding may follow.
    if window.is_pointwise() && window.input_len() == window.output_len() {
        return Some(vec![[Line::pointwise(1), Line::pointwise(window.input_len())]]);
    }
    let lines = |axis: &Axis| axis.stride.min(axis.input);
    if lines(y).saturating_mul(lines(x)) > PAIRS {
        return None;
    }
    let (rows, columns) = (Line::writing(y), Line::writing(x));
    let pairs = rows.iter().flat_map(|y| columns.iter().map(|x| [y.clone(), x.clone()]));
    flat(z).then(|| pairs.collect())
}

fn flat(z: &Axis) -> bool {
    (z.input, z.kernel, z.output, z.begin) == (1, 1, 1, 0)
}

/// Padded planes for a number of positions along both lines. Where the window steps over elements, those a step apart lie
/// side by side, so that neighbours among the positions are neighbours in memory for every element of the kernel.
pub(super) struct Layout {
    lines: [Line; 2],
    /// Elements within a step that some tap meets.
    residues: [Vec<usize>; 2],
    /// Elements of each of them.
    len: [usize; 2],
    /// Elements of a plane.
    pub(super) plane: usize,
    /// What one position along the first line is.
    pub(super) pitch: usize,
    /// Kernel element and offset in the plane of every tap; `width` is the kernel's.
    pub(super) taps: Vec<(usize, usize)>,
}

impl Layout {
    /// For `counts` positions; `None` where planes would be far larger than what is computed from them.
    pub(super) fn new(lines: &[Line; 2], counts: [usize; 2], kernel_width: usize) -> Option<Self> {
        let split = |line: &Line| {
            let base = line.base();
            let place =
                |offset: isize| (offset.abs_diff(base) % line.step, offset.abs_diff(base) / line.step);
            let mut residues: Vec<usize> = line.taps.iter().map(|t| place(t.1).0).collect();
            residues.sort_unstable();
            residues.dedup();
            let rank = |r: usize| residues.iter().position(|x| *x == r).unwrap_or(0);
            let taps: Vec<_> = line.taps.iter().map(|t| (t.0, rank(place(t.1).0), place(t.1).1)).collect();
            (residues, taps)
        };
        let [(rows, taps_y), (columns, taps_x)] = [split(&lines[0]), split(&lines[1])];
        let len = [0, 1].map(|i| counts[i].saturating_add(lines[i].reach() / lines[i].step));
        let most =
            (4 * counts[0] * counts[1]).saturating_add(4 * lines[0].input * lines[1].input) + (1 << 12);
        let pitch = len[1].checked_mul(columns.len())?;
        // One row of one residue after the other: [residue y][y][residue x][x].
        let plane = pitch.checked_mul(len[0])?.checked_mul(rows.len()).filter(|plane| *plane <= most)?;
        let mut taps = Vec::with_capacity(taps_y.len() * taps_x.len());
        for (ky, residue_y, y) in &taps_y {
            for (kx, residue_x, x) in &taps_x {
                let offset = (residue_y * len[0] + y) * pitch + residue_x * len[1] + x;
                taps.push((ky * kernel_width + kx, offset));
            }
        }
        Some(Self { lines: lines.clone(), residues: [rows, columns], len, plane, pitch, taps })
    }

    /// Fills `planes` with those of `x`, from positions `first` on.
    pub(super) fn fill(&self, x: &[f32], first: [usize; 2], planes: &mut [f32]) {
        let [y, c] = &self.lines;
        if x.is_empty() {
            // All that is read is padding.
            return planes.fill(0.0);
        }
        let begin = |i: usize, residue: usize| {
            (first[i] * self.lines[i].step + residue) as isize + self.lines[i].base()
        };
        // For every residue of a row, where it begins in the input, and which of its elements there are.
        let parts: Vec<(isize, Range<usize>)> = self.residues[1]
            .iter()
            .map(|r| {
                let begin = begin(1, *r);
                let until = |end: usize| {
                    (end as isize - begin).max(0).unsigned_abs().div_ceil(c.step).min(self.len[1])
                };
                (begin, until(0)..until(c.input))
            })
            .collect();
        let mut rows = planes.chunks_exact_mut(self.pitch);
        for x in x.chunks(y.input * c.input) {
            for residue in &self.residues[0] {
                let begin = begin(0, *residue);
                for (at, out) in (0..self.len[0]).zip(&mut rows) {
                    let source = usize::try_from(begin + (at * y.step) as isize);
                    let Some(source) = source.ok().filter(|s| *s < y.input) else {
                        out.fill(0.0);
                        continue;
                    };
                    let row = &x[source * c.input..][..c.input];
                    for (out, (begin, inside)) in out.chunks_exact_mut(self.len[1]).zip(&parts) {
                        out[..inside.start].fill(0.0);
                        out[inside.end..].fill(0.0);
                        if inside.is_empty() {
                            continue;
                        }
                        let from =
                            &row[begin.saturating_add_unsigned(inside.start * c.step).unsigned_abs()..];
                        let out = &mut out[inside.clone()];
                        if c.step == 1 {
                            out.copy_from_slice(&from[..out.len()]);
                        } else {
                            out.iter_mut().zip(from.iter().step_by(c.step)).for_each(|(o, v)| *o = *v);
                        }
                    }
                }
            }
        }
    }
}

/// Which line is cut into tasks (rows, or the one row that there is), and into pieces of how many positions, so that the
/// planes of a piece stay in a second-level cache: `elements` are those that a position is, of all planes. It follows from
/// the shapes alone.
pub(super) fn cut(lines: &[Line; 2], height: usize, elements: usize, images: usize) -> (usize, usize) {
    /// Elements that such a cache holds beside others.
    const CACHED: usize = 1 << 16;
    /// Tasks that a small batch is cut into.
    const TASKS: usize = 8;
    let axis = usize::from(height == 1);
    let (elements, least) = if axis == 0 { (elements * lines[1].count, 4) } else { (elements, 192) };
    let count = lines[axis].count;
    let share = count.div_ceil(TASKS.div_ceil(images.max(1)));
    let positions = (CACHED / elements.max(1)).min(share).max(1).next_multiple_of(least);
    (axis, positions.min(count).max(1))
}
