//! Weights of a depthwise convolution, packed.

use super::DepthwiseRhs;
use super::codes::MAX_TAPS;
use crate::Result;
use crate::buffer::AlignedBuffer;
use crate::error::{check_len, check_zero_point, product};
use crate::gemm::{ChannelSums, is_wide};
use crate::row::RowKernel;

/// Weights as `[taps][channels]`, less their zero points.
#[derive(Debug, Clone)]
pub struct PackedDepthwise {
    pub(super) kernel_name: &'static str,
    pub(super) kernel: [usize; 3],
    pub(super) channels: usize,
    pub(super) weights: Vec<i16>,
    pub(super) sums: Vec<i64>,
    pub(super) bias: Vec<i32>,
    pub(super) wide: Vec<usize>,
    /// The weights once more, as [`RowKernel::depthwise_codes`] takes them; empty where it takes none.
    pub(super) own: AlignedBuffer,
}

impl PackedDepthwise {
    /// Checks and packs for the loops of `row_kernel`.
    ///
    /// # Errors
    /// Lengths that disagree; zero points outside -128..=127.
    pub fn new<R: RowKernel>(row_kernel: &R, rhs: &DepthwiseRhs) -> Result<Self> {
        let (channels, taps) = (rhs.channels, product("depthwise kernel", &rhs.kernel)?);
        check_len("depthwise weights", product("depthwise weights", &[channels, taps])?, rhs.data.len())?;
        if rhs.zero_point.len() != 1 {
            check_len("rhs zero points", channels, rhs.zero_point.len())?;
        }
        for &zero_point in rhs.zero_point {
            check_zero_point("rhs", zero_point, -128, 127)?;
        }
        if let Some(bias) = rhs.bias {
            check_len("bias", channels, bias.len())?;
        }
        let bias = rhs.bias.map_or_else(|| vec![0; channels], <[i32]>::to_vec);
        let mut weights = vec![0i16; rhs.data.len()];
        let (mut all_sums, mut wide) = (Vec::with_capacity(channels), Vec::new());
        for c in 0..channels {
            let zero_point = if rhs.zero_point.len() == 1 { rhs.zero_point[0] } else { rhs.zero_point[c] };
            let row = &rhs.data[c * taps..][..taps];
            for (t, &w) in row.iter().enumerate() {
                weights[t * channels + c] = i16::from(w) - zero_point as i16;
            }
            let sums = ChannelSums::of(row.iter().map(|&w| i64::from(w) - i64::from(zero_point)));
            all_sums.push(sums.total());
            if is_wide(sums, taps, 0, bias[c]) {
                wide.push(c);
            }
        }
        // Channels with sums of 64 bits are left to the driver.
        let own = if wide.is_empty() && (1..=MAX_TAPS).contains(&taps) {
            row_kernel.pack_depthwise(channels, &weights)
        } else {
            AlignedBuffer::default()
        };
        let kernel_name = row_kernel.row_names().depthwise;
        Ok(Self { kernel_name, kernel: rhs.kernel, channels, weights, sums: all_sums, bias, wide, own })
    }

    /// Name of the kernel that packed.
    #[must_use]
    pub fn kernel_name(&self) -> &'static str {
        self.kernel_name
    }

    /// Channels, in and out.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// `[taps][channels]`, each less its zero point: -255..=255.
    #[must_use]
    pub fn weights(&self) -> &[i16] {
        &self.weights
    }

    /// Channels that need 64-bit accumulators.
    #[must_use]
    pub fn wide_channels(&self) -> &[usize] {
        &self.wide
    }
}
