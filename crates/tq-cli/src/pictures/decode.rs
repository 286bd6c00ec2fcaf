//! From a file to pixels.

use super::{MAX_PIXELS, MAX_SIDE, fits, jpeg};
use anyhow::{Context as _, Result, anyhow, bail};
use image::{ColorType, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::fs::File;
use std::io::{Cursor, Read as _};
use std::path::Path;

/// Bytes of a file that are read.
const MAX_FILE: u64 = 1 << 30;

/// Bytes that a decoder may take beside the pixels.
const MAX_DECODER: u64 = 1 << 30;

/// A picture, its channels together: row by row, pixel by pixel.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pixels {
    pub(super) height: usize,
    pub(super) width: usize,
    /// 1 (grey) or 3 (RGB).
    pub(super) channels: usize,
    pub(super) data: Vec<u8>,
}

impl Pixels {
    /// The pixels, one channel after the other.
    pub(super) fn planes(&self) -> Vec<u8> {
        let plane = |c| self.data.iter().skip(c).step_by(self.channels.max(1)).copied();
        (0..self.channels).flat_map(plane).collect()
    }
}

/// Height and width of a picture, by its header.
pub(super) fn dimensions(path: &Path) -> Result<(usize, usize)> {
    let (_, bytes) = read(path)?;
    let decoder = decoder(&bytes).with_context(|| path.display().to_string())?;
    size(&decoder).with_context(|| path.display().to_string())
}

/// Reads a picture and makes it grey (1 channel) or RGB (3 channels).
///
/// Transparency is dropped. 16 bits become 8, rounded to nearest. RGB becomes grey by ITU-R BT.601:
/// `(19595 R + 38470 G + 7471 B + 32768) >> 16`.
pub(super) fn decode(path: &Path, channels: usize) -> Result<Pixels> {
    let (format, bytes) = read(path)?;
    decode_bytes(format, &bytes, channels).with_context(|| path.display().to_string())
}

pub(super) fn decode_bytes(format: ImageFormat, bytes: &[u8], channels: usize) -> Result<Pixels> {
    let decoder = decoder(bytes)?;
    let (height, width) = size(&decoder)?;
    if format == ImageFormat::Jpeg && !jpeg::is_complete(bytes) {
        bail!("the file ends before the picture does");
    }
    let color = decoder.color_type();
    let total = usize::try_from(decoder.total_bytes()).context("the picture is too large")?;
    let mut raw = Vec::new();
    raw.try_reserve_exact(total).map_err(|_| anyhow!("no memory for {total} bytes"))?;
    raw.resize(total, 0u8);
    decoder.read_image(&mut raw).map_err(plain)?;
    let samples = match color {
        ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16 => to_8_bits(&raw),
        ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8 => raw,
        other => bail!("pixels of type {other:?} are not supported"),
    };
    let data = convert(&samples, usize::from(color.channel_count()), channels);
    Ok(Pixels { height, width, channels, data })
}

/// All bytes of a PNG or JPEG file, and which of the two it is.
fn read(path: &Path) -> Result<(ImageFormat, Vec<u8>)> {
    let failed = || path.display().to_string();
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(failed)?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).with_context(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        bail!("{}: the file is larger than {MAX_FILE} bytes", path.display());
    }
    match image::guess_format(&bytes) {
        Ok(format @ (ImageFormat::Png | ImageFormat::Jpeg)) => Ok((format, bytes)),
        _ if bytes.is_empty() => bail!("{}: the file is empty", path.display()),
        _ => bail!("{}: it is neither a PNG nor a JPEG file", path.display()),
    }
}

fn decoder(bytes: &[u8]) -> Result<impl ImageDecoder + '_> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_DECODER);
    reader.limits(limits);
    reader.into_decoder().map_err(plain)
}

fn size(decoder: &impl ImageDecoder) -> Result<(usize, usize)> {
    let (width, height) = decoder.dimensions();
    let (height, width) = (usize::try_from(height)?, usize::try_from(width)?);
    if height == 0 || width == 0 {
        bail!("the picture is empty: {height}x{width}");
    }
    if !fits(height, width) {
        bail!("the picture is {height}x{width}, at most {MAX_PIXELS} pixels and {MAX_SIDE} a side are read");
    }
    Ok((height, width))
}

/// The decoder's words, without its name for the format.
fn plain(error: image::ImageError) -> anyhow::Error {
    anyhow!("the picture cannot be decoded: {error}")
}

/// Samples of 16 bits in the machine's order, each divided by 257.
fn to_8_bits(raw: &[u8]) -> Vec<u8> {
    let samples = raw.as_chunks::<2>().0.iter().map(|b| u32::from(u16::from_ne_bytes(*b)));
    samples.map(|v| u8::try_from((v + 128) / 257).unwrap_or(u8::MAX)).collect()
}

/// From grey, grey with alpha, RGB or RGBA to grey or RGB.
fn convert(samples: &[u8], from: usize, to: usize) -> Vec<u8> {
    let pixels = samples.chunks_exact(from.max(1));
    match (from, to) {
        (1 | 2, 1) => pixels.map(|p| p[0]).collect(),
        (1 | 2, _) => pixels.flat_map(|p| [p[0]; 3]).collect(),
        (_, 1) => pixels.map(|p| grey(p[0], p[1], p[2])).collect(),
        _ => pixels.flat_map(|p| [p[0], p[1], p[2]]).collect(),
    }
}

fn grey(r: u8, g: u8, b: u8) -> u8 {
    let sum = 19595 * u32::from(r) + 38470 * u32::from(g) + 7471 * u32::from(b) + 32768;
    u8::try_from(sum >> 16).unwrap_or(u8::MAX)
}
