//! Packed weights.

use super::{ChannelSums, RhsMatrix, is_wide};
use crate::Result;
use crate::buffer::AlignedBuffer;
use crate::error::{check_len, check_zero_point, product, reserve};

/// Weights in the layout of one kernel, with what the epilogue needs to know about them.
#[derive(Debug, Clone, Default)]
pub struct PackedRhs {
    kernel: &'static str,
    n: usize,
    k: usize,
    panels: AlignedBuffer,
    /// The largest lhs code with which all panels run the shortest way.
    shortest_up_to: u8,
    /// Per channel `Σ (w - zw)`: what one step of the lhs zero point takes away.
    column_sums: Vec<i64>,
    bias: Vec<i32>,
    /// One per channel, or empty when all are zero.
    zero_points: Vec<i32>,
    /// Channels that need 64-bit accumulators, ascending.
    wide: Vec<usize>,
}

impl PackedRhs {
    /// Checks `rhs`, computes its sums and proofs, and keeps them with `panels`: the weights in whatever layout
    /// the kernel named `kernel` reads.
    ///
    /// # Errors
    /// [`crate::KernelError::Length`], [`crate::KernelError::SizeOverflow`] or
    /// [`crate::KernelError::ZeroPoint`].
    pub fn new(kernel: &'static str, rhs: &RhsMatrix, panels: AlignedBuffer) -> Result<Self> {
        let mut packed = Self { panels, shortest_up_to: u8::MAX, ..Self::default() };
        packed.describe(kernel, rhs)?;
        Ok(packed)
    }

    /// Makes this the weights `rhs` of the kernel named `kernel`, in the memory it has where that is enough. `pack` writes
    /// `bytes` zeros for their panels, and gives the largest lhs code with which all of them run the shortest way.
    pub(super) fn renew(
        &mut self,
        kernel: &'static str,
        rhs: &RhsMatrix,
        bytes: usize,
        pack: impl FnOnce(&mut [i8]) -> u8,
    ) -> Result<()> {
        self.describe(kernel, rhs)?;
        self.panels.reset(bytes);
        self.shortest_up_to = pack(self.panels.as_mut_slice());
        Ok(())
    }

    /// Everything but the panels.
    fn describe(&mut self, kernel: &'static str, rhs: &RhsMatrix) -> Result<()> {
        check_rhs(rhs)?;
        let (n, k) = (rhs.n, rhs.k);
        self.bias.clear();
        self.column_sums.clear();
        self.zero_points.clear();
        self.wide.clear();
        reserve("channels", &mut self.bias, n)?;
        reserve("channels", &mut self.column_sums, n)?;
        (self.kernel, self.n, self.k) = (kernel, n, k);
        match rhs.bias {
            Some(bias) => self.bias.extend_from_slice(bias),
            None => self.bias.resize(n, 0),
        }
        for (c, &bias) in self.bias.iter().enumerate() {
            let zero_point = rhs.zero_point_of(c);
            let sums = ChannelSums::of(rhs.data[c * k..][..k].iter().map(|&w| i64::from(w)));
            self.column_sums.push(sums.total() - k as i64 * i64::from(zero_point));
            if is_wide(sums, k, zero_point, bias) {
                self.wide.push(c);
            }
        }
        if rhs.zero_point.iter().any(|&z| z != 0) {
            reserve("channels", &mut self.zero_points, n)?;
            self.zero_points.extend((0..n).map(|c| rhs.zero_point_of(c)));
        }
        Ok(())
    }

    /// Name of the kernel whose layout this is.
    #[must_use]
    pub fn kernel(&self) -> &'static str {
        self.kernel
    }

    /// Output channels.
    #[must_use]
    pub fn n(&self) -> usize {
        self.n
    }

    /// Weights a channel.
    #[must_use]
    pub fn k(&self) -> usize {
        self.k
    }

    /// The largest lhs code with which all panels run the shortest way.
    pub(super) fn shortest_up_to(&self) -> u8 {
        self.shortest_up_to
    }

    /// The weights in the kernel's layout.
    #[must_use]
    pub fn panels(&self) -> &[i8] {
        self.panels.as_slice()
    }

    /// Bytes of the packed weights.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.panels.len()
    }

    /// Per channel `Σ (w - zw)`.
    #[must_use]
    pub fn column_sums(&self) -> &[i64] {
        &self.column_sums
    }

    /// Bias per channel, zeros if none was given.
    #[must_use]
    pub fn bias(&self) -> &[i32] {
        &self.bias
    }

    /// Zero point per channel, or nothing when all are zero.
    #[must_use]
    pub fn zero_points(&self) -> &[i32] {
        &self.zero_points
    }

    /// Channels that need 64-bit accumulators, ascending. All others are proved to fit 32 bits.
    #[must_use]
    pub fn wide_channels(&self) -> &[usize] {
        &self.wide
    }
}

/// Checks lengths and zero points of weights to pack.
fn check_rhs(rhs: &RhsMatrix) -> Result<()> {
    check_len("rhs weights", product("rhs weights", &[rhs.n, rhs.k])?, rhs.data.len())?;
    if rhs.zero_point.len() != 1 {
        check_len("rhs zero points", rhs.n, rhs.zero_point.len())?;
    }
    for &zero_point in rhs.zero_point {
        check_zero_point("rhs", zero_point, -128, 127)?;
    }
    rhs.bias.map_or(Ok(()), |bias| check_len("bias", rhs.n, bias.len()))
}
