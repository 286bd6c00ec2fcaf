//! `tq export` of ONNX files.

use super::lint::{Counted, text};
use super::{file_bytes, is_same_file};
use crate::args::{Export, ExportTarget, Io};
use crate::files::check_target;
use crate::output::{bytes, emit, say};
use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use torsh_quantization::export::{CacheAlgorithm, Precision};
use torsh_quantization::export::{
    ExportOptions, InputScaling, Target, TargetOptions, export_for, export_tensorrt, fold_preprocess,
    strip_borders,
};
use torsh_quantization::model::{DType, Graph};

#[derive(Serialize)]
struct Report<'a> {
    output: String,
    format: &'static str,
    opset: i64,
    bytes: u64,
    /// What was moved or left as it is on the way.
    notes: Vec<String>,
    lint: Counted<'a>,
}

/// Writes the model as its arguments say.
pub(super) fn export(mut graph: Graph, args: &Export) -> Result<()> {
    let how = &args.onnx;
    let target = match args.target {
        None => Target::Onnx,
        Some(ExportTarget::Program(target)) => target,
        Some(ExportTarget::Mobile) => bail!("{}: --target mobile writes .tq files", args.output.display()),
    };
    let is_tensorrt = matches!(target, Target::TensorRt { .. });
    if how.calibration_cache.is_some() && !is_tensorrt {
        bail!("--calibration-cache is for --target tensorrt, not {target}");
    }
    if how.precision.is_some() && !is_tensorrt {
        bail!("--precision is for --target tensorrt, not {target}");
    }
    let name = || args.model.display().to_string();
    let mut notes = Vec::new();
    if let Some(input) = &how.fold_preprocess {
        fold(&mut graph, input, args, &mut notes).with_context(name)?;
    }
    if how.io == Io::Int8 {
        for (value, reason) in strip_borders(&mut graph).with_context(name)? {
            notes.push(format!("{value} stays as it is: {reason}"));
        }
    }
    if !how.cache_version.chars().all(|c| c.is_ascii_alphanumeric()) {
        bail!("--cache-version is letters and digits, as 100100, not {:?}", how.cache_version);
    }
    let mut cache = None;
    let mut weights = how.weights_as.map(Into::into);
    if is_tensorrt {
        let precision = how.precision.unwrap_or_default();
        if how.calibration_cache.is_some() && precision != Precision::Int8 {
            bail!("--calibration-cache is for --precision int8, not {precision}");
        }
        let model = export_tensorrt(&graph, precision, None).with_context(name)?;
        weights = weights.or(model.options().onnx.weights);
        if let Some(path) = &how.calibration_cache {
            if is_same_file(path, &args.output) || path == &args.output {
                bail!("{}: the model and its calibration cache are two files", path.display());
            }
            check_target(path)?;
            cache = Some((path, model.cache.header(&how.cache_version, CacheAlgorithm::EntropyCalibration2)));
        }
        graph = model.graph;
        notes.extend(model.notes);
    }
    let options = TargetOptions {
        onnx: ExportOptions {
            opset: how.opset,
            form: how.form.into(),
            weights,
            bias: how.bias_as.map(Into::into),
            matmul_nbits: how.matmul_nbits,
            external_data: how.external_data,
        },
        ..TargetOptions::new(target)
    };
    let exported = export_for(&graph, &args.output, &options).with_context(name)?;
    // After the model, so that one that is refused leaves none.
    if let Some((path, cache)) = cache {
        let written = || format!("{} was written, its calibration cache was not", args.output.display());
        cache.save(path).with_context(written)?;
    }
    notes.extend(exported.notes);
    for note in notes.iter().filter(|_| !args.json) {
        say(note);
    }
    let report = Report {
        output: args.output.display().to_string(),
        format: "onnx",
        opset: exported.opset,
        bytes: file_bytes(&args.output)?,
        notes,
        lint: Counted::of(&exported.lint),
    };
    emit(args.json, &report, || {
        format!(
            "{}: opset {}, {}\n{}",
            report.output,
            report.opset,
            bytes(report.bytes),
            text(&exported.lint)
        )
    })
}

/// Puts the preprocessing into the model.
fn fold(graph: &mut Graph, input: &str, args: &Export, notes: &mut Vec<String>) -> Result<()> {
    let floats: Vec<&str> = graph
        .inputs
        .iter()
        .map(|v| graph.value(*v))
        .filter(|v| v.dtype == Some(DType::F32))
        .map(|v| v.name.as_str())
        .collect();
    let input = match (input, floats.as_slice()) {
        ("", [one]) => (*one).to_owned(),
        ("", all) => bail!("--fold-preprocess: the model has {} float inputs, NAME tells which", all.len()),
        (name, _) => name.to_owned(),
    };
    let stored = args.onnx.preprocess.preprocess();
    let scaling = InputScaling {
        scale: stored.scale,
        mean: stored.mean,
        std: stored.std,
        channel_axis: stored.channel_axis,
    };
    if fold_preprocess(graph, &input, &scaling)? {
        notes.push(format!("the bytes of {input} are the codes that the model computes on"));
    }
    Ok(())
}
