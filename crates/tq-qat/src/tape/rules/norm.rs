//! Normalization with given statistics, and over channels.

use super::{Call, Gradient, Gradients};
use crate::parallel;
use tq_eval::OpError;
use tq_graph::Tensor;

/// `x, scale, bias, mean, var`: statistics that are given, as in inference and in training with frozen ones.
pub(super) struct BatchNormalization {
    pub(super) epsilon: f32,
}

impl Gradient for BatchNormalization {
    fn keeps_input(&self, i: usize, needs: &[bool]) -> bool {
        match i {
            0 => needs[1] || needs[4],
            1 => needs[0] || needs[3] || needs[4],
            2 => false,
            3 => needs[1] || needs[4],
            _ => needs[0] || needs[1] || needs[3] || needs[4],
        }
    }

    fn backward(&self, mut call: Call<'_>) -> Gradients {
        let mut gradient = call.gradient()?;
        let dims = call.input_dims[0].clone();
        let channels = call.input_dims[1].iter().product::<usize>();
        let inner: usize = dims.get(2..).unwrap_or_default().iter().product();
        let mut out = call.nothing();
        let var = if call.inputs[4].is_some() { call.f32s(4)?.into_owned() } else { vec![1.0; channels] };
        let inverse: Vec<f64> =
            var.iter().map(|v| 1.0 / (f64::from(*v) + f64::from(self.epsilon)).sqrt()).collect();
        let of_channels = |f: &dyn Fn(usize) -> f64| {
            Tensor::new(&call.input_dims[1], (0..channels).map(|c| f(c) as f32).collect::<Vec<f32>>())
        };
        if call.needs[1..].contains(&true) {
            let x = if call.needs(1) || call.needs(4) { Some(call.f32s(0)?) } else { None };
            let mean = if x.is_some() { call.f32s(3)?.into_owned() } else { vec![0.0; channels] };
            let sums = channel_sums(gradient.as_slice()?, x.as_deref(), &mean, channels, inner);
            let scale =
                if call.inputs[1].is_some() { call.f32s(1)?.into_owned() } else { vec![1.0; channels] };
            let factor = |c: usize| f64::from(scale[c]) * inverse[c];
            if call.needs(1) {
                out[1] = Some(of_channels(&|c| sums[c].1 * inverse[c])?);
            }
            if call.needs(2) {
                out[2] = Some(of_channels(&|c| sums[c].0)?);
            }
            if call.needs(3) {
                out[3] = Some(of_channels(&|c| -factor(c) * sums[c].0)?);
            }
            if call.needs(4) {
                out[4] = Some(of_channels(&|c| -0.5 * factor(c) * inverse[c] * inverse[c] * sums[c].1)?);
            }
        }
        if call.needs(0) {
            let scale = call.f32s(1)?;
            let factors: Vec<f32> =
                scale.iter().zip(&inverse).map(|(s, i)| (f64::from(*s) * i) as f32).collect();
            parallel::chunks(gradient.as_mut_slice::<f32>()?, inner.max(1), &|i, out| {
                let factor = factors[i % channels];
                out.iter_mut().for_each(|g| *g *= factor);
            });
            out[0] = Some(gradient);
        }
        Ok(out)
    }
}

/// For every channel the sum of a gradient, and of the gradient times the distance of `x` from the mean. In f64, plane
/// after plane.
pub(in crate::tape) fn channel_sums(
    g: &[f32],
    x: Option<&[f32]>,
    mean: &[f32],
    channels: usize,
    inner: usize,
) -> Vec<(f64, f64)> {
    let mut sums = vec![(0.0f64, 0.0f64); channels];
    if inner == 0 {
        return sums;
    }
    parallel::chunks(&mut sums, 1, &|c, sum| {
        sum[0] = parallel::with_vectors(|| {
            let (mut plain, mut weighted) = (0.0f64, 0.0f64);
            for at in (c * inner..g.len()).step_by(channels * inner) {
                let g = &g[at..][..inner];
                match x {
                    Some(x) => {
                        let (p, w) = plane_sums(g, &x[at..][..inner], f64::from(mean[c]));
                        plain += p;
                        weighted += w;
                    }
                    None => plain += lanes(g.len(), |i| f64::from(g[i])),
                }
            }
            (plain, weighted)
        });
    });
    sums
}

/// Sums over a plane in eight interleaved lanes.
#[inline(always)]
fn plane_sums(g: &[f32], x: &[f32], mean: f64) -> (f64, f64) {
    let (mut plain, mut weighted) = ([0.0f64; 8], [0.0f64; 8]);
    let (chunks_g, chunks_x) = (g.chunks_exact(8), x.chunks_exact(8));
    let rest = chunks_g.remainder().iter().zip(chunks_x.remainder());
    for (g, x) in chunks_g.zip(chunks_x) {
        for i in 0..8 {
            let v = f64::from(g[i]);
            plain[i] += v;
            weighted[i] += v * (f64::from(x[i]) - mean);
        }
    }
    for (i, (g, x)) in rest.enumerate() {
        let v = f64::from(*g);
        plain[i] += v;
        weighted[i] += v * (f64::from(*x) - mean);
    }
    (plain.iter().sum(), weighted.iter().sum())
}

/// Sum of `f` of the first `n` numbers in eight interleaved lanes.
#[inline(always)]
pub(in crate::tape) fn lanes(n: usize, f: impl Fn(usize) -> f64) -> f64 {
    let mut sums = [0.0f64; 8];
    let whole = n / 8 * 8;
    for first in (0..whole).step_by(8) {
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum += f(first + i);
        }
    }
    for i in whole..n {
        sums[i - whole] += f(i);
    }
    sums.iter().sum()
}

/// Local response normalization.
pub(super) struct Lrn {
    pub(super) size: usize,
    pub(super) alpha: f32,
    pub(super) beta: f32,
    pub(super) bias: f32,
}

impl Gradient for Lrn {
    fn keeps_input(&self, _: usize, _: &[bool]) -> bool {
        true
    }

    fn backward(&self, mut call: Call<'_>) -> Gradients {
        let gradient = call.gradient()?;
        let dims = &call.input_dims[0];
        let [_, channels, spatial @ ..] = dims.as_slice() else {
            return Err(OpError::Shape(format!("input of shape {dims:?} has no channels")));
        };
        let (channels, inner) = (*channels, spatial.iter().product::<usize>());
        let (x, g) = (call.f32s(0)?, gradient.as_slice::<f32>()?);
        let (alpha, beta) = (f64::from(self.alpha) / self.size.max(1) as f64, f64::from(self.beta));
        let mut out = vec![0.0f32; x.len()];
        let sample = channels * inner;
        parallel::chunks(&mut out, sample.max(1), &|n, out| {
            let (x, g) = (&x[n * sample..][..sample], &g[n * sample..][..sample]);
            let around = |c: usize| {
                let first = c.saturating_sub((self.size - 1) / 2);
                first..=c.saturating_add(self.size / 2).min(channels - 1)
            };
            let mut bases = vec![0.0f64; channels];
            for at in 0..inner {
                let of = |all: &[f32], c: usize| f64::from(all[c * inner + at]);
                for (c, base) in bases.iter_mut().enumerate() {
                    let squares: f64 = around(c).map(|j| of(x, j) * of(x, j)).sum();
                    *base = f64::from(self.bias) + alpha * squares;
                }
                let mut sums = vec![0.0f64; channels];
                for (c, base) in bases.iter().enumerate() {
                    let part = of(g, c) * of(x, c) * libm::pow(*base, -beta - 1.0);
                    around(c).for_each(|j| sums[j] += part);
                }
                for (c, base) in bases.iter().enumerate() {
                    let own = of(g, c) * libm::pow(*base, -beta);
                    out[c * inner + at] = (own - 2.0 * alpha * beta * of(x, c) * sums[c]) as f32;
                }
            }
        });
        call.first(Tensor::new(dims, out)?)
    }
}
