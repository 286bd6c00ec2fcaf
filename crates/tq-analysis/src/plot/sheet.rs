//! Many small plots on one sheet.

use super::{Area, GREY, png, shortened, write};
use crate::distributions::{Histogram, WeightRanges};
use crate::{AnalysisError, plot::columns::columns};
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;
use std::error::Error;

/// Plots side by side.
const ACROSS: usize = 3;
const WIDTH: i32 = 360;
const HEIGHT: i32 = 170;
const GAP: i32 = 22;
const HEADER: i32 = 40;
/// Letters of a name that fit over a plot.
const LETTERS: usize = 44;
/// Room for the name above and the numbers below a plot.
const ABOVE: i32 = 24;
const BELOW: i32 = 22;

const BAR: RGBColor = RGBColor(49, 104, 158);
const BEYOND: RGBColor = RGBColor(190, 45, 40);
const LIMIT: RGBColor = RGBColor(200, 120, 20);
const FRAME: RGBColor = RGBColor(200, 200, 200);

/// Where a plot is, without its name and numbers.
#[derive(Clone, Copy)]
struct Place {
    left: i32,
    top: i32,
}

impl Place {
    const RIGHT: i32 = WIDTH;
    const BOTTOM: i32 = HEIGHT - ABOVE - BELOW;

    fn of(i: usize) -> Self {
        let (row, column) = ((i / ACROSS) as i32, (i % ACROSS) as i32);
        Self { left: GAP + column * (WIDTH + GAP), top: HEADER + row * (HEIGHT + GAP) + ABOVE }
    }

    /// A pixel from shares of the width and of the height, from below.
    fn at(self, x: f64, y: f64) -> (i32, i32) {
        let part = |share: f64, of: i32| (share.clamp(0.0, 1.0) * f64::from(of)).round() as i32;
        (self.left + part(x, Self::RIGHT), self.top + Self::BOTTOM - part(y, Self::BOTTOM))
    }

    fn frame(self, area: &Area<'_>, name: &str, low: &str, high: &str) -> Result<(), Box<dyn Error>> {
        area.draw(&Rectangle::new([self.at(0.0, 1.0), self.at(1.0, 0.0)], FRAME.stroke_width(1)))?;
        write(area, &shortened(name, LETTERS), (self.left, self.top - 12), 13, HPos::Left, &BLACK)?;
        let below = self.top + Self::BOTTOM + 12;
        write(area, low, (self.left, below), 12, HPos::Left, &GREY)?;
        write(area, high, (self.left + WIDTH, below), 12, HPos::Right, &GREY)
    }
}

fn sheet<T>(
    title: &str,
    items: &[T],
    draw: impl Fn(&Area<'_>, Place, &T) -> Result<(), Box<dyn Error>>,
) -> Result<Vec<u8>, AnalysisError> {
    let rows = items.len().div_ceil(ACROSS).max(1);
    let width = GAP + ACROSS as i32 * (WIDTH + GAP);
    let height = u32::try_from(rows * (HEIGHT + GAP) as usize + HEADER as usize)
        .map_err(|_| AnalysisError::Plot(format!("{} plots are too many", items.len())))?;
    png(width.unsigned_abs(), height, |area| {
        write(area, title, (GAP, 20), 18, HPos::Left, &BLACK)?;
        items.iter().enumerate().try_for_each(|(i, item)| draw(area, Place::of(i), item))
    })
}

/// The PNG file of histograms.
pub(crate) fn histogram_sheet(histograms: &[Histogram]) -> Result<Vec<u8>, AnalysisError> {
    sheet(
        "Activations, and what their codes keep (counts on a logarithmic scale)",
        histograms,
        |area, place, h| {
            for bar in h.bars() {
                let colour = if bar.is_beyond { BEYOND } else { BAR };
                let corners = [place.at(bar.from, bar.height), place.at(bar.to, 0.0)];
                area.draw(&Rectangle::new(corners, colour.filled()))?;
            }
            for x in h.limits() {
                let ends = [place.at(x, 0.0), place.at(x, 1.0)];
                area.draw(&PathElement::new(ends, LIMIT.stroke_width(2)))?;
            }
            let (from, to) = h.span();
            let clipped = h.clipped.map_or(String::new(), |p| format!(", {} clipped", share(p)));
            place.frame(area, &h.tensor, &number(from), &format!("{}{clipped}", number(to)))
        },
    )
}

/// The PNG file of weights.
pub(crate) fn weight_sheet(weights: &[WeightRanges]) -> Result<Vec<u8>, AnalysisError> {
    sheet("Weights by their channels, and the ends of their codes", weights, |area, place, w| {
        let (bars, reach) = columns(&w.channels);
        let count = bars.len().max(1) as f64;
        let y = |v: f32| 0.5 + 0.5 * f64::from(v) / reach;
        for (i, c) in bars.iter().enumerate() {
            let (left, right) = (i as f64 / count, (i + 1) as f64 / count);
            for limit in [c.low, c.high] {
                area.draw(&PathElement::new(
                    [place.at(left, y(limit)), place.at(right, y(limit))],
                    LIMIT.stroke_width(1),
                ))?;
            }
            area.draw(&Rectangle::new([place.at(left, y(c.max)), place.at(right, y(c.min))], BAR.filled()))?;
        }
        let what = format!("{} channels, {} {}", w.channels.len(), w.dtype, w.granularity);
        place.frame(area, &w.node, &format!("\u{b1}{}", number(reach)), &what)
    })
}

/// A number for a scale.
pub(crate) fn number(x: f64) -> String {
    match x.abs() {
        0.0 => "0".into(),
        a if !(0.001..100_000.0).contains(&a) => format!("{x:.1e}"),
        a if a >= 100.0 => format!("{x:.0}"),
        a if a >= 1.0 => format!("{x:.2}"),
        _ => format!("{x:.4}"),
    }
}

/// A percentage that is not rounded to 0 unless it is that.
fn share(percent: f64) -> String {
    if percent > 0.0 && percent < 0.005 { "< 0.01 %".to_owned() } else { format!("{percent:.2} %") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distributions::ChannelRange;

    fn pixels(png: &[u8], colour: RGBColor) -> usize {
        let picture = image::load_from_memory(png).unwrap().to_rgb8();
        picture.pixels().filter(|p| p.0 == [colour.0, colour.1, colour.2]).count()
    }

    #[test]
    fn little_is_not_told_as_nothing() {
        assert_eq!([0.0, 0.004, 0.005, 12.0].map(share), ["0.00 %", "< 0.01 %", "0.01 %", "12.00 %"]);
    }

    #[test]
    fn what_is_clipped_is_red_and_limits_are_drawn() {
        let h = |clip| Histogram {
            tensor: "relu.out".into(),
            low: 0.0,
            high: 10.0,
            counts: vec![1000; 96],
            clip,
            clipped: None,
        };
        let none = histogram_sheet(&[h(None)]).unwrap();
        let half = histogram_sheet(&[h(Some((0.0, 5.0)))]).unwrap();
        assert_eq!((pixels(&none, BEYOND), pixels(&none, LIMIT)), (0, 0));
        let (red, blue) = (pixels(&half, BEYOND), pixels(&half, BAR));
        assert!(red.abs_diff(blue) < blue / 10, "{red} red, {blue} blue");
        assert!(pixels(&half, LIMIT) > 100);
        assert!(histogram_sheet(&[]).is_ok());
    }

    #[test]
    fn a_small_channel_is_a_short_bar() {
        let of = |max: f32| {
            let c = ChannelRange { min: -max, max, low: -1.0, high: 1.0 };
            let w = WeightRanges {
                node: "conv".into(),
                op: "Conv".into(),
                tensor: "w".into(),
                dtype: "i8".into(),
                granularity: "per_tensor".into(),
                channels: vec![c; 4],
            };
            pixels(&weight_sheet(&[w]).unwrap(), BAR)
        };
        let (small, large) = (of(0.1), of(0.9));
        assert!(small > 100 && large > 7 * small, "{small} {large}");
    }

    #[test]
    fn numbers_are_short() {
        let all = [0.0, 1e-6, 0.01234, 2.3456, 1234.5, 1e9].map(number);
        assert_eq!(all, ["0", "1.0e-6", "0.0123", "2.35", "1234", "1.0e9"]);
    }
}
