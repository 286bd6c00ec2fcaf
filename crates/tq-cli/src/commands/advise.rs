//! `tq advise`.

use super::load;
use crate::args::Advise;
use crate::arrays::{self, DEFAULT_BATCH};
use crate::output::{decibels, emit, on_one_line, table};
use anyhow::Result;
use torsh_quantization::analysis::{self, Advice, AdviceOptions, Finding};

pub(crate) fn advise(args: &Advise) -> Result<()> {
    let (float, quantized) = (load(&args.float)?, load(&args.quantized)?);
    let data = arrays::load(&float, &args.input, &args.data)?.finite()?.data;
    let calibration = match args.calib.is_empty() {
        true => None,
        false => Some(arrays::load_files(&float, &args.calib, &args.data)?.finite()?.data),
    };
    let options = AdviceOptions {
        rows: usize::try_from(args.rows).unwrap_or(usize::MAX),
        batch: Some(args.data.batch().unwrap_or(DEFAULT_BATCH)),
        output: args.output.clone(),
        calibration,
    };
    let advice = analysis::advise(&float, &quantized, &data, &options)?;
    emit(args.json, &advice, || text(&advice))
}

/// A table of the findings, and each in words below it.
fn text(advice: &Advice) -> String {
    let mut out = String::new();
    if !advice.findings.is_empty() {
        let mut table = table(&["", "finding", "where", "part of the error", "part of the time"]);
        for (i, f) in advice.findings.iter().enumerate() {
            let percent = |p: f64| format!("{p:.1} %");
            let error = if f.noise > 0.0 { percent(f.share) } else { String::new() };
            let time = f.time_share.map_or(String::new(), percent);
            let place = f.tensor.as_ref().or(f.nodes.first()).map_or("", String::as_str);
            table.add_row([&(i + 1).to_string(), f.kind.title(), place, &error, &time]);
        }
        out += &format!("{table}\n");
    }
    for (i, f) in advice.findings.iter().enumerate() {
        out += &format!("\n{}. {}\n", i + 1, words(f));
    }
    let verdict = match advice.findings.len() {
        0 if advice.unexplained.is_some() => "no finding".to_owned(),
        0 => "nothing to advise".to_owned(),
        1 => "one finding".to_owned(),
        n => format!("{n} findings"),
    };
    out +=
        &format!("\n{verdict}, from {} samples; output: SQNR {}", advice.rows, decibels(advice.sqnr_db, 2));
    if let Some(open) = &advice.unexplained {
        out += &format!("\n{open}");
    }
    for (tensor, reason) in &advice.skipped {
        out += &format!("\nnot looked at: {tensor}: {reason}");
    }
    out.trim_start().to_owned()
}

fn words(f: &Finding) -> String {
    let numbers: Vec<String> = f.evidence.iter().map(ToString::to_string).collect();
    format!("{}\n   {}\n   ({})", on_one_line(&f.says), on_one_line(&f.advice), numbers.join("; "))
}
