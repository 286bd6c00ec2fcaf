//! BatchNormalization and LRN.

use super::{Context, Inputs, cast::float_to, compute_dtype};
use crate::OpError;
use crate::number::{Number, Real, with_real};
use crate::parallel;
use crate::shape::numel;
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
        let x = x.as_slice::<T>()?;
        parallel::chunks(&mut out, inner, (1 << 14) / inner, &|i, out| {
            let c = i % channels;
            let factor = scale[c] / (var[c] + epsilon).sqrt();
            let plane = out.iter_mut().zip(&x[i * inner..]);
            plane.for_each(|(o, v)| *o = (*v - mean[c]) * factor + bias[c]);
        });
    }
    Ok(Tensor::new(x.dims(), out)?)
}

/// `x / (bias + alpha / size * s)^beta`, with `s` the sum of squares of the `size` channels around the element's own,
/// in f64.
pub(crate) fn lrn(
    ctx: &Context,
    x: &Tensor,
    size: usize,
    [alpha, beta, bias]: [f32; 3],
) -> Result<Tensor, OpError> {
    let [_, channels, spatial @ ..] = x.dims() else {
        return Err(OpError::Shape(format!("input of shape {:?} has no channels", x.dims())));
    };
    if size == 0 {
        return Err(OpError::Attribute("size is 0".into()));
    }
    let (channels, inner) = (*channels, numel(spatial));
    let (alpha, beta, bias) = (f64::from(alpha) / size as f64, f64::from(beta), f64::from(bias));
    with_real!(x.dtype(), T => {
        let mut out = ctx.zeros::<T>(x.dims())?;
        let data = x.as_slice::<T>()?;
        if !out.is_empty() {
            parallel::chunks(&mut out, inner, (1 << 12) / inner, &|i, out| {
                let (sample, c) = (i / channels, i % channels);
                let first = c.saturating_sub((size - 1) / 2);
                let last = c.saturating_add(size / 2).min(channels - 1);
                for (at, o) in out.iter_mut().enumerate() {
                    let element = |c: usize| data[(sample * channels + c) * inner + at].to_f64();
                    let squares: f64 = (first..=last).map(|c| element(c) * element(c)).sum();
                    *o = T::of_f64(element(c) / libm::pow(bias + alpha * squares, beta));
                }
            });
        }
        Ok(Tensor::new(x.dims(), out)?)
    })
}
