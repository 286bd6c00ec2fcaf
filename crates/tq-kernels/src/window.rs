//! Geometry of sliding windows over channels-last images: of pools, and of depthwise convolutions over up to two axes.

use crate::error::{check_len, product};
use crate::{KernelError, Result};
use std::ops::Range;

/// Windows over a batch of images `[batch][height][width][channels]`. One-dimensional inputs have height 1.
///
/// `out_h` and `out_w` are explicit, so that rounding up (ONNX `ceil_mode`) is the caller's choice:
/// positions outside the image, padded or not, hold no element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window2d {
    /// Number of images.
    pub batch: usize,
    /// Height of an input image.
    pub in_h: usize,
    /// Width of an input image.
    pub in_w: usize,
    /// Channels, the innermost axis.
    pub channels: usize,
    /// Height and width of the window.
    pub kernel: (usize, usize),
    /// Steps between windows, down and across.
    pub stride: (usize, usize),
    /// Steps between taps of a window, down and across.
    pub dilation: (usize, usize),
    /// Padding at the top, left, bottom and right.
    pub pads: [usize; 4],
    /// Height of an output image.
    pub out_h: usize,
    /// Width of an output image.
    pub out_w: usize,
}

impl Window2d {
    /// Windows that lie inside the padded image: `out = (in + pads - dilation * (kernel - 1) - 1) / stride + 1`,
    /// rounded down; zero where the window is larger than the padded image.
    ///
    /// # Errors
    /// Those of [`Window2d::validate`].
    pub fn new(
        batch: usize,
        (in_h, in_w): (usize, usize),
        channels: usize,
        kernel: (usize, usize),
        stride: (usize, usize),
        dilation: (usize, usize),
        pads: [usize; 4],
    ) -> Result<Self> {
        let out_h = floor_positions(in_h, (pads[0], pads[2]), kernel.0, stride.0, dilation.0)?;
        let out_w = floor_positions(in_w, (pads[1], pads[3]), kernel.1, stride.1, dilation.1)?;
        let window = Self { batch, in_h, in_w, channels, kernel, stride, dilation, pads, out_h, out_w };
        window.validate()?;
        Ok(window)
    }

    /// Checks that sizes are not zero where they must not be and that all positions fit `usize`.
    ///
    /// # Errors
    /// [`KernelError::Zero`] and [`KernelError::SizeOverflow`].
    pub fn validate(&self) -> Result<()> {
        let sizes = [
            ("window kernel", self.kernel),
            ("window stride", self.stride),
            ("window dilation", self.dilation),
        ];
        if let Some(&(what, _)) = sizes.iter().find(|(_, (h, w))| *h == 0 || *w == 0) {
            return Err(KernelError::Zero { what });
        }
        product("window input", &[self.batch, self.in_h, self.in_w, self.channels])?;
        product("window output", &[self.batch, self.out_h, self.out_w, self.channels])?;
        product("window kernel", &[self.kernel.0, self.kernel.1])?;
        let [top, left, bottom, right] = self.pads;
        reach(self.out_h, self.stride.0, self.kernel.0, self.dilation.0, [self.in_h, top, bottom])
            .and(reach(self.out_w, self.stride.1, self.kernel.1, self.dilation.1, [self.in_w, left, right]))
            .ok_or(KernelError::SizeOverflow { what: "window position" })?;
        Ok(())
    }

    /// Codes of the input.
    ///
    /// # Errors
    /// [`KernelError::SizeOverflow`].
    pub fn input_len(&self) -> Result<usize> {
        product("window input", &[self.batch, self.in_h, self.in_w, self.channels])
    }

    /// Output positions of all images: rows of the output matrix, `channels` wide.
    ///
    /// # Errors
    /// [`KernelError::SizeOverflow`].
    pub fn out_rows(&self) -> Result<usize> {
        product("window output", &[self.batch, self.out_h, self.out_w])
    }

    /// Taps of a window.
    #[must_use]
    pub fn taps(&self) -> usize {
        self.kernel.0.saturating_mul(self.kernel.1)
    }

    pub(crate) fn check_input(&self, len: usize) -> Result<()> {
        check_len("window input", self.input_len()?, len)
    }

    /// Taps of the window at row `y` that lie in the image.
    pub(crate) fn rows(&self, y: usize) -> Range<usize> {
        valid_taps(y * self.stride.0, self.dilation.0, self.pads[0], self.kernel.0, self.in_h)
    }

    /// Taps of the window at column `x` that lie in the image.
    pub(crate) fn columns(&self, x: usize) -> Range<usize> {
        valid_taps(x * self.stride.1, self.dilation.1, self.pads[1], self.kernel.1, self.in_w)
    }

    /// Output columns whose windows lie in the image from side to side.
    pub(crate) fn interior_columns(&self) -> Range<usize> {
        let first = self.pads[1].div_ceil(self.stride.1);
        // Validation has shown these sums to fit.
        let room = (self.in_w + self.pads[1]).saturating_sub((self.kernel.1 - 1) * self.dilation.1);
        let end = room.div_ceil(self.stride.1).min(self.out_w);
        first..end.max(first)
    }

    /// Row of the image that tap `k` of the window at row `y` reads; only for taps of [`Self::rows`].
    pub(crate) fn in_row(&self, y: usize, k: usize) -> usize {
        y * self.stride.0 + k * self.dilation.0 - self.pads[0]
    }

    /// Column of the image that tap `k` of the window at column `x` reads; only for taps of [`Self::columns`].
    pub(crate) fn in_column(&self, x: usize, k: usize) -> usize {
        x * self.stride.1 + k * self.dilation.1 - self.pads[1]
    }

    /// Taps of the window at row `y` and column `x` that lie in the padded image, per axis.
    pub(crate) fn padded_taps(&self, y: usize, x: usize) -> (usize, usize) {
        let [top, left, bottom, right] = self.pads;
        (
            valid_taps(y * self.stride.0, self.dilation.0, 0, self.kernel.0, self.in_h + top + bottom).len(),
            valid_taps(x * self.stride.1, self.dilation.1, 0, self.kernel.1, self.in_w + left + right).len(),
        )
    }

    /// Fails for windows without any element of the input.
    pub(crate) fn check_no_empty_window(&self) -> Result<()> {
        if let Some(position) = (0..self.out_h).find(|&y| self.rows(y).is_empty()) {
            return Err(KernelError::EmptyWindow { axis: "height", position });
        }
        if let Some(position) = (0..self.out_w).find(|&x| self.columns(x).is_empty()) {
            return Err(KernelError::EmptyWindow { axis: "width", position });
        }
        Ok(())
    }
}

/// A sum larger than every coordinate computed from these sizes of an axis; `None` where it does not fit.
pub(crate) fn reach(
    out: usize,
    stride: usize,
    kernel: usize,
    dilation: usize,
    rest: [usize; 3],
) -> Option<usize> {
    let last = out.checked_mul(stride)?.checked_add(kernel.checked_mul(dilation)?)?;
    rest.into_iter().try_fold(last, usize::checked_add)
}

/// Windows that fit, rounding down. Zero sizes are let through here: [`Window2d::validate`] names them.
pub(crate) fn floor_positions(
    input: usize,
    (before, after): (usize, usize),
    kernel: usize,
    stride: usize,
    dilation: usize,
) -> Result<usize> {
    let span = kernel.saturating_sub(1).checked_mul(dilation).and_then(|x| x.checked_add(1));
    let padded = input.checked_add(before).and_then(|x| x.checked_add(after));
    let (Some(span), Some(padded)) = (span, padded) else {
        return Err(KernelError::SizeOverflow { what: "window" });
    };
    Ok(padded.checked_sub(span).map_or(0, |rest| rest / stride.max(1) + 1))
}

/// The `k < kernel` with `pad <= start + k * dilation < pad + input`.
pub(crate) fn valid_taps(
    start: usize,
    dilation: usize,
    pad: usize,
    kernel: usize,
    input: usize,
) -> Range<usize> {
    let first = pad.saturating_sub(start).div_ceil(dilation).min(kernel);
    let end = (pad + input).saturating_sub(start).div_ceil(dilation).min(kernel);
    first..end.max(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_taps_are_those_inside() {
        for start in 0..9 {
            for dilation in 1..4 {
                for pad in 0..4 {
                    for kernel in 1..5 {
                        for input in 0..5 {
                            let inside = |k: &usize| {
                                let p = start + k * dilation;
                                pad <= p && p < pad + input
                            };
                            let want: Vec<usize> = (0..kernel).filter(inside).collect();
                            let got: Vec<usize> = valid_taps(start, dilation, pad, kernel, input).collect();
                            assert_eq!(got, want);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn interior_columns_are_those_with_all_taps() {
        for (kernel, stride, dilation, pad) in
            [(3, 1, 1, 1), (3, 2, 1, 1), (1, 1, 1, 0), (5, 3, 2, 4), (7, 1, 1, 3), (4, 2, 3, 0), (9, 1, 1, 2)]
        {
            let w = Window2d::new(1, (1, 12), 1, (1, kernel), (1, stride), (1, dilation), [0, pad, 0, pad])
                .unwrap();
            let want: Vec<usize> = (0..w.out_w).filter(|&x| w.columns(x) == (0..kernel)).collect();
            assert_eq!(w.interior_columns().collect::<Vec<_>>(), want);
        }
    }

    #[test]
    fn hostile_sizes_are_errors() {
        let new =
            |kernel, stride, dilation, pads| Window2d::new(1, (4, 4), 2, kernel, stride, dilation, pads);
        assert!(matches!(new((0, 1), (1, 1), (1, 1), [0; 4]), Err(KernelError::Zero { .. })));
        assert!(matches!(new((1, 1), (0, 1), (1, 1), [0; 4]), Err(KernelError::Zero { .. })));
        assert!(new((usize::MAX, 3), (1, 1), (2, 1), [0; 4]).is_err());
        assert!(new((1, 1), (1, 1), (1, 1), [usize::MAX, 0, 1, 0]).is_err());
        assert_eq!(new((5, 5), (1, 1), (1, 1), [0; 4]).unwrap().out_h, 0);
    }
}
