//! What is wrong, and what to change.

use super::escape::escape;
use super::text::{decibels, percent, several};
use super::{Report, section};
use crate::Finding;
use std::fmt::{self, Write as _};

pub(super) fn write(out: &mut String, report: &Report) -> fmt::Result {
    let Some(advice) = &report.advice else { return Ok(()) };
    let samples = several(advice.rows, "sample", "samples");
    let says = format!(
        "Causes that explain the error of the output ({} on {samples}), each tried by repairing it alone, the one that explains \
         most first.",
        decibels(advice.sqnr_db)
    );
    section(out, "findings", "Findings", &says)?;
    match &advice.unexplained {
        Some(open) => {
            let mut says = open.to_string();
            // A sentence begins with a capital.
            says.get_mut(..1).map(str::make_ascii_uppercase);
            writeln!(out, "<p>{}.</p>", escape(&says))?;
        }
        None if advice.findings.is_empty() => {
            out.push_str("<p>Nothing stands out: no single cause explains much of the error.</p>\n");
        }
        None => {}
    }
    advice.findings.iter().try_for_each(|f| finding(out, report, f))?;
    if !advice.skipped.is_empty() {
        let n = several(advice.skipped.len(), "tensor was", "tensors were");
        writeln!(out, "<details><summary>{n} not looked at</summary>\n<ul class=\"reasons\">")?;
        for (tensor, reason) in &advice.skipped {
            writeln!(out, "<li><b>{}</b>: {}</li>", escape(tensor), escape(reason))?;
        }
        out.push_str("</ul></details>\n");
    }
    out.push_str("</section>\n");
    Ok(())
}

fn finding(out: &mut String, report: &Report, f: &Finding) -> fmt::Result {
    let title = f.kind.title();
    // A heading begins with a capital.
    let (first, rest) = title.split_at(title.chars().next().map_or(0, char::len_utf8));
    let share = match f.time_share {
        Some(p) => format!("{} of the run time", percent(p)),
        None => format!("{} of the error", percent(f.share)),
    };
    write!(
        out,
        "<div class=\"finding\"><h3>{}{rest}: {share}</h3>\n<p>{}</p>\n",
        first.to_uppercase(),
        escape(&f.says)
    )?;
    writeln!(out, "<p><b>What to change:</b> {}</p>", escape(&f.advice))?;
    out.push_str("<p class=\"note\">");
    for (i, evidence) in f.evidence.iter().enumerate() {
        write!(out, "{}{}", if i > 0 { "; " } else { "" }, escape(&evidence.to_string()))?;
    }
    for (i, node) in f.nodes.iter().enumerate() {
        let place = report.layers.layers.iter().position(|l| l.node == *node);
        out.push_str(if i > 0 { ", " } else { " \u{b7} " });
        match place {
            Some(at) => write!(out, "<a href=\"#layer-{}\">{}</a>", at + 1, escape(node))?,
            None => write!(out, "{}", escape(node))?,
        }
    }
    out.push_str("</p></div>\n");
    Ok(())
}
