//! Every layer with its figures.

use super::escape::escape;
use super::text::{count, decibels, percent, several};
use super::{Report, section};
use std::collections::HashMap;
use std::fmt::{self, Write as _};

const TITLES: [&str; 10] = [
    "#",
    "Layer",
    "Operator",
    "Own error",
    "Inherited",
    "In all",
    "Saturated",
    "Underflow",
    "Dead codes",
    "Kernel",
];

pub(super) fn write(out: &mut String, report: &Report) -> fmt::Result {
    let rows = count(report.layers.rows as u64);
    let says = format!(
        "Signal to quantization noise of each layer's result, on {rows} samples: what the layer errs by itself, what it \
         passes on of those before it, and both together. Smaller is worse; 20 dB is an error of a tenth of the signal. \
         A title sorts."
    );
    section(out, "layers", "Layers", &says)?;
    out.push_str("<div class=\"scroll tall\" tabindex=\"0\"><table class=\"sortable\"><thead><tr>");
    for title in TITLES {
        let class = if matches!(title, "Operator" | "Kernel") { " class=\"text\"" } else { "" };
        write!(out, "<th scope=\"col\"{class}><button type=\"button\">{title}</button></th>")?;
    }
    out.push_str("</tr></thead><tbody>\n");
    let kernels: HashMap<&str, &str> =
        report.execution.kernels.iter().map(|k| (k.node.as_str(), k.kernel.as_str())).collect();
    for (i, l) in report.layers.layers.iter().enumerate() {
        write!(
            out,
            "<tr id=\"layer-{0}\"><td data-v=\"{0}\">{0}</td><td class=\"name\">{1}</td>",
            i + 1,
            escape(&l.node)
        )?;
        write!(out, "<td class=\"text\">{}</td>", escape(&l.op))?;
        for db in [l.introduced_db, l.inherited_db, l.total_db] {
            cell(out, Some(db).filter(|v| v.is_finite()), &decibels(db))?;
        }
        for p in [l.saturated, l.underflow, l.dead_codes] {
            cell(out, p, &p.map_or("\u{2013}".into(), percent))?;
        }
        let kernel = kernels.get(l.node.as_str()).copied().unwrap_or("\u{2013}");
        writeln!(out, "<td class=\"text\">{}</td></tr>", escape(kernel))?;
    }
    out.push_str("</tbody></table></div>\n");
    let left = &report.layers.unmatched;
    if !left.is_empty() {
        let n = several(left.len(), "layer has", "layers have");
        writeln!(
            out,
            "<details><summary>{n} no counterpart in the float model</summary>\n<ul class=\"reasons\">"
        )?;
        for u in left {
            writeln!(out, "<li><b>{}</b> ({}): {}</li>", escape(&u.node), escape(&u.op), escape(&u.reason))?;
        }
        out.push_str("</ul></details>\n");
    }
    out.push_str("</section>\n");
    Ok(())
}

/// A number with what it is sorted by; `text` is ours.
pub(super) fn cell(out: &mut String, by: Option<f64>, text: &str) -> fmt::Result {
    write!(out, "<td data-v=\"{}\">{text}</td>", by.map_or(String::new(), |v| v.to_string()))
}
