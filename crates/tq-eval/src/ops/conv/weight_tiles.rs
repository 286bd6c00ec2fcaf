//! The gradient of a convolution's weights in f32 without unrolling, from the padded planes that the convolution reads.

use super::super::Context;
use super::correlation::{fills_vectors, taps_of_channels};
use super::lines::{Layout, Line, cut, reading};
use super::tile::{SLACK, SumProducts, lanes};
use super::weights::PARTS;
use super::{ConvShape, FEW_CHANNELS};
use crate::OpError;
use crate::vectors;
use rayon::prelude::*;

/// Elements of input and gradient that are summed over at a time: what a second-level cache holds beside the sums.
const CACHED: usize = 1 << 16;

impl ConvShape {
    /// `None` where unrolling does better.
    pub(super) fn tiled_weights(
        &self,
        ctx: &Context,
        x: &[f32],
        g: &[f32],
    ) -> Result<Option<Vec<f32>>, OpError> {
        let Some(lines) = reading(&self.window) else { return Ok(None) };
        let counts = [lines[0].count, lines[1].count];
        let taps = self.channels * self.window.kernel_len();
        let group_len = self.filters * taps;
        let total = self.groups * group_len;
        let positions = counts[0] * counts[1];
        if self.filters < FEW_CHANNELS
            || !fills_vectors(counts[1])
            || g.is_empty()
            || total == 0
            || x.is_empty()
        {
            return Ok(None);
        }
        let batch = g.len() / (self.groups * self.filters * positions);
        let images = batch.div_ceil(PARTS);
        let parts = batch.div_ceil(images);
        ctx.numel::<f32>(&[parts, total])?;
        let (axis, step) = cut(&lines, counts[0], self.channels + self.filters, PARTS);
        let mut size = counts;
        size[axis] = step;
        let Some(layout) = Layout::new(&lines, size, self.window.axes[2].kernel) else { return Ok(None) };
        let taps = taps_of_channels(&layout, self.channels);
        // So many images are summed over together.
        let together = (CACHED / (self.channels * layout.plane + self.filters * positions)).clamp(1, images);
        let mut partial = ctx.zeros::<f32>(&[parts * total])?;
        let work = Work { lines: &lines, layout: &layout, taps: &taps, axis, step };
        partial.par_chunks_mut(group_len).enumerate().for_each_init(
            Buffers::default,
            |buffers, (i, sums)| {
                let (part, group) = (i / self.groups, i % self.groups);
                let end = batch.min((part + 1) * images);
                for image in (part * images..end).step_by(together) {
                    let images: Vec<usize> =
                        (image..end.min(image + together)).map(|i| i * self.groups + group).collect();
                    for first in (0..counts[axis]).step_by(step) {
                        self.add_products(&work, x, g, (&images, first), buffers, sums);
                    }
                }
            },
        );
        let mut sum = ctx.zeros::<f32>(&[total])?;
        for part in partial.chunks(total) {
            sum.iter_mut().zip(part).for_each(|(s, p)| *s += *p);
        }
        Ok(Some(sum))
    }

    /// Adds to `sums` the products of positions from `first` on, of all these images (times groups).
    fn add_products(
        &self,
        work: &Work<'_>,
        x: &[f32],
        g: &[f32],
        (images, first): (&[usize], usize),
        Buffers { planes, places, gradient }: &mut Buffers,
        sums: &mut [f32],
    ) {
        let counts = [work.lines[0].count, work.lines[1].count];
        let (mut from, mut size) = ([0, 0], counts);
        from[work.axis] = first;
        size[work.axis] = work.step.min(counts[work.axis] - first);
        places.clear();
        gradient.clear();
        let input = self.channels * self.window.input_len();
        let len = self.channels * work.layout.plane;
        planes.resize(images.len() * len + SLACK, 0.0);
        planes[images.len() * len..].fill(0.0);
        for (i, image) in images.iter().enumerate() {
            let start = i * len;
            work.layout.fill(&x[image * input..][..input], from, &mut planes[start..][..len]);
            for y in 0..size[0] {
                let row = start + y * work.layout.pitch;
                places.extend((0..size[1]).step_by(lanes()).map(|at| row + at));
            }
        }
        // Vectors that end beyond a row meet what belongs to others there, times zero.
        let wide = size[1].next_multiple_of(lanes());
        let positions = counts[0] * counts[1];
        for f in 0..self.filters {
            for image in images {
                let g = &g[(image * self.filters + f) * positions..][..positions];
                for y in 0..size[0] {
                    let (at, end) = ((from[0] + y) * counts[1] + from[1], gradient.len() + wide);
                    gradient.extend_from_slice(&g[at..][..size[1]]);
                    gradient.resize(end, 0.0);
                }
            }
        }
        vectors::arch().dispatch(SumProducts { x: planes, taps: work.taps, places, gradient, sums });
    }
}

/// What all tasks have in common.
struct Work<'a> {
    lines: &'a [Line; 2],
    layout: &'a Layout,
    taps: &'a [usize],
    axis: usize,
    step: usize,
}

/// What a task fills again and again.
#[derive(Default)]
struct Buffers {
    planes: Vec<f32>,
    places: Vec<usize>,
    gradient: Vec<f32>,
}
