//! `tq export`, and writing models for other commands.

use super::{export_onnx, file_bytes, is_same_file, load};
use crate::args::{Export, ExportTarget};
use crate::files::{Format, check_target, format_of, has_extension};
use crate::output::{bytes, emit, say};
use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use std::path::Path;
use torsh_quantization::export::{
    ExportOptions, LoadOptions, WeightsForm, export_onnx as write_onnx, formed_onnx, load_safetensors,
    optimize_for_mobile, save, save_safetensors, strip,
};
use torsh_quantization::model::Graph;

#[derive(Serialize)]
struct Report {
    output: String,
    format: &'static str,
    bytes: u64,
    /// What a device is to know, for --target mobile.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

pub(crate) fn export(args: &Export) -> Result<()> {
    let output = &args.output;
    let weights = has_extension(output, "safetensors");
    let format = if weights { None } else { Some(format_of(output)?) };
    match args.target {
        Some(ExportTarget::Mobile) if format != Some(Format::Native) => {
            bail!("{}: --target mobile writes .tq files", output.display())
        }
        Some(ExportTarget::Program(target)) if format != Some(Format::Onnx) => {
            bail!("{}: --target {target} writes .onnx files", output.display())
        }
        _ => {}
    }
    for (flag, given, fits, wanted) in [
        ("--strip", args.strip, format == Some(Format::Native), ".tq"),
        ("--dequantize", args.dequantize, weights, ".safetensors"),
    ] {
        if given && !fits {
            bail!("{}: {flag} is for {wanted} files", output.display());
        }
    }
    check_target(output)?;
    if std::iter::once(&args.model).chain(&args.weights).any(|input| is_same_file(input, output)) {
        bail!("{}: would replace what it is made from", output.display());
    }
    let mut graph = load(&args.model)?;
    if let Some(file) = &args.weights {
        let options = LoadOptions { allow_missing: args.partial, allow_unexpected: args.partial };
        let report =
            load_safetensors(&mut graph, file, options).with_context(|| file.display().to_string())?;
        for (names, what) in [
            (&report.missing, "kept, as the file does not have them"),
            (&report.unexpected, "of the file are in no constant of the model"),
        ] {
            if !names.is_empty() {
                say(&format!("{} {what}", names.join(", ")));
            }
        }
    }
    let mut notes = Vec::new();
    match format {
        Some(Format::Onnx) => return export_onnx::export(graph, args),
        Some(Format::Native) if args.target == Some(ExportTarget::Mobile) => {
            let model = optimize_for_mobile(&graph).with_context(|| args.model.display().to_string())?;
            model.save(output)?;
            notes = model.notes;
        }
        Some(Format::Native) => save(&if args.strip { strip(&graph) } else { graph }, output)?,
        None => {
            let form = if args.dequantize { WeightsForm::Dequantized } else { WeightsForm::Stored };
            save_safetensors(&graph, output, form)?;
        }
    }
    let report = Report {
        output: output.display().to_string(),
        format: if format.is_some() { "tq" } else { "safetensors" },
        bytes: file_bytes(output)?,
        notes,
    };
    for note in report.notes.iter().filter(|_| !args.json) {
        say(note);
    }
    emit(args.json, &report, || format!("{}: {}", report.output, bytes(report.bytes)))
}

/// Writes the file in this format, an ONNX file at this operator set, or at the lowest higher one that has words for
/// the whole graph. Returns which one that was.
pub(super) fn write_model(graph: &Graph, path: &Path, format: Format, lowest: i64) -> Result<Option<i64>> {
    if format == Format::Native {
        save(graph, path)?;
        return Ok(None);
    }
    let name = || path.display().to_string();
    let (_, needed) = formed_onnx(graph, &ExportOptions::default()).with_context(name)?;
    Ok(Some(write_onnx(graph, path, &ExportOptions::at(needed.max(lowest))).with_context(name)?))
}
