//! LayerNormalization, InstanceNormalization, GroupNormalization, MeanVarianceNormalization: runs of elements brought to mean 0 and variance 1.
//!
//! Mean and variance are computed in two passes in f64, whatever the type of the data.

use super::{Context, Inputs, cast::float_to, compute_dtype, movement::transpose};
use crate::number::{Real, sum_f64, sum_f64_of, with_real};
use crate::shape::{axis_index, axis_indices, broadcast_strides, broadcasts_to, numel};
use crate::{OpError, Precision, parallel};
use tq_graph::Tensor;
use tq_qtypes::DType;

/// Mean and variance of a run.
fn moments<T: Real>(x: &[T]) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = sum_f64(x) / n;
    (mean, sum_f64_of(x, |v| (v - mean) * (v - mean)) / n)
}

/// What a deviation from the mean is multiplied by.
fn factor(variance: f64, epsilon: f64) -> f64 {
    1.0 / (variance + epsilon).sqrt()
}

/// The runs of `x`, `len` elements each, less their mean and times `factor` of their variance. `finish` is told the
/// index of a run and its elements.
fn standardise<T: Real>(
    ctx: &Context,
    x: &Tensor,
    len: usize,
    factor: impl Fn(f64) -> f64 + Sync,
    finish: impl Fn(usize, &mut [T]) + Sync,
) -> Result<Tensor, OpError> {
    let mut out = ctx.zeros::<T>(x.dims())?;
    if !out.is_empty() {
        let x = x.as_slice::<T>()?;
        parallel::chunks(&mut out, len, (1 << 12) / len, &|i, out| {
            let x = &x[i * len..][..len];
            let (mean, variance) = moments(x);
            let factor = factor(variance);
            out.iter_mut().zip(x).for_each(|(o, v)| *o = T::of_f64((v.to_f64() - mean) * factor));
            finish(i, out);
        });
    }
    Ok(Tensor::new(x.dims(), out)?)
}

/// The inputs in the type in which they are computed.
fn widened(ctx: &Context, inputs: &[&Tensor]) -> Result<(DType, Vec<Tensor>), OpError> {
    if let Some(t) = inputs.iter().find(|t| !t.dtype().is_float()) {
        return Err(OpError::DType { what: "an input", got: t.dtype(), expected: "a float".into() });
    }
    let compute = compute_dtype(inputs);
    let wide = inputs.iter().map(|t| float_to(ctx, t, compute)).collect::<Result<_, _>>()?;
    Ok((compute, wide))
}

/// `y[, mean[, inv_std]]` over `axis` and all axes after it.
pub(crate) fn layer_normalization(
    ctx: &Context,
    inputs: Inputs,
    axis: i64,
    epsilon: f32,
    stash: DType,
    n_outputs: usize,
) -> Result<Vec<Tensor>, OpError> {
    let x = inputs.need(0)?;
    let given: Vec<&Tensor> = [Some(x), Some(inputs.need(1)?), inputs.get(2)].into_iter().flatten().collect();
    let (compute, wide) = widened(ctx, &given)?;
    let axis = axis_index(axis, x.rank())?;
    if let Some(p) = wide[1..].iter().find(|p| !broadcasts_to(p.dims(), x.dims())) {
        return Err(OpError::Shape(format!(
            "parameters of shape {:?} do not broadcast to {:?}",
            p.dims(),
            x.dims()
        )));
    }
    let moments_dtype = if ctx.precision == Precision::F64 { DType::F64 } else { stash };
    let mut outputs = with_real!(compute, T => layer_as::<T>(ctx, &wide, axis, epsilon, n_outputs))?;
    for (i, y) in outputs.iter_mut().enumerate() {
        *y = float_to(ctx, y, if i == 0 { x.dtype() } else { moments_dtype })?;
    }
    Ok(outputs)
}

fn layer_as<T: Real>(
    ctx: &Context,
    inputs: &[Tensor],
    axis: usize,
    epsilon: f32,
    n_outputs: usize,
) -> Result<Vec<Tensor>, OpError> {
    let [x, scale, bias @ ..] = inputs else { return Err(OpError::MissingInput { index: 1 }) };
    let len = numel(&x.dims()[axis..]);
    let scale = Parameter::<T>::new(scale, x.dims(), axis)?;
    let bias = bias.first().map(|b| Parameter::<T>::new(b, x.dims(), axis)).transpose()?;
    let epsilon = f64::from(epsilon);
    let y = standardise::<T>(
        ctx,
        x,
        len,
        |v| factor(v, epsilon),
        |i, out| {
            scale.apply(i, out, |y, p| y * p);
            if let Some(bias) = &bias {
                bias.apply(i, out, |y, p| y + p);
            }
        },
    )?;
    let mut outputs = vec![y];
    if n_outputs > 1 {
        let mut dims = x.dims().to_vec();
        dims[axis..].fill(1);
        let (mut means, mut factors) = (ctx.zeros::<T>(&dims)?, ctx.zeros::<T>(&dims)?);
        let data = x.as_slice::<T>()?;
        for (i, (m, f)) in means.iter_mut().zip(&mut factors).enumerate() {
            let (mean, variance) = moments(&data[i * len..][..len]);
            (*m, *f) = (T::of_f64(mean), T::of_f64(factor(variance, epsilon)));
        }
        outputs.push(Tensor::new(&dims, means)?);
        if n_outputs > 2 {
            outputs.push(Tensor::new(&dims, factors)?);
        }
    }
    Ok(outputs)
}

/// A parameter that broadcasts to the data.
struct Parameter<'a, T> {
    data: &'a [T],
    /// The same elements for every run, in the order of its elements.
    same: bool,
    /// Shape of the data, and for every axis the step within the parameter.
    dims: &'a [usize],
    steps: Vec<usize>,
}

impl<'a, T: Real> Parameter<'a, T> {
    fn new(parameter: &'a Tensor, dims: &'a [usize], axis: usize) -> Result<Self, OpError> {
        let steps = broadcast_strides(parameter.dims(), dims);
        let own = parameter.dims();
        let run = &dims[axis..];
        let same = own.len() >= run.len() && own[own.len() - run.len()..] == *run && {
            own[..own.len() - run.len()].iter().all(|d| *d == 1)
        };
        Ok(Self { data: parameter.as_slice()?, same, dims, steps })
    }

    /// Combines the elements of run `i` with those of the parameter.
    fn apply(&self, i: usize, run: &mut [T], f: impl Fn(T, T) -> T) {
        if self.same {
            run.iter_mut().zip(self.data).for_each(|(y, p)| *y = f(*y, *p));
            return;
        }
        let first = i * run.len();
        for (at, y) in run.iter_mut().enumerate() {
            let (mut rest, mut place) = (first + at, 0);
            for (len, step) in self.dims.iter().zip(&self.steps).rev() {
                place += rest % len * step;
                rest /= len;
            }
            *y = f(*y, self.data[place]);
        }
    }
}

/// Channels of `x` and elements of each.
fn channels(x: &Tensor) -> Result<(usize, usize), OpError> {
    match x.dims() {
        [_, c, rest @ ..] => Ok((*c, numel(rest))),
        dims => Err(OpError::Shape(format!("input of shape {dims:?} has no channels"))),
    }
}

/// Every channel of every sample over its spatial axes.
pub(crate) fn instance_normalization(ctx: &Context, inputs: Inputs, epsilon: f32) -> Result<Tensor, OpError> {
    let x = inputs.need(0)?;
    let (channels, _) = channels(x)?;
    grouped(ctx, inputs, epsilon, channels)
}

/// Groups of channels of every sample, with their spatial axes.
pub(crate) fn group_normalization(
    ctx: &Context,
    inputs: Inputs,
    epsilon: f32,
    groups: usize,
) -> Result<Tensor, OpError> {
    let (channels, _) = channels(inputs.need(0)?)?;
    if groups == 0 || channels % groups != 0 {
        return Err(OpError::Shape(format!("{channels} channels do not divide into {groups} groups")));
    }
    grouped(ctx, inputs, epsilon, groups)
}

fn grouped(ctx: &Context, inputs: Inputs, epsilon: f32, groups: usize) -> Result<Tensor, OpError> {
    let x = inputs.need(0)?;
    let (compute, wide) = widened(ctx, &inputs.all()?)?;
    let (channels, plane) = channels(x)?;
    if let Some(p) = wide[1..].iter().find(|p| p.rank() != 1 || ![channels, groups].contains(&p.len())) {
        return Err(OpError::Shape(format!(
            "parameters of shape {:?} for {channels} channels in {groups} groups",
            p.dims()
        )));
    }
    let y = with_real!(compute, T => {
        let (scale, bias) = (wide[1].as_slice::<T>()?, wide[2].as_slice::<T>()?);
        let per_group = channels / groups.max(1);
        // One element a group serves all its channels.
        let of = |p: &[T], channel: usize| if p.len() == channels { p[channel] } else { p[channel / per_group] };
        let factor = |v| factor(v, f64::from(epsilon));
        standardise::<T>(ctx, &wide[0], per_group * plane, factor, |i, out| {
            for (at, out) in out.chunks_mut(plane).enumerate() {
                let channel = i % groups * per_group + at;
                let (scale, bias) = (of(scale, channel), of(bias, channel));
                out.iter_mut().for_each(|y| *y = *y * scale + bias);
            }
        })
    })?;
    float_to(ctx, &y, x.dtype())
}

/// `(x - mean) / (deviation + 1e-9)` over the given axes.
pub(crate) fn mean_variance_normalization(
    ctx: &Context,
    x: &Tensor,
    axes: &[i64],
) -> Result<Tensor, OpError> {
    let rank = x.rank();
    let reduced = axis_indices(axes, rank)?;
    let len = reduced.iter().map(|a| x.dims()[*a]).product();
    // The axes last: each run is then one stretch of elements.
    let mut perm: Vec<usize> = (0..rank).filter(|a| !reduced.contains(a)).collect();
    perm.extend((0..rank).filter(|a| reduced.contains(a)));
    let mut back = vec![0; rank];
    perm.iter().enumerate().for_each(|(to, from)| back[*from] = to);
    let ordered = transpose(ctx, x, Some(&perm))?;
    let factor = |variance: f64| 1.0 / (variance.sqrt() + 1e-9);
    let y = with_real!(x.dtype(), T => standardise::<T>(ctx, &ordered, len, factor, |_, _| {}))?;
    transpose(ctx, &y, Some(&back))
}
