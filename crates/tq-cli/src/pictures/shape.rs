//! Sizes and layouts that are asked for.

use super::decode::Pixels;
use super::resize::resize;
use super::{MAX_PIXELS, MAX_SIDE, fits};
use anyhow::{Result, bail};
use clap::ValueEnum;
use std::fmt;

/// Order of the axes of a batch of pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Layout {
    /// Channels before height and width.
    Nchw,
    /// Channels last.
    Nhwc,
}

impl Layout {
    /// By the extents of the second and of the last axis: 1 and 3 are numbers of channels, when only one axis is such.
    pub(super) fn guess(second: Option<usize>, last: Option<usize>) -> Option<Self> {
        let channels = |d: Option<usize>| matches!(d, Some(1 | 3));
        match (channels(second), channels(last)) {
            (true, false) => Some(Layout::Nchw),
            (false, true) => Some(Layout::Nhwc),
            _ => None,
        }
    }

    /// Axis of the channels.
    pub(crate) fn channel_axis(self) -> usize {
        match self {
            Layout::Nchw => 1,
            Layout::Nhwc => 3,
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Layout::Nchw => "nchw",
            Layout::Nhwc => "nhwc",
        })
    }
}

/// `N` or `HxW`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    One(usize),
    Two { height: usize, width: usize },
}

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |t: &str| t.parse().ok().filter(|n| *n > 0);
        let size = match text.split_once(['x', 'X']) {
            None => number(text).map(Size::One),
            Some((h, w)) => number(h).zip(number(w)).map(|(height, width)| Size::Two { height, width }),
        };
        let fits = |s: &Size| match *s {
            Size::One(n) => n <= MAX_SIDE,
            Size::Two { height, width } => fits(height, width),
        };
        size.filter(fits)
            .ok_or_else(|| format!("expected N or HxW, at most {MAX_SIDE} a side and {MAX_PIXELS} pixels"))
    }
}

/// What is done to a picture's size: first it is resized, then its middle is cut out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shaping {
    /// One number is the shorter side; the other keeps the proportion.
    pub(crate) resize: Option<Size>,
    /// One number is both sides.
    pub(crate) crop: Option<Size>,
}

impl Shaping {
    /// Height and width of every result, where they do not depend on the picture.
    pub(super) fn exact(&self) -> Option<(usize, usize)> {
        match (self.crop, self.resize) {
            (Some(Size::One(n)), _) => Some((n, n)),
            (Some(Size::Two { height, width }), _) | (None, Some(Size::Two { height, width })) => {
                Some((height, width))
            }
            _ => None,
        }
    }

    /// Height and width of the result for a picture of this size.
    pub(super) fn result(&self, height: usize, width: usize) -> Result<(usize, usize)> {
        match self.exact() {
            Some(size) => Ok(size),
            None => self.resized(height, width),
        }
    }

    fn resized(&self, height: usize, width: usize) -> Result<(usize, usize)> {
        let (h, w) = match self.resize {
            None => return Ok((height, width)),
            Some(Size::Two { height, width }) => return Ok((height, width)),
            // The longer side is cut to an integer, as torchvision does it.
            Some(Size::One(n)) if height <= width => (Some(n), longer(n, width, height)),
            Some(Size::One(n)) => (longer(n, height, width), Some(n)),
        };
        match h.zip(w).filter(|(h, w)| fits(*h, *w)) {
            Some(size) => Ok(size),
            None => bail!("resized, the picture of {height}x{width} would be too large"),
        }
    }

    pub(super) fn apply(&self, picture: Pixels) -> Result<Pixels> {
        let (height, width) = self.resized(picture.height, picture.width)?;
        let picture = match (height, width) == (picture.height, picture.width) {
            true => picture,
            false => resize(&picture, height, width),
        };
        match self.crop {
            None => Ok(picture),
            Some(Size::One(n)) => crop(&picture, n, n),
            Some(Size::Two { height, width }) => crop(&picture, height, width),
        }
    }
}

/// `short * long_side / short_side`, cut to an integer.
fn longer(short: usize, long_side: usize, short_side: usize) -> Option<usize> {
    short.checked_mul(long_side)?.checked_div(short_side)
}

/// The middle of a picture. Where there is no exact middle, the offset is the even one of the two.
fn crop(picture: &Pixels, height: usize, width: usize) -> Result<Pixels> {
    if height > picture.height || width > picture.width {
        bail!(
            "the picture is {}x{} where {height}x{width} is to be cut out of it (--crop)",
            picture.height,
            picture.width
        );
    }
    let offset = |n: usize| n / 2 + usize::from(n % 4 == 3);
    let (top, left) = (offset(picture.height - height), offset(picture.width - width));
    let (stride, c) = (picture.width * picture.channels, picture.channels);
    let rows = picture.data.chunks_exact(stride).skip(top).take(height);
    let data = rows.flat_map(|row| &row[left * c..(left + width) * c]).copied().collect();
    Ok(Pixels { height, width, channels: c, data })
}
