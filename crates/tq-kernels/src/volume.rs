//! Geometry of sliding windows over channels-last volumes.

use crate::error::{check_len, product};
use crate::window::{floor_positions, reach, valid_taps};
use crate::{KernelError, Result, Window2d};
use std::ops::Range;

/// Windows over a batch of volumes `[batch][depth][height][width][channels]`: those of `plane` over the images that lie
/// behind each other along `depth`. Images are volumes of depth 1, see [`From`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window3d {
    /// Batch, channels, height and width.
    pub plane: Window2d,
    /// The outermost axis of the window.
    pub depth: WindowAxis,
}

/// A window along one axis.
///
/// `output` is explicit, as in [`Window2d`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WindowAxis {
    /// Elements of the input.
    pub input: usize,
    /// Taps.
    pub kernel: usize,
    /// Steps between windows.
    pub stride: usize,
    /// Steps between taps of a window.
    pub dilation: usize,
    /// Padding before and after the input.
    pub pads: (usize, usize),
    /// Windows.
    pub output: usize,
}

impl WindowAxis {
    /// Of one element, which has one window.
    pub const UNIT: Self = Self { input: 1, kernel: 1, stride: 1, dilation: 1, pads: (0, 0), output: 1 };

    /// Windows that lie inside the padded axis, as [`Window2d::new`] counts them.
    ///
    /// # Errors
    /// [`KernelError::Zero`] and [`KernelError::SizeOverflow`].
    pub fn new(
        input: usize,
        kernel: usize,
        stride: usize,
        dilation: usize,
        pads: (usize, usize),
    ) -> Result<Self> {
        let output = floor_positions(input, pads, kernel, stride, dilation)?;
        let axis = Self { input, kernel, stride, dilation, pads, output };
        axis.validate()?;
        Ok(axis)
    }

    fn validate(&self) -> Result<()> {
        let sizes = [
            ("window kernel", self.kernel),
            ("window stride", self.stride),
            ("window dilation", self.dilation),
        ];
        if let Some(&(what, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return Err(KernelError::Zero { what });
        }
        let rest = [self.input, self.pads.0, self.pads.1];
        reach(self.output, self.stride, self.kernel, self.dilation, rest)
            .ok_or(KernelError::SizeOverflow { what: "window position" })?;
        Ok(())
    }

    /// Taps of window `at` that lie in the input.
    pub(crate) fn taps(&self, at: usize) -> Range<usize> {
        valid_taps(at * self.stride, self.dilation, self.pads.0, self.kernel, self.input)
    }

    /// Element that tap `k` of window `at` reads; only for taps of [`Self::taps`].
    pub(crate) fn element(&self, at: usize, k: usize) -> usize {
        at * self.stride + k * self.dilation - self.pads.0
    }
}

impl From<Window2d> for Window3d {
    fn from(plane: Window2d) -> Self {
        Self { plane, depth: WindowAxis::UNIT }
    }
}

/// A position of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    /// The volume, as the number of images before its first one.
    pub(crate) images: usize,
    pub(crate) z: usize,
    pub(crate) y: usize,
    pub(crate) x: usize,
}

impl Window3d {
    /// Checks that sizes are not zero where they must not be and that all positions fit `usize`.
    ///
    /// # Errors
    /// [`KernelError::Zero`] and [`KernelError::SizeOverflow`].
    pub fn validate(&self) -> Result<()> {
        self.plane.validate()?;
        self.depth.validate()?;
        product("window kernel", &self.kernel())?;
        self.input_len()?;
        product("window output", &[self.out_rows()?, self.plane.channels])?;
        Ok(())
    }

    /// Depth, height and width of the window.
    #[must_use]
    pub fn kernel(&self) -> [usize; 3] {
        [self.depth.kernel, self.plane.kernel.0, self.plane.kernel.1]
    }

    /// Codes of the input.
    ///
    /// # Errors
    /// [`KernelError::SizeOverflow`].
    pub fn input_len(&self) -> Result<usize> {
        let Window2d { batch, in_h, in_w, channels, .. } = self.plane;
        product("window input", &[batch, self.depth.input, in_h, in_w, channels])
    }

    /// Output positions of all volumes: rows of the output matrix, `channels` wide.
    ///
    /// # Errors
    /// [`KernelError::SizeOverflow`].
    pub fn out_rows(&self) -> Result<usize> {
        let Window2d { batch, out_h, out_w, .. } = self.plane;
        product("window output", &[batch, self.depth.output, out_h, out_w])
    }

    /// Taps of a window.
    #[must_use]
    pub fn taps(&self) -> usize {
        self.plane.taps().saturating_mul(self.depth.kernel)
    }

    pub(crate) fn check_input(&self, len: usize) -> Result<()> {
        check_len("window input", self.input_len()?, len)
    }

    /// Where row `row` of the output matrix lies.
    pub(crate) fn position(&self, row: usize) -> Position {
        let (w, depth) = (&self.plane, &self.depth);
        let (rows, x) = (row / w.out_w, row % w.out_w);
        let (planes, y) = (rows / w.out_h, rows % w.out_h);
        Position { images: planes / depth.output * depth.input, z: planes % depth.output, y, x }
    }

    /// Moves `at` on by `columns`, within its row or to the beginning of the next. There are many runs of a single position: this
    /// divides nothing.
    pub(crate) fn advance(&self, at: &mut Position, columns: usize) {
        at.x += columns;
        if at.x < self.plane.out_w {
            return;
        }
        (at.x, at.y) = (0, at.y + 1);
        if at.y < self.plane.out_h {
            return;
        }
        (at.y, at.z) = (0, at.z + 1);
        if at.z == self.depth.output {
            (at.z, at.images) = (0, at.images + self.depth.input);
        }
    }

    /// Calls `each` for the taps of the window at `at` that lie in the input: with which tap it is, and the element that it
    /// reads, counted without channels.
    #[inline]
    pub(crate) fn each_tap(&self, at: Position, mut each: impl FnMut(usize, usize)) {
        let (w, depth) = (&self.plane, &self.depth);
        let (rows, columns) = (w.rows(at.y), w.columns(at.x));
        for kz in depth.taps(at.z) {
            let image = (at.images + depth.element(at.z, kz)) * w.in_h;
            for ky in rows.clone() {
                let row = (image + w.in_row(at.y, ky)) * w.in_w;
                let first = (kz * w.kernel.0 + ky) * w.kernel.1;
                for kx in columns.clone() {
                    each(first + kx, row + w.in_column(at.x, kx));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plane() -> Window2d {
        Window2d::new(2, (4, 5), 3, (3, 2), (1, 2), (1, 1), [1, 0, 1, 1]).unwrap()
    }

    #[test]
    fn images_are_volumes_of_depth_one() {
        let (w, v) = (plane(), Window3d::from(plane()));
        v.validate().unwrap();
        assert_eq!(v.kernel(), [1, 3, 2]);
        assert_eq!((v.taps(), v.input_len(), v.out_rows()), (w.taps(), w.input_len(), w.out_rows()));
    }

    #[test]
    fn taps_are_those_inside() {
        let depth = WindowAxis::new(6, 3, 2, 2, (1, 2)).unwrap();
        let (w, v) = (plane(), Window3d { plane: plane(), depth });
        v.validate().unwrap();
        let mut next = v.position(0);
        for row in 0..v.out_rows().unwrap() {
            let at = v.position(row);
            assert_eq!(at, next);
            v.advance(&mut next, 1);
            let back = ((at.images / 6 * depth.output + at.z) * w.out_h + at.y) * w.out_w + at.x;
            assert_eq!(back, row);
            let mut want = Vec::new();
            for (kz, ky, kx) in (0..3).flat_map(|z| (0..3).flat_map(move |y| (0..2).map(move |x| (z, y, x))))
            {
                let place = (at.z * 2 + kz * 2).checked_sub(1).filter(|z| *z < 6);
                let place = place.zip((at.y + ky).checked_sub(1).filter(|y| *y < 4));
                let place = place.zip(Some(at.x * 2 + kx).filter(|x| *x < 5));
                let tap = (kz * 3 + ky) * 2 + kx;
                want.extend(place.map(|((z, y), x)| (tap, ((at.images + z) * 4 + y) * 5 + x)));
            }
            let mut taps = Vec::new();
            v.each_tap(at, |tap, element| taps.push((tap, element)));
            assert_eq!(taps, want);
        }
    }

    #[test]
    fn hostile_depths_are_errors() {
        assert!(matches!(WindowAxis::new(4, 0, 1, 1, (0, 0)), Err(KernelError::Zero { .. })));
        assert!(matches!(WindowAxis::new(4, 1, 0, 1, (0, 0)), Err(KernelError::Zero { .. })));
        assert!(WindowAxis::new(4, 2, 1, usize::MAX, (0, 0)).is_err());
        assert_eq!(WindowAxis::new(4, 5, 1, 1, (0, 0)).unwrap().output, 0);
        for depth in [
            WindowAxis { input: usize::MAX, ..WindowAxis::UNIT },
            WindowAxis { output: usize::MAX / 2, ..WindowAxis::UNIT },
            WindowAxis { kernel: usize::MAX / 2, ..WindowAxis::UNIT },
        ] {
            assert!(Window3d { plane: plane(), depth }.validate().is_err());
        }
    }
}
