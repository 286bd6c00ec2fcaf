//! The gradient of a convolution's weights.

use super::super::matmul::{Product, strided};
use super::super::{Context, DEFAULT_MAX_TENSOR_BYTES, same_dtype};
use super::{ConvShape, FEW_CHANNELS, TILE, unroll};
use crate::number::{Real, with_real};
use crate::{OpError, Precision};
use ndarray::{ArrayView2, ArrayViewMut2};
use rayon::prelude::*;
use tq_graph::Tensor;
use tq_graph::op::ConvAttrs;

/// Parts in which the batch is summed. Their number does not depend on that of threads, so neither does the result.
const PARTS: usize = 8;

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
        partial.par_chunks_mut(group_len).enumerate().try_for_each_init(Vec::new, |buffer, (i, sum)| {
            let (part, group) = (i / self.groups, i % self.groups);
            for image in part * images..batch.min((part + 1) * images) {
                let at = image * self.groups + group;
                let (x, g) = (&x[at * input..][..input], &g[at * output..][..output]);
                if self.filters < FEW_CHANNELS {
                    self.direct_weights(x, g, taps, sum);
                } else {
                    self.unrolled_weights(x, g, taps, sum, buffer)?;
                }
            }
            Ok::<(), OpError>(())
        })?;
        for part in partial.chunks(total) {
            sum.iter_mut().zip(part).for_each(|(s, p)| *s = *s + *p);
        }
        Ok(sum)
    }

    /// Products of the gradient with the unrolled input, in tiles of whole output rows.
    fn unrolled_weights<T: Real + Product>(
        &self,
        x: &[T],
        g: &[T],
        taps: usize,
        sum: &mut [T],
        buffer: &mut Vec<T>,
    ) -> Result<(), OpError> {
        let [depth, height, width] = self.window.axes.map(|a| a.output);
        let plane = self.window.output_len();
        let bad = |_| OpError::Shape(format!("{:?} is no output", self.dims));
        if self.window.is_pointwise() {
            let unrolled: ArrayView2<T> = strided(x, taps, plane, plane)?;
            let to = ArrayViewMut2::from_shape((self.filters, taps), sum).map_err(bad)?;
            T::accumulate(strided(g, self.filters, plane, plane)?, unrolled.reversed_axes(), to);
            return Ok(());
        }
        let rows = ((TILE / taps).max(64) / width).clamp(1, depth * height);
        for first in (0..depth * height).step_by(rows) {
            let count = rows.min(depth * height - first);
            let columns = count * width;
            unroll(&self.window, x, first, count, buffer);
            let unrolled: ArrayView2<T> = strided(buffer, taps, columns, columns)?;
            let from = strided(&g[first * width..], self.filters, columns, plane)?;
            let to = ArrayViewMut2::from_shape((self.filters, taps), &mut *sum).map_err(bad)?;
            T::accumulate(from, unrolled.reversed_axes(), to);
        }
        Ok(())
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
