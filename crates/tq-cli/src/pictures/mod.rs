//! Pictures as data: a folder of PNG and JPEG files, decoded batch by batch.

mod decode;
mod folder;
mod jpeg;
mod resize;
mod shape;
#[cfg(test)]
mod tests;

use anyhow::{Context as _, Result, bail};
use decode::{Pixels, decode, dimensions};
use rayon::prelude::*;
use std::error::Error;
use std::path::{Path, PathBuf};
use torsh_quantization::analysis::RowSource;
use torsh_quantization::model::{DType, Tensor, Value};

pub(crate) use folder::{Classes, open};
pub(crate) use shape::{Layout, Shaping, Size};

/// Height or width of a picture, before and after it is resized. JPEG has no larger ones.
const MAX_SIDE: usize = 65_535;

/// Pixels of a picture. More need so much memory that the file is rather an attack.
const MAX_PIXELS: usize = 100_000_000;

/// Whether a picture of this size is worked with.
fn fits(height: usize, width: usize) -> bool {
    height <= MAX_SIDE && width <= MAX_SIDE && height.checked_mul(width).is_some_and(|n| n <= MAX_PIXELS)
}

/// The pictures of a folder as rows for a model's input: u8, all of one size, `[pictures, channels, height, width]` or
/// with the channels last.
///
/// Each is decoded, made grey or RGB, resized and cropped when its batch is asked for.
#[derive(Debug)]
pub(crate) struct Pictures {
    files: Vec<PathBuf>,
    shaping: Shaping,
    /// 1 (grey) or 3 (RGB).
    channels: usize,
    height: usize,
    width: usize,
    layout: Layout,
    dims: [usize; 4],
}

impl Pictures {
    /// For an input of a model. What its shape leaves open, `layout`, `shaping` and the first picture decide.
    pub(crate) fn new(
        files: Vec<PathBuf>,
        input: &Value,
        layout: Option<Layout>,
        shaping: Shaping,
    ) -> Result<Self> {
        let declared: Option<Vec<Option<usize>>> =
            input.shape.as_ref().map(|s| s.iter().map(|d| d.known_usize()).collect());
        let declared = declared.unwrap_or_default();
        let [_, rest @ ..] = declared.as_slice() else {
            bail!("input {}: it is no batch of pictures", input.name);
        };
        let &[a, b, c] = rest else {
            bail!("input {}: it has rank {}, pictures have 4", input.name, declared.len());
        };
        let layout = match layout {
            Some(layout) => layout,
            None => Layout::guess(a, c).with_context(|| {
                format!("input {}: its shape does not tell where the channels are; --layout does", input.name)
            })?,
        };
        let (channels, height, width) = match layout {
            Layout::Nchw => (a, b, c),
            Layout::Nhwc => (c, a, b),
        };
        let channels = channels.unwrap_or(3);
        if !matches!(channels, 1 | 3) {
            bail!(
                "input {}: it takes {channels} channels ({layout}); pictures give 1 (grey) or 3 (RGB)",
                input.name
            );
        }
        let (height, width) = match (shaping.exact(), height.zip(width), files.first()) {
            (Some(size), ..) => size,
            (None, Some(size), _) => size,
            (None, None, Some(first)) => {
                let (h, w) = dimensions(first)?;
                shaping.result(h, w).with_context(|| first.display().to_string())?
            }
            (None, None, None) => (0, 0),
        };
        let dims = match layout {
            Layout::Nchw => [files.len(), channels, height, width],
            Layout::Nhwc => [files.len(), height, width, channels],
        };
        Ok(Self { files, shaping, channels, height, width, layout, dims })
    }

    /// Where the channels are.
    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// One picture as it goes into a batch.
    fn row(&self, path: &Path) -> Result<Vec<u8>> {
        let picture = decode(path, self.channels)?;
        let shaped = self.shape(picture).with_context(|| path.display().to_string())?;
        Ok(match self.layout {
            Layout::Nhwc => shaped.data,
            Layout::Nchw => shaped.planes(),
        })
    }

    fn shape(&self, picture: Pixels) -> Result<Pixels> {
        let (height, width) = (picture.height, picture.width);
        let shaped = self.shaping.apply(picture)?;
        if (shaped.height, shaped.width) != (self.height, self.width) {
            bail!(
                "{}x{} (height x width) of a picture of {height}x{width}, expected {}x{}; \
                 --resize and --crop make pictures of one size",
                shaped.height,
                shaped.width,
                self.height,
                self.width
            );
        }
        Ok(shaped)
    }

    fn rows(&self, start: usize, end: usize) -> Result<Tensor> {
        let files = self.files.get(start..end).context("there are not so many pictures")?;
        let rows: Vec<Result<Vec<u8>>> = files.par_iter().map(|f| self.row(f)).collect();
        let mut dims = self.dims;
        dims[0] = files.len();
        let mut data = Vec::with_capacity(rows.iter().flatten().map(Vec::len).sum());
        for row in rows {
            data.extend_from_slice(&row?);
        }
        Ok(Tensor::new(&dims, data)?)
    }
}

impl RowSource for Pictures {
    fn dtype(&self) -> DType {
        DType::U8
    }

    fn dims(&self) -> &[usize] {
        &self.dims
    }

    fn read(&self, start: usize, end: usize) -> Result<Tensor, Box<dyn Error + Send + Sync>> {
        Ok(self.rows(start, end)?)
    }
}
