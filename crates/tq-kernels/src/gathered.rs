//! Windows as lists of places: pools over any number of axes, and windows of different sizes.

use crate::error::{check_len, product};
use crate::pool::Taps;
use crate::row::AffineU8;
use crate::{KernelError, PAD, Result};

/// Windows over channels-last images, each a list of the places that it holds. The same lists serve every image.
///
/// ```
/// use tq_kernels::{GatheredWindows, Kernels, MaxParams, PAD};
/// // Two windows over four places of one channel: the first two, and the last one.
/// let windows = GatheredWindows { images: 1, image: 4, channels: 1, rows: 2, taps: 2, offsets: &[0, 1, 3, PAD] };
/// let mut out = [0; 2];
/// Kernels::scalar().pool().gathered_max(&windows, &MaxParams::default(), &[5, 7, 9, 1], &mut out)?;
/// assert_eq!(out, [7, 1]);
/// # Ok::<(), tq_kernels::KernelError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct GatheredWindows<'a> {
    /// Number of images.
    pub images: usize,
    /// Codes of an image.
    pub image: usize,
    /// Channels, the innermost axis of input and output.
    pub channels: usize,
    /// Windows an image: rows of its output.
    pub rows: usize,
    /// Places a window, those on padding included.
    pub taps: usize,
    /// `rows * taps` positions of the first channel of a place within its image, or [`PAD`] for none.
    pub offsets: &'a [usize],
}

/// Parameters of an average over [`GatheredWindows`].
#[derive(Debug, Clone, Copy)]
pub struct GatheredAverage<'a> {
    /// What the sum of each window is divided by, one a window of an image.
    pub divisors: &'a [usize],
    /// Scale and zero point of the input.
    pub input: AffineU8,
    /// Scale and zero point of the output.
    pub out: AffineU8,
    /// Smallest and largest output code: a fused ReLU or clamp.
    pub clamp: (i32, i32),
}

/// The places of one window.
pub(crate) struct ListedTaps<'a> {
    offsets: &'a [usize],
    channels: usize,
    image: &'a [u8],
}

impl ListedTaps<'_> {
    /// Places in the image.
    pub(crate) fn inside(&self) -> usize {
        self.offsets.iter().filter(|o| **o != PAD).count()
    }
}

impl Taps for ListedTaps<'_> {
    fn for_each<'s>(&'s self, mut f: impl FnMut(&'s [u8])) {
        for &offset in self.offsets.iter().filter(|o| **o != PAD) {
            f(&self.image[offset..][..self.channels]);
        }
    }
}

impl<'a> GatheredWindows<'a> {
    /// Checks sizes and places; the codes that are read, or `None` when there is nothing to do.
    pub(crate) fn check(&self, input: &[u8], out: &[u8]) -> Result<Option<usize>> {
        check_len("pool input", product("pool input", &[self.images, self.image])?, input.len())?;
        let out_len = product("pool output", &[self.images, self.rows, self.channels])?;
        check_len("pool output", out_len, out.len())?;
        check_len("pool places", product("pool places", &[self.rows, self.taps])?, self.offsets.len())?;
        if out.is_empty() {
            return Ok(None);
        }
        let last = self.image.checked_sub(self.channels);
        for (index, &offset) in self.offsets.iter().enumerate() {
            if offset != PAD && last.is_none_or(|last| offset > last) {
                let (run, len) = (self.channels, self.image);
                return Err(KernelError::Offset { index, offset, run, len });
            }
        }
        let empty = |row: usize| self.offsets[row * self.taps..][..self.taps].iter().all(|o| *o == PAD);
        if let Some(position) = (0..self.rows).find(|row| empty(*row)) {
            return Err(KernelError::EmptyWindow { axis: "list", position });
        }
        Ok(Some(out.len().saturating_mul(self.taps)))
    }

    /// The places of row `row` of the output.
    pub(crate) fn taps_at<'t>(&self, row: usize, input: &'t [u8]) -> ListedTaps<'t>
    where
        'a: 't,
    {
        let offsets: &'t [usize] = &self.offsets[row % self.rows * self.taps..][..self.taps];
        let image = &input[row / self.rows * self.image..][..self.image];
        ListedTaps { offsets, channels: self.channels, image }
    }
}
