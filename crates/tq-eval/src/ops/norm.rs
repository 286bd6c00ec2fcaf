//! BatchNormalization.

use super::{Context, Inputs, cast::float_to, compute_dtype};
use crate::OpError;
use crate::number::{Real, with_real};
use crate::shape::numel;
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
