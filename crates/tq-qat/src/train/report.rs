//! What training tells of itself.

use serde::{Deserialize, Serialize};

/// How good a model is on samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// Mean of the criterion over the samples, without distillation.
    pub loss: f64,
    /// Percent of samples whose class has the largest score, the lower class of equal ones; of classes alone.
    pub top1: Option<f64>,
}

impl Score {
    /// Whether it is better than another one: more right answers, or as many at a smaller loss.
    #[must_use]
    pub fn is_better_than(&self, other: &Score) -> bool {
        match (self.top1, other.top1) {
            (Some(a), Some(b)) if a != b => a > b,
            _ => self.loss < other.loss,
        }
    }
}

/// One epoch. Number 0 is the model before training, quantized as calibration says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochReport {
    /// Its number.
    pub epoch: usize,
    /// Mean loss of its samples, each when it was trained on; none for number 0.
    pub loss: Option<f64>,
    /// On the validation samples, after it.
    pub validation: Score,
    /// Whether no epoch before was as good.
    pub is_best: bool,
}

/// One step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// The epoch, counted from 1.
    pub epoch: usize,
    /// The step of that epoch, counted from 1.
    pub step: usize,
    /// Steps an epoch.
    pub steps: usize,
    /// Mean loss of its samples.
    pub loss: f64,
    /// The learning rate of weights.
    pub lr: f32,
    /// The norm of all gradients, before it was bounded; where a bound was asked for.
    pub gradient_norm: Option<f32>,
}

/// What [`super::Trainer::advance`] did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Event {
    /// A step of training.
    Step(StepReport),
    /// The last step of an epoch was made before; the model was measured.
    Epoch(EpochReport),
}
