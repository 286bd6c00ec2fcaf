//! Learning rates that change.

use serde::{Deserialize, Serialize};

/// What becomes of a learning rate, step by step (or epoch by epoch, as the caller counts).
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// Nothing.
    #[default]
    Constant,
    /// It is multiplied with `gamma` after every `every` steps (0 counts as 1).
    Step {
        /// Steps between.
        every: u64,
        /// The factor.
        gamma: f32,
    },
    /// It falls to `least` along half a wave of the cosine within `steps` steps, and stays there (Loshchilov and Hutter,
    /// 2017, without restarts).
    Cosine {
        /// Steps until `least` is reached.
        steps: u64,
        /// The smallest rate.
        least: f32,
    },
}

impl Schedule {
    /// What `base` has become after `step` steps.
    #[must_use]
    pub fn lr(&self, base: f32, step: u64) -> f32 {
        match *self {
            Self::Constant => base,
            Self::Step { every, gamma } => {
                (f64::from(base) * libm::pow(f64::from(gamma), (step / every.max(1)) as f64)) as f32
            }
            Self::Cosine { steps, least } => {
                let (base, least) = (f64::from(base), f64::from(least));
                let part = step.min(steps) as f64 / steps.max(1) as f64;
                let part = if steps == 0 { 1.0 } else { part };
                (least + (base - least) * (1.0 + libm::cos(std::f64::consts::PI * part)) / 2.0) as f32
            }
        }
    }
}
