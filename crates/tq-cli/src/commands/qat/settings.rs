//! What the words of `tq qat` mean.

use crate::args::{LossName, OptimizerName, Qat, ScheduleName};
use anyhow::{Result, bail};
use torsh_quantization::qat::{
    BatchNorm, Criterion, Distillation, LearnableFakeQuantize, OptimizerConfig, QatOptions, Schedule,
    TrainOptions,
};
use torsh_quantization::qconfig::Configuration;

/// Samples a step when nobody says.
const DEFAULT_BATCH: usize = 32;

/// What is quantized, and how.
pub(super) fn configuration(args: &Qat) -> Result<Configuration> {
    args.plan.configuration_of_bits(args.bits.unwrap_or(8), args.act_bits.unwrap_or(8))
}

pub(super) fn quantizers(args: &Qat) -> QatOptions {
    let batch_norm = if args.bn_epochs.is_some() { BatchNorm::Trained } else { BatchNorm::Folded };
    match args.lsq {
        false => QatOptions { batch_norm, ..QatOptions::default() },
        true => QatOptions {
            activation: LearnableFakeQuantize::default().into(),
            weight: LearnableFakeQuantize::default().into(),
            batch_norm,
        },
    }
}

/// How it is trained.
pub(super) fn options(args: &Qat) -> Result<TrainOptions> {
    let t = &args.training;
    let weight_decay = t.weight_decay;
    let criterion = match t.loss {
        LossName::CrossEntropy | LossName::Kl => {
            Criterion::CrossEntropy { label_smoothing: t.label_smoothing }
        }
        LossName::Mse => Criterion::Mse,
        LossName::Bce => Criterion::Bce,
    };
    if t.label_smoothing != 0.0 && t.loss != LossName::CrossEntropy {
        bail!("--label-smoothing is for --loss cross-entropy");
    }
    if t.temperature.is_some() && (t.loss.of_values() || (t.distill.is_none() && t.loss != LossName::Kl)) {
        bail!("--temperature is for --distill and --loss kl, which compare scores of classes");
    }
    let distill = match (t.loss, t.distill) {
        (LossName::Kl, Some(weight)) if weight != 1.0 => {
            bail!(
                "--loss kl looks at the float model alone: --distill={weight} beside it says something else"
            )
        }
        (LossName::Kl, _) => Some(1.0),
        // What the float model gives are the values then; beside others it has no loss of its own.
        (LossName::Mse | LossName::Bce, Some(_)) if args.labels.is_none() => None,
        (LossName::Mse | LossName::Bce, Some(_)) => {
            bail!("--distill beside values is for classes alone: leave out --labels, or --distill")
        }
        (_, weight) => weight,
    };
    let temperature = t.temperature.unwrap_or(Distillation::default().temperature);
    Ok(TrainOptions {
        epochs: t.epochs as usize,
        batch: args.data.batch().unwrap_or(DEFAULT_BATCH),
        optimizer: match t.optimizer {
            OptimizerName::Adam => OptimizerConfig::Adam { weight_decay },
            OptimizerName::Adamw => OptimizerConfig::AdamW { weight_decay },
            OptimizerName::Sgd => OptimizerConfig::Sgd { momentum: 0.9, nesterov: false, weight_decay },
        },
        lr: t.lr,
        schedule: match t.schedule {
            ScheduleName::Cosine => None,
            ScheduleName::Constant => Some(Schedule::Constant),
        },
        criterion,
        distillation: distill.map(|weight| Distillation { temperature, weight }),
        max_grad_norm: t.max_grad_norm,
        observe_epochs: Some(t.observe_epochs as usize),
        bn_epochs: args.bn_epochs.map(|n| n as usize),
        seed: t.seed,
        ..TrainOptions::default()
    })
}
