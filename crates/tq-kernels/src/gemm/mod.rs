//! Matrix products of `u8` activations with constant `i8` weights, convolutions included.
//!
//! `acc[m][n] = Σ_k (lhs[m][k] - lhs_zero_point) * (rhs[n][k] - rhs_zero_point[n]) + bias[n]`, exact, then one
//! [`OutputStage`]. A convolution is the same product over an [`Lhs::Indirect`], which copies no image.

mod bounds;
mod check;
mod driver;
mod epilogue;
mod gather;
mod microkernel;
mod packed;
mod rows;

use crate::Result;
use crate::row::Addend;
use std::fmt::Debug;
use tq_qtypes::fixed_point::FixedPointMultiplier;

pub use bounds::accumulator_bound;
pub(crate) use bounds::{ChannelSums, is_wide};
pub use check::{check_epilogue, check_run};
pub use driver::TiledGemm;
pub(crate) use epilogue::{AccumulatorStage, DequantizeStage, Panel, RequantizeStage, Stage};
pub use gather::GatheredRows;
pub use microkernel::{
    Depths, Effort, LhsRows, LhsTile, MAX_NR, MAX_SUMS, MAX_TILE, Microkernel, RhsColumns, RhsPanel,
};
pub use packed::PackedRhs;

/// The offset that stands for a tap outside the image, in [`GatheredRows`] and [`crate::GatheredWindows`].
pub const PAD: usize = usize::MAX;

/// Weights to pack: `n` output channels of `k` weights each.
#[derive(Debug, Clone, Copy)]
pub struct RhsMatrix<'a> {
    /// Row-major `[n][k]`: one row an output channel.
    pub data: &'a [i8],
    /// Output channels.
    pub n: usize,
    /// Weights a channel.
    pub k: usize,
    /// One zero point for all channels, or one each; -128..=127, normally 0.
    pub zero_point: &'a [i32],
    /// One accumulator-scaled bias a channel.
    pub bias: Option<&'a [i32]>,
}

impl<'a> RhsMatrix<'a> {
    /// Weights with zero point 0 and no bias.
    #[must_use]
    pub const fn new(data: &'a [i8], n: usize, k: usize) -> Self {
        Self { data, n, k, zero_point: &[0], bias: None }
    }

    /// The same weights with a bias.
    #[must_use]
    pub const fn with_bias(self, bias: &'a [i32]) -> Self {
        Self { bias: Some(bias), ..self }
    }

    /// Zero point of channel `n`; the number of zero points has been checked.
    pub(crate) fn zero_point_of(&self, n: usize) -> i32 {
        if self.zero_point.len() == 1 { self.zero_point[0] } else { self.zero_point[n] }
    }
}

/// Activations: `rows` rows of K codes.
#[derive(Debug, Clone, Copy)]
pub enum Lhs<'a> {
    /// A matrix whose rows start `row_stride` codes apart.
    Dense {
        /// The codes.
        data: &'a [u8],
        /// Rows.
        rows: usize,
        /// Codes from one row to the next, at least K.
        row_stride: usize,
    },
    /// Rows that are put together from runs of codes, as those of a convolution.
    Indirect {
        /// The codes.
        data: &'a [u8],
        /// Which codes each row has.
        gather: &'a GatheredRows,
        /// Rows: all of `gather`, or the first ones of them.
        rows: usize,
        /// The code of padding: the zero point of the lhs.
        pad: u8,
    },
}

impl Lhs<'_> {
    /// Rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        match *self {
            Lhs::Dense { rows, .. } | Lhs::Indirect { rows, .. } => rows,
        }
    }
}

/// What accumulators are multiplied by on their way to codes: one for all channels, or one each.
#[derive(Debug, Clone, Copy)]
pub enum Multipliers<'a> {
    /// [`fn@tq_qtypes::requantize::requantize`].
    Float(&'a [f32]),
    /// [`FixedPointMultiplier::requantize`].
    FixedPoint(&'a [FixedPointMultiplier]),
}

impl Multipliers<'_> {
    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        match self {
            Multipliers::Float(m) => m.len(),
            Multipliers::FixedPoint(m) => m.len(),
        }
    }

    /// True where every product is smaller than what was multiplied.
    pub(crate) fn are_below_one(&self) -> bool {
        match self {
            Multipliers::Float(m) => m.iter().all(|m| m.abs() < 1.0),
            Multipliers::FixedPoint(m) => m.iter().all(|m| m.is_below_one()),
        }
    }
}

/// What becomes of exact accumulators.
#[derive(Debug, Clone, Copy)]
pub enum OutputStage<'a> {
    /// To `u8` codes, as the multipliers have it.
    Requantize {
        /// One multiplier for all channels, or one each.
        multiplier: Multipliers<'a>,
        /// Output code of real zero, 0..=255.
        zero_point: i32,
        /// Smallest and largest output code: a fused ReLU or clamp.
        clamp: (i32, i32),
    },
    /// To f32: `acc as f32 * (lhs_scale * scale) + addend`, the conversion and every operation rounded once.
    Dequantize {
        /// One scale for all channels, or one each.
        scale: &'a [f32],
        /// What scales are multiplied by: that of a lhs which is quantized at run time. 1 where `scale` is all.
        lhs_scale: f32,
        /// What is added.
        addend: Addend<'a>,
    },
    /// The accumulators themselves, as `i32`.
    Accumulators,
}

impl<'a> OutputStage<'a> {
    /// To f32 by scales alone, one for all channels or one each.
    #[must_use]
    pub const fn dequantize(scale: &'a [f32]) -> Self {
        OutputStage::Dequantize { scale, lhs_scale: 1.0, addend: Addend::None }
    }

    /// Name used in errors.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            OutputStage::Requantize { .. } => "requantize",
            OutputStage::Dequantize { .. } => "dequantize",
            OutputStage::Accumulators => "accumulators",
        }
    }
}

/// Everything after the sum of products.
#[derive(Debug, Clone, Copy)]
pub struct Epilogue<'a> {
    /// Code of real zero of the lhs, 0..=255.
    pub lhs_zero_point: i32,
    /// What is written.
    pub stage: OutputStage<'a>,
}

/// Output matrix of `rows` rows of `n`, `row_stride` elements apart, so that a grouped convolution can write a
/// range of columns of a wider matrix.
#[derive(Debug)]
pub enum GemmOut<'a> {
    /// Codes.
    U8 {
        /// The elements.
        data: &'a mut [u8],
        /// Elements from one row to the next.
        row_stride: usize,
    },
    /// Real values.
    F32 {
        /// The elements.
        data: &'a mut [f32],
        /// Elements from one row to the next.
        row_stride: usize,
    },
    /// Accumulators.
    I32 {
        /// The elements.
        data: &'a mut [i32],
        /// Elements from one row to the next.
        row_stride: usize,
    },
}

impl GemmOut<'_> {
    /// Name of the element type, used in errors.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            GemmOut::U8 { .. } => "u8",
            GemmOut::F32 { .. } => "f32",
            GemmOut::I32 { .. } => "i32",
        }
    }
}

/// Quantized matrix product: pack the weights once, run many times.
pub trait QGemm: Send + Sync + Debug {
    /// Name of the kernel, such as `x86_64-u8i8i32-6x16c2-avx2`: tile MR×NR, `c` elements of K at a time.
    fn name(&self) -> &'static str;

    /// Brings weights into this kernel's layout and decides which channels need 64-bit accumulators.
    ///
    /// # Errors
    /// Lengths that disagree; zero points outside -128..=127.
    fn pack(&self, rhs: &RhsMatrix) -> Result<PackedRhs>;

    /// [`QGemm::pack`] into `packed`, whatever it held before: for a right-hand side that is another one in every run,
    /// as that of a product of two activations. Kernels of this project use the memory that is there, and do not
    /// search for the fastest layout.
    ///
    /// # Errors
    /// As [`QGemm::pack`]; `packed` is of no use then.
    fn pack_into(&self, rhs: &RhsMatrix, packed: &mut PackedRhs) -> Result<()> {
        *packed = self.pack(rhs)?;
        Ok(())
    }

    /// How the products of packed weights run where no lhs code is above `max`: what can saturate in 16 bits is proved not
    /// to, or runs plainly. Weights of another kernel give zeros.
    fn depths(&self, packed: &PackedRhs, max: u8) -> Depths {
        let _ = (packed, max);
        Depths::default()
    }

    /// Multiplies. Allocates nothing once its thread's scratch exists ([`crate::buffer::warm_up`]).
    ///
    /// Equal results on every kernel, every input and any number of threads.
    ///
    /// # Errors
    /// [`crate::KernelError::KernelMismatch`] for weights of another kernel; lengths, strides, offsets,
    /// zero points or clamp ranges that do not fit; an output type that the stage does not make;
    /// [`crate::KernelError::WideChannel`] for accumulators of channels that need 64 bits. All are found before
    /// any output is written.
    fn run(&self, lhs: Lhs, rhs: &PackedRhs, epilogue: &Epilogue, out: GemmOut) -> Result<()>;
}
