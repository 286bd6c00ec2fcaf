//! What the program can be told.

use crate::pictures::{Layout, Shaping, Size};
use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use torsh_quantization::analysis::Preprocess;

/// Quantizes neural networks, runs them in integers, and compares them with the float originals.
#[derive(Debug, Parser)]
#[command(name = "tq", version, about, max_term_width = 110)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show inputs, outputs, operators and parameters of a model, and what would be quantized and what not.
    Inspect(Inspect),
    /// Calibrate a float model and write its quantized form.
    Quantize(Quantize),
    /// Run a model and write its outputs.
    Run(Run),
    /// Measure a classifier's accuracy on labelled data.
    Eval(Eval),
    /// Compare a quantized model with its float original.
    Compare(Compare),
    /// Measure how long a model takes.
    Bench(Bench),
    /// Quantize, compare and save an embedded digit classifier: nothing else is needed.
    Demo(Demo),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Inspect {
    /// ONNX model.
    pub(crate) model: PathBuf,
    /// Configuration to plan for.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) backend: BackendName,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Quantize {
    /// Float ONNX model.
    pub(crate) model: PathBuf,
    /// File to write; its extension picks the format (.onnx).
    #[arg(short, long)]
    pub(crate) output: PathBuf,
    /// Calibration data, .npy or .npz with one array; NAME is an input's. Given again, it appends batches.
    #[arg(long, required_unless_present = "pictures", num_args = 1.., value_name = "[NAME=]FILE")]
    pub(crate) calib: Vec<String>,
    /// Family of machines whose defaults are used: fbgemm has one weight scale a channel, qnnpack one a tensor.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) backend: BackendName,
    /// How activations are observed.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) observer: ObserverName,
    /// Lowest ONNX operator set to write; a higher one is taken where the model needs it.
    #[arg(long, default_value_t = torsh_quantization::export::MIN_OPSET, value_parser = opset)]
    pub(crate) opset: i64,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Run {
    /// ONNX model.
    pub(crate) model: PathBuf,
    /// Input data, .npy or .npz with one array; NAME is an input's. Given again, it appends batches.
    #[arg(long, num_args = 1.., value_name = "[NAME=]FILE")]
    pub(crate) input: Vec<String>,
    /// Folder for one NAME.npy an output; made if it is not there.
    #[arg(long)]
    pub(crate) out_dir: PathBuf,
    /// Use the reference evaluator, node by node in float, instead of integer kernels.
    #[arg(long)]
    pub(crate) reference: bool,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Eval {
    /// ONNX model.
    pub(crate) model: PathBuf,
    /// Input data, .npy or .npz with one array; NAME is an input's. Given again, it appends batches.
    #[arg(long, required_unless_present = "pictures", num_args = 1.., value_name = "[NAME=]FILE")]
    pub(crate) input: Vec<String>,
    /// One class a row, of any integer type. Pictures in folders of their classes need none: the folders are numbered
    /// from 0 in the order of their names.
    #[arg(long, value_name = "FILE", required_unless_present = "pictures")]
    pub(crate) labels: Option<PathBuf>,
    /// Output that holds the scores; the first one when not given.
    #[arg(long, value_name = "NAME")]
    pub(crate) output: Option<String>,
    /// Use the reference evaluator, node by node in float, instead of integer kernels.
    #[arg(long)]
    pub(crate) reference: bool,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Compare {
    /// Float ONNX model.
    pub(crate) float: PathBuf,
    /// Quantized ONNX model.
    pub(crate) quantized: PathBuf,
    /// Input data, .npy or .npz with one array; NAME is an input's. Given again, it appends batches.
    #[arg(long, required_unless_present = "pictures", num_args = 1.., value_name = "[NAME=]FILE")]
    pub(crate) input: Vec<String>,
    /// One class a row, of any integer type. Pictures in folders of their classes need none.
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// Output that is compared; the first one when not given.
    #[arg(long, value_name = "NAME")]
    pub(crate) output: Option<String>,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Bench {
    /// ONNX model.
    pub(crate) model: PathBuf,
    /// Input shape, as 1x3x224x224 or 1,3,224,224; NAME is an input's. What is not given is as declared, with 1 for
    /// every free dimension.
    #[arg(long, num_args = 1.., value_name = "[NAME=]DIMS")]
    pub(crate) shape: Vec<String>,
    /// Threads to run on; as many as there are cores when not given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Runs to time; when not given, as many as fit two seconds, but at least 10.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) runs: Option<u32>,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Demo {
    /// Folder for the two models; made if it is not there.
    #[arg(long, default_value = "tq-demo")]
    pub(crate) out_dir: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// How data is cut into batches and bytes made into floats: (stored * scale - mean) / std.
#[derive(Debug, ClapArgs)]
pub(crate) struct DataArgs {
    /// Folder of PNG and JPEG pictures: all in it, or in one folder for each class. NAME is an input's.
    #[arg(id = "pictures", long = "data", value_name = "[NAME=]DIR")]
    pub(crate) pictures: Option<String>,
    /// Size of pictures: N for the shorter side, in proportion, or HEIGHTxWIDTH.
    #[arg(long, value_name = "N|HxW")]
    pub(crate) resize: Option<Size>,
    /// Middle of the resized pictures that is taken: NxN, or HEIGHTxWIDTH.
    #[arg(long, value_name = "N|HxW")]
    pub(crate) crop: Option<Size>,
    /// Where pictures and bytes have their channels; where not given, the input's shape decides for pictures, and
    /// bytes have them on axis 1.
    #[arg(long, value_enum)]
    pub(crate) layout: Option<Layout>,
    /// Rows of axis 0, or pictures, in a batch; a model with a fixed first dimension gets its own.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) batch: Option<u32>,
    /// Scale, mean and std in one word; those given beside it win.
    #[arg(long, value_enum)]
    pub(crate) preset: Option<Preset>,
    /// Factor of pictures and of u8 and i8 arrays.
    #[arg(long, value_name = "S", allow_hyphen_values = true)]
    pub(crate) scale: Option<f32>,
    /// Subtracted after scaling: one value, or one a channel.
    #[arg(long, value_name = "A,B,C", value_delimiter = ',', allow_hyphen_values = true)]
    pub(crate) mean: Vec<f32>,
    /// Divisor after that: one value, or one a channel.
    #[arg(long, value_name = "A,B,C", value_delimiter = ',', allow_hyphen_values = true)]
    pub(crate) std: Vec<f32>,
}

impl DataArgs {
    pub(crate) fn preprocess(&self) -> Preprocess {
        let mut p = self.preset.unwrap_or_default().preprocess();
        if let Some(scale) = self.scale {
            p.scale = scale;
        }
        if !self.mean.is_empty() {
            p.mean.clone_from(&self.mean);
        }
        if !self.std.is_empty() {
            p.std.clone_from(&self.std);
        }
        if let Some(layout) = self.layout {
            p.channel_axis = layout.channel_axis();
        }
        p
    }

    pub(crate) fn batch(&self) -> Option<usize> {
        self.batch.and_then(|b| usize::try_from(b).ok())
    }

    pub(crate) fn shaping(&self) -> Shaping {
        Shaping { resize: self.resize, crop: self.crop }
    }
}

/// Preprocessing that many networks were trained with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Preset {
    /// 0 to 255, as stored.
    #[default]
    None,
    /// 0 to 1: x / 255.
    Unit,
    /// -1 to 1: (x / 255 - 0.5) / 0.5.
    Half,
    /// About -1 to 1: (x - 127) / 128, as the EfficientNet-Lite networks.
    Lite,
    /// Mean 0.485,0.456,0.406 and std 0.229,0.224,0.225 of x / 255.
    Imagenet,
    /// Mean 0.48145466,0.4578275,0.40821073 and std 0.26862954,0.26130258,0.27577711 of x / 255.
    Clip,
    /// Mean 0.4914,0.4822,0.4465 and std 0.2470,0.2435,0.2616 of x / 255.
    Cifar10,
    /// Mean 0.5071,0.4865,0.4409 and std 0.2673,0.2564,0.2762 of x / 255.
    Cifar100,
    /// Mean 0.1307 and std 0.3081 of x / 255.
    Mnist,
}

impl Preset {
    fn preprocess(self) -> Preprocess {
        let (scale, mean, std): (f32, &[f32], &[f32]) = match self {
            Preset::None => (1.0, &[], &[]),
            Preset::Unit => (1.0 / 255.0, &[], &[]),
            Preset::Half => (1.0 / 255.0, &[0.5], &[0.5]),
            Preset::Lite => (1.0, &[127.0], &[128.0]),
            Preset::Imagenet => (1.0 / 255.0, &[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225]),
            Preset::Clip => (
                1.0 / 255.0,
                &[0.481_454_66, 0.457_827_5, 0.408_210_73],
                &[0.268_629_54, 0.261_302_6, 0.275_777_1],
            ),
            Preset::Cifar10 => (1.0 / 255.0, &[0.4914, 0.4822, 0.4465], &[0.2470, 0.2435, 0.2616]),
            Preset::Cifar100 => (1.0 / 255.0, &[0.5071, 0.4865, 0.4409], &[0.2673, 0.2564, 0.2762]),
            Preset::Mnist => (1.0 / 255.0, &[0.1307], &[0.3081]),
        };
        Preprocess { scale, mean: mean.to_vec(), std: std.to_vec(), ..Preprocess::default() }
    }
}

/// Families of machines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum BackendName {
    /// Servers: one weight scale a channel.
    #[default]
    Fbgemm,
    /// Mobile: one weight scale a tensor.
    Qnnpack,
}

/// Observers of activations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ObserverName {
    /// Smallest and largest value.
    #[default]
    Minmax,
}

fn opset(text: &str) -> Result<i64, String> {
    use torsh_quantization::export::{MAX_OPSET, MIN_OPSET};
    match text.parse() {
        Ok(n) if (MIN_OPSET..=MAX_OPSET).contains(&n) => Ok(n),
        _ => Err(format!("expected {MIN_OPSET} to {MAX_OPSET}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn negative_means_and_lists_are_taken() {
        let line =
            ["tq", "eval", "m", "--input", "x=a=b.npy", "c.npy", "--labels", "l", "--mean", "-1,2.5,-3e1"];
        let Command::Eval(eval) = Args::parse_from(line).command else { panic!("not eval") };
        assert_eq!(eval.data.mean, [-1.0, 2.5, -30.0]);
        assert_eq!(eval.input, ["x=a=b.npy", "c.npy"]);
        assert!(Args::try_parse_from(["tq", "eval", "m", "--labels", "l"]).is_err());
        assert!(Args::try_parse_from(["tq", "bench", "m", "--threads", "0"]).is_err());
        assert!(
            Args::try_parse_from(["tq", "quantize", "m", "-o", "q", "--calib", "c", "--batch", "0"]).is_err()
        );
    }
}
