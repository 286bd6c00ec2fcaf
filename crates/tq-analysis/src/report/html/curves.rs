//! Figures along the model: errors as curves, rates as bars.

use super::escape::escape;
use super::text::{decibels, percent};
use super::{Report, section};
use crate::LayerError;
use std::fmt::{self, Write as _};

const HEIGHT: f64 = 220.0;
const TOP: f64 = 12.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 16.0;
const BELOW: f64 = 26.0;

/// The scale of errors: what is better is drawn at its upper end.
const BEST_DB: f64 = 80.0;

/// One of the three errors: its class, its name, and where it stands.
type Error = (&'static str, &'static str, fn(&LayerError) -> f64);

const ERRORS: [Error; 3] = [
    ("own", "its own error", |l| l.introduced_db),
    ("inherited", "inherited", |l| l.inherited_db),
    ("total", "in all", |l| l.total_db),
];

/// Places along the model.
struct Along {
    step: f64,
    count: usize,
}

impl Along {
    fn new(count: usize) -> Self {
        Self { step: (1100.0 / count.max(1) as f64).clamp(16.0, 72.0), count }
    }

    fn x(&self, i: usize) -> f64 {
        LEFT + (i as f64 + 0.5) * self.step
    }

    fn width(&self) -> f64 {
        LEFT + RIGHT + self.step * self.count as f64
    }
}

pub(super) fn write(out: &mut String, report: &Report) -> fmt::Result {
    let layers = &report.layers.layers;
    if layers.is_empty() {
        return Ok(());
    }
    let along = Along::new(layers.len());
    section(
        out,
        "errors",
        "Errors along the model",
        "Signal to quantization noise of each layer, by its number in the table above. Where its own error falls below what it \
         inherits, the layer itself is to blame.",
    )?;
    errors(out, &along, layers)?;
    out.push_str("<h3>Values that the codes cannot say</h3>\n");
    rates(out, &along, layers)?;
    out.push_str("</section>\n");
    Ok(())
}

fn errors(out: &mut String, along: &Along, layers: &[LayerError]) -> fmt::Result {
    out.push_str("<ul class=\"legend\">");
    for (class, name, _) in ERRORS {
        write!(
            out,
            "<li><svg width=\"34\" height=\"12\" aria-hidden=\"true\"><path class=\"curve {class}\" d=\"M1 6H33\"/>\
             <circle class=\"{class}\" cx=\"17\" cy=\"6\" r=\"3\"/></svg>{name}</li>"
        )?;
    }
    out.push_str("</ul>\n");
    let bound = |db: f64| if db.is_nan() { f64::NEG_INFINITY } else { db };
    let all = layers.iter().flat_map(|l| ERRORS.map(|e| bound(e.2(l))));
    let low = (all.clone().fold(BEST_DB, f64::min).clamp(-20.0, 40.0) / 20.0).floor() * 20.0;
    let high =
        (all.filter(|v| v.is_finite()).fold(low, f64::max).clamp(low + 20.0, BEST_DB) / 20.0).ceil() * 20.0;
    let y =
        |db: f64| TOP + (HEIGHT - TOP - BELOW) * (1.0 - (bound(db).clamp(low, high) - low) / (high - low));
    open(out, along, "Errors by layer")?;
    let mut tick = low;
    while tick <= high {
        line(out, along, y(tick), &format!("{tick:.0} dB"))?;
        tick += 20.0;
    }
    numbers(out, along)?;
    for (class, _, get) in ERRORS {
        write!(out, "<path class=\"curve {class}\" d=\"")?;
        for (i, l) in layers.iter().enumerate() {
            write!(out, "{}{:.1} {:.1}", if i == 0 { "M" } else { "L" }, along.x(i), y(get(l)))?;
        }
        out.push_str("\"/>");
    }
    for (class, name, get) in ERRORS {
        for (i, l) in layers.iter().enumerate() {
            let title = format!("{}: {}, {name}", escape(&l.node), decibels(get(l)));
            let (x, y) = (along.x(i), y(get(l)));
            write!(
                out,
                "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"><title>{title}</title></circle>"
            )?;
        }
    }
    out.push_str("</svg></div>\n");
    Ok(())
}

fn rates(out: &mut String, along: &Along, layers: &[LayerError]) -> fmt::Result {
    for (class, name) in [
        ("beyond", "saturated: beyond the largest or the smallest code"),
        ("under", "underflow: not zero, but rounded to it"),
    ] {
        let swatch = format!(
            "<svg width=\"12\" height=\"12\" aria-hidden=\"true\"><rect class=\"{class}\" width=\"12\" height=\"12\"/></svg>"
        );
        let (open, close) = if class == "beyond" { ("<ul class=\"legend\">", "") } else { ("", "</ul>\n") };
        write!(out, "{open}<li>{swatch}{name}</li>{close}")?;
    }
    let both = |l: &LayerError| [l.saturated, l.underflow].map(|p| p.unwrap_or(0.0));
    let most = layers.iter().flat_map(both).fold(0.0, f64::max);
    let step = [0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 25.0].into_iter().find(|s| s * 4.0 >= most).unwrap_or(25.0);
    let high = step * (most / step).ceil().max(1.0);
    let y = |p: f64| TOP + (HEIGHT - TOP - BELOW) * (1.0 - p / high);
    open(out, along, "Saturation and underflow by layer")?;
    let ticks = (high / step).round() as usize;
    for tick in 0..=ticks {
        let at = tick as f64 * step;
        line(out, along, y(at), &format!("{at} %"))?;
    }
    numbers(out, along)?;
    for (i, l) in layers.iter().enumerate() {
        let width = (along.step * 0.36).min(14.0);
        for (p, class, name, left) in
            [(l.saturated, "beyond", "saturated", -width), (l.underflow, "under", "underflow", 0.0)]
        {
            let Some(p) = p else { continue };
            let (x, top) = (along.x(i) + left, y(p));
            write!(
                out,
                "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{:.1}\"><title>{}: {} {name}\
                 </title></rect>",
                y(0.0) - top,
                escape(&l.node),
                percent(p)
            )?;
        }
    }
    out.push_str("</svg></div>\n");
    Ok(())
}

fn open(out: &mut String, along: &Along, label: &str) -> fmt::Result {
    let width = along.width();
    write!(
        out,
        "<div class=\"scroll\" tabindex=\"0\"><svg width=\"{width:.0}\" height=\"{HEIGHT}\" viewBox=\"0 0 {width:.0} {HEIGHT}\" \
         role=\"img\" aria-label=\"{label}\">"
    )
}

fn line(out: &mut String, along: &Along, y: f64, text: &str) -> fmt::Result {
    let end = along.width() - RIGHT;
    write!(
        out,
        "<path class=\"axis\" d=\"M{LEFT} {y:.1}H{end:.1}\"/><text class=\"muted\" x=\"{:.1}\" y=\"{:.1}\" \
         text-anchor=\"end\">{text}</text>",
        LEFT - 6.0,
        y + 4.0
    )
}

/// The numbers of the layers, as many as have room.
fn numbers(out: &mut String, along: &Along) -> fmt::Result {
    let every = (26.0 / along.step).ceil() as usize;
    for i in (0..along.count).step_by(every.max(1)) {
        let (x, y) = (along.x(i), HEIGHT - 8.0);
        write!(
            out,
            "<text class=\"muted\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{}</text>",
            i + 1
        )?;
    }
    Ok(())
}
