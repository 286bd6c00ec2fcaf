//! How a model is trained, as plain data.

use crate::optim::{Adam, Optimizer, Schedule, Sgd};
use crate::{Parameter, QatError};
use serde::{Deserialize, Serialize};

/// Which optimiser, with its settings. All are those of [`crate::optim`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum OptimizerConfig {
    /// Gradient descent with momentum.
    Sgd {
        /// At least 0 and below 1.
        momentum: f32,
        /// Whether momentum is Nesterov's.
        nesterov: bool,
        /// Factor of a parameter that is added to its gradient.
        weight_decay: f32,
    },
    /// Adam.
    Adam {
        /// Factor of a parameter that is added to its gradient.
        weight_decay: f32,
    },
    /// Adam with decoupled weight decay.
    AdamW {
        /// Factor of a parameter that is taken from it, times the learning rate.
        weight_decay: f32,
    },
}

impl Default for OptimizerConfig {
    /// Adam without weight decay.
    fn default() -> Self {
        Self::Adam { weight_decay: 0.0 }
    }
}

impl OptimizerConfig {
    /// The optimiser for these parameters.
    ///
    /// # Errors
    /// [`QatError::Hyperparameter`] for settings that cannot be, [`QatError::OptimizerState`] for two parameters of one
    /// name.
    pub fn build(&self, parameters: Vec<Parameter>, lr: f32) -> Result<Box<dyn Optimizer>, QatError> {
        Ok(match *self {
            Self::Sgd { momentum, nesterov, weight_decay } => {
                let sgd = Sgd::new(parameters, lr)?.momentum(momentum)?.weight_decay(weight_decay)?;
                Box::new(if nesterov { sgd.nesterov() } else { sgd })
            }
            Self::Adam { weight_decay } => Box::new(Adam::new(parameters, lr)?.weight_decay(weight_decay)?),
            Self::AdamW { weight_decay } => Box::new(Adam::decoupled(parameters, lr, weight_decay)?),
        })
    }

    /// Whether steps are as large as the learning rate says, however large the gradients are.
    pub(super) fn normalizes(&self) -> bool {
        matches!(self, Self::Adam { .. } | Self::AdamW { .. })
    }
}

/// What is minimized.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Criterion {
    /// [`crate::loss::cross_entropy_smoothed`] of the scores, for [`super::Targets::Classes`].
    CrossEntropy {
        /// Part of the target that is shared out evenly over all classes, 0 to 1.
        label_smoothing: f32,
    },
    /// [`crate::loss::mse`] of the first output, for [`super::Targets::Values`]. Of [`super::Targets::Teacher`] the values
    /// are those that the float model gives.
    Mse,
    /// [`crate::loss::bce_with_logits`] of the scores, for [`super::Targets::Values`], or for what the float model gives.
    Bce,
}

impl Default for Criterion {
    /// Cross-entropy without smoothing.
    fn default() -> Self {
        Self::CrossEntropy { label_smoothing: 0.0 }
    }
}

/// Learning from the float model beside the labels, or instead of them: the loss is
/// `(1 - weight) * criterion + weight * distillation` ([`crate::loss::distillation`]).
///
/// Of a model of several outputs the criterion takes the first alone, and the float model teaches all that are f32: the
/// distillation is the mean of one term an output. For the first, and for outputs that end in a softmax, this is
/// [`crate::loss::distillation`]; for the others it is the squared error of the scores over the mean square of the float
/// model's, which is the inverse of the signal-to-noise ratio.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distillation {
    /// By which the scores of both models are divided, finite and positive.
    pub temperature: f32,
    /// 0 for the labels alone, 1 for the float model alone.
    pub weight: f32,
}

impl Default for Distillation {
    /// Temperature 2, and as much weight as the labels.
    fn default() -> Self {
        Self { temperature: 2.0, weight: 0.5 }
    }
}

/// How a [`super::Trainer`] trains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainOptions {
    /// Passes over the training samples.
    pub epochs: usize,
    /// Samples of a step; at the end of an epoch those that are left.
    pub batch: usize,
    /// Samples of one forward and backward pass, whose gradients are added up to those of the step; `None` for all of
    /// the step. A model that insists on a batch is given that.
    #[serde(default)]
    pub pass: Option<usize>,
    /// The optimiser.
    pub optimizer: OptimizerConfig,
    /// Its learning rate at the beginning.
    pub lr: f32,
    /// What becomes of the learning rate, step by step; `None` for half a wave of the cosine down to 0 at the end.
    #[serde(default)]
    pub schedule: Option<Schedule>,
    /// What is minimized.
    pub criterion: Criterion,
    /// Whether the float model teaches.
    #[serde(default)]
    pub distillation: Option<Distillation>,
    /// Bound of the Euclidean norm of all gradients together; `None` for none.
    #[serde(default)]
    pub max_grad_norm: Option<f32>,
    /// Epochs in which observers of activations go on observing; `None` for all. Afterwards their scales stay.
    #[serde(default)]
    pub observe_epochs: Option<usize>,
    /// Epochs in which batch normalization takes the statistics of batches, where the model trains it; `None` for all.
    /// Afterwards running statistics stay ([`crate::QatModel::freeze_bn_stats`]).
    #[serde(default)]
    pub bn_epochs: Option<usize>,
    /// What the order of samples begins with. Every epoch has an order of its own.
    pub seed: u64,
}

impl Default for TrainOptions {
    /// Five epochs of Adam with batches of 32 and a learning rate of 1e-4 that falls to 0, and scales of activations that
    /// stay as calibration found them.
    fn default() -> Self {
        Self {
            epochs: 5,
            batch: 32,
            pass: None,
            optimizer: OptimizerConfig::default(),
            lr: 1e-4,
            schedule: None,
            criterion: Criterion::default(),
            distillation: None,
            max_grad_norm: None,
            observe_epochs: Some(0),
            bn_epochs: None,
            seed: 0,
        }
    }
}

impl TrainOptions {
    /// Checks all settings that need no model and no samples to be seen wrong; [`super::Trainer::new`] does it as well.
    ///
    /// # Errors
    /// [`QatError::Hyperparameter`] and [`QatError::Training`].
    pub fn validate(&self) -> Result<(), QatError> {
        self.optimizer.build(Vec::new(), self.lr)?;
        let bad = |message: String| Err(QatError::Training(message));
        if self.batch == 0 || self.pass == Some(0) {
            return bad("a batch has at least one sample".to_owned());
        }
        if let Criterion::CrossEntropy { label_smoothing } = self.criterion
            && !(0.0..=1.0).contains(&label_smoothing)
        {
            let (what, allowed) = ("label smoothing", "it is between 0 and 1");
            return Err(QatError::Hyperparameter { what, value: label_smoothing, allowed });
        }
        if let Some(Distillation { temperature, weight }) = self.distillation {
            if !(temperature.is_finite() && temperature > 0.0) {
                let (what, allowed) = ("temperature", "it is finite and positive");
                return Err(QatError::Hyperparameter { what, value: temperature, allowed });
            }
            if !(0.0..=1.0).contains(&weight) {
                let (what, allowed) = ("weight of distillation", "it is between 0 and 1");
                return Err(QatError::Hyperparameter { what, value: weight, allowed });
            }
            if !matches!(self.criterion, Criterion::CrossEntropy { .. }) {
                return bad(
                    "distillation compares scores of classes: its criterion is cross-entropy".to_owned()
                );
            }
        }
        if let Some(norm) = self.max_grad_norm
            && !(norm.is_finite() && norm > 0.0)
        {
            let (what, allowed) = ("largest gradient norm", "it is finite and positive");
            return Err(QatError::Hyperparameter { what, value: norm, allowed });
        }
        Ok(())
    }
}
