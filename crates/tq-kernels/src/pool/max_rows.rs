//! Maxima of whole rows of windows: down first, then across.
//!
//! A window of a few channels costs a call for each tap, which takes longer than its codes do. A row of the image is long: the maxima over
//! the rows under a row of windows, then of what they give with itself, shifted from tap to tap, take few calls.

use crate::row::RowKernel;
use crate::{MaxParams, Window2d};

/// What a call for one tap costs, in codes: measured with AVX2.
const CALL: usize = 192;

/// Windows that are done row by row.
pub(super) struct RowsOfWindows<'a> {
    window: &'a Window2d,
    /// Positions of a row that windows reach, those in the padding among them.
    reach: usize,
    /// Positions of a row at which windows could begin.
    starts: usize,
}

impl<'a> RowsOfWindows<'a> {
    /// `None` where windows are better done one by one, or rows are longer than `limit` codes.
    ///
    /// `window` is valid.
    pub(super) fn new(window: &'a Window2d, limit: usize) -> Option<Self> {
        let ((height, width), (_, step)) = (window.kernel, window.stride);
        let starts = window.out_w.checked_sub(1)?.checked_mul(step)?.checked_add(1)?;
        let reach = (width - 1).checked_mul(window.dilation.1)?.checked_add(starts)?;
        let rows = Self { window, reach, starts };
        if rows.scratch()? > limit {
            return None;
        }
        // One by one, no more taps than lie in the image are visited; by rows, all across.
        let inside = |taps: usize, size: usize, dilation: usize| taps.min(size.div_ceil(dilation));
        let (down, across) =
            (inside(height, window.in_h, window.dilation.0), inside(width, window.in_w, window.dilation.1));
        let call = window.channels.checked_add(CALL)?;
        let one_by_one = down.checked_mul(across)?.checked_mul(window.out_w)?.checked_mul(call)?;
        // Codes that are read, the calls, and where windows are apart the copies at the end.
        let codes = down.checked_mul(window.in_w)?.checked_add(width.checked_mul(starts)?)?;
        let calls = down.checked_add(width)?.checked_mul(CALL)?;
        let copies = if step == 1 { 0 } else { window.out_w.checked_mul(call)? };
        let by_rows = codes.checked_mul(window.channels)?.checked_add(calls)?.checked_add(copies)?;
        (by_rows < one_by_one).then_some(rows)
    }

    /// Codes of scratch that [`RowsOfWindows::max`] needs.
    pub(super) fn scratch(&self) -> Option<usize> {
        self.reach.checked_add(self.starts)?.checked_mul(self.window.channels)
    }

    /// Maxima of the rows of windows from `first` on, of all images.
    pub(super) fn max(
        &self,
        kernel: &impl RowKernel,
        first: usize,
        params: &MaxParams,
        input: &[u8],
        scratch: &mut [u8],
        out: &mut [u8],
    ) {
        let (window, channels) = (self.window, self.window.channels);
        let (down, across) = scratch.split_at_mut(self.reach * channels);
        let across = &mut across[..self.starts * channels];
        let (least, most) = (params.clamp.0 as u8, params.clamp.1 as u8);
        // Zeros stand for the padding: no maximum is below them, and every window has a code of the image.
        down.fill(0);
        let left = window.pads[1].min(self.reach);
        let width = window.in_w.min(self.reach - left) * channels;
        for (i, out) in out.chunks_exact_mut(window.out_w * channels).enumerate() {
            let (image, y) = ((first + i) / window.out_h, (first + i) % window.out_h);
            let inside = &mut down[left * channels..][..width];
            inside.fill(0);
            for ky in window.rows(y) {
                let row = (image * window.in_h + window.in_row(y, ky)) * window.in_w;
                kernel.max_row(inside, &input[row * channels..][..width]);
            }
            let maxima = if window.stride.1 == 1 { &mut *out } else { &mut *across };
            maxima.fill(least);
            for kx in 0..window.kernel.1 {
                let shifted = &down[kx * window.dilation.1 * channels..][..maxima.len()];
                kernel.max_row(maxima, shifted);
            }
            if window.stride.1 > 1 {
                let starts = across.chunks_exact(channels).step_by(window.stride.1);
                out.chunks_exact_mut(channels).zip(starts).for_each(|(out, max)| out.copy_from_slice(max));
            }
            if most < u8::MAX {
                out.iter_mut().for_each(|code| *code = (*code).min(most));
            }
        }
    }
}
