//! Depthwise convolution of channels-last images and volumes, one output channel per input channel.

mod codes;
mod driver;
mod packed;
mod windows;

pub use codes::DepthwiseRun;
pub use driver::DepthwiseDriver;
pub use packed::PackedDepthwise;
pub use windows::{Place, RunWindows, channel_blocks};

use crate::gemm::{Epilogue, GemmOut};
use crate::{Result, Window3d};
use std::fmt::Debug;

/// Weights of a depthwise convolution.
#[derive(Debug, Clone, Copy)]
pub struct DepthwiseRhs<'a> {
    /// `[channels][kernel depth * kernel height * kernel width]`, as in ONNX.
    pub data: &'a [i8],
    /// Channels, in and out.
    pub channels: usize,
    /// Depth, height and width of the kernel; 1 for an axis that the input has not.
    pub kernel: [usize; 3],
    /// One zero point for all channels, or one each; -128..=127, normally 0.
    pub zero_point: &'a [i32],
    /// One accumulator-scaled bias a channel.
    pub bias: Option<&'a [i32]>,
}

/// Depthwise convolution over one to three axes: pack once, run many times.
///
/// `acc[z][y][x][c] = Σ (input - lhs_zero_point) * (w - rhs_zero_point[c]) + bias[c]` over the taps inside the input
/// (padding is real zero), then one [`OutputStage`](crate::OutputStage).
pub trait QDepthwise: Send + Sync + Debug {
    /// Name of the kernel.
    fn name(&self) -> &'static str;

    /// Brings weights into this kernel's layout.
    ///
    /// # Errors
    /// Lengths that disagree; zero points outside -128..=127.
    fn pack(&self, rhs: &DepthwiseRhs) -> Result<PackedDepthwise>;

    /// Convolves. The output has one row of `channels` per output position. Images are volumes of depth 1:
    /// `Window3d::from` makes theirs.
    ///
    /// # Errors
    /// As [`crate::QGemm::run`], and [`KernelError::Length`](crate::KernelError::Length) when the window and the weights disagree.
    fn run(
        &self,
        window: &Window3d,
        input: &[u8],
        rhs: &PackedDepthwise,
        epilogue: &Epilogue,
        out: GemmOut,
    ) -> Result<()>;
}
