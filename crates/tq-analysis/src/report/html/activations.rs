//! Small plots side by side: activations in histograms, weights by their channels.

use super::escape::escape;
use super::section;
use super::text::{percent, several};
use crate::plot::{columns, number};
use crate::{Histogram, WeightRanges};
use std::fmt::{self, Write as _};

const WIDTH: f64 = 288.0;
const HEIGHT: f64 = 84.0;

/// Plots that are shown without being asked for.
const SHOWN: usize = 24;

pub(super) fn write_histograms(out: &mut String, histograms: &[Histogram]) -> fmt::Result {
    if histograms.is_empty() {
        return Ok(());
    }
    section(
        out,
        "activations",
        "Activations",
        "How often the values of each layer's result in the float model lie where, on a logarithmic scale; between the lines is \
         what the codes can say, and beyond them in red what is clipped.",
    )?;
    all(out, histograms, "tensor", histogram)
}

pub(super) fn write_weights(out: &mut String, weights: &[WeightRanges]) -> fmt::Result {
    if weights.is_empty() {
        return Ok(());
    }
    section(
        out,
        "weights",
        "Weights",
        "Smallest to largest weight of each output channel, between the ends of its codes. A short bar between distant lines is a \
         channel that has few codes to itself.",
    )?;
    all(out, weights, "layer", ranges)
}

/// The plots, those after the first ones folded away.
fn all<T>(
    out: &mut String,
    items: &[T],
    what: &str,
    draw: fn(&mut String, &T) -> fmt::Result,
) -> fmt::Result {
    let (shown, folded) = items.split_at(items.len().min(SHOWN));
    for (i, part) in [shown, folded].into_iter().enumerate().filter(|(_, p)| !p.is_empty()) {
        if i > 0 {
            let more = several(part.len(), &format!("more {what}"), &format!("more {what}s"));
            writeln!(out, "<details><summary>{more}</summary>")?;
        }
        out.push_str("<div class=\"plots\">\n");
        part.iter().try_for_each(|item| draw(out, item))?;
        out.push_str(if i > 0 { "</div>\n</details>\n" } else { "</div>\n" });
    }
    out.push_str("</section>\n");
    Ok(())
}

fn histogram(out: &mut String, h: &Histogram) -> fmt::Result {
    let clipped = h.clipped.map_or("not in codes".into(), |p| format!("{} clipped", percent(p)));
    open(out, &h.tensor, &clipped)?;
    let (mut inside, mut beyond) = (String::new(), String::new());
    for bar in h.bars() {
        let path = if bar.is_beyond { &mut beyond } else { &mut inside };
        let (left, right, top) = (WIDTH * bar.from, WIDTH * bar.to, HEIGHT * (1.0 - bar.height));
        write!(path, "M{left:.1} {HEIGHT}V{top:.1}H{right:.1}V{HEIGHT}z")?;
    }
    for (class, path) in [("bar", inside), ("beyond", beyond)] {
        if !path.is_empty() {
            write!(out, "<path class=\"{class}\" d=\"{path}\"/>")?;
        }
    }
    for x in h.limits() {
        write!(
            out,
            "<path class=\"limit\" d=\"M{:.1} 0V{HEIGHT}\"/>",
            (WIDTH * x).clamp(0.75, WIDTH - 0.75)
        )?;
    }
    let (from, to) = h.span();
    let codes = h.clip.map_or(String::new(), |(l, r)| format!("codes {} to {}", number(l), number(r)));
    close(out, &number(from), &codes, &number(to))
}

fn ranges(out: &mut String, w: &WeightRanges) -> fmt::Result {
    let channels = several(w.channels.len(), "channel", "channels");
    open(
        out,
        &w.node,
        &format!("{channels}, {} {}", escape(&w.dtype), escape(&w.granularity.replace('_', " "))),
    )?;
    let (bars, reach) = columns(&w.channels);
    let step = WIDTH / bars.len().max(1) as f64;
    let y = |v: f32| HEIGHT / 2.0 * (1.0 - f64::from(v) / reach);
    write!(out, "<path class=\"axis\" d=\"M0 {0:.1}H{WIDTH}\"/><path class=\"bar\" d=\"", HEIGHT / 2.0)?;
    let gap = (step * 0.15).min(1.0);
    for (i, c) in bars.iter().enumerate() {
        let x = step * i as f64;
        write!(out, "M{x:.1} {:.1}H{:.1}V{:.1}H{x:.1}z", y(c.max), x + step - gap, y(c.min))?;
    }
    out.push_str("\"/>");
    for limit in [|c: &crate::ChannelRange| c.low, |c: &crate::ChannelRange| c.high] {
        out.push_str("<path class=\"limit\" d=\"");
        for (i, c) in bars.iter().enumerate() {
            let y = y(limit(c)).clamp(0.75, HEIGHT - 0.75);
            write!(out, "{}{:.1} {y:.1}h{step:.1}", if i == 0 { "M" } else { "L" }, step * i as f64)?;
        }
        out.push_str("\"/>");
    }
    let least = w.channels.iter().map(crate::ChannelRange::used).fold(100.0, f64::min);
    close(out, &format!("\u{b1}{}", number(reach)), "", &format!("smallest channel uses {}", percent(least)))
}

/// `says` is ours.
fn open(out: &mut String, name: &str, says: &str) -> fmt::Result {
    let name = escape(name);
    write!(
        out,
        "<figure><figcaption><b>{name}</b><br><span class=\"sub\">{says}</span></figcaption>\
         <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{name}\">"
    )
}

fn close(out: &mut String, left: &str, middle: &str, right: &str) -> fmt::Result {
    writeln!(
        out,
        "</svg><div class=\"ends\"><span>{left}</span><span>{middle}</span><span>{right}</span></div></figure>"
    )
}
