//! BatchNormalization and Softmax.

use super::{Context, Inputs, cast::float_to, compute_dtype};
use crate::OpError;
use crate::number::{Real, with_real};
use crate::shape::{axis_index, numel};
use rayon::prelude::*;
use tq_graph::Tensor;

/// `(x - mean) * (scale / sqrt(var + epsilon)) + bias`, channel by channel of axis 1.
pub(crate) fn batch_normalization(ctx: &Context, inputs: Inputs, epsilon: f32) -> Result<Tensor, OpError> {
    let all = inputs.all()?;
    let x = inputs.need(0)?;
    // The statistics may have another float type than the input, whose type the output has.
    if let Some(t) = all.iter().find(|t| !t.dtype().is_float()) {
        return Err(OpError::DType { what: "an input", got: t.dtype(), expected: "a float".into() });
    }
    let compute = compute_dtype(&all);
    let wide: Vec<Tensor> = all.iter().map(|t| float_to(ctx, t, compute)).collect::<Result<_, _>>()?;
    let y = with_real!(compute, T => normalize::<T>(ctx, &wide, epsilon))?;
    float_to(ctx, &y, x.dtype())
}

fn normalize<T: Real>(ctx: &Context, inputs: &[Tensor], epsilon: f32) -> Result<Tensor, OpError> {
    let [x, parameters @ ..] = inputs else { return Err(OpError::MissingInput { index: 0 }) };
    // A tensor of rank 1 is a batch of one channel.
    let channels = match x.dims() {
        [] => return Err(OpError::Shape("a scalar has no channels".into())),
        [_] => 1,
        [_, c, ..] => *c,
    };
    if let Some(p) = parameters.iter().find(|p| p.dims() != [channels]) {
        return Err(OpError::Shape(format!("parameters of shape {:?} for {channels} channels", p.dims())));
    }
    let [scale, bias, mean, var] = parameters else { return Err(OpError::MissingInput { index: 4 }) };
    let (scale, bias) = (scale.as_slice::<T>()?, bias.as_slice::<T>()?);
    let (mean, var) = (mean.as_slice::<T>()?, var.as_slice::<T>()?);
    let epsilon = T::of_f32(epsilon);
    let inner = numel(x.dims().get(2..).unwrap_or_default());
    let mut out = ctx.zeros::<T>(x.dims())?;
    if !out.is_empty() {
        let planes = out.par_chunks_mut(inner).with_min_len(((1 << 14) / inner).max(1)).enumerate();
        planes.zip(x.as_slice::<T>()?.par_chunks(inner)).for_each(|((i, out), x)| {
            let c = i % channels;
            let factor = scale[c] / (var[c] + epsilon).sqrt();
            out.iter_mut().zip(x).for_each(|(o, v)| *o = (*v - mean[c]) * factor + bias[c]);
        });
    }
    Ok(Tensor::new(x.dims(), out)?)
}

/// `exp(x - max) / sum(exp(x - max))` along one axis.
pub(crate) fn softmax(ctx: &Context, x: &Tensor, axis: i64) -> Result<Tensor, OpError> {
    let axis = axis_index(axis, x.rank())?;
    with_real!(x.dtype(), T => softmax_as::<T>(ctx, x, axis))
}

fn softmax_as<T: Real>(ctx: &Context, x: &Tensor, axis: usize) -> Result<Tensor, OpError> {
    let mut out = ctx.zeros::<T>(x.dims())?;
    if out.is_empty() {
        return Ok(Tensor::new(x.dims(), out)?);
    }
    let len = x.dims()[axis];
    let inner = numel(&x.dims()[axis + 1..]);
    let block = len * inner;
    let blocks = out.par_chunks_mut(block).with_min_len(((1 << 12) / block).max(1));
    blocks.zip(x.as_slice::<T>()?.par_chunks(block)).for_each(|(out, x)| {
        for lane in 0..inner {
            let places = (0..len).map(|i| i * inner + lane);
            let max = places.clone().map(|i| x[i]).fold(T::LOWEST, |m, v| if v > m { v } else { m });
            let mut sum = 0.0f64;
            for i in places.clone() {
                out[i] = (x[i] - max).exp();
                sum += out[i].to_f64();
            }
            let sum = T::of_f64(sum);
            for i in places {
                out[i] = out[i] / sum;
            }
        }
    });
    Ok(Tensor::new(x.dims(), out)?)
}
