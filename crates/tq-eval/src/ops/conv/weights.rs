//! The gradient of a convolution's weights.

use super::super::matmul::{Product, strided};
use super::super::{Context, DEFAULT_MAX_TENSOR_BYTES, same_dtype};
use super::{ConvShape, FEW_CHANNELS, TILE};
use crate::number::{Real, with_real};
use crate::window::Window;
use crate::{OpError, Precision};
use ndarray::ArrayViewMut2;
use rayon::prelude::*;
use std::ops::Range;
use tq_graph::Tensor;
use tq_graph::op::ConvAttrs;

/// Parts in which the batch is summed. Their number does not depend on that of threads, so neither does the result.
pub(super) const PARTS: usize = 8;

/// The gradient of the weights, of shape `w`, of the convolution of `x`, for the gradient of its result: every weight
/// gets the sum of the products of what it met and where that went.
///
/// # Errors
/// [`OpError::Shape`] where the shapes do not go together, [`OpError::DType`] for other types than f32 and f64.
pub fn conv_weights(
    x: &Tensor,
    w: &[usize],
    gradient: &Tensor,
    attrs: &ConvAttrs,
) -> Result<Tensor, OpError> {
    let ctx = Context { precision: Precision::F32, max_tensor_bytes: DEFAULT_MAX_TENSOR_BYTES };
    same_dtype(x, gradient, "the gradient")?;
    let shape = ConvShape::new(x.dims(), w, attrs)?;
    if gradient.dims() != shape.dims {
        return Err(OpError::Shape(format!(
            "gradient of shape {:?} for a convolution to {:?}",
            gradient.dims(),
            shape.dims
        )));
    }
    if let (Ok(x), Ok(g)) = (x.as_slice::<f32>(), gradient.as_slice::<f32>())
        && let Some(sum) = shape.tiled_weights(&ctx, x, g)?
    {
        return Ok(Tensor::new(w, sum)?);
    }
    with_real!(x.dtype(), T => {
        let sum = shape.weights::<T>(&ctx, x.as_slice()?, gradient.as_slice()?)?;
        Ok(Tensor::new(w, sum)?)
    })
}

impl ConvShape {
    fn weights<T: Real + Product>(&self, ctx: &Context, x: &[T], g: &[T]) -> Result<Vec<T>, OpError> {
        let taps = self.channels * self.window.kernel_len();
        let group_len = self.filters * taps;
        let (input, output) =
            (self.channels * self.window.input_len(), self.filters * self.window.output_len());
        let total = self.groups * group_len;
        let mut sum = ctx.zeros::<T>(&[total])?;
        if g.is_empty() || total == 0 || input == 0 {
            return Ok(sum);
        }
        let batch = g.len() / (self.groups * output);
        let images = batch.div_ceil(PARTS);
        let parts = batch.div_ceil(images);
        ctx.numel::<T>(&[parts, total])?;
        // One task a group and part of the batch.
        let mut partial = ctx.zeros::<T>(&[parts * total])?;
        let buffers = || [Vec::new(), Vec::new()];
        partial.par_chunks_mut(group_len).enumerate().try_for_each_init(buffers, |buffers, (i, sum)| {
            let (part, group) = (i / self.groups, i % self.groups);
            for image in part * images..batch.min((part + 1) * images) {
                let at = image * self.groups + group;
                let (x, g) = (&x[at * input..][..input], &g[at * output..][..output]);
                if self.filters < FEW_CHANNELS {
                    self.direct_weights(x, g, taps, sum);
                } else {
                    self.unrolled_weights(x, g, taps, sum, buffers)?;
                }
            }
            Ok::<(), OpError>(())
        })?;
        for part in partial.chunks(total) {
            sum.iter_mut().zip(part).for_each(|(s, p)| *s = *s + *p);
        }
        if self.filters >= FEW_CHANNELS {
            sum = self.channels_first(&sum, taps);
        }
        Ok(sum)
    }

    /// Products of the gradient with the unrolled input, in tiles of whole output rows. The sums come out with the
    /// channels last, since an input that lies this way is unrolled into the rows that a matrix product packs fastest.
    fn unrolled_weights<T: Real + Product>(
        &self,
        x: &[T],
        g: &[T],
        taps: usize,
        sum: &mut [T],
        [channels_last, buffer]: &mut [Vec<T>; 2],
    ) -> Result<(), OpError> {
        let [depth, height, width] = self.window.axes.map(|a| a.output);
        let plane = self.window.output_len();
        let bad = |_| OpError::Shape(format!("{:?} is no output", self.dims));
        transpose(x, self.channels, channels_last);
        let rows = match self.window.is_pointwise() {
            true => depth * height,
            false => ((TILE / taps).max(64) / width).clamp(1, depth * height),
        };
        for first in (0..depth * height).step_by(rows) {
            let count = rows.min(depth * height - first);
            let columns = count * width;
            let unrolled: &[T] = if self.window.is_pointwise() {
                channels_last
            } else {
                unroll_rows(&self.window, channels_last, self.channels, first..first + count, buffer);
                buffer
            };
            let from = strided(&g[first * width..], self.filters, columns, plane)?;
            let to = ArrayViewMut2::from_shape((self.filters, taps), &mut *sum).map_err(bad)?;
            T::accumulate(from, strided(unrolled, columns, taps, taps)?, to);
        }
        Ok(())
    }

    /// Kernels with the channels last, brought into the usual order.
    fn channels_first<T: Real>(&self, sums: &[T], taps: usize) -> Vec<T> {
        let mut out = Vec::with_capacity(sums.len());
        let mut kernel = Vec::new();
        for sums in sums.chunks(taps) {
            transpose(sums, taps / self.channels, &mut kernel);
            out.extend_from_slice(&kernel);
        }
        out
    }

    /// Weight by weight, the sum of products of rows.
    fn direct_weights<T: Real>(&self, x: &[T], g: &[T], taps: usize, sum: &mut [T]) {
        let [z, y, c] = self.window.axes;
        for (g, sum) in g.chunks(self.window.output_len()).zip(sum.chunks_mut(taps)) {
            let mut sums = sum.iter_mut();
            for x in x.chunks(self.window.input_len()) {
                for kz in 0..z.kernel {
                    for ky in 0..y.kernel {
                        for kx in 0..c.kernel {
                            let Some(sum) = sums.next() else { return };
                            let columns = c.windows(kx);
                            if columns.is_empty() {
                                continue;
                            }
                            let start = columns.start * c.stride + kx * c.dilation - c.begin;
                            for oz in z.windows(kz) {
                                let iz = oz * z.stride + kz * z.dilation - z.begin;
                                for oy in y.windows(ky) {
                                    let iy = oy * y.stride + ky * y.dilation - y.begin;
                                    let row = &x[(iz * y.input + iy) * c.input..][..c.input][start..];
                                    let by = &g[(oz * y.output + oy) * c.output..][columns.clone()];
                                    *sum = *sum + row_product(row, c.stride, by);
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Sum of the products of every `step`-th element with `by`, in eight interleaved lanes.
fn row_product<T: Real>(row: &[T], step: usize, by: &[T]) -> T {
    let mut lanes = [T::ZERO; 8];
    if step == 1 {
        let (row, by) = (row[..by.len()].chunks_exact(8), by.chunks_exact(8));
        let rest = row.remainder().iter().zip(by.remainder());
        for (a, b) in row.zip(by) {
            lanes.iter_mut().zip(a.iter().zip(b)).for_each(|(l, (a, b))| *l = *l + *a * *b);
        }
        lanes.iter_mut().zip(rest).for_each(|(l, (a, b))| *l = *l + *a * *b);
    } else {
        for (i, (a, b)) in row.iter().step_by(step).zip(by).enumerate() {
            lanes[i % 8] = lanes[i % 8] + *a * *b;
        }
    }
    lanes.into_iter().fold(T::ZERO, |s, l| s + l)
}

/// A matrix of so many rows the other way round.
fn transpose<T: Real>(x: &[T], rows: usize, out: &mut Vec<T>) {
    /// Rows that are read side by side.
    const BLOCK: usize = 16;
    let columns = x.len() / rows;
    out.clear();
    out.resize(x.len(), T::ZERO);
    for first in (0..rows).step_by(BLOCK) {
        let last = rows.min(first + BLOCK);
        for (column, out) in out.chunks_mut(rows).enumerate() {
            for (row, out) in (first..last).zip(&mut out[first..last]) {
                *out = x[row * columns + column];
            }
        }
    }
}

/// Fills `buffer` with one row an output element of these rows of the output: the input that its taps see, tap by tap
/// with all channels of each.
fn unroll_rows<T: Real>(window: &Window, x: &[T], channels: usize, rows: Range<usize>, buffer: &mut Vec<T>) {
    let [z, y, c] = window.axes;
    let line = c.kernel * channels;
    buffer.clear();
    for row in rows {
        let (oz, oy) = (row / y.output, row % y.output);
        for ox in 0..c.output {
            let inside = c.taps(ox);
            for kz in 0..z.kernel {
                for ky in 0..y.kernel {
                    let at = buffer.len();
                    let source = z.position(oz, kz).zip(y.position(oy, ky)).filter(|_| !inside.is_empty());
                    let Some((iz, iy)) = source else {
                        buffer.resize(at + line, T::ZERO);
                        continue;
                    };
                    let from = &x[(iz * y.input + iy) * c.input * channels..][..c.input * channels];
                    let start = (ox * c.stride + inside.start * c.dilation - c.begin) * channels;
                    buffer.resize(at + inside.start * channels, T::ZERO);
                    if c.dilation == 1 {
                        buffer.extend_from_slice(&from[start..][..inside.len() * channels]);
                    } else {
                        for tap in 0..inside.len() {
                            let start = start + tap * c.dilation * channels;
                            buffer.extend_from_slice(&from[start..][..channels]);
                        }
                    }
                    buffer.resize(at + line, T::ZERO);
                }
            }
        }
    }
}
