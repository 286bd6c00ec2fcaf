//! Matrix products of `u8` activations with 4-bit weights that have a scale for every group of K.
//!
//! `out[m][n] = (Σ_g f32(acc[m][n][g]) · rhs_scale[n][g]) · lhs_scale + bias[n]`, where
//! `acc[m][n][g] = Σ_{k in group g} (lhs[m][k] - lhs_zero_point) · (rhs[n][k] - rhs_zero_point[n][g])` is an exact integer.
//! What follows it is f32: every operation rounds once, groups are added in their order, and nothing is contracted, so that the
//! result is the same on every machine.
//!
//! Groups lie along K and begin at its first element; the last may be shorter.

mod driver;
mod microkernel;
mod packed;

use crate::Result;
use std::fmt::Debug;

pub use driver::GroupWiseDriver;
pub use microkernel::{Group, GroupKernel, GroupPanel, GroupRows};
pub use packed::PackedGroupWise;

/// The longest group: its sums fit 32 bits for any codes, 255 · 15 · this being below 2³¹.
pub const MAX_GROUP_SIZE: usize = 1 << 19;

/// Weights to pack: `n` output channels of `k` weights each.
#[derive(Debug, Clone, Copy)]
pub struct GroupWiseRhs<'a> {
    /// Row-major `[n][k]`, one row an output channel: codes of four bits, -8..=7.
    pub data: &'a [i8],
    /// Output channels.
    pub n: usize,
    /// Weights a channel.
    pub k: usize,
    /// Weights that share a scale, 1 at least.
    pub group_size: usize,
    /// `[n][groups of k]`, one for every group of each channel.
    pub scale: &'a [f32],
    /// One zero point for all groups, or `[n][groups of k]`; -8..=7.
    pub zero_point: &'a [i32],
    /// One real bias a channel.
    pub bias: Option<&'a [f32]>,
}

/// Activations, and what their codes mean.
#[derive(Debug, Clone, Copy)]
pub struct GroupWiseLhs<'a> {
    /// Rows of K codes.
    pub data: &'a [u8],
    /// Rows.
    pub rows: usize,
    /// Codes from one row to the next, at least K.
    pub row_stride: usize,
    /// Real value of one step.
    pub scale: f32,
    /// Code of real zero, 0..=255.
    pub zero_point: i32,
}

/// Group-wise matrix product: pack the weights once, run many times.
pub trait QGroupWise: Send + Sync + Debug {
    /// Name of the kernel, such as `x86_64-u8i4f32-4x8c4-avx2`: tile MR×NR, `c` elements of K at a time.
    fn name(&self) -> &'static str;

    /// Brings weights into this kernel's layout, two to a byte.
    ///
    /// # Errors
    /// Lengths that disagree; codes or zero points outside -8..=7; groups of nothing, or of more than [`MAX_GROUP_SIZE`].
    fn pack(&self, rhs: &GroupWiseRhs) -> Result<PackedGroupWise>;

    /// Multiplies, to `out`: rows of `n` reals, `out_stride` apart. Allocates nothing once its thread's scratch exists
    /// ([`crate::buffer::warm_up`]).
    ///
    /// Equal results on every kernel, every input and any number of threads.
    ///
    /// # Errors
    /// [`crate::KernelError::KernelMismatch`] for weights of another kernel; lengths, strides or a zero point that do not fit.
    /// All are found before any output is written.
    fn run(
        &self,
        lhs: &GroupWiseLhs,
        rhs: &PackedGroupWise,
        out: &mut [f32],
        out_stride: usize,
    ) -> Result<()>;
}
