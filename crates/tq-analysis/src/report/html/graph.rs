//! The network, its nodes coloured by their errors.

use super::escape::{escape, shortened};
use super::layout::Layout;
use super::palette::contrast;
use super::text::decibels;
use super::{Report, section};
use crate::plot::{self, BAD_DB, GOOD_DB};
use crate::report::{NetworkNode, NodeKind};
use plotters::style::RGBColor;
use std::fmt::{self, Write as _};

/// A node and the distances of nodes, in pixels.
const WIDTH: f64 = 192.0;
const HEIGHT: f64 = 42.0;
const ACROSS: f64 = 216.0;
const DOWN: f64 = 68.0;
const MARGIN: f64 = 14.0;
/// Letters of a name that fit a node.
const LETTERS: usize = 25;

pub(super) fn write(out: &mut String, report: &Report) -> fmt::Result {
    let says = "Every operator of the quantized model, coloured by the error that it makes itself. Each leads to its figures \
                below; a dashed border is an operator in float.";
    section(out, "graph", "Network", says)?;
    legend(out)?;
    let network = &report.network;
    let layout = Layout::new(network.nodes.len(), &network.edges);
    let width = layout.width.max(1.0) * ACROSS + 2.0 * MARGIN;
    let height = layout.depth.max(1) as f64 * DOWN + 2.0 * MARGIN - (DOWN - HEIGHT);
    let place = |(layer, at): (usize, f64)| (MARGIN + at * ACROSS, MARGIN + layer as f64 * DOWN);
    write!(
        out,
        "<div class=\"scroll tall\" tabindex=\"0\"><svg width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.0} {height:.0}\" style=\"margin:0 auto\" role=\"img\" aria-label=\"The network\">\n<g>"
    )?;
    for ((from, to), way) in network.edges.iter().zip(&layout.ways) {
        let (x, y) = place(layout.nodes[*from]);
        write!(out, "<path class=\"edge\" d=\"M{x:.1} {:.1}", y + HEIGHT)?;
        let mut last = (x, y + HEIGHT);
        let passed = way.iter().map(|p| place(*p));
        for (i, (x, y)) in passed.chain([place(layout.nodes[*to])]).enumerate() {
            bend(out, last, (x, y))?;
            last = (x, y);
            if i < way.len() {
                last.1 += HEIGHT;
                write!(out, "V{:.1}", last.1)?;
            }
        }
        out.push_str("\"/>");
    }
    out.push_str("</g>\n");
    for (node, at) in network.nodes.iter().zip(&layout.nodes) {
        draw(out, report, node, place(*at))?;
    }
    out.push_str("</svg></div>\n</section>\n");
    Ok(())
}

/// A curve from one layer to the next, upright at both ends.
fn bend(out: &mut String, (x, y): (f64, f64), (to_x, to_y): (f64, f64)) -> fmt::Result {
    let middle = (y + to_y) / 2.0;
    write!(out, "C{x:.1} {middle:.1} {to_x:.1} {middle:.1} {to_x:.1} {to_y:.1}")
}

fn draw(out: &mut String, report: &Report, node: &NetworkNode, (x, y): (f64, f64)) -> fmt::Result {
    let layer = node.layer.and_then(|i| report.layers.layers.get(i));
    let title = match (node.kind, layer) {
        (NodeKind::Input, _) => "input".to_owned(),
        (NodeKind::Output, _) => "output".to_owned(),
        (_, Some(l)) => format!(
            "{}, {} by itself, {} in all",
            escape(&node.op),
            decibels(l.introduced_db),
            decibels(l.total_db)
        ),
        (_, None) => format!("{}, no figures", escape(&node.op)),
    };
    let class = match (node.kind, layer) {
        (NodeKind::Input | NodeKind::Output, _) => "node port",
        (NodeKind::Float, Some(_)) => "node float",
        (NodeKind::Float, None) => "node plain float",
        (NodeKind::Integer, Some(_)) => "node",
        (NodeKind::Integer, None) => "node plain",
    };
    let paint = layer.map(|l| plot::decibels(l.introduced_db).1).map(|badness| {
        let fill = hex(plot::colour(badness));
        let ink = ink(&fill);
        (fill, ink)
    });
    match node.layer {
        Some(i) => write!(out, "<a href=\"#layer-{}\" class=\"{class}\">", i + 1)?,
        None => write!(out, "<g class=\"{class}\">")?,
    }
    write!(out, "<title>{}: {title}</title>", escape(&node.name))?;
    let fill = paint.as_ref().map_or(String::new(), |(fill, _)| format!(" fill=\"{fill}\""));
    let radius = if node.layer.is_none() && node.op.is_empty() { HEIGHT / 2.0 } else { 6.0 };
    write!(
        out,
        "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"{radius}\"{fill}/>",
        x - WIDTH / 2.0
    )?;
    let style = paint.map_or(String::new(), |(_, ink)| format!("fill:{ink};"));
    let above = match node.kind {
        NodeKind::Input => "input",
        NodeKind::Output => "output",
        _ => node.op.as_str(),
    };
    for (line, (text, weight)) in
        [(above, "font-weight:600"), (node.name.as_str(), "")].into_iter().enumerate()
    {
        write!(
            out,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" style=\"{style}{weight}\">{}</text>",
            y + 17.0 + 16.0 * line as f64,
            escape(&shortened(text, LETTERS))
        )?;
    }
    out.push_str(if node.layer.is_some() { "</a>\n" } else { "</g>\n" });
    Ok(())
}

fn legend(out: &mut String) -> fmt::Result {
    const STEPS: usize = 24;
    out.push_str("<p class=\"legend\"><span>");
    write!(
        out,
        "{GOOD_DB} dB and more <svg width=\"144\" height=\"14\" style=\"margin-left:.4rem\" aria-hidden=\"true\">"
    )?;
    for i in 0..STEPS {
        let fill = hex(plot::colour(i as f64 / (STEPS - 1) as f64));
        write!(out, "<rect x=\"{}\" width=\"6\" height=\"14\" fill=\"{fill}\"/>", 6 * i)?;
    }
    writeln!(out, "</svg>{BAD_DB} dB and less</span></p>")
}

fn hex(c: RGBColor) -> String {
    format!("#{:02x}{:02x}{:02x}", c.0, c.1, c.2)
}

/// Black or white, whichever reads better on this.
fn ink(fill: &str) -> &'static str {
    let [black, white] = ["#000000", "#ffffff"];
    if contrast(fill, white) > contrast(fill, black) { white } else { black }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_be_read_on_every_colour() {
        for i in 0..=200 {
            let fill = hex(plot::colour(f64::from(i) / 200.0));
            let ratio = contrast(&fill, ink(&fill));
            assert!(ratio >= 4.5, "{i}: {fill} {} {ratio}", ink(&fill));
        }
    }
}
