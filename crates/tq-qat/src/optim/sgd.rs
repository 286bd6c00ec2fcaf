//! Gradient descent with momentum.

use super::Optimizer;
use super::groups::{Groups, Moments, by_groups, check, check_decay};
use crate::{Parameter, QatError};

/// Stochastic gradient descent: `w -= lr * g`; with momentum `m` (Sutskever et al., 2013, as PyTorch has it) `b = m * b + g`,
/// where `b` begins with the first `g`, and `w -= lr * b`, or `w -= lr * (g + m * b)` with Nesterov's.
#[derive(Debug, Clone)]
pub struct Sgd {
    groups: Groups,
    momentum: f32,
    nesterov: bool,
    weight_decay: f32,
}

impl Sgd {
    /// Without momentum and weight decay.
    ///
    /// # Errors
    /// [`QatError::Hyperparameter`] for a learning rate that is not finite or below 0, [`QatError::OptimizerState`] for
    /// two parameters of one name.
    pub fn new(parameters: impl IntoIterator<Item = Parameter>, lr: f32) -> Result<Self, QatError> {
        let groups = Groups::new(parameters, lr)?;
        Ok(Self { groups, momentum: 0.0, nesterov: false, weight_decay: 0.0 })
    }

    /// With this momentum, at least 0 and below 1.
    ///
    /// # Errors
    /// [`QatError::Hyperparameter`] for another.
    pub fn momentum(mut self, momentum: f32) -> Result<Self, QatError> {
        check_decay("momentum", momentum)?;
        self.momentum = momentum;
        Ok(self)
    }

    /// With Nesterov's form of momentum.
    #[must_use]
    pub fn nesterov(mut self) -> Self {
        self.nesterov = true;
        self
    }

    /// With this factor of the parameter itself added to its gradient.
    ///
    /// # Errors
    /// [`QatError::Hyperparameter`] when it is not finite or below 0.
    pub fn weight_decay(mut self, weight_decay: f32) -> Result<Self, QatError> {
        check("weight decay", weight_decay)?;
        self.weight_decay = weight_decay;
        Ok(self)
    }
}

impl Optimizer for Sgd {
    by_groups!();

    fn step(&mut self) -> Result<(), QatError> {
        let Self { momentum, nesterov, weight_decay, .. } = *self;
        self.groups.step(|lr, values, gradient, Moments { first, .. }| {
            let begins = first.is_empty();
            if momentum != 0.0 && begins {
                first.resize(values.len(), 0.0);
            }
            for (i, (w, g)) in values.iter_mut().zip(gradient).enumerate() {
                let mut g = g + weight_decay * *w;
                if momentum != 0.0 {
                    first[i] = if begins { g } else { momentum * first[i] + g };
                    g = if nesterov { g + momentum * first[i] } else { first[i] };
                }
                *w -= lr * g;
            }
        })
    }
}
