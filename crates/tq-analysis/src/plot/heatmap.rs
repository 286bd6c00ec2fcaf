//! The errors of layers as a table of colours.

use super::{Area, GREY, png, shortened, write};
use crate::EXACT_DB;
use crate::{AnalysisError, LayerError, LayerErrors};
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;
use std::error::Error;

const ROW: i32 = 24;
const HEADER: i32 = 76;
const NAMES: i32 = 330;
const CELL: i32 = 112;
const MARGIN: i32 = 14;
const LEGEND: i32 = 56;

/// Rows of a picture; what more layers there are is said below them.
const MOST_ROWS: usize = 600;

/// Letters of a name that fit beside the cells.
const MOST_LETTERS: usize = 40;

/// What a column shows.
struct Column {
    title: [&'static str; 2],
    /// The text of a cell and how bad it is, from 0 to 1; nothing where the layer has no such figure.
    cell: fn(&LayerError) -> Option<(String, f64)>,
}

const COLUMNS: [Column; 6] = [
    Column { title: ["its own error", "dB"], cell: |l| Some(decibels(l.introduced_db)) },
    Column { title: ["inherited", "dB"], cell: |l| Some(decibels(l.inherited_db)) },
    Column { title: ["in all", "dB"], cell: |l| Some(decibels(l.total_db)) },
    Column { title: ["saturated", "% of values"], cell: |l| l.saturated.map(|p| percent(p, 5.0)) },
    Column { title: ["underflow", "% of values"], cell: |l| l.underflow.map(|p| percent(p, 20.0)) },
    Column { title: ["dead codes", "% of codes"], cell: |l| l.dead_codes.map(|p| percent(p, 100.0)) },
];

/// At this many dB and above an error is of no concern, at those and below it is the whole signal.
pub(crate) const GOOD_DB: f64 = 45.0;
pub(crate) const BAD_DB: f64 = 5.0;

/// How an error is written, and how bad it is, from 0 to 1.
pub(crate) fn decibels(db: f64) -> (String, f64) {
    if db.is_nan() {
        return ("NaN".into(), 1.0);
    }
    if db >= EXACT_DB {
        return ("exact".into(), 0.0);
    }
    (format!("{db:.1}"), ((GOOD_DB - db) / (GOOD_DB - BAD_DB)).clamp(0.0, 1.0))
}

fn percent(p: f64, worst: f64) -> (String, f64) {
    (format!("{p:.1}"), (p / worst).clamp(0.0, 1.0))
}

/// The PNG file: a row a layer in the order of the model, a column a figure, dark red where it is bad.
pub(crate) fn error_heatmap(errors: &LayerErrors) -> Result<Vec<u8>, AnalysisError> {
    let shown = errors.layers.len().min(MOST_ROWS);
    let width = NAMES + CELL * COLUMNS.len() as i32 + 2 * MARGIN;
    let height = HEADER + ROW * shown as i32 + LEGEND + MARGIN;
    png(width.unsigned_abs(), height.unsigned_abs(), |area| {
        title(area, errors)?;
        for (i, column) in COLUMNS.iter().enumerate() {
            let x = MARGIN + NAMES + CELL * i as i32 + CELL / 2;
            write(area, column.title[0], (x, HEADER - 34), 14, HPos::Center, &BLACK)?;
            write(area, column.title[1], (x, HEADER - 16), 12, HPos::Center, &GREY)?;
        }
        for (i, layer) in errors.layers.iter().take(shown).enumerate() {
            row(area, layer, HEADER + ROW * i as i32)?;
        }
        legend(area, errors, HEADER + ROW * shown as i32 + 12)
    })
}

fn title(area: &Area<'_>, errors: &LayerErrors) -> Result<(), Box<dyn Error>> {
    let layers = match errors.layers.len() {
        1 => "1 layer".to_owned(),
        n => format!("{n} layers"),
    };
    let text = format!("Errors of {layers} on {} samples", errors.rows);
    write(area, &text, (MARGIN, 22), 18, HPos::Left, &BLACK)
}

fn row(area: &Area<'_>, layer: &LayerError, top: i32) -> Result<(), Box<dyn Error>> {
    let middle = top + ROW / 2;
    write(area, &shortened(&layer.node, MOST_LETTERS), (MARGIN, middle), 13, HPos::Left, &BLACK)?;
    for (i, column) in COLUMNS.iter().enumerate() {
        let left = MARGIN + NAMES + CELL * i as i32;
        let Some((text, badness)) = (column.cell)(layer) else {
            write(area, "\u{2013}", (left + CELL / 2, middle), 13, HPos::Center, &GREY)?;
            continue;
        };
        let fill = colour(badness);
        let corners = [(left, top), (left + CELL - 2, top + ROW - 2)];
        area.draw(&Rectangle::new(corners, fill.filled()))?;
        let ink = if luminance(fill) < 0.55 { &WHITE } else { &BLACK };
        write(area, &text, (left + CELL / 2, middle), 13, HPos::Center, ink)?;
    }
    Ok(())
}

fn legend(area: &Area<'_>, errors: &LayerErrors, top: i32) -> Result<(), Box<dyn Error>> {
    const WIDTH: i32 = 240;
    for x in 0..WIDTH {
        let fill = colour(f64::from(x) / f64::from(WIDTH - 1)).filled();
        area.draw(&Rectangle::new([(MARGIN + NAMES + x, top), (MARGIN + NAMES + x + 1, top + 12)], fill))?;
    }
    let ends = [(0, format!("{GOOD_DB} dB and more")), (WIDTH, format!("{BAD_DB} dB and less"))];
    for (x, text) in ends {
        let at = if x == 0 { HPos::Left } else { HPos::Right };
        write(area, &text, (MARGIN + NAMES + x, top + 24), 12, at, &GREY)?;
    }
    let hidden = errors.layers.len().saturating_sub(MOST_ROWS);
    let mut notes = Vec::new();
    if hidden > 0 {
        notes.push(format!("{hidden} more layers are not shown"));
    }
    if !errors.unmatched.is_empty() {
        notes.push(format!("{} without a counterpart", errors.unmatched.len()));
    }
    write(area, &notes.join(", "), (MARGIN, top + 8), 12, HPos::Left, &GREY)
}

/// From pale over orange to dark red, after ColorBrewer's OrRd, which stays in order without hue too.
pub(crate) fn colour(badness: f64) -> RGBColor {
    const STEPS: [[f64; 3]; 5] = [
        [255.0, 247.0, 236.0],
        [253.0, 212.0, 158.0],
        [252.0, 141.0, 89.0],
        [215.0, 48.0, 31.0],
        [127.0, 0.0, 0.0],
    ];
    let at = badness.clamp(0.0, 1.0) * (STEPS.len() - 1) as f64;
    let i = (at as usize).min(STEPS.len() - 2);
    let part = at - i as f64;
    let mix = |c: usize| (STEPS[i][c] + (STEPS[i + 1][c] - STEPS[i][c]) * part).round() as u8;
    RGBColor(mix(0), mix(1), mix(2))
}

/// Relative luminance, roughly: 0 black, 1 white.
fn luminance(c: RGBColor) -> f64 {
    (0.299 * f64::from(c.0) + 0.587 * f64::from(c.1) + 0.114 * f64::from(c.2)) / 255.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(node: &str, db: f64) -> LayerError {
        LayerError {
            node: node.into(),
            op: "Conv".into(),
            tensor: "y".into(),
            introduced_db: db,
            inherited_db: db + 10.0,
            total_db: db - 1.0,
            saturated: Some(0.2),
            underflow: Some(3.0),
            dead_codes: None,
        }
    }

    #[test]
    fn worse_is_darker() {
        let steps: Vec<f64> = (0..=20).map(|i| luminance(colour(f64::from(i) / 20.0))).collect();
        assert!(steps.windows(2).all(|w| w[0] > w[1]), "{steps:?}");
        assert_eq!(decibels(200.0), ("exact".into(), 0.0));
        assert_eq!(decibels(f64::NAN).1, 1.0);
        assert!(decibels(10.0).1 > decibels(30.0).1);
    }

    #[test]
    fn a_picture_has_a_cell_a_figure_and_text_on_it() {
        let layers = vec![layer("good", 50.0), layer("bad", 0.0), layer(&"x".repeat(500), f64::NAN)];
        let errors = LayerErrors { rows: 3, layers, unmatched: Vec::new() };
        let png = error_heatmap(&errors).unwrap();
        let picture = image::load_from_memory(&png).unwrap().to_rgb8();
        let pixel = |row: i32, column: i32| {
            let (x, y) = (MARGIN + NAMES + CELL * column + 3, HEADER + ROW * row + 3);
            picture.get_pixel(x as u32, y as u32).0
        };
        let of = |b: f64| {
            let c = colour(b);
            [c.0, c.1, c.2]
        };
        assert_eq!([pixel(0, 0), pixel(1, 0), pixel(2, 0)], [of(0.0), of(1.0), of(1.0)]);
        // No figure, no colour.
        assert_eq!(pixel(0, 5), [255, 255, 255]);
        // The name is written: pixels left of the cells are not all white, in every row.
        for row in 0..3 {
            let y = (HEADER + ROW * row) as u32..(HEADER + ROW * (row + 1)) as u32;
            let dark = |x: u32, y: u32| picture.get_pixel(x, y).0[0] < 128;
            let ink =
                y.flat_map(|y| (0..NAMES as u32).map(move |x| (x, y))).filter(|(x, y)| dark(*x, *y)).count();
            assert!(ink > 20, "row {row}: {ink}");
            // A long name ends before the cells.
            let edge = MARGIN + NAMES - 2;
            let y = (HEADER + ROW * row) as u32..(HEADER + ROW * (row + 1)) as u32;
            assert!(y.into_iter().all(|y| !dark(edge as u32, y)), "row {row}");
        }
        // The same figures give the same bytes.
        assert_eq!(png, error_heatmap(&errors).unwrap());
        assert!(error_heatmap(&LayerErrors { rows: 0, layers: vec![], unmatched: vec![] }).is_ok());
    }
}
