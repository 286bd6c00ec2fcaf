//! The report as one page.

mod activations;
mod curves;
mod escape;
mod findings;
mod graph;
mod kernels;
mod layout;
mod palette;
mod style;
mod summary;
mod table;
mod text;

use super::Report;
use escape::escape;
use std::fmt::{self, Write as _};

/// The page, which needs nothing beside itself.
pub(super) fn page(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string fails for nothing but a part that says so, which none does.
    let _ = write_page(&mut out, report);
    out
}

fn write_page(out: &mut String, report: &Report) -> fmt::Result {
    let (float, quantized) = (escape(&report.names.0), escape(&report.names.1));
    // Should a name ever get past the escaping, nothing may be fetched all the same.
    write!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; \
         script-src 'unsafe-inline'; img-src data:\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <title>{quantized}: quantization report</title>\n<style>\n{}{}</style>\n</head>\n<body>\n",
        palette::css(),
        style::CSS
    )?;
    write!(
        out,
        "<header>\n<h1>Quantization report</h1>\n<p><b>{quantized}</b> beside its float original <b>{float}</b>, \
         on {} samples</p>\n</header>\n<main>\n",
        report.comparison.n
    )?;
    summary::write(out, report)?;
    findings::write(out, report)?;
    graph::write(out, report)?;
    table::write(out, report)?;
    curves::write(out, report)?;
    activations::write_histograms(out, &report.histograms)?;
    activations::write_weights(out, &report.weights)?;
    kernels::write(out, report)?;
    write!(out, "</main>\n<script>\n{}</script>\n</body>\n</html>\n", style::SCRIPT)
}

/// A section with a heading and a sentence on what it shows.
fn section(out: &mut String, id: &str, title: &str, says: &str) -> fmt::Result {
    write!(out, "<section id=\"{id}\">\n<h2>{title}</h2>\n<p class=\"says\">{says}</p>\n")
}
