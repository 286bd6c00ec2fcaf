//! Elementwise sum, difference and product of two quantized tensors.

use crate::Result;
use crate::error::{check_clamp, check_len, check_scale, check_zero_point, product};
use crate::parallel::{for_each_run, task_count};
use crate::row::{AffineU8, RowKernel};
use std::fmt::Debug;

/// Codes below which a task is not worth a thread.
const GRAIN: usize = 16 * 1024;

/// Codes of the stack buffer in which short operands are repeated.
const PATTERN: usize = 256;

/// The operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `lhs + rhs`
    Add,
    /// `lhs - rhs`
    Sub,
    /// `rhs - lhs`: for a difference whose first operand is the one to broadcast.
    ReverseSub,
    /// `lhs * rhs`
    Mul,
}

/// How the second operand is repeated over the first (channels-last).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Broadcast {
    /// Both have the same shape.
    Same,
    /// The second operand is one code.
    Scalar,
    /// The second operand has one code a channel.
    PerChannel {
        /// Length of the innermost axis.
        channels: usize,
    },
    /// The second operand has one code a channel for each image: `[images][channels]` against
    /// `[images][positions][channels]`, as in squeeze-and-excite.
    PerImage {
        /// Number of images.
        images: usize,
        /// Positions of an image.
        positions: usize,
        /// Length of the innermost axis.
        channels: usize,
    },
}

/// Parameters of a binary operator.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BinaryParams {
    /// The operator.
    pub op: BinaryOp,
    /// Scale and zero point of the first operand.
    pub lhs: AffineU8,
    /// Scale and zero point of the second operand.
    pub rhs: AffineU8,
    /// Scale and zero point of the result.
    pub out: AffineU8,
    /// Smallest and largest output code: a fused ReLU or clamp.
    pub clamp: (i32, i32),
}

/// Binary operators on `u8` codes.
pub trait QBinary: Send + Sync + Debug {
    /// Name of the kernel.
    fn name(&self) -> &'static str;

    /// `out = round_clamped(op(sa * (a - za), sb * (b - zb)) / sy, zy, clamp)`, all in f32 without fusing.
    ///
    /// # Errors
    /// Lengths that do not follow `broadcast`; bad scales, zero points or clamp range.
    fn run(
        &self,
        params: &BinaryParams,
        lhs: &[u8],
        rhs: &[u8],
        broadcast: Broadcast,
        out: &mut [u8],
    ) -> Result<()>;
}

/// [`QBinary`] over the inner loops of `R`.
#[derive(Debug, Clone, Copy)]
pub struct BinaryDriver<R>(pub R);

fn check(params: &BinaryParams) -> Result<()> {
    for (what, side) in
        [("binary lhs", params.lhs), ("binary rhs", params.rhs), ("binary output", params.out)]
    {
        check_scale(what, side.scale)?;
        check_zero_point(what, side.zero_point, 0, 255)?;
    }
    check_clamp(params.clamp)
}

impl<R: RowKernel> QBinary for BinaryDriver<R> {
    fn name(&self) -> &'static str {
        self.0.row_names().binary
    }

    fn run(
        &self,
        params: &BinaryParams,
        lhs: &[u8],
        rhs: &[u8],
        broadcast: Broadcast,
        out: &mut [u8],
    ) -> Result<()> {
        check(params)?;
        check_len("binary output", lhs.len(), out.len())?;
        match broadcast {
            Broadcast::Same => {
                check_len("binary rhs", lhs.len(), rhs.len())?;
                for_each_run(out, 1, 64, task_count(lhs.len(), GRAIN), |first, out| {
                    let n = out.len();
                    self.0.binary(params, &lhs[first..][..n], &rhs[first..][..n], out);
                });
            }
            Broadcast::Scalar => {
                check_len("binary rhs", 1, rhs.len())?;
                self.repeated(params, lhs, rhs, out);
            }
            Broadcast::PerChannel { channels } => {
                check_len("binary rhs", channels, rhs.len())?;
                let rows = lhs.len().checked_div(channels).unwrap_or(0);
                check_len("binary lhs", rows * channels, lhs.len())?;
                self.repeated(params, lhs, rhs, out);
            }
            Broadcast::PerImage { images, positions, channels } => {
                check_len("binary rhs", product("binary rhs", &[images, channels])?, rhs.len())?;
                let image = product("binary lhs", &[positions, channels])?;
                check_len("binary lhs", product("binary lhs", &[images, image])?, lhs.len())?;
                if lhs.is_empty() {
                    return Ok(());
                }
                let images = lhs.chunks_exact(image).zip(rhs.chunks_exact(channels));
                for ((lhs, rhs), out) in images.zip(out.chunks_exact_mut(image)) {
                    self.repeated(params, lhs, rhs, out);
                }
            }
        }
        Ok(())
    }
}

impl<R: RowKernel> BinaryDriver<R> {
    /// `rhs` repeated over rows of `lhs`, whose length is a multiple of it.
    fn repeated(&self, params: &BinaryParams, lhs: &[u8], rhs: &[u8], out: &mut [u8]) {
        if lhs.is_empty() {
            return;
        }
        // Short operands are repeated in a buffer first, or each call would do a handful of codes.
        let mut buffer = [0u8; PATTERN];
        let pattern = match PATTERN / rhs.len() {
            0 | 1 => rhs,
            times => {
                let pattern = &mut buffer[..times * rhs.len()];
                pattern.chunks_exact_mut(rhs.len()).for_each(|chunk| chunk.copy_from_slice(rhs));
                &*pattern
            }
        };
        let width = pattern.len();
        for_each_run(out, width, 1, task_count(lhs.len(), GRAIN), |first, out| {
            for (i, out) in out.chunks_mut(width).enumerate() {
                let n = out.len();
                self.0.binary(params, &lhs[(first + i) * width..][..n], &pattern[..n], out);
            }
        });
    }
}
