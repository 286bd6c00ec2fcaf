//! Adam and AdamW.

use super::Optimizer;
use super::groups::{Groups, Moments, by_groups, check, check_decay};
use crate::{Parameter, QatError};

/// Adam (Kingma and Ba, 2015): `m` and `v` are moving averages of the gradient and of its square, and
/// `w -= lr * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)`. AdamW (Loshchilov and Hutter, 2019) takes
/// `lr * weight_decay * w` from the parameter itself instead of adding `weight_decay * w` to its gradient.
#[derive(Debug, Clone)]
pub struct Adam {
    groups: Groups,
    betas: (f32, f32),
    eps: f32,
    weight_decay: f32,
    decoupled: bool,
}

impl Adam {
    /// With `b1` 0.9, `b2` 0.999, `eps` 1e-8, and no weight decay.
    ///
    /// # Errors
    /// As [`super::Sgd::new`].
    pub fn new(parameters: impl IntoIterator<Item = Parameter>, lr: f32) -> Result<Self, QatError> {
        let groups = Groups::new(parameters, lr)?;
        Ok(Self { groups, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0, decoupled: false })
    }

    /// AdamW, with this weight decay.
    ///
    /// # Errors
    /// As [`Adam::new`] and [`Adam::weight_decay`].
    pub fn decoupled(
        parameters: impl IntoIterator<Item = Parameter>,
        lr: f32,
        weight_decay: f32,
    ) -> Result<Self, QatError> {
        Ok(Self { decoupled: true, ..Self::new(parameters, lr)?.weight_decay(weight_decay)? })
    }

    /// With these averages, each at least 0 and below 1.
    ///
    /// # Errors
    /// [`QatError::Hyperparameter`] for others.
    pub fn betas(mut self, b1: f32, b2: f32) -> Result<Self, QatError> {
        check_decay("b1", b1)?;
        check_decay("b2", b2)?;
        self.betas = (b1, b2);
        Ok(self)
    }

    /// With this weight decay.
    ///
    /// # Errors
    /// [`QatError::Hyperparameter`] when it is not finite or below 0.
    pub fn weight_decay(mut self, weight_decay: f32) -> Result<Self, QatError> {
        check("weight decay", weight_decay)?;
        self.weight_decay = weight_decay;
        Ok(self)
    }
}

impl Optimizer for Adam {
    by_groups!();

    fn step(&mut self) -> Result<(), QatError> {
        let Self { betas: (b1, b2), eps, weight_decay, decoupled, .. } = *self;
        self.groups.step(|lr, values, gradient, Moments { steps, first, second }| {
            first.resize(values.len(), 0.0);
            second.resize(values.len(), 0.0);
            let correction = |b: f32| 1.0 - libm::pow(f64::from(b), *steps as f64);
            let rate = (f64::from(lr) / correction(b1)) as f32;
            let root = libm::sqrt(correction(b2)) as f32;
            for (i, (w, g)) in values.iter_mut().zip(gradient).enumerate() {
                let mut g = *g;
                if decoupled {
                    *w *= 1.0 - lr * weight_decay;
                } else {
                    g += weight_decay * *w;
                }
                first[i] = b1 * first[i] + (1.0 - b1) * g;
                second[i] = b2 * second[i] + (1.0 - b2) * g * g;
                *w -= rate * first[i] / (second[i].sqrt() / root + eps);
            }
        })
    }
}
