//! What is proved of the sums, and what other kernels would answer.

use super::escape::escape;
use super::table::cell;
use super::text::{count, decibels, percent};
use super::{Report, section};
use crate::peers::{LayerForecast, OverflowCertificate, Peer, PeerForecast};
use std::collections::HashMap;
use std::fmt::{self, Write as _};

pub(super) fn write(out: &mut String, report: &Report) -> fmt::Result {
    if report.certificates.is_empty() {
        return Ok(());
    }
    section(
        out,
        "kernels",
        "Sums and other kernels",
        "Kernels here are exact for every weight and every input. Others add pairs of products in 16 bits that saturate, or \
         requantize in fixed point: this is what the model would answer there.",
    )?;
    out.push_str("<dl class=\"cards\">\n");
    report.forecasts.iter().try_for_each(|f| forecast(out, f))?;
    proof(out, &report.certificates)?;
    out.push_str("</dl>\n<h3>Layer by layer</h3>\n");
    layers(out, report)?;
    out.push_str("</section>\n");
    Ok(())
}

fn forecast(out: &mut String, f: &PeerForecast) -> fmt::Result {
    let (class, value) = match f.decisions_changed {
        Some(p) if p > 0.0 => ("bad", percent(p)),
        Some(_) => ("good", "same answers".to_owned()),
        None => ("", decibels(f.sqnr_db)),
    };
    let top1 = f.top1.map_or(String::new(), |(here, there)| {
        format!("; top-1 {} here, {} there", percent(here), percent(there))
    });
    let what = if class == "bad" { "of samples get another answer; " } else { "" };
    let noise = match f.max_error {
        0.0 => "outputs are the same to the last bit".to_owned(),
        most => format!("outputs differ by at most {most:.4}, {}", decibels(f.sqnr_db)),
    };
    let samples = count(f.rows as u64);
    writeln!(
        out,
        "<div class=\"card\"><dt>{}</dt><dd class=\"{class}\">{value}</dd><dd class=\"sub\">{what}{noise}, on {samples} samples{top1}</dd></div>",
        f.peer.title()
    )
}

fn proof(out: &mut String, certificates: &[OverflowCertificate]) -> fmt::Result {
    let wide: usize = certificates.iter().map(|c| c.wide_channels).sum();
    let channels: usize = certificates.iter().map(|c| c.channels).sum();
    let largest = certificates.iter().map(|c| c.largest_accumulator).max().unwrap_or(0);
    let value =
        if wide == 0 { "all fit 32 bits".to_owned() } else { format!("{} in 64 bits", count(wide as u64)) };
    let share = 100.0 * largest as f64 / f64::from(i32::MAX);
    writeln!(
        out,
        "<div class=\"card\"><dt>Accumulators, proved</dt><dd>{value}</dd><dd class=\"sub\">{} channels; the largest can reach \
         {} of what 32 bits hold</dd></div>",
        count(channels as u64),
        percent(share)
    )
}

fn layers(out: &mut String, report: &Report) -> fmt::Result {
    let changes = |peer: Peer| -> HashMap<&str, &LayerForecast> {
        let of = report.forecasts.iter().find(|f| f.peer == peer);
        of.into_iter().flat_map(|f| &f.layers).map(|l| (l.node.as_str(), l)).collect()
    };
    let (saturating, fixed) = (changes(Peer::SaturatingPairs), changes(Peer::FixedPoint));
    out.push_str("<div class=\"scroll tall\" tabindex=\"0\"><table class=\"sortable\"><thead><tr>");
    let titles = [
        "#",
        "Layer",
        "Operator",
        "Products a sum",
        "Largest sum",
        "Pairs",
        "Pairs that fit 16 bits",
        "Results that saturation changes",
        "Results that fixed point changes",
    ];
    for title in titles {
        let class = if title == "Operator" { " class=\"text\"" } else { "" };
        write!(out, "<th scope=\"col\"{class}><button type=\"button\">{title}</button></th>")?;
    }
    out.push_str("</tr></thead><tbody>\n");
    for (i, c) in report.certificates.iter().enumerate() {
        write!(out, "<tr><td data-v=\"{0}\">{0}</td><td class=\"name\">{1}</td>", i + 1, escape(&c.node))?;
        write!(out, "<td class=\"text\">{}</td>", escape(&c.op))?;
        cell(out, Some(c.depth as f64), &count(c.depth as u64))?;
        let wide = if c.wide_channels > 0 {
            format!(" ({} channels in 64 bits)", c.wide_channels)
        } else {
            String::new()
        };
        cell(out, Some(c.largest_accumulator as f64), &format!("{}{wide}", count(c.largest_accumulator)))?;
        cell(out, c.pairs.map(|p| p.all as f64), &c.pairs.map_or("\u{2013}".into(), |p| count(p.all)))?;
        cell(
            out,
            c.pairs.map(|p| p.fitting()),
            &c.pairs.map_or("\u{2013}".into(), |p| percent(p.fitting())),
        )?;
        for (changes, shown) in [(&saturating, c.pairs.is_some()), (&fixed, true)] {
            let change = changes.get(c.node.as_str()).filter(|_| shown);
            let most =
                |l: &LayerForecast| if l.most > 0 { format!(", by up to {}", l.most) } else { String::new() };
            let text = change.map_or("\u{2013}".into(), |l| format!("{}{}", percent(l.changed), most(l)));
            cell(out, change.map(|l| l.changed), &text)?;
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
    Ok(())
}
