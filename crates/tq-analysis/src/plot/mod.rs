//! Pictures of figures.

mod heatmap;

pub(crate) use heatmap::error_heatmap;

use crate::AnalysisError;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder as _};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::{FontStyle, register_font};
use std::error::Error;
use std::sync::Once;

/// A part of DejaVu Sans: ASCII and a few signs beside it. Its licence lies beside the file.
static FONT: &[u8] = include_bytes!("../../fonts/DejaVuSans-subset.ttf");
const FAMILY: &str = "DejaVu Sans";

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
