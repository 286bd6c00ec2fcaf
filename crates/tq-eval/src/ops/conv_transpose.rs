//! Transposed convolution: matrix products of the weights with the input, whose rows are added to the output where
//! the kernel elements meet it.

use super::conv::{Correlation, check_bias_len};
use super::matmul::{Product, accumulate_parallel, matrix_mut, strided};
use super::{Context, Inputs, same_dtype};
use crate::OpError;
use crate::number::{Real, with_real};
use crate::window::Window;
use rayon::prelude::*;
use std::ops::Range;
use tq_graph::Tensor;
use tq_graph::op::ConvTransposeAttrs;

/// Elements of a product that one task works on: about what a second-level cache holds.
const TILE: usize = 1 << 17;

/// Rows of a product, that is kernel elements of as many filters as fit, that one task works on.
const ROWS: usize = 256;

/// Shapes of a transposed convolution that fit each other.
struct TransposeShape {
    /// Reads the output where we write it: its `input` is our output.
    window: Window,
    groups: usize,
    /// Channels a group of the input.
    channels: usize,
    /// Channels a group of the output.
    filters: usize,
    /// Shape of the output.
    dims: Vec<usize>,
}

impl TransposeShape {
    fn new(x: &[usize], w: &[usize], attrs: &ConvTransposeAttrs) -> Result<Self, OpError> {
        let bad =
            |why: &str| OpError::Shape(format!("{why}: input {x:?}, weights {w:?}, {} groups", attrs.groups));
        let ([batch, c, input @ ..], [w_channels, filters, kernel @ ..]) = (x, w) else {
            return Err(bad("input and weights need a spatial axis"));
        };
        let groups = attrs.groups;
        if groups == 0 || c != w_channels || c % groups != 0 {
            return Err(bad("channels and groups do not go together"));
        }
        let outputs = filters.checked_mul(groups).ok_or_else(|| bad("too many channels"))?;
        if kernel.len() != input.len() {
            return Err(bad("input and weights have different axes"));
        }
        let window = Window::transposed(input, kernel, attrs)?;
        let dims = [*batch, outputs].into_iter().chain(window.input_dims()).collect();
        Ok(Self { window, groups, channels: c / groups, filters: *filters, dims })
    }
}

/// Transposed convolution of floats.
pub(crate) fn conv_transpose(
    ctx: &Context,
    inputs: Inputs,
    attrs: &ConvTransposeAttrs,
) -> Result<Tensor, OpError> {
    let (x, w) = (inputs.need(0)?, inputs.need(1)?);
    same_dtype(x, w, "the weights")?;
    let shape = TransposeShape::new(x.dims(), w.dims(), attrs)?;
    if let Some(b) = inputs.get(2) {
        same_dtype(x, b, "the bias")?;
        check_bias_len(b, shape.dims[1], w)?;
    }
    if let (Ok(x), Ok(w)) = (x.as_slice::<f32>(), w.as_slice::<f32>()) {
        let bias = inputs.get(2).map(Tensor::as_slice::<f32>).transpose()?;
        if let Some(out) = shape.correlate(ctx, x, w, bias)? {
            return Ok(Tensor::new(&shape.dims, out)?);
        }
    }
    with_real!(x.dtype(), T => {
        let mut out = ctx.zeros::<T>(&shape.dims)?;
        let plane = shape.window.input_len();
        if let Some(b) = inputs.get(2) {
            let bias = b.as_slice::<T>()?;
            if !out.is_empty() {
                for (i, plane) in out.chunks_mut(plane).enumerate() {
                    plane.fill(bias[i % bias.len()]);
                }
            }
        }
        shape.add::<T>(ctx, x.as_slice()?, w.as_slice()?, &mut out)?;
        Ok(Tensor::new(&shape.dims, out)?)
    })
}

impl TransposeShape {
    /// The result in f32 without a product for every kernel element, where that is faster.
    fn correlate(
        &self,
        ctx: &Context,
        x: &[f32],
        w: &[f32],
        bias: Option<&[f32]>,
    ) -> Result<Option<Vec<f32>>, OpError> {
        let sizes = [self.groups, self.channels, self.filters];
        let Some(correlation) = Correlation::writing(&self.window, &self.dims, sizes) else {
            return Ok(None);
        };
        let mut out = ctx.zeros::<f32>(&self.dims)?;
        let kernel = self.window.kernel_len();
        let weight =
            |[group, f, c, k]: [usize; 4]| w[((group * self.channels + c) * self.filters + f) * kernel + k];
        Ok(correlation.run(x, &weight, bias, &mut out).then_some(out))
    }

    /// Adds the transposed convolution of `x` with `w` to `out`.
    fn add<T: Real + Product>(&self, ctx: &Context, x: &[T], w: &[T], out: &mut [T]) -> Result<(), OpError> {
        let (plane, input, taps) =
            (self.window.input_len(), self.window.output_len(), self.window.kernel_len());
        if out.is_empty() || input == 0 || self.channels == 0 {
            return Ok(());
        }
        let filters = (ROWS / taps).clamp(1, self.filters);
        let tasks: Vec<(usize, usize, &mut [T])> = out
            .chunks_mut(self.filters * plane)
            .enumerate()
            .flat_map(|(i, out)| {
                out.chunks_mut(filters * plane).enumerate().map(move |(j, out)| (i, j * filters, out))
            })
            .collect();
        tasks.into_par_iter().try_for_each(|(i, first, out)| {
            // Samples times groups, one after the other, are rows of the input too.
            let x = &x[i * self.channels * input..][..self.channels * input];
            let w = &w[i % self.groups * self.channels * self.filters * taps..][first * taps..];
            self.add_filters(ctx, x, w, out)
        })
    }

    /// Adds to the planes of some filters, whose weights begin at `w`, what one group of the input gives.
    fn add_filters<T: Real + Product>(
        &self,
        ctx: &Context,
        x: &[T],
        w: &[T],
        out: &mut [T],
    ) -> Result<(), OpError> {
        let (plane, input, taps) =
            (self.window.input_len(), self.window.output_len(), self.window.kernel_len());
        let width = self.window.axes[2].output;
        let rows = out.len() / plane * taps;
        let weights = strided(w, self.channels, rows, self.filters * taps)?.reversed_axes();
        // A tile is some whole rows of the input, or a part of one.
        let most = (TILE / rows).max(1);
        let step = if most < width { most } else { most / width * width };
        let mut first = 0;
        while first < input {
            let left = if most < width { width - first % width } else { input - first };
            let count = step.min(left);
            let mut product = ctx.zeros::<T>(&[rows, count])?;
            let from = strided(&x[first..], self.channels, count, input)?;
            accumulate_parallel(weights, from, matrix_mut(&mut product, rows, count)?);
            for (out, product) in out.chunks_mut(plane).zip(product.chunks(taps * count)) {
                scatter(&self.window, product, first..first + count, out);
            }
            first += count;
        }
        Ok(())
    }
}

/// Adds one row a kernel element, over the input elements `places`, to an output plane.
fn scatter<T: Real>(window: &Window, product: &[T], places: Range<usize>, out: &mut [T]) {
    let [z, y, c] = window.axes;
    let mut rows = product.chunks(places.len());
    for kz in 0..z.kernel {
        for ky in 0..y.kernel {
            for kx in 0..c.kernel {
                let Some(mut values) = rows.next() else { return };
                let inside = c.windows(kx);
                let mut at = places.start;
                while at < places.end {
                    let (row, column) = (at / c.output, at % c.output);
                    let count = (c.output - column).min(places.end - at);
                    let (now, later) = values.split_at(count);
                    (values, at) = (later, at + count);
                    let target = z.position(row / y.output, kz).zip(y.position(row % y.output, ky));
                    let (lo, hi) = (inside.start.max(column), inside.end.min(column + count));
                    let (Some((oz, oy)), true) = (target, lo < hi) else { continue };
                    let now = &now[lo - column..hi - column];
                    let to = &mut out[(oz * y.input + oy) * c.input..][..c.input];
                    let to = &mut to[lo * c.stride + kx * c.dilation - c.begin..];
                    if c.stride == 1 {
                        to.iter_mut().zip(now).for_each(|(o, v)| *o = *o + *v);
                    } else {
                        to.iter_mut().step_by(c.stride).zip(now).for_each(|(o, v)| *o = *o + *v);
                    }
                }
            }
        }
    }
}
