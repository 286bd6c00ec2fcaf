//! What training tells of itself.

use serde::{Deserialize, Serialize};

/// How good a model is on samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// Mean over the samples of the loss that training makes small, distillation included.
    pub loss: f64,
    /// Percent of samples whose class has the largest score, the lower class of equal ones; of labels alone.
    pub top1: Option<f64>,
    /// Without labels: percent of samples on which the model decides as the float model does.
    #[serde(default)]
    pub agreement: Option<f64>,
}

impl Score {
    /// Percent of right answers, by labels or by the float model.
    #[must_use]
    pub fn right(&self) -> Option<f64> {
        self.top1.or(self.agreement)
    }

    /// Whether it is better than another one: more right answers, or as many at a smaller loss.
    #[must_use]
    pub fn is_better_than(&self, other: &Score) -> bool {
        match (self.right(), other.right()) {
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
    /// Whether it is kept rather than those before.
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

/// An output of a model of several, on the validation samples.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OutputReport {
    /// Its name.
    pub name: String,
    /// Whether the loss depends on it. The others move with the layers that they share with those that are trained.
    pub is_trained: bool,
    /// How near it is to that of the float model before training, as calibration quantizes it.
    pub before: Agreement,
    /// How near it is after the best epoch.
    pub after: Agreement,
}

/// How near values are to those of the float model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Agreement {
    /// Signal to quantization noise in decibels, of floats: ten times the logarithm of the sum of the squares over that of
    /// the squared differences. Infinite (null in JSON) where nothing differs.
    SqnrDb(f64),
    /// Percent of equal elements, of other types.
    EqualPercent(f64),
}

impl std::fmt::Display for Agreement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SqnrDb(db) => write!(f, "SQNR {db:.1} dB"),
            Self::EqualPercent(percent) => write!(f, "{percent:.2} % equal"),
        }
    }
}
