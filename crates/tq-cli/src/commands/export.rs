//! `tq export`, and writing models for other commands.

use super::{file_bytes, is_same_file, load};
use crate::args::Export;
use crate::files::{Format, check_target, format_of, has_extension};
use crate::output::{bytes, emit, say};
use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use std::path::Path;
use torsh_quantization::export::{
    ExportOptions, LoadOptions, MAX_OPSET, OnnxError, WeightsForm, export_onnx, export_onnx_bytes,
    load_safetensors, save, save_safetensors, strip,
};
use torsh_quantization::model::Graph;

#[derive(Serialize)]
struct Report {
    output: String,
    format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    opset: Option<i64>,
    bytes: u64,
}

pub(crate) fn export(args: &Export) -> Result<()> {
    let output = &args.output;
    let weights = has_extension(output, "safetensors");
    let format = if weights { None } else { Some(format_of(output)?) };
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
    let opset = match format {
        Some(format) => {
            let graph = if args.strip { strip(&graph) } else { graph };
            write_model(&graph, output, format, args.opset)?
        }
        None => {
            let form = if args.dequantize { WeightsForm::Dequantized } else { WeightsForm::Stored };
            save_safetensors(&graph, output, form)?;
            None
        }
    };
    let report = Report {
        output: output.display().to_string(),
        format: match format {
            Some(Format::Onnx) => "onnx",
            Some(Format::Native) => "tq",
            None => "safetensors",
        },
        opset,
        bytes: file_bytes(output)?,
    };
    emit(args.json, &report, || {
        let opset = report.opset.map_or(String::new(), |o| format!(", opset {o}"));
        format!("{}: {}{opset}", report.output, bytes(report.bytes))
    })
}

/// Writes the file in this format, an ONNX file at this operator set, or at the lowest higher one that has words for
/// the whole graph. Returns which one that was.
pub(super) fn write_model(graph: &Graph, path: &Path, format: Format, lowest: i64) -> Result<Option<i64>> {
    if format == Format::Native {
        save(graph, path)?;
        return Ok(None);
    }
    let mut opset = lowest;
    loop {
        match export_onnx_bytes(graph, &ExportOptions { opset }) {
            Err(OnnxError::NotExpressible { needs, .. }) if needs > opset && needs <= MAX_OPSET => {
                opset = needs
            }
            Err(e) => return Err(e).with_context(|| path.display().to_string()),
            Ok(_) => break,
        }
    }
    export_onnx(graph, path, &ExportOptions { opset }).with_context(|| path.display().to_string())?;
    Ok(Some(opset))
}
