//! Convolution.

mod correlation;
mod lines;
mod tile;
mod weight_tiles;
mod weights;

pub(super) use correlation::Correlation;
pub use weights::conv_weights;

use super::matmul::{Product, strided};
use super::{Context, Inputs, same_dtype};
use crate::OpError;
use crate::number::{Real, with_real};
use crate::parallel;
use crate::window::Window;
use ndarray::{ArrayView2, ArrayViewMut2, Axis};
use rayon::prelude::*;
use tq_graph::Tensor;
use tq_graph::op::ConvAttrs;

/// Elements of the unrolled input that one task works on: about what a second-level cache holds.
const TILE: usize = 1 << 17;

/// Below this number of output channels a group, the direct loop beats unrolling.
const FEW_CHANNELS: usize = 3;

/// Shapes of a convolution that fit each other.
pub(crate) struct ConvShape {
    pub(crate) window: Window,
    groups: usize,
    /// Channels a group of the input.
    channels: usize,
    /// Channels a group of the output.
    filters: usize,
    /// Shape of the output.
    pub(crate) dims: Vec<usize>,
}

impl ConvShape {
    /// Checks `x` against `w` and the attributes.
    pub(crate) fn new(x: &[usize], w: &[usize], attrs: &ConvAttrs) -> Result<Self, OpError> {
        let bad =
            |why: &str| OpError::Shape(format!("{why}: input {x:?}, weights {w:?}, {} groups", attrs.groups));
        let ([batch, c, input @ ..], [m, channels, kernel @ ..]) = (x, w) else {
            return Err(bad("input and weights need a spatial axis"));
        };
        let groups = attrs.groups;
        if groups == 0 || m % groups != 0 || channels.checked_mul(groups) != Some(*c) {
            return Err(bad("channels and groups do not go together"));
        }
        let window = Window::new(input, kernel, &attrs.strides, &attrs.dilations, &attrs.padding, false)?;
        let dims = [*batch, *m].into_iter().chain(window.output_dims()).collect();
        Ok(Self { window, groups, channels: *channels, filters: m / groups, dims })
    }

    /// Row-major elements of the convolution of `x` with `w`, plus one bias a channel.
    pub(crate) fn convolve<T: Real + Product>(
        &self,
        ctx: &Context,
        x: &[T],
        w: &[T],
        bias: Option<&[T]>,
    ) -> Result<Vec<T>, OpError> {
        let mut out = ctx.zeros::<T>(&self.dims)?;
        if out.is_empty() {
            return Ok(out);
        }
        let plane = self.window.output_len();
        if let Some(bias) = bias {
            for (i, plane) in out.chunks_mut(plane).enumerate() {
                plane.fill(bias[i % bias.len()]);
            }
        }
        let taps = self.channels * self.window.kernel_len();
        if taps == 0 {
            return Ok(out);
        }
        if self.filters < FEW_CHANNELS {
            self.direct(x, w, taps, &mut out);
        } else {
            self.unrolled(ctx, x, w, taps, &mut out)?;
        }
        Ok(out)
    }

    /// The same in f32 without unrolling, where that is faster.
    fn correlate(
        &self,
        ctx: &Context,
        x: &[f32],
        w: &[f32],
        bias: Option<&[f32]>,
    ) -> Result<Option<Vec<f32>>, OpError> {
        let sizes = [self.groups, self.channels, self.filters];
        let Some(correlation) = Correlation::reading(&self.window, &self.dims, sizes) else {
            return Ok(None);
        };
        let mut out = ctx.zeros::<f32>(&self.dims)?;
        let kernel = self.window.kernel_len();
        let weight =
            |[group, f, c, k]: [usize; 4]| w[((group * self.filters + f) * self.channels + c) * kernel + k];
        Ok(correlation.run(x, &weight, bias, &mut out).then_some(out))
    }

    /// Plane by plane, tap by tap, each a scaled sum of rows.
    fn direct<T: Real>(&self, x: &[T], w: &[T], taps: usize, out: &mut [T]) {
        let plane = self.window.output_len();
        let filters = self.groups * self.filters;
        let input = self.channels * self.window.input_len();
        let rows_a_task = ((1 << 16) / (plane * taps).max(1)).max(1);
        parallel::chunks(out, plane, rows_a_task, &|i, out| {
            let (n, m) = (i / filters, i % filters);
            let x = &x[(n * self.groups + m / self.filters) * input..][..input];
            direct_plane(&self.window, x, &w[m * taps..][..taps], out);
        });
    }

    /// Matrix products of the weights with the unrolled input, in tiles of whole output rows.
    fn unrolled<T: Real + Product>(
        &self,
        ctx: &Context,
        x: &[T],
        w: &[T],
        taps: usize,
        out: &mut [T],
    ) -> Result<(), OpError> {
        let [depth, height, width] = self.window.axes.map(|a| a.output);
        let (rows, plane) = (depth * height, self.window.output_len());
        let pointwise = self.window.is_pointwise();
        let tile_columns = (TILE / taps).max(64);
        let tile_rows = (tile_columns / width).clamp(1, rows);
        if !pointwise {
            ctx.numel::<T>(&[taps, tile_rows, width])?;
        }
        let input = self.channels * self.window.input_len();
        let w_group = self.filters * taps;
        let shape_error = |_| OpError::Shape(format!("{:?} is no output", self.dims));
        let mut tasks: Vec<(usize, usize, ArrayViewMut2<T>)> = Vec::new();
        for (image, out) in out.chunks_mut(self.filters * plane).enumerate() {
            let mut rest = ArrayViewMut2::from_shape((self.filters, plane), out).map_err(shape_error)?;
            let mut at = 0;
            while rest.ncols() > 0 {
                let columns = (tile_rows * width).min(rest.ncols());
                let (tile, tail) = rest.split_at(Axis(1), columns);
                tasks.push((image, at, tile));
                at += columns;
                rest = tail;
            }
        }
        tasks.into_par_iter().try_for_each_init(Vec::new, |buffer, (image, at, out)| {
            let x = &x[image * input..][..input];
            let group = image % self.groups;
            let weights = strided(&w[group * w_group..][..w_group], self.filters, taps, taps)?;
            let columns = out.ncols();
            let unrolled: ArrayView2<T> = if pointwise {
                strided(&x[at..], taps, columns, plane)?
            } else {
                unroll(&self.window, x, at / width, columns / width, buffer);
                strided(buffer, taps, columns, columns)?
            };
            T::accumulate(weights, unrolled, out);
            Ok(())
        })
    }
}

/// Adds to `out` the correlation of the planes in `x` with their kernels in `w`.
fn direct_plane<T: Real>(window: &Window, x: &[T], w: &[T], out: &mut [T]) {
    let [z, y, c] = window.axes;
    let width = c.output;
    let mut weights = w.iter();
    for x in x.chunks(window.input_len().max(1)) {
        for kz in 0..z.kernel {
            for ky in 0..y.kernel {
                for kx in 0..c.kernel {
                    let Some(&weight) = weights.next() else { return };
                    let columns = c.windows(kx);
                    if columns.is_empty() {
                        continue;
                    }
                    let first = columns.start * c.stride + kx * c.dilation - c.begin;
                    for oz in z.windows(kz) {
                        let iz = oz * z.stride + kz * z.dilation - z.begin;
                        for oy in y.windows(ky) {
                            let iy = oy * y.stride + ky * y.dilation - y.begin;
                            let from = &x[(iz * y.input + iy) * c.input..][..c.input][first..];
                            let to = &mut out[(oz * y.output + oy) * width..][..width][columns.clone()];
                            if c.stride == 1 {
                                to.iter_mut().zip(from).for_each(|(o, v)| *o = *o + weight * *v);
                            } else {
                                let from = from.iter().step_by(c.stride);
                                to.iter_mut().zip(from).for_each(|(o, v)| *o = *o + weight * *v);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Fills `buffer` with one row a tap: the input that the tap sees for output rows `first..first + rows`.
fn unroll<T: Real>(window: &Window, x: &[T], first: usize, rows: usize, buffer: &mut Vec<T>) {
    let [z, y, c] = window.axes;
    buffer.clear();
    for x in x.chunks(window.input_len().max(1)) {
        for kz in 0..z.kernel {
            for ky in 0..y.kernel {
                for kx in 0..c.kernel {
                    let columns = c.windows(kx);
                    for row in first..first + rows {
                        let at = buffer.len();
                        buffer.resize(at + c.output, T::ZERO);
                        let source = z.position(row / y.output, kz).zip(y.position(row % y.output, ky));
                        if let (Some((iz, iy)), false) = (source, columns.is_empty()) {
                            let start = columns.start * c.stride + kx * c.dilation - c.begin;
                            let from = &x[(iz * y.input + iy) * c.input..][..c.input][start..];
                            let to = &mut buffer[at..][columns.clone()];
                            if c.stride == 1 {
                                to.copy_from_slice(&from[..to.len()]);
                            } else {
                                to.iter_mut().zip(from.iter().step_by(c.stride)).for_each(|(o, v)| *o = *v);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Convolution of floats.
pub(crate) fn conv(ctx: &Context, inputs: Inputs, attrs: &ConvAttrs) -> Result<Tensor, OpError> {
    let (x, w) = (inputs.need(0)?, inputs.need(1)?);
    same_dtype(x, w, "the weights")?;
    let shape = ConvShape::new(x.dims(), w.dims(), attrs)?;
    if let Some(b) = inputs.get(2) {
        same_dtype(x, b, "the bias")?;
        check_bias(b, w)?;
    }
    if let (Ok(x), Ok(w)) = (x.as_slice::<f32>(), w.as_slice::<f32>()) {
        let bias = inputs.get(2).map(Tensor::as_slice::<f32>).transpose()?;
        if let Some(out) = shape.correlate(ctx, x, w, bias)? {
            return Ok(Tensor::new(&shape.dims, out)?);
        }
    }
    with_real!(x.dtype(), T => {
        let bias = inputs.get(2).map(Tensor::as_slice::<T>).transpose()?;
        let data = shape.convolve::<T>(ctx, x.as_slice()?, w.as_slice()?, bias)?;
        Ok(Tensor::new(&shape.dims, data)?)
    })
}

/// Requires one bias an output channel.
pub(crate) fn check_bias(b: &Tensor, w: &Tensor) -> Result<(), OpError> {
    check_bias_len(b, w.dims().first().copied().unwrap_or(0), w)
}

/// Requires a bias of `channels` elements.
pub(crate) fn check_bias_len(b: &Tensor, channels: usize, w: &Tensor) -> Result<(), OpError> {
    if b.dims() == [channels] {
        return Ok(());
    }
    Err(OpError::Shape(format!("bias of shape {:?} for weights {:?}", b.dims(), w.dims())))
}
