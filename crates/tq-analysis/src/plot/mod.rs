//! Pictures of figures.

mod columns;
mod heatmap;
mod sheet;

pub(crate) use columns::columns;
pub(crate) use heatmap::{BAD_DB, GOOD_DB, colour, decibels, error_heatmap};
pub(crate) use sheet::{histogram_sheet, number, weight_sheet};

use crate::AnalysisError;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder as _};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};
use std::error::Error;
use std::sync::Once;

/// A part of DejaVu Sans: ASCII and a few signs beside it. Its licence lies beside the file.
static FONT: &[u8] = include_bytes!("../../fonts/DejaVuSans-subset.ttf");
const FAMILY: &str = "DejaVu Sans";

const GREY: RGBColor = RGBColor(95, 95, 95);

type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;

/// Most pixels of a picture: 64 MB of colours.
const MOST_PIXELS: u64 = 1 << 24;

/// The bytes of a PNG file of this size in pixels, white where `draw` does not draw.
fn png(
    width: u32,
    height: u32,
    draw: impl FnOnce(&Area<'_>) -> Result<(), Box<dyn Error>>,
) -> Result<Vec<u8>, AnalysisError> {
    static REGISTERED: Once = Once::new();
    // It fails for bytes that are no font alone; text would then fail to be drawn, which is an error of its own.
    REGISTERED.call_once(|| drop(register_font(FAMILY, FontStyle::Normal, FONT)));
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(AnalysisError::Plot(format!("{width} times {height} pixels are too many")));
    }
    let mut pixels = vec![255; width as usize * height as usize * 3];
    {
        let area = BitMapBackend::with_buffer(&mut pixels, (width, height)).into_drawing_area();
        draw(&area).and_then(|()| Ok(area.present()?)).map_err(|e| AnalysisError::Plot(e.to_string()))?;
    }
    let mut out = Vec::new();
    PngEncoder::new(&mut out)
        .write_image(&pixels, width, height, ExtendedColorType::Rgb8)
        .map_err(|e| AnalysisError::Plot(e.to_string()))?;
    Ok(out)
}

fn write(
    area: &Area<'_>,
    text: &str,
    at: (i32, i32),
    size: i32,
    across: HPos,
    colour: &RGBColor,
) -> Result<(), Box<dyn Error>> {
    let style = (FAMILY, size).into_font().color(colour).pos(Pos::new(across, VPos::Center));
    Ok(area.draw(&Text::new(text.to_owned(), at, style))?)
}

/// The end of a long name, which tells more than its beginning; signs that the font lacks become `?`.
fn shortened(name: &str, most: usize) -> String {
    let known = |c: char| if c.is_ascii() && !c.is_ascii_control() { c } else { '?' };
    let letters: Vec<char> = name.chars().map(known).collect();
    match letters.len().checked_sub(most - 1) {
        Some(cut) if letters.len() > most => {
            std::iter::once('\u{2026}').chain(letters[cut..].iter().copied()).collect()
        }
        _ => letters.into_iter().collect(),
    }
}
