//! The figures that matter most.

use super::escape::escape;
use super::text::{bytes, count, decibels, percent, several};
use super::{Report, section};
use crate::Comparison;
use std::fmt::{self, Write as _};

pub(super) fn write(out: &mut String, report: &Report) -> fmt::Result {
    section(out, "summary", "Summary", &verdict(report))?;
    out.push_str("<dl class=\"cards\">\n");
    let c = &report.comparison;
    accuracy(out, c)?;
    card(out, "Output error (SQNR)", &decibels(c.sqnr_db), &format!("cosine {:.6}", c.cosine))?;
    card(out, "Largest error of an output", &format!("{:.4}", c.max_error), "absolute difference")?;
    if let Some(same) = c.argmax_agreement {
        card(out, "Same largest score", &percent(same), &format!("of {} samples", count(c.n as u64)))?;
    }
    let size = |m: &crate::ModelFigures| m.file_bytes.unwrap_or(m.parameter_bytes);
    let (before, after) = (size(&c.float), size(&c.quantized));
    let what = if c.float.file_bytes.is_some() { "files" } else { "parameters" };
    let change = format!("{} to {} ({what})", bytes(before), bytes(after));
    let ratio = c.compression_ratio;
    let size = if ratio < 1.0 {
        format!("{:.2}\u{d7} larger", 1.0 / ratio)
    } else {
        format!("{ratio:.2}\u{d7} smaller")
    };
    card(out, "Size", &size, &change)?;
    if let (Some(speedup), Some(f), Some(q)) = (c.speedup, c.float.latency, c.quantized.latency) {
        let times =
            format!("{:.3} ms to {:.3} ms a sample, median of {} runs", f.median_ms, q.median_ms, q.runs);
        card(out, "Speed", &format!("{speedup:.2}\u{d7}"), &times)?;
    }
    let e = &report.execution;
    if let Some(share) = e.integer_share() {
        let of = e.integer_macs.saturating_add(e.float_macs);
        card(out, "Multiplications in integers", &percent(share), &format!("of {} a sample", count(of)))?;
    }
    let floats = several(e.floats.len(), "node", "nodes");
    let note = if e.reproducible {
        "results are the same on every processor"
    } else {
        "last bits depend on the processor"
    };
    card(out, "Left in float", &floats, note)?;
    out.push_str("</dl>\n");
    if !e.floats.is_empty() {
        writeln!(
            out,
            "<details{}><summary>Why {} in float</summary>\n<ul class=\"reasons\">",
            if e.floats.len() <= 8 { " open" } else { "" },
            several(e.floats.len(), "node runs", "nodes run")
        )?;
        for f in &e.floats {
            writeln!(out, "<li><b>{}</b> ({}): {}</li>", escape(&f.node), escape(&f.op), escape(&f.reason))?;
        }
        out.push_str("</ul></details>\n");
    }
    out.push_str("</section>\n");
    Ok(())
}

fn accuracy(out: &mut String, c: &Comparison) -> fmt::Result {
    let (Some(f), Some(q)) = (c.float.accuracy, c.quantized.accuracy) else { return Ok(()) };
    let interval = c.accuracy_drop_interval.map_or(String::new(), |(low, high)| {
        format!("; on such data {:+.2} to {:+.2} points with 95 % confidence", -high, -low)
    });
    let change = format!("float {}, {:+.2} points{interval}", percent(f.top1), q.top1 - f.top1);
    card(out, "Accuracy (top-1)", &percent(q.top1), &change)?;
    if q.top5 < 100.0 || f.top5 < 100.0 {
        let change = format!("float {}, {:+.2} points", percent(f.top5), q.top5 - f.top5);
        card(out, "Accuracy (top-5)", &percent(q.top5), &change)?;
    }
    Ok(())
}

/// `value` and `sub` are ours.
fn card(out: &mut String, title: &str, value: &str, sub: &str) -> fmt::Result {
    writeln!(out, "<div class=\"card\"><dt>{title}</dt><dd>{value}</dd><dd class=\"sub\">{sub}</dd></div>")
}

/// One sentence on how it went.
fn verdict(report: &Report) -> String {
    let c = &report.comparison;
    let kept = match c.accuracy_drop_interval {
        Some((low, high)) if low <= 0.0 && high >= 0.0 => {
            Some("The difference in accuracy is within what chance makes of so many samples.".to_owned())
        }
        Some((low, _)) if low > 0.0 => Some(
            "Quantization costs accuracy: the loss is more than chance makes of so many samples.".to_owned(),
        ),
        Some(_) => Some(
            "The quantized model is the better one by more than chance makes of so many samples.".to_owned(),
        ),
        None => c.argmax_agreement.map(|a| {
            format!("Both models give the largest score to the same place on {} of the samples.", percent(a))
        }),
    };
    let worst = report.layers.worst_first().first().map_or(String::new(), |l| {
        format!(
            " The layer that errs most by itself is <b>{}</b>, at {}.",
            escape(&l.node),
            decibels(l.introduced_db)
        )
    });
    let kept = kept.unwrap_or_else(|| format!("The output's signal to noise is {}.", decibels(c.sqnr_db)));
    format!("{kept}{worst}")
}
