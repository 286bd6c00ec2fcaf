//! `tq quantize`.

use super::calibrate::joined;
use super::export::write_model;
use super::prepare::{blame, observe, prepared, prepared_as};
use super::{explain, file_bytes, is_same_file, load, mixed, recommend};
use crate::args::{Quantize, Shard};
use crate::arrays::{self, DEFAULT_BATCH};
use crate::files::{check_target, format_of};
use crate::output::{bytes, emit, say, size_change, table};
use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use torsh_quantization::analysis::{MixedSearch, RecommendOptions, Recommendation};
use torsh_quantization::export::Provenance;
use torsh_quantization::ptq::{
    CalibrationRanges, ConvertReport, EqualizationReport, FusionEntry, FusionOutcome, FusionReport, Prepared,
    RangesReport, convert, equalize,
};
use torsh_quantization::qconfig::Configuration;

#[derive(Serialize)]
struct Report<'a> {
    output: String,
    /// Of an ONNX file.
    #[serde(skip_serializing_if = "Option::is_none")]
    opset: Option<i64>,
    config: &'a Configuration,
    /// What was tried, where the recipe was searched for.
    #[serde(skip_serializing_if = "Option::is_none")]
    recommendation: Option<&'a Recommendation>,
    /// What was measured, where bits were searched for layer by layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    mixed: Option<&'a MixedSearch>,
    /// Not known of a saved state.
    #[serde(skip_serializing_if = "Option::is_none")]
    calibration_rows: Option<usize>,
    calibration_batches: u64,
    /// What became of the ranges of another tool's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    ranges: Option<&'a RangesReport>,
    /// Layers whose channels were evened out.
    #[serde(skip_serializing_if = "Option::is_none")]
    equalized: Option<&'a EqualizationReport>,
    integer_nodes: usize,
    float_nodes: usize,
    float: Vec<FloatNode<'a>>,
    fusion: Fusion<'a>,
    /// Tensors whose values are too small for the smallest scale.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    floored: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    adjusted_biases: Vec<String>,
    float_bytes: u64,
    quantized_bytes: u64,
    compression_ratio: f64,
}

/// A node that stays in float.
#[derive(Serialize)]
pub(super) struct FloatNode<'a> {
    pub(super) node: &'a str,
    pub(super) op: &'a str,
    pub(super) reason: &'a str,
}

#[derive(Serialize)]
struct Fusion<'a> {
    fused: usize,
    kept: Vec<FloatNode<'a>>,
}

pub(crate) fn quantize(args: &Quantize) -> Result<()> {
    if let Some(output) = &args.output {
        format_of(output)?;
        check_target(output)?;
        if is_same_file(&args.model, output) {
            bail!("{}: would replace the float model it is made from", output.display());
        }
    }
    let budget = args.budget.budget(&args.plan)?;
    if budget.is_some() && args.dry_run {
        bail!("--dry-run reads no data: it does not go with a budget, which is kept on calibration data");
    }
    let mut graph = load(&args.model)?;
    let equalized = match args.equalize {
        true => Some(equalize(&mut graph).with_context(|| args.model.display().to_string())?),
        false => None,
    };
    let Some(output) = args.output.as_ref().filter(|_| !args.dry_run) else {
        let prepared = prepared(graph, &args.plan, &args.model)?;
        let report = explain::Report::new(args.model.display().to_string(), &prepared);
        return emit(args.json, &report, || report.plan());
    };
    let sources = args.data.sources(&args.calib);
    let given = match sources.is_empty() {
        true => None,
        false => Some(arrays::load(&graph, &args.calib, &args.data)?),
    };
    let given = match budget {
        None => given,
        Some(_) => given.map(arrays::Given::finite).transpose()?,
    };
    let mixed = match (budget, &given) {
        (None, _) => None,
        (Some(budget), Some(given)) => {
            let labels = given.labels(args.budget.labels.as_deref())?;
            let search = mixed::searched(&graph, &given.data, labels.as_deref(), &args.data, budget);
            Some(blame(search, &sources, &args.model)?)
        }
        (Some(_), None) => bail!("a budget is kept on calibration data: --calib or --data gives it"),
    };
    let data = given.map(|g| g.data);
    let recommendation = match (args.plan.search()?, &data) {
        (None, _) => None,
        (Some(options), Some(data)) => {
            let options = RecommendOptions { min_sqnr_db: args.min_sqnr, ..options };
            Some(blame(recommend::recommended(&graph, data, &args.data, options), &sources, &args.model)?)
        }
        (Some(_), None) => {
            bail!("--recipe auto tries recipes on calibration data: --calib or --data gives it")
        }
    };
    let found = recommendation.as_ref().map(Recommendation::configuration);
    let found = found.or_else(|| mixed.as_ref()?.point().map(|p| p.configuration.clone()));
    let prepared = match found {
        Some(configuration) => prepared_as(graph, configuration, &args.plan, &args.model)?,
        None => prepared(graph, &args.plan, &args.model)?,
    };
    let mut rows = args.calib_state.is_empty().then_some(0);
    if !args.calib_state.is_empty() {
        let names: Vec<String> = args.calib_state.iter().map(|p| p.display().to_string()).collect();
        let state = joined(&args.calib_state)?;
        prepared.load_calibration(&state).with_context(|| names.join(", "))?;
    }
    let ranges = match &args.ranges {
        None => None,
        Some(path) => Some(load_ranges(&prepared, path, args)?),
    };
    let is_observed = !prepared.observers().is_empty();
    let needs_data = match &ranges {
        None => is_observed && args.calib_state.is_empty(),
        Some(report) => !report.missing.is_empty(),
    };
    match &data {
        Some(data) if is_observed => {
            let batch = args.data.batch().unwrap_or(DEFAULT_BATCH);
            let shown = observe(&prepared, data, batch, Shard::default());
            rows = Some(blame(shown, &sources, &args.model)?);
        }
        // The search for a recipe has judged by it.
        Some(_) if recommendation.is_some() || mixed.is_some() => {}
        Some(_) => say("nothing of this model is calibrated: the data was not used"),
        None if needs_data => match &ranges {
            None => bail!(
                "{}: the configuration needs calibration data: --calib, --data, --calib-state or --ranges gives it",
                args.model.display()
            ),
            Some(report) => bail!(
                "{}: the file of ranges has none for {}: --calib or --data gives calibration data for them",
                args.model.display(),
                report.missing.join(", ")
            ),
        },
        None => {}
    }
    let (config, batches) = (prepared.configuration().clone(), prepared.batches());
    let state = prepared.calibration_state();
    let calibration = if batches > 0 { Some(state.digest()?) } else { None };
    let mut quantized = convert(prepared).with_context(|| args.model.display().to_string())?;
    Provenance { calibration, ..Provenance::default() }.config(&config).apply(&mut quantized.graph);
    let opset = write_model(&quantized.graph, output, format_of(output)?, args.opset)?;
    let (float_bytes, quantized_bytes) = (file_bytes(&args.model)?, file_bytes(output)?);
    let conversion = &quantized.report;
    let report = Report {
        output: output.display().to_string(),
        opset,
        config: &config,
        recommendation: recommendation.as_ref(),
        mixed: mixed.as_ref(),
        calibration_rows: rows,
        calibration_batches: batches,
        ranges: ranges.as_ref(),
        equalized: equalized.as_ref(),
        integer_nodes: conversion.integer_nodes().count(),
        float_nodes: conversion.float_nodes().count(),
        float: float_nodes(conversion),
        fusion: Fusion {
            fused: fused(&conversion.fusion).count(),
            kept: conversion
                .fusion
                .kept()
                .map(|(e, reason)| FloatNode { node: &e.node, op: &e.op, reason })
                .collect(),
        },
        floored: &conversion.floored,
        adjusted_biases: conversion.adjustments.iter().map(|a| a.node.clone()).collect(),
        float_bytes,
        quantized_bytes,
        compression_ratio: float_bytes as f64 / quantized_bytes.max(1) as f64,
    };
    emit(args.json, &report, || text(&report))
}

/// Gives the tensors of a prepared model the ranges of a file.
fn load_ranges(prepared: &Prepared, path: &Path, args: &Quantize) -> Result<RangesReport> {
    let ranges = CalibrationRanges::from_file(path, args.ranges_format)?;
    prepared.load_ranges(&ranges).with_context(|| path.display().to_string())
}

/// Nodes that are part of others now, or gone.
pub(super) fn fused(report: &FusionReport) -> impl Iterator<Item = &FusionEntry> {
    let gone = |e: &&FusionEntry| {
        matches!(
            e.outcome,
            FusionOutcome::Fused { .. } | FusionOutcome::Rewritten { .. } | FusionOutcome::Removed
        )
    };
    report.entries.iter().filter(gone)
}

pub(super) fn float_nodes(report: &ConvertReport) -> Vec<FloatNode<'_>> {
    report.float_nodes().map(|(n, reason)| FloatNode { node: &n.node, op: &n.op, reason }).collect()
}

fn ranges_text(report: &RangesReport) -> String {
    let mut out =
        format!("{} tensors have their range from the file ({})\n", report.taken.len(), report.format);
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for ignored in &report.ignored {
        reasons.entry(&ignored.reason).or_default().push(&ignored.tensor);
    }
    for (reason, tensors) in reasons {
        out += &format!("not used, {reason}: {}\n", tensors.join(", "));
    }
    if !report.missing.is_empty() {
        out += &format!("not in the file, calibrated: {}\n", report.missing.join(", "));
    }
    out
}

fn equalized_text(report: &EqualizationReport) -> String {
    let channels: usize = report.links.iter().map(|l| l.channels).sum();
    let largest = report.links.iter().map(|l| l.largest).fold(1.0f32, f32::max);
    match report.links.len() {
        0 => "no channels to even out\n".to_owned(),
        n => format!(
            "{channels} channels evened out between {n} pairs of layers, by a factor of up to {largest}\n"
        ),
    }
}

fn text(r: &Report<'_>) -> String {
    let calibrated = match (r.calibration_rows, r.calibration_batches) {
        (_, 0) => "no calibration".to_owned(),
        (Some(rows), _) => format!("{rows} calibration samples"),
        (None, batches) => format!("{batches} calibration batches"),
    };
    let mut out = r.recommendation.map_or(String::new(), recommend::text);
    out += &r.mixed.map_or(String::new(), mixed::text);
    out += &r.ranges.map_or(String::new(), ranges_text);
    out += &r.equalized.map_or(String::new(), equalized_text);
    out += &format!(
        "{}: {} nodes in integers, {} in float; {} nodes fused away; {calibrated}\n\
         {} -> {} ({}){}\n",
        r.output,
        r.integer_nodes,
        r.float_nodes,
        r.fusion.fused,
        bytes(r.float_bytes),
        bytes(r.quantized_bytes),
        size_change(r.float_bytes, r.quantized_bytes),
        r.opset.map_or(String::new(), |opset| format!(", opset {opset}")),
    );
    if !r.float.is_empty() {
        let mut table = table(&["stays in float", "operator", "because"]);
        for n in &r.float {
            table.add_row([n.node, n.op, n.reason]);
        }
        out.push_str(&table.to_string());
    }
    if !r.floored.is_empty() {
        out.push_str(&format!(
            "\nvalues so small that the smallest scale, 2^-23, is coarser than 8 bits need be: {}",
            r.floored.join(", ")
        ));
    }
    if !r.adjusted_biases.is_empty() {
        // One entry a channel.
        let mut nodes: Vec<&str> = r.adjusted_biases.iter().map(String::as_str).collect();
        nodes.dedup();
        out.push_str(&format!("\nweights made coarser so that the bias fits 32 bits: {}", nodes.join(", ")));
    }
    out
}
