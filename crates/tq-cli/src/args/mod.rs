//! What the program can be told.

mod budget;
mod data;
mod export;
mod metric;
mod plan;
mod qat;
mod report;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use torsh_quantization::analysis::RecommendOptions;
use torsh_quantization::ptq::RangesFormat;

pub(crate) use budget::BudgetArgs;
pub(crate) use data::{DataArgs, Shard};
pub(crate) use export::{Export, ExportTarget, Io, Lint};
pub(crate) use metric::MetricName;
pub(crate) use plan::{BackendName, PlanArgs};
pub(crate) use qat::{LossName, OptimizerName, Qat, ScheduleName};
pub(crate) use report::Report;

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
    /// Show for every node which rule of a configuration wins, which lose, and what comes of it.
    Explain(Explain),
    /// Calibrate a float model and write its quantized form.
    Quantize(Quantize),
    /// Train a float model as it will be quantized, and write its quantized form.
    Qat(Box<Qat>),
    /// Calibrate a float model and write what was observed, to be joined with other parts.
    Calibrate(Calibrate),
    /// Join what was observed on several parts of the data.
    MergeCalib(MergeCalib),
    /// Run a model and write its outputs.
    Run(Run),
    /// Measure a model on data: accuracy, area under the ROC curve, rank correlation, or agreement with another model.
    Eval(Eval),
    /// Compare a quantized model with its float original.
    Compare(Compare),
    /// Show the error of every layer of a quantized model: its own and what it inherits, saturation, unused codes.
    Layers(Layers),
    /// Write a page on a quantized model beside its float original: accuracy, errors by layer, ranges, kernels.
    Report(Report),
    /// Tell what makes a quantized model err or costs it time, and which setting to change.
    Advise(Advise),
    /// Show what quantizing each layer alone does to a float model: measured, or estimated in a moment.
    Sensitivity(Sensitivity),
    /// Write a model in another format, or its weights alone.
    Export(Export),
    /// Measure how long a model takes.
    Bench(Bench),
    /// Say for every node whether a target runs it in integers, in float, or refuses it, and why.
    Lint(Lint),
    /// Show what this machine is, which kernels run on it, and what they reach.
    Doctor(Doctor),
    /// Quantize, compare and save an embedded digit classifier: nothing else is needed.
    Demo(Demo),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Inspect {
    /// Model, .onnx or .tq.
    pub(crate) model: PathBuf,
    /// Configuration to plan for.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) backend: BackendName,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Explain {
    /// Float model, .onnx or .tq.
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Quantize {
    /// Float model, .onnx or .tq.
    pub(crate) model: PathBuf,
    /// File to write; its extension picks the format (.onnx, .tq).
    #[arg(short, long, required_unless_present = "dry_run")]
    pub(crate) output: Option<PathBuf>,
    /// Calibration data, .npy or .npz with one array; NAME is an input's. Given again, it appends batches.
    #[arg(
        long,
        num_args = 1..,
        value_name = "[NAME=]FILE",
        required_unless_present_any =
            ["pictures", "calib_state", "ranges", "dry_run", "config", "recipe", "dynamic"]
    )]
    pub(crate) calib: Vec<String>,
    /// What `tq calibrate` observed with the same model and observers; several are joined.
    #[arg(long, num_args = 1.., value_name = "STATE", conflicts_with_all = ["calib", "pictures"])]
    pub(crate) calib_state: Vec<PathBuf>,
    /// Ranges that another tool's calibration left: ONNX Runtime's JSON, TensorRT's cache, AIMET's encodings. What it
    /// does not have is calibrated.
    #[arg(long, value_name = "FILE", conflicts_with = "calib_state")]
    pub(crate) ranges: Option<PathBuf>,
    /// Whose file --ranges is: ort, tensorrt or aimet; it is told by its content.
    #[arg(long, value_name = "FORMAT", requires = "ranges")]
    pub(crate) ranges_format: Option<RangesFormat>,
    /// Print for every node what would become of it, and write nothing. No calibration data is read.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    /// For --recipe auto: least signal to quantization noise of the output, in dB.
    #[arg(long, value_name = "DB", default_value_t = RecommendOptions::default().min_sqnr_db, allow_hyphen_values = true)]
    pub(crate) min_sqnr: f64,
    #[command(flatten)]
    pub(crate) budget: BudgetArgs,
    /// Even out the channels between layers first: the float model answers the same, and no channel takes the codes of the
    /// others for the sole reason that what reads it has small weights.
    #[arg(long, conflicts_with_all = ["calib_state", "ranges"])]
    pub(crate) equalize: bool,
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
pub(crate) struct Calibrate {
    /// Float model, .onnx or .tq.
    pub(crate) model: PathBuf,
    /// File to write (.json).
    #[arg(short, long, value_name = "STATE")]
    pub(crate) output: PathBuf,
    /// Calibration data, .npy or .npz with one array; NAME is an input's. Given again, it appends batches.
    #[arg(long, num_args = 1.., value_name = "[NAME=]FILE", required_unless_present = "pictures")]
    pub(crate) calib: Vec<String>,
    /// Only every N-th batch from the I-th on, counted from 1: the shards 1/N to N/N are the whole data.
    #[arg(long, value_name = "I/N")]
    pub(crate) shard: Option<Shard>,
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct MergeCalib {
    /// What `tq calibrate` wrote, all with the same model and configuration.
    #[arg(required = true, value_name = "STATE")]
    pub(crate) states: Vec<PathBuf>,
    /// File to write (.json).
    #[arg(short, long, value_name = "STATE")]
    pub(crate) output: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Run {
    /// Model, .onnx or .tq.
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
    /// Model, .onnx or .tq.
    pub(crate) model: PathBuf,
    /// Input data, .npy or .npz with one array; NAME is an input's. Given again, it appends batches.
    #[arg(long, required_unless_present = "pictures", num_args = 1.., value_name = "[NAME=]FILE")]
    pub(crate) input: Vec<String>,
    /// What is measured.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) metric: MetricName,
    /// For top1 one class a row, for auc 0 or 1 a score, for spearman the gold score of each pair. Pictures in folders
    /// of their classes need none: the folders are numbered from 0 in the order of their names.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["pictures", "against"])]
    pub(crate) labels: Option<PathBuf>,
    /// Float model that agreement and cosine are measured against.
    #[arg(
        long,
        value_name = "FLOAT",
        required_if_eq_any = [("metric", "agreement"), ("metric", "cosine")]
    )]
    pub(crate) against: Option<PathBuf>,
    /// Second side of each pair, for spearman: given as --input is.
    #[arg(long, value_name = "[NAME=]FILE", num_args = 1.., required_if_eq("metric", "spearman"))]
    pub(crate) pair_input: Vec<String>,
    /// Score above which an output that is no row of classes says yes.
    #[arg(long, value_name = "T", default_value_t = 0.5, allow_hyphen_values = true)]
    pub(crate) threshold: f64,
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
    /// Float model, .onnx or .tq.
    pub(crate) float: PathBuf,
    /// Quantized model, .onnx or .tq.
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
pub(crate) struct Layers {
    /// Float model, .onnx or .tq.
    pub(crate) float: PathBuf,
    /// The model that was made of it, .onnx or .tq.
    pub(crate) quantized: PathBuf,
    /// Input data, .npy or .npz with one array; NAME is an input's. Given again, it appends batches.
    #[arg(long, required_unless_present = "pictures", num_args = 1.., value_name = "[NAME=]FILE")]
    pub(crate) input: Vec<String>,
    /// Layers that the table shows, those that err most first. A heatmap and --json have all.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) top: u32,
    /// Write a picture of the errors of all layers, a .png file.
    #[arg(long, value_name = "FILE")]
    pub(crate) heatmap: Option<PathBuf>,
    /// Write a picture of the values of each layer's result and of the range that its codes keep, a .png file.
    #[arg(long, value_name = "FILE")]
    pub(crate) histograms: Option<PathBuf>,
    /// Write a picture of the weights of each layer by their channels, a .png file.
    #[arg(long, value_name = "FILE")]
    pub(crate) weights: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Advise {
    /// Float model, .onnx or .tq.
    pub(crate) float: PathBuf,
    /// The model that was made of it, .onnx or .tq.
    pub(crate) quantized: PathBuf,
    /// Input data, .npy or .npz with one array; NAME is an input's. Given again, it appends batches.
    #[arg(long, required_unless_present = "pictures", num_args = 1.., value_name = "[NAME=]FILE")]
    pub(crate) input: Vec<String>,
    /// The data that the model was calibrated with, given as --input is: tells data that calibration has not seen from an
    /// observer that cuts off too much.
    #[arg(long, num_args = 1.., value_name = "[NAME=]FILE")]
    pub(crate) calib: Vec<String>,
    /// Rows of the input data that are looked at, at least.
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rows: u32,
    /// Output whose error is explained; the first one when not given.
    #[arg(long, value_name = "NAME")]
    pub(crate) output: Option<String>,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Sensitivity {
    /// Float model, .onnx or .tq.
    pub(crate) model: PathBuf,
    /// Calibration data, .npy or .npz with one array; NAME is an input's. Given again, it appends batches. The data to
    /// measure on when not given.
    #[arg(long, num_args = 1.., value_name = "[NAME=]FILE", required_unless_present_any = ["pictures", "input"])]
    pub(crate) calib: Vec<String>,
    /// Data to measure on, given as --calib is; the calibration data when not given.
    #[arg(long, num_args = 1.., value_name = "[NAME=]FILE", conflicts_with = "pictures")]
    pub(crate) input: Vec<String>,
    /// One class for each row that is measured on. Without it the float model's decisions are the right answers.
    #[arg(long, value_name = "FILE")]
    pub(crate) labels: Option<PathBuf>,
    /// Which tensors of a layer are quantized; each is a measurement of its own.
    #[arg(long, value_enum, num_args = 1.., default_values_t = [TensorKindName::Both])]
    pub(crate) kinds: Vec<TensorKindName>,
    /// Measure nothing: estimate from the noise that each layer puts into the output of a few rows.
    #[arg(long)]
    pub(crate) estimate: bool,
    /// Layers that the table shows, those that do most harm first. --json has all.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) top: u32,
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What of a layer is quantized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TensorKindName {
    /// Weights and activations.
    Both,
    /// Weights alone.
    Weights,
    /// What it reads and gives, on float weights.
    Activations,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Bench {
    /// Model, .onnx or .tq.
    pub(crate) model: PathBuf,
    /// Input data, .npy or .npz with one array, of which the first batch is run; NAME is an input's. Without it inputs are
    /// random: kernels may be faster or slower on them than on data as it is.
    #[arg(long, num_args = 1.., value_name = "[NAME=]FILE", conflicts_with = "shape")]
    pub(crate) input: Vec<String>,
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Input shape, as 1x3x224x224 or 1,3,224,224; NAME is an input's. What is not given is as declared, with 1 for
    /// every free dimension.
    #[arg(long, num_args = 1.., value_name = "[NAME=]DIMS", conflicts_with = "pictures")]
    pub(crate) shape: Vec<String>,
    /// Threads to run on; as many as there are cores when not given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Option<u16>,
    /// Runs to time; when not given, as many as fit two seconds, but at least 10.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) runs: Option<u32>,
    /// Show the time of each node, those that take longest first.
    #[arg(long)]
    pub(crate) profile: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Doctor {
    /// Milliseconds that each thing is measured, of which there are about thirty.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) ms: u32,
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
        assert_eq!(eval.data.preprocess.mean, [-1.0, 2.5, -30.0]);
        assert_eq!(eval.input, ["x=a=b.npy", "c.npy"]);
        assert!(Args::try_parse_from(["tq", "eval", "m", "--labels", "l"]).is_err());
        assert!(Args::try_parse_from(["tq", "bench", "m", "--threads", "0"]).is_err());
        assert!(
            Args::try_parse_from(["tq", "quantize", "m", "-o", "q", "--calib", "c", "--batch", "0"]).is_err()
        );
    }

    #[test]
    fn shards_are_counted_from_one() {
        assert_eq!("2/3".parse(), Ok(Shard { index: 2, count: 3 }));
        for bad in ["", "3", "0/3", "4/3", "1/0", "-1/3", "a/b", "1/2/3"] {
            assert!(bad.parse::<Shard>().is_err(), "{bad}");
        }
    }

    #[test]
    fn observers_have_the_names_of_files() {
        let parse = |name: &str| {
            let line = ["tq", "explain", "m", "--observer", name];
            Args::try_parse_from(line).map(|a| match a.command {
                Command::Explain(e) => e.plan.observer,
                _ => None,
            })
        };
        for name in ["minmax", "min-max", "min_max"] {
            assert_eq!(parse(name).unwrap().as_deref(), Some("min_max"));
        }
        assert!(parse("nonsense").is_err());
    }
}
