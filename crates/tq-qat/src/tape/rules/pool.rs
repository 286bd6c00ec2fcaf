//! Pools.

use super::{Call, Gradient, Gradients};
use crate::parallel;
use tq_eval::OpError;
use tq_eval::window::Window;
use tq_graph::Tensor;
use tq_graph::op::PoolAttrs;

/// What a pool makes of a window.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Max,
    Average { count_include_pad: bool },
    Norm { p: u32 },
}

/// A pool with a window, or over whole planes.
pub(super) struct Pool<'a> {
    pub(super) kind: Kind,
    pub(super) attrs: Option<&'a PoolAttrs>,
}

impl Gradient for Pool<'_> {
    fn keeps_input(&self, _: usize, _: &[bool]) -> bool {
        !matches!(self.kind, Kind::Average { .. })
    }

    fn keeps_output(&self, i: usize) -> bool {
        i == 0 && matches!(self.kind, Kind::Norm { .. })
    }

    fn backward(&self, mut call: Call<'_>) -> Gradients {
        let gradient = call.gradient()?;
        let dims = &call.input_dims[0];
        let [_, _, input @ ..] = dims.as_slice() else {
            return Err(OpError::Shape(format!("input of shape {dims:?} has no channels")));
        };
        let mut out = vec![0.0f32; dims.iter().product()];
        let plane: usize = input.iter().product();
        let g = gradient.as_slice::<f32>()?;
        let x = match self.kind {
            Kind::Average { .. } => None,
            _ => Some(call.f32s(0)?),
        };
        let y = match self.kind {
            Kind::Norm { .. } => Some(call.output_f32s(0)?),
            _ => None,
        };
        let planes = out.len().checked_div(plane).unwrap_or(0);
        let results = g.len().checked_div(planes).unwrap_or(0);
        let window = match self.attrs {
            Some(a) => {
                Some(Window::new(input, &a.kernel, &a.strides, &a.dilations, &a.padding, a.ceil_mode)?)
            }
            None => None,
        };
        let at_once = ((1 << 12) / plane.max(1)).max(1);
        parallel::chunks(&mut out, at_once * plane.max(1), &|i, out| {
            for (j, out) in out.chunks_mut(plane.max(1)).enumerate() {
                let n = i * at_once + j;
                let of = |all: &[f32]| (n * plane, all.len());
                let x = x.as_deref().map_or(&[][..], |x| &x[of(x).0..][..plane]);
                let y = y.as_deref().map_or(&[][..], |y| &y[n * results..][..results]);
                let g = &g[n * results..][..results];
                match &window {
                    Some(window) => self.windows(window, g, x, y, out),
                    None => self.whole(g, x, y, out),
                }
            }
        });
        call.first(Tensor::new(dims, out)?)
    }
}

impl Pool<'_> {
    fn whole(&self, g: &[f32], x: &[f32], y: &[f32], out: &mut [f32]) {
        let Some(g) = g.first().copied() else { return };
        let count = out.len() as f64;
        self.window(g, y.first().copied().unwrap_or(0.0), x, 0..x.len().max(out.len()), count, out);
    }

    fn windows(&self, window: &Window, g: &[f32], x: &[f32], y: &[f32], out: &mut [f32]) {
        let [z, row, c] = window.axes;
        let mut places = Vec::with_capacity(window.kernel_len());
        for (i, g) in g.iter().enumerate() {
            let at = [i / c.output / row.output, i / c.output % row.output, i % c.output];
            places.clear();
            for kz in z.taps(at[0]) {
                let iz = at[0] * z.stride + kz * z.dilation - z.begin;
                for ky in row.taps(at[1]) {
                    let iy = at[1] * row.stride + ky * row.dilation - row.begin;
                    for kx in c.taps(at[2]) {
                        let ix = at[2] * c.stride + kx * c.dilation - c.begin;
                        places.push((iz * row.input + iy) * c.input + ix);
                    }
                }
            }
            let count = match self.kind {
                Kind::Average { count_include_pad: true } => {
                    window.axes.iter().zip(at).map(|(a, o)| a.padded_taps(o) as f64).product()
                }
                _ => places.len() as f64,
            };
            let y = y.get(i).copied().unwrap_or(0.0);
            self.window(*g, y, x, places.iter().copied(), count, out);
        }
    }

    /// Adds what the gradient `g` of the result `y` of one window gives its elements.
    fn window(
        &self,
        g: f32,
        y: f32,
        x: &[f32],
        places: impl Iterator<Item = usize>,
        count: f64,
        out: &mut [f32],
    ) {
        match self.kind {
            Kind::Max => {
                // The first of the largest; a NaN wins and stays, as in the evaluator.
                let mut best: Option<usize> = None;
                for place in places {
                    let v = x[place];
                    let wins = best.is_none_or(|b: usize| v > x[b] || (v.is_nan() && !x[b].is_nan()));
                    if wins {
                        best = Some(place);
                    }
                }
                if let Some(best) = best {
                    out[best] += g;
                }
            }
            Kind::Average { .. } => {
                let share = (f64::from(g) / count) as f32;
                places.for_each(|place| out[place] += share);
            }
            // A norm of zero has no derivative; zero stands for it.
            Kind::Norm { .. } if y == 0.0 => {}
            Kind::Norm { p } => {
                let exponent = f64::from(p) - 1.0;
                for place in places {
                    let ratio = f64::from(x[place]) / f64::from(y);
                    let slope = libm::pow(ratio.abs(), exponent);
                    let signed = if ratio > 0.0 {
                        slope
                    } else if ratio < 0.0 {
                        -slope
                    } else {
                        0.0
                    };
                    out[place] += (f64::from(g) * signed) as f32;
                }
            }
        }
    }
}
