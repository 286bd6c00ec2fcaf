//! Integer kernels: the contract, the safe drivers, the scalar backend and the conformance suite.
//!
//! Inside kernels activations (`lhs`) are `u8` codes, weights (`rhs`) are `i8` codes, and tensors are
//! channels-last. Three levels, each with one job:
//!
//! 1. [`KernelLibrary`]: one object per operator family. A family that a library lacks falls to the scalar
//!    library; [`Kernels`] resolves that and can say so.
//! 2. The families: [`QGemm`] (also the convolution, by [`Lhs::Indirect`]), [`QGroupWise`] (4-bit weights with a scale for
//!    every group), [`QDepthwise`], [`QBinary`], [`QPool`], [`QConvert`] and [`Lookup`]. Weights are packed once and run many times.
//! 3. [`Microkernel`], [`GroupKernel`] and [`RowKernel`]: the inner loops, monomorphised and safe to call: slices in, a tile or a
//!    row out. Packing, edges, threads, zero points and epilogues are written once above them, in the drivers
//!    [`TiledGemm`], [`GroupWiseDriver`], [`DepthwiseDriver`], [`BinaryDriver`], [`PoolDriver`], [`ConvertDriver`] and [`LookupDriver`].
//!
//! Results are exact: every kernel equals every other bit for bit on every input, at any number of threads.
//! [`conformance`] holds any library to that.
//!
//! ```
//! use tq_kernels::{Epilogue, GemmOut, Kernels, Lhs, OutputStage, RhsMatrix};
//!
//! let kernels = Kernels::scalar();
//! // Two output channels of three weights each.
//! let weights = [1i8, 2, 3, -1, -2, -3];
//! let rhs = kernels.gemm().pack(&RhsMatrix::new(&weights, 2, 3))?;
//! let mut acc = [0i32; 2];
//! let epilogue = Epilogue { lhs_zero_point: 1, stage: OutputStage::Accumulators };
//! let lhs = Lhs::Dense { data: &[1, 2, 4], rows: 1, row_stride: 3 };
//! kernels.gemm().run(lhs, &rhs, &epilogue, GemmOut::I32 { data: &mut acc, row_stride: 2 })?;
//! assert_eq!(acc, [11, -11]);
//! # Ok::<(), tq_kernels::KernelError>(())
//! ```
#![forbid(unsafe_code)]

pub mod binary;
pub mod buffer;
pub mod conformance;
pub mod convert;
pub mod depthwise;
pub mod error;
pub mod gathered;
pub mod gemm;
pub mod group_wise;
pub mod isa;
pub mod layout;
pub mod library;
pub mod lookup;
pub mod parallel;
pub mod peak;
pub mod pool;
pub mod row;
pub mod runs;
pub mod scalar;
pub mod volume;
pub mod window;

pub use binary::{BinaryDriver, BinaryOp, BinaryParams, Broadcast, QBinary};
pub use convert::{ConvertDriver, QConvert};
pub use depthwise::{DepthwiseDriver, DepthwiseRhs, DepthwiseRun, PackedDepthwise, QDepthwise};
pub use error::KernelError;
pub use gathered::{GatheredAverage, GatheredWindows};
pub use gemm::{
    Depths, Effort, Epilogue, GatheredRows, GemmOut, Lhs, LhsRows, LhsTile, Microkernel, Multipliers,
    OutputStage, PAD, PackedRhs, QGemm, RhsColumns, RhsMatrix, RhsPanel, TiledGemm, accumulator_bound,
};
pub use group_wise::{
    Group, GroupKernel, GroupPanel, GroupRows, GroupWiseDriver, GroupWiseLhs, GroupWiseRhs, PackedGroupWise,
    QGroupWise,
};
pub use isa::Isa;
pub use library::{KernelChoice, KernelLibrary, Kernels};
pub use lookup::{Lookup, LookupDriver};
pub use pool::{AverageParams, MaxParams, PoolDriver, QPool};
pub use row::{Addend, AffineU8, Requantize, RowKernel, RowMultipliers, RowNames, Tap};
pub use scalar::ScalarLibrary;
pub use volume::{Window3d, WindowAxis};
pub use window::Window2d;

/// Result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, KernelError>;
