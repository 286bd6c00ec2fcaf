//! Runs of elements brought to mean 0 and variance 1: layer, instance, group and mean-variance normalization.

use super::elementwise::{combine_broadcast, sum_to};
use super::norm::lanes;
use super::reduce::eval;
use super::{Call, Gradient, Gradients};
use crate::parallel;
use tq_eval::OpError;
use tq_graph::{Op, Tensor};

/// Which normalization.
pub(super) enum Standardise<'a> {
    /// `x, scale[, bias] -> y[, mean[, inv_std]]` over this axis and all after it.
    Layer { axis: i64, epsilon: f32 },
    /// `x, scale, bias` over groups of channels; `None` for as many groups as channels.
    Group { groups: Option<usize>, epsilon: f32 },
    /// `x`, over these axes, by the standard deviation plus 1e-9.
    MeanVariance { axes: &'a [i64] },
}

/// Mean of a run, and what its deviations are multiplied by.
#[derive(Clone, Copy)]
struct Moments {
    mean: f64,
    factor: f64,
    deviation: f64,
}

fn moments(x: &[f32], epsilon: Option<f32>) -> Moments {
    let n = x.len() as f64;
    let mean = lanes(x.len(), |i| f64::from(x[i])) / n;
    let variance = lanes(x.len(), |i| (f64::from(x[i]) - mean) * (f64::from(x[i]) - mean)) / n;
    let deviation = variance.sqrt();
    let factor = match epsilon {
        Some(epsilon) => 1.0 / (variance + f64::from(epsilon)).sqrt(),
        None => 1.0 / (deviation + 1e-9),
    };
    Moments { mean, factor, deviation }
}

impl Gradient for Standardise<'_> {
    fn keeps_input(&self, i: usize, needs: &[bool]) -> bool {
        i == 0 || (i == 1 && needs[0])
    }

    fn backward(&self, call: Call<'_>) -> Gradients {
        match self {
            Standardise::Layer { axis, epsilon } => layer(call, *axis, *epsilon),
            Standardise::Group { groups, epsilon } => group(call, *groups, *epsilon),
            Standardise::MeanVariance { axes } => mean_variance(call, axes),
        }
    }
}

/// The gradient of runs of `len` elements of `x`, whose deviations have been multiplied as `moments` say, for the
/// gradient of the results. It is written over `g`.
fn runs(g: &mut [f32], x: &[f32], len: usize, moments: &[Moments], epsilon: bool) {
    parallel::chunks(g, len.max(1), &|i, g| {
        let x = &x[i * len..][..len];
        let Moments { mean, factor, deviation } = moments[i];
        let n = len as f64;
        let plain = lanes(len, |i| f64::from(g[i])) / n;
        let weighted = lanes(len, |i| f64::from(g[i]) * (f64::from(x[i]) - mean)) / n;
        // How the factor follows from the variance.
        let bend = match epsilon {
            true => factor * factor * factor,
            false if deviation == 0.0 => 0.0,
            false => factor * factor / deviation,
        };
        for (g, x) in g.iter_mut().zip(x) {
            let around = f64::from(*x) - mean;
            *g = (factor * (f64::from(*g) - plain) - bend * weighted * around) as f32;
        }
    });
}

fn all_moments(x: &[f32], len: usize, epsilon: Option<f32>) -> Vec<Moments> {
    let mut out = vec![Moments { mean: 0.0, factor: 0.0, deviation: 0.0 }; x.len() / len.max(1)];
    parallel::chunks(&mut out, 1, &|i, out| out[0] = moments(&x[i * len..][..len], epsilon));
    out
}

/// The standardised elements.
fn standardised(x: &[f32], dims: &[usize], len: usize, moments: &[Moments]) -> Result<Tensor, OpError> {
    let mut out = x.to_vec();
    parallel::chunks(&mut out, len.max(1), &|i, out| {
        let Moments { mean, factor, .. } = moments[i];
        out.iter_mut().for_each(|v| *v = ((f64::from(*v) - mean) * factor) as f32);
    });
    Ok(Tensor::new(dims, out)?)
}

fn layer(mut call: Call<'_>, axis: i64, epsilon: f32) -> Gradients {
    let dims = call.input_dims[0].clone();
    let axis = usize::try_from(if axis < 0 { axis + dims.len() as i64 } else { axis }).unwrap_or(0);
    let len: usize = dims.get(axis..).unwrap_or_default().iter().product();
    let x = call.f32s(0)?.into_owned();
    let all = all_moments(&x, len, Some(epsilon));
    let mut out = call.nothing();
    let zeros = || Tensor::new(&dims, vec![0.0f32; x.len()]);
    let gradient = match call.gradients[0].take() {
        Some(gradient) => gradient,
        None => zeros()?,
    };
    if call.needs(2) {
        out[2] = Some(sum_to(gradient.clone(), &call.input_dims[2])?);
    }
    if call.needs(1) {
        let y = standardised(&x, &dims, len, &all)?;
        let y = (y.as_slice::<f32>()?, dims.as_slice());
        let product = combine_broadcast(gradient.clone(), y, y, |g, y, _| g * y)?;
        out[1] = Some(sum_to(product, &call.input_dims[1])?);
    }
    if call.needs(0) {
        let scale = call.f32s(1)?;
        let scale = (&*scale, call.input_dims[1].as_slice());
        let mut gradient = combine_broadcast(gradient, scale, scale, |g, s, _| g * s)?;
        runs(gradient.as_mut_slice()?, &x, len, &all, true);
        // What went on from the mean and from the reciprocal standard deviation.
        for (which, other) in call.gradients.iter().enumerate().skip(1) {
            let Some(other) = other else { continue };
            let other = other.as_slice::<f32>()?;
            parallel::chunks(gradient.as_mut_slice::<f32>()?, len.max(1), &|i, out| {
                let Moments { mean, factor, .. } = all[i];
                let g = f64::from(other[i]) / len as f64;
                for (o, v) in out.iter_mut().zip(&x[i * len..]) {
                    let slope = if which == 1 { 1.0 } else { -factor.powi(3) * (f64::from(*v) - mean) };
                    *o += (g * slope) as f32;
                }
            });
        }
        out[0] = Some(gradient);
    }
    Ok(out)
}

fn group(mut call: Call<'_>, groups: Option<usize>, epsilon: f32) -> Gradients {
    let dims = call.input_dims[0].clone();
    let [batch, channels, spatial @ ..] = dims.as_slice() else {
        return Err(OpError::Shape(format!("input of shape {dims:?} has no channels")));
    };
    let (batch, channels, plane) = (*batch, *channels, spatial.iter().product::<usize>());
    let groups = groups.unwrap_or(channels).max(1);
    let len = channels / groups * plane;
    let x = call.f32s(0)?.into_owned();
    let all = all_moments(&x, len, Some(epsilon));
    let gradient = call.gradient()?;
    let mut out = call.nothing();
    // Parameters have one element a channel, or one a group.
    let per = |i: usize| {
        let n: usize = call.input_dims[i].iter().product();
        if n == channels { vec![1, channels, 1] } else { vec![1, groups, 1] }
    };
    let shape = |i: usize| match per(i)[1] {
        n if n == channels => [batch, channels, plane],
        n => [batch, n, len],
    };
    if call.needs(1) {
        let y = standardised(&x, &dims, len, &all)?;
        let y = (y.as_slice::<f32>()?, dims.as_slice());
        let product = combine_broadcast(gradient.clone(), y, y, |g, y, _| g * y)?;
        let sum = sum_to(product.reshape(&shape(1))?, &per(1))?;
        out[1] = Some(sum.reshape(&call.input_dims[1])?);
    }
    if call.needs(2) {
        let sum = sum_to(gradient.clone().reshape(&shape(2))?, &per(2))?;
        out[2] = Some(sum.reshape(&call.input_dims[2])?);
    }
    if call.needs(0) {
        let scale = call.f32s(1)?;
        let by = per(1);
        let scale = (&*scale, by.as_slice());
        let scaled = combine_broadcast(gradient.reshape(&shape(1))?, scale, scale, |g, s, _| g * s)?;
        let mut scaled = scaled.reshape(&dims)?;
        runs(scaled.as_mut_slice()?, &x, len, &all, true);
        out[0] = Some(scaled);
    }
    Ok(out)
}

fn mean_variance(mut call: Call<'_>, axes: &[i64]) -> Gradients {
    let dims = call.input_dims[0].clone();
    let rank = dims.len();
    let reduced: Vec<usize> = axes
        .iter()
        .filter_map(|a| usize::try_from(if *a < 0 { *a + rank as i64 } else { *a }).ok())
        .collect();
    let mut perm: Vec<usize> = (0..rank).filter(|a| !reduced.contains(a)).collect();
    perm.extend((0..rank).filter(|a| reduced.contains(a)));
    let mut back = vec![0; rank];
    perm.iter().enumerate().for_each(|(to, from)| back[*from] = to);
    let moved = |t: &Tensor, perm: &[usize]| eval(&Op::Transpose { perm: Some(perm.to_vec()) }, &[Some(t)]);
    let len: usize = reduced.iter().map(|a| dims[*a]).product();
    let x = moved(&super::matmul::as_f32(&call, 0)?, &perm)?;
    let mut gradient = moved(&call.gradient()?, &perm)?;
    let x = x.as_slice::<f32>()?;
    let all = all_moments(x, len, None);
    runs(gradient.as_mut_slice()?, x, len, &all, false);
    call.first(moved(&gradient, &back)?)
}
