//! Batch normalization with the statistics of the batch.

use super::rules::norm as batch_sums;
use super::{CustomRule, Tape, Var};
use crate::{QatError, parallel};
use tq_eval::{OpError, Precision, eval_op};
use tq_graph::{Op, Tensor};

/// Mean and variance of the channels of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchStatistics {
    /// Means.
    pub mean: Vec<f32>,
    /// Mean squared deviations from them: what normalizes the batch.
    pub variance: Vec<f32>,
    /// Elements of a channel. The unbiased variance, which running statistics take, is `count / (count - 1)` as large.
    pub count: usize,
}

impl Tape {
    /// `(x - mean) / sqrt(variance + epsilon) * scale + bias` with the mean and variance of every channel (axis 1) of
    /// `x` itself, through which the gradient flows, and these statistics. Sums are made in f64 in one fixed order.
    ///
    /// # Errors
    /// [`QatError::Forward`] for an input without channels or elements, or parameters that are not one a channel;
    /// otherwise as [`Tape::apply`].
    pub fn batch_norm(
        &self,
        node: &str,
        x: &Var,
        scale: &Var,
        bias: &Var,
        epsilon: f32,
    ) -> Result<(Var, BatchStatistics), QatError> {
        let op = Op::BatchNormalization { epsilon };
        let failed = |source| QatError::Forward { node: node.into(), op: "BatchNormalization", source };
        let data = x.value().as_slice::<f32>()?;
        let (channels, inner) = match x.shape() {
            [_, channels, rest @ ..] => (*channels, rest.iter().product::<usize>()),
            dims => return Err(failed(OpError::Shape(format!("input of shape {dims:?} has no channels")))),
        };
        if data.is_empty() {
            let dims = x.shape();
            return Err(failed(OpError::Shape(format!("a batch of shape {dims:?} has no statistics"))));
        }
        let count = data.len() / channels;
        let moments = moments(data, channels, inner, count);
        let mean: Vec<f32> = moments.iter().map(|m| m.0 as f32).collect();
        let variance: Vec<f32> = moments.iter().map(|m| m.1 as f32).collect();
        let (m, v) = (Tensor::vector(mean.clone()), Tensor::vector(variance.clone()));
        let inputs = [x.value(), scale.value(), bias.value(), &m, &v].map(Some);
        let y = eval_op(&op, &inputs, 1, Precision::F32).map_err(failed)?.swap_remove(0);
        let inverse = moments.iter().map(|m| 1.0 / (m.1 + f64::from(epsilon)).sqrt()).collect();
        let rule =
            BatchNorm { x: x.value().clone(), scale: scale.value().clone(), mean: mean.clone(), inverse };
        let y = self.custom(node, y, &[x, scale, bias], rule)?;
        Ok((y, BatchStatistics { mean, variance, count }))
    }
}

/// Mean and variance of every channel, in two passes.
fn moments(x: &[f32], channels: usize, inner: usize, count: usize) -> Vec<(f64, f64)> {
    let mut out = vec![(0.0, 0.0); channels];
    parallel::chunks(&mut out, 1, &|c, out| {
        out[0] = parallel::with_vectors(|| {
            let planes = || (c * inner..x.len()).step_by(channels * inner).map(|at| &x[at..][..inner]);
            let mut sum = 0.0f64;
            for p in planes() {
                sum += batch_sums::lanes(inner, |i| f64::from(p[i]));
            }
            let mean = sum / count as f64;
            let mut squares = 0.0f64;
            for p in planes() {
                squares += batch_sums::lanes(inner, |i| (f64::from(p[i]) - mean) * (f64::from(p[i]) - mean));
            }
            (mean, squares / count as f64)
        });
    });
    out
}

struct BatchNorm {
    x: Tensor,
    scale: Tensor,
    mean: Vec<f32>,
    /// Reciprocal standard deviations.
    inverse: Vec<f64>,
}

impl CustomRule for BatchNorm {
    fn name(&self) -> &'static str {
        "BatchNormalization"
    }

    fn backward(&self, gradient: Tensor, needs: &[bool]) -> Result<Vec<Option<Tensor>>, QatError> {
        let channels = self.mean.len();
        let inner: usize = self.x.dims()[2..].iter().product();
        let x = self.x.as_slice::<f32>()?;
        let count = (x.len() / channels) as f64;
        let sums =
            batch_sums::channel_sums(gradient.as_slice::<f32>()?, Some(x), &self.mean, channels, inner);
        let mut out = vec![None; 3];
        if needs[1] {
            let of_scale = sums.iter().zip(&self.inverse).map(|(s, i)| (s.1 * i) as f32).collect();
            out[1] = Some(Tensor::vector::<f32>(of_scale));
        }
        if needs[2] {
            out[2] = Some(Tensor::vector::<f32>(sums.iter().map(|s| s.0 as f32).collect()));
        }
        if needs[0] {
            // factor * (g - mean(g) - (x - mean) * inverse^2 * mean(g * (x - mean)))
            let scale = self.scale.as_slice::<f32>()?;
            let terms: Vec<[f32; 3]> = (0..channels)
                .map(|c| {
                    let (inverse, (plain, weighted)) = (self.inverse[c], sums[c]);
                    let factor = f64::from(scale[c]) * inverse;
                    let bend = factor * inverse * inverse * weighted / count;
                    let shift = bend * f64::from(self.mean[c]) - factor * plain / count;
                    [factor as f32, bend as f32, shift as f32]
                })
                .collect();
            let per = |i: usize| terms[i / inner % channels];
            let mut gradient = gradient;
            parallel::chunks(gradient.as_mut_slice::<f32>()?, inner, &|i, g| {
                let [factor, bend, shift] = per(i * inner);
                g.iter_mut().zip(&x[i * inner..]).for_each(|(g, x)| *g = factor * *g - bend * *x + shift);
            });
            out[0] = Some(gradient);
        }
        Ok(out)
    }
}
