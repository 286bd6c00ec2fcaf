//! What `tq qat` can be told.

use super::{DataArgs, PlanArgs};
use clap::{Args as ClapArgs, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, ClapArgs)]
pub(crate) struct Qat {
    /// Float model, .onnx or .tq.
    pub(crate) model: PathBuf,
    /// File to write; its extension picks the format (.onnx, .tq).
    #[arg(short, long)]
    pub(crate) output: PathBuf,
    /// Training data, .npy or .npz with one array; NAME is an input's. Given again, it appends samples. It calibrates, too.
    #[arg(long, num_args = 1.., value_name = "[NAME=]FILE", required_unless_present = "pictures")]
    pub(crate) train: Vec<String>,
    /// What is expected: a class a sample, or with --loss mse and bce values (f32) of the shape of the first output. Pictures
    /// in folders of their classes need no classes, and with --distill they may be left out: then the float model alone
    /// teaches.
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// Validation data, given as --train is: after every epoch the model is measured on it, and the best epoch is kept.
    #[arg(long, num_args = 1.., value_name = "[NAME=]FILE")]
    pub(crate) val: Vec<String>,
    /// What is expected of the samples of --val.
    #[arg(long, value_name = "FILE", requires = "val")]
    pub(crate) val_labels: Option<PathBuf>,
    /// Part of the training data that is taken for validation instead of training, where --val gives none.
    #[arg(
        long,
        value_name = "PART",
        default_value_t = 0.1,
        conflicts_with = "val",
        allow_hyphen_values = true
    )]
    pub(crate) val_split: f32,
    /// Bits of weights, 2 to 8: symmetric codes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=8), conflicts_with_all = ["config", "recipe", "dynamic"])]
    pub(crate) bits: Option<u32>,
    /// Bits of activations, 2 to 8.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=8), conflicts_with_all = ["config", "recipe", "dynamic"])]
    pub(crate) act_bits: Option<u32>,
    /// Train the scales too, of weights and of activations (LSQ).
    #[arg(long)]
    pub(crate) lsq: bool,
    /// Train batch normalization too, in the first N epochs with the statistics of each batch, then with what these have
    /// come to. Where not given, it is folded into the layer before it, with the statistics that the model brings.
    #[arg(long, value_name = "N")]
    pub(crate) bn_epochs: Option<u32>,
    #[command(flatten)]
    pub(crate) training: TrainingArgs,
    /// File in which training is put aside after every epoch. One that is there already is taken up with --resume, and
    /// never replaced by another training.
    #[arg(long, value_name = "FILE")]
    pub(crate) checkpoint: Option<PathBuf>,
    /// Put training aside after every N steps, too.
    #[arg(long, value_name = "N", requires = "checkpoint", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) every: Option<u32>,
    /// Go on from the checkpoint, which the same command line has written; only --every, --opset and the output may differ.
    #[arg(long, requires = "checkpoint")]
    pub(crate) resume: bool,
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    /// Lowest ONNX operator set to write; a higher one is taken where the model needs it.
    #[arg(long, default_value_t = torsh_quantization::export::MIN_OPSET, value_parser = super::opset)]
    pub(crate) opset: i64,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How training goes.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "Training")]
pub(crate) struct TrainingArgs {
    /// Passes over the training data.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..), allow_hyphen_values = true)]
    pub(crate) epochs: u32,
    /// Optimiser: adam, adamw, or sgd (with momentum 0.9).
    #[arg(long, value_enum, default_value_t)]
    pub(crate) optimizer: OptimizerName,
    /// Learning rate at the beginning.
    #[arg(long, value_name = "RATE", default_value_t = 1e-4, allow_hyphen_values = true)]
    pub(crate) lr: f32,
    /// What becomes of the learning rate: cosine lets it fall to 0 at the end.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) schedule: ScheduleName,
    /// What is made small: cross-entropy of the classes; kl, the divergence from the scores of the float model alone (as
    /// --distill=1); mse, the squared error of the first output; bce, binary cross-entropy of each of its numbers.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) loss: LossName,
    /// Factor of weight decay.
    #[arg(long, value_name = "FACTOR", default_value_t = 0.0, allow_hyphen_values = true)]
    pub(crate) weight_decay: f32,
    /// Part of each target that is shared out evenly over all classes.
    #[arg(long, value_name = "PART", default_value_t = 0.0, allow_hyphen_values = true)]
    pub(crate) label_smoothing: f32,
    /// Learn from the float model, too; WEIGHT says how much: 0 for the labels alone, 1 for the float model alone. Of several
    /// outputs the labels are for the first; the float model teaches all that are numbers.
    #[arg(long, value_name = "WEIGHT", num_args = 0..=1, require_equals = true, default_missing_value = "0.5", allow_hyphen_values = true)]
    pub(crate) distill: Option<f32>,
    /// By which scores are divided for --distill and --loss kl; 2 when not given.
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    pub(crate) temperature: Option<f32>,
    /// Bound of the norm of all gradients together.
    #[arg(long, value_name = "NORM", allow_hyphen_values = true)]
    pub(crate) max_grad_norm: Option<f32>,
    /// Epochs in which ranges of activations still follow the data; they stay as calibration found them when not given.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) observe_epochs: u32,
    /// What the order of samples and the validation split begin with.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum OptimizerName {
    #[default]
    Adam,
    Adamw,
    Sgd,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LossName {
    #[default]
    CrossEntropy,
    Kl,
    Mse,
    Bce,
}

impl LossName {
    /// Whether it takes values, instead of classes.
    pub(crate) fn of_values(self) -> bool {
        matches!(self, Self::Mse | Self::Bce)
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ScheduleName {
    #[default]
    Cosine,
    Constant,
}
