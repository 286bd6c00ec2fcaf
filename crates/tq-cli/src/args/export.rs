//! What `tq lint` and `tq export` can be told.

use super::data::PreprocessArgs;
use clap::{Args as ClapArgs, ValueEnum};
use std::path::PathBuf;
use torsh_quantization::export::{BiasForm, CalibrationCache, OperatorForm, Precision, Target, WeightForm};

#[derive(Debug, ClapArgs)]
pub(crate) struct Lint {
    /// Model, quantized or not.
    pub(crate) model: PathBuf,
    /// The program that is to run it: onnx, onnxruntime, tensorrt or tract; @MAJOR.MINOR tells the version of the middle two.
    #[arg(long, value_name = "NAME[@VERSION]", default_value = "onnxruntime", value_parser = target)]
    pub(crate) target: Target,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Export {
    /// Model, .onnx or .tq.
    pub(crate) model: PathBuf,
    /// File to write; its extension picks the format: .onnx, .tq, or .safetensors for the weights alone.
    #[arg(short, long)]
    pub(crate) output: PathBuf,
    /// Weights that take the place of the model's, by name.
    #[arg(long, value_name = "SAFETENSORS")]
    pub(crate) weights: Option<PathBuf>,
    /// With --weights: names that only the model or only the file has are no errors.
    #[arg(long, requires = "weights")]
    pub(crate) partial: bool,
    /// For .tq: leave out all that inference does not need, names of layers among it.
    #[arg(long)]
    pub(crate) strip: bool,
    /// For .safetensors: quantized weights as the float numbers that they stand for.
    #[arg(long)]
    pub(crate) dequantize: bool,
    /// What is to run it: onnx, onnxruntime, tensorrt or tract (@MAJOR.MINOR tells the version of the middle two), onnx
    /// where none is given; for .tq: mobile, which leaves out what devices have no use for and tells what they run in float.
    #[arg(long, value_name = "NAME[@VERSION]", value_parser = export_target)]
    pub(crate) target: Option<ExportTarget>,
    #[command(flatten)]
    pub(crate) onnx: OnnxArgs,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// For .onnx files.
#[derive(Debug, ClapArgs)]
#[command(next_help_heading = "For .onnx")]
pub(crate) struct OnnxArgs {
    /// Operator set, 13 to 25; the lowest that has words for the whole model when not given.
    #[arg(long, value_parser = super::opset)]
    pub(crate) opset: Option<i64>,
    /// Quantized operators as float ones between Quantize and Dequantize, or as QLinearConv and its like.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) form: Form,
    /// Weights as codes behind a Dequantize, or as floats before a Quantize; as the target likes them when not given.
    #[arg(long, value_enum)]
    pub(crate) weights_as: Option<Weights>,
    /// Biases of quantized operators as 32-bit codes, or as floats; as the target likes them when not given.
    #[arg(long, value_enum)]
    pub(crate) bias_as: Option<Bias>,
    /// Products with 4-bit weights in blocks as ONNX Runtime's own MatMulNBits.
    #[arg(long)]
    pub(crate) matmul_nbits: bool,
    /// Constants of at least SIZE bytes (64k, 1M and the like too) go to a file beside the model.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) external_data: Option<usize>,
    /// Put --scale, --mean and --std into the model, so that it takes bytes; NAME is an input's, where there are several.
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "")]
    pub(crate) fold_preprocess: Option<String>,
    #[command(flatten)]
    pub(crate) preprocess: PreprocessArgs,
    /// What inputs and outputs are: float, or codes where they are quantized.
    #[arg(long, value_enum, default_value_t)]
    pub(crate) io: Io,
    /// What TensorRT is to compute in: int8, fp16, fp8, or int4 for weights alone. The model has to have its codes.
    #[arg(long, value_name = "NAME", value_parser = precision)]
    pub(crate) precision: Option<Precision>,
    /// TensorRT's calibration cache to write as well.
    #[arg(long, value_name = "FILE")]
    pub(crate) calibration_cache: Option<PathBuf>,
    /// The version in the first line of the cache: TensorRT rejects one of another version.
    #[arg(long, value_name = "N", default_value = CalibrationCache::DEFAULT_VERSION, requires = "calibration_cache")]
    pub(crate) cache_version: String,
}

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExportTarget {
    /// A program that reads ONNX files.
    Program(Target),
    /// This project's runtime on a device.
    Mobile,
}

/// How quantized operators are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// Float operators between Dequantize and Quantize.
    #[default]
    Qdq,
    /// QLinearConv, QLinearMatMul, ConvInteger and MatMulInteger, where they say the same.
    Qoperator,
}

impl From<Form> for OperatorForm {
    fn from(form: Form) -> Self {
        match form {
            Form::Qdq => OperatorForm::Qdq,
            Form::Qoperator => OperatorForm::QOperator,
        }
    }
}

/// How weights are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Weights {
    /// Codes and a Dequantize.
    Codes,
    /// Floats, a Quantize and a Dequantize.
    Float,
}

impl From<Weights> for WeightForm {
    fn from(weights: Weights) -> Self {
        match weights {
            Weights::Codes => WeightForm::Codes,
            Weights::Float => WeightForm::FloatPair,
        }
    }
}

/// How biases are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Bias {
    /// 32-bit codes and a Dequantize.
    Int32,
    /// Floats.
    Float,
}

impl From<Bias> for BiasForm {
    fn from(bias: Bias) -> Self {
        match bias {
            Bias::Int32 => BiasForm::Int32,
            Bias::Float => BiasForm::Float,
        }
    }
}

/// What inputs and outputs are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Io {
    /// As they are.
    #[default]
    Float,
    /// Codes.
    Int8,
}

fn target(text: &str) -> Result<Target, String> {
    text.parse::<Target>().map_err(|e| e.to_string())
}

fn precision(text: &str) -> Result<Precision, String> {
    text.parse::<Precision>().map_err(|e| e.to_string())
}

fn export_target(text: &str) -> Result<ExportTarget, String> {
    match text {
        "mobile" => Ok(ExportTarget::Mobile),
        _ => target(text).map(ExportTarget::Program).map_err(|e| format!("{e}; and mobile, for .tq files")),
    }
}

/// A number of bytes, with k, M or G for powers of 1024.
pub(super) fn size(text: &str) -> Result<usize, String> {
    let (digits, factor) = match text.char_indices().last() {
        Some((i, 'k' | 'K')) => (&text[..i], 1usize << 10),
        Some((i, 'm' | 'M')) => (&text[..i], 1 << 20),
        Some((i, 'g' | 'G')) => (&text[..i], 1 << 30),
        _ => (text, 1),
    };
    let number: Option<usize> = digits.parse().ok();
    number
        .and_then(|n| n.checked_mul(factor))
        .ok_or_else(|| "expected a number of bytes, as 4096, 64k or 1M".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_with_a_letter() {
        assert_eq!(["0", "17", "2k", "3M", "1G"].map(|t| size(t).unwrap()), [0, 17, 2048, 3 << 20, 1 << 30]);
        for bad in ["", "k", "-1", "1T", "99999999999G"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
