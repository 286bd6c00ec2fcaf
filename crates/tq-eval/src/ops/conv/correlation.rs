//! Convolution and transposed convolution of f32 without unrolling: weights are packed once, and the tiles of `tile` read
//! the input in place, from planes that are padded as they are needed.

use super::lines::{self, Layout, Line, cut};
use super::tile::{Correlate, FILTERS, Place, SLACK, lanes};
use crate::vectors;
use crate::window::Window;
use rayon::prelude::*;

/// Below this share of a vector that a row fills, unrolling is faster.
const LEAST_FILLED: f64 = 0.45;

/// A convolution with so many channels a group of its input and of its output.
pub(in crate::ops) struct Correlation {
    pub(in crate::ops) groups: usize,
    pub(in crate::ops) channels: usize,
    pub(in crate::ops) filters: usize,
    /// Pairs of lines that together make all of the output.
    lines: Vec<[Line; 2]>,
    /// Height and width of the output.
    output: [usize; 2],
    /// Elements of an input plane.
    input: usize,
    kernel_width: usize,
}

/// What one pair of lines needs.
struct Pass<'a> {
    lines: &'a [Line; 2],
    layout: Layout,
    /// For all taps of all channels.
    taps: Vec<usize>,
    /// Of all groups.
    weights: Vec<[f32; FILTERS]>,
}

/// A part of the output: image times groups, first position along the line that is cut, rows of the channels.
type Task<'o> = (usize, usize, Vec<&'o mut [f32]>);

/// Positions `first..first + step` along one of two lines, for one group.
struct Piece<'a> {
    axis: usize,
    first: usize,
    step: usize,
    group: usize,
    bias: &'a [[f32; FILTERS]],
}

impl Correlation {
    /// For the window of a convolution whose output has the shape `dims`; `None` where unrolling does better.
    pub(in crate::ops) fn reading(window: &Window, dims: &[usize], sizes: [usize; 3]) -> Option<Self> {
        worth(dims, sizes).then_some(())?;
        let output = window.axes.map(|a| a.output);
        Self::new(vec![lines::reading(window)?], window, output, window.input_len(), sizes)
    }

    /// For the window of a transposed convolution.
    pub(in crate::ops) fn writing(window: &Window, dims: &[usize], sizes: [usize; 3]) -> Option<Self> {
        worth(dims, sizes).then_some(())?;
        let output = window.axes.map(|a| a.input);
        Self::new(lines::writing(window)?, window, output, window.output_len(), sizes)
    }

    fn new(
        lines: Vec<[Line; 2]>,
        window: &Window,
        [depth, height, width]: [usize; 3],
        input: usize,
        [groups, channels, filters]: [usize; 3],
    ) -> Option<Self> {
        let columns = lines.iter().map(|[_, x]| x.count).min()?;
        // The lines of a pointwise window are those of one long row.
        let row = matches!(&lines[..], [[y, x]] if y.count == 1 && x.count == depth * height * width);
        let output = if row { [1, depth * height * width] } else { [height, width] };
        let kernel_width = window.axes[2].kernel;
        let found = Self { groups, channels, filters, lines, output, input, kernel_width };
        fills_vectors(columns).then_some(found)
    }

    /// Writes the result to `out`. `weight` gives that of a group's output channel, input channel and kernel element.
    /// False, and nothing written, where padded planes would be too large.
    pub(in crate::ops) fn run(
        &self,
        x: &[f32],
        weight: &(impl Fn([usize; 4]) -> f32 + Sync),
        bias: Option<&[f32]>,
        out: &mut [f32],
    ) -> bool {
        let plane = self.output[0] * self.output[1];
        let images = out.len() / (self.filters * plane).max(1);
        let (axis, step) = cut(&self.lines[0], self.output[0], self.channels, images);
        let Some(passes) =
            self.lines.iter().map(|l| self.pass(l, axis, step, weight)).collect::<Option<Vec<_>>>()
        else {
            return false;
        };
        let bias_of = |group: usize| -> Vec<[f32; FILTERS]> {
            let of = |f: usize| match bias {
                Some(b) if f < self.filters => b[group * self.filters + f],
                _ => 0.0,
            };
            (0..self.filters.div_ceil(FILTERS))
                .map(|b| std::array::from_fn(|i| of(b * FILTERS + i)))
                .collect()
        };
        let bias: Vec<Vec<[f32; FILTERS]>> = (0..self.groups).map(bias_of).collect();
        let unit = if axis == 0 { self.output[1] } else { 1 };
        let piece = step * self.lines[0][axis].write * unit;
        self.tasks(out, plane, piece, step).into_par_iter().for_each_init(Vec::new, |buffer, task| {
            let (image, first, mut out) = task;
            let x = &x[image * self.channels * self.input..][..self.channels * self.input];
            let group = image % self.groups;
            let piece = Piece { axis, first, step, group, bias: &bias[group] };
            for pass in &passes {
                self.write(pass, x, &piece, &mut out, buffer);
            }
        });
        true
    }

    fn pass<'a>(
        &self,
        lines: &'a [Line; 2],
        axis: usize,
        step: usize,
        weight: &(impl Fn([usize; 4]) -> f32 + Sync),
    ) -> Option<Pass<'a>> {
        let mut counts = [lines[0].count, lines[1].count];
        counts[axis] = counts[axis].min(step);
        let layout = Layout::new(lines, counts, self.kernel_width)?;
        let taps = taps_of_channels(&layout, self.channels);
        let blocks = self.filters.div_ceil(FILTERS);
        let mut weights = vec![[0.0; FILTERS]; self.groups * blocks * taps.len()];
        weights.par_chunks_mut(taps.len().max(1)).enumerate().for_each(|(i, block)| {
            let (group, first) = (i / blocks, i % blocks * FILTERS);
            let filters = FILTERS.min(self.filters - first);
            for (channel, block) in block.chunks_exact_mut(layout.taps.len()).enumerate() {
                for (weights, (k, _)) in block.iter_mut().zip(&layout.taps) {
                    for (f, out) in weights[..filters].iter_mut().enumerate() {
                        *out = weight([group, first + f, channel, *k]);
                    }
                }
            }
        });
        Some(Pass { lines, layout, taps, weights })
    }

    /// The output, cut into the same part of every plane of an image.
    fn tasks<'o>(&self, out: &'o mut [f32], plane: usize, piece: usize, step: usize) -> Vec<Task<'o>> {
        let mut tasks = Vec::new();
        for (image, out) in out.chunks_mut(self.filters * plane).enumerate() {
            let start = tasks.len();
            tasks.extend(
                (0..plane.div_ceil(piece)).map(|i| (image, i * step, Vec::with_capacity(self.filters))),
            );
            for plane in out.chunks_mut(plane) {
                plane.chunks_mut(piece).zip(&mut tasks[start..]).for_each(|(out, task)| task.2.push(out));
            }
        }
        tasks
    }

    /// What one pair of lines gives to a piece.
    fn write(
        &self,
        pass: &Pass<'_>,
        x: &[f32],
        piece: &Piece<'_>,
        out: &mut [&mut [f32]],
        buffer: &mut Vec<f32>,
    ) {
        let lines = pass.lines;
        let mut counts = [lines[0].count, lines[1].count];
        counts[piece.axis] = counts[piece.axis].saturating_sub(piece.first).min(piece.step);
        let mut from = [0, 0];
        from[piece.axis] = piece.first;
        let width = self.output[1];
        let lanes = lanes();
        let mut places = Vec::new();
        for y in 0..counts[0] {
            for at in (0..counts[1]).step_by(lanes) {
                let to = (lines[0].start + y * lines[0].write) * width + lines[1].start + at * lines[1].write;
                places.push(Place { from: y * pass.layout.pitch + at, to, len: lanes.min(counts[1] - at) });
            }
        }
        let len = self.channels * pass.layout.plane;
        buffer.resize(len + SLACK, 0.0);
        buffer[len..].fill(0.0);
        if len > 0 {
            pass.layout.fill(x, from, &mut buffer[..len]);
        }
        let weights = self.filters.div_ceil(FILTERS) * pass.taps.len();
        let weights = &pass.weights[piece.group * weights..][..weights];
        let (taps, places, bias, step) = (&pass.taps, &places, piece.bias, lines[1].write);
        vectors::arch().dispatch(Correlate { x: buffer, taps, weights, bias, places, step, out });
    }
}

/// Enough channels, and no plane or kernel without elements, which may be of any length and must not be walked over.
fn worth(dims: &[usize], [_, channels, filters]: [usize; 3]) -> bool {
    filters >= super::FEW_CHANNELS && channels > 0 && !dims.contains(&0)
}

/// Whether rows of so many positions fill vectors well enough.
pub(super) fn fills_vectors(columns: usize) -> bool {
    let lanes = lanes();
    lanes >= 4 && columns as f64 >= LEAST_FILLED * columns.next_multiple_of(lanes) as f64 && columns > 0
}

/// Offsets of the taps in the planes of all channels.
pub(super) fn taps_of_channels(layout: &Layout, channels: usize) -> Vec<usize> {
    (0..channels).flat_map(|c| layout.taps.iter().map(move |(_, at)| c * layout.plane + at)).collect()
}
