//! `tq report`.

use super::{compare, file_bytes, load};
use crate::args::Report as Args;
use crate::arrays::{self, DEFAULT_BATCH};
use crate::files::{check_target, has_extension};
use crate::output::emit;
use crate::progress::Progress;
use anyhow::{Result, bail};
use std::path::Path;
use torsh_quantization::analysis::{CompareOptions, Report, ReportOptions, ReportStage};

pub(crate) fn report(args: &Args) -> Result<()> {
    if let Some(path) = &args.output {
        if !has_extension(path, "html") {
            bail!("{}: a report is an .html file", path.display());
        }
        check_target(path)?;
    }
    let (float, quantized) = (load(&args.float)?, load(&args.quantized)?);
    let given = arrays::load(&float, &args.input, &args.data)?.finite()?;
    let labels = given.labels(args.labels.as_deref())?;
    let data = given.data;
    let options = ReportOptions {
        names: (name(&args.float), name(&args.quantized)),
        compare: CompareOptions {
            output: args.model_output.clone(),
            batch: Some(args.data.batch().unwrap_or(DEFAULT_BATCH)),
            file_bytes: Some((file_bytes(&args.float)?, file_bytes(&args.quantized)?)),
            ..CompareOptions::default()
        },
        layer_rows: whole(args.layer_rows),
        forecast_rows: whole(args.forecast_rows),
        ..ReportOptions::default()
    };
    let mut shown: Option<(ReportStage, Progress)> = None;
    let result = Report::new(&float, &quantized, &data, labels.as_deref(), &options, |stage, done, total| {
        if shown.as_ref().is_none_or(|(s, _)| *s != stage) {
            // The bar before it goes first.
            shown = None;
        }
        shown.get_or_insert_with(|| (stage, Progress::new(label(stage), total))).1.set(done);
    });
    drop(shown);
    let report = result?;
    if let Some(path) = &args.output {
        report.save_html(path)?;
    }
    emit(args.json, &report, || {
        let written = args.output.as_ref().map_or(String::new(), |p| format!("\nwritten: {}", p.display()));
        format!("{}{written}", compare::text(&report.comparison))
    })
}

fn whole(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn label(stage: ReportStage) -> &'static str {
    match stage {
        ReportStage::Comparing => "comparing",
        ReportStage::Layers => "measuring layers",
        ReportStage::Advice => "looking for causes",
        ReportStage::Forecast => "simulating other kernels",
        _ => "measuring",
    }
}

/// The name of a file without its folder.
fn name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned())
}
