//! The loops over rows, as the contract asks for them, and the tiles.
#![allow(unsafe_code, reason = "functions compiled for a level are called from code that is not")]

use crate::gemm::{self, NR};
use crate::{DotProd, I8mm, Neon, depthwise, elementwise, group_wise, requantize};
use std::ops::Range;
use tq_kernels::buffer::AlignedBuffer;
use tq_kernels::row::{binary_row, depthwise_channels, quantize_row};
use tq_kernels::scalar::ScalarRows;
use tq_kernels::{
    AffineU8, BinaryParams, DepthwiseRun, Effort, GroupKernel, GroupPanel, GroupRows, LhsTile, Microkernel,
    Requantize, RhsColumns, RhsPanel, RowKernel, RowMultipliers, RowNames, Tap,
};

impl RowKernel for Neon {
    fn row_names(&self) -> RowNames {
        RowNames {
            depthwise: "aarch64-u8i8i32-depthwise-neon",
            binary: "aarch64-u8-binary-neon",
            pool: "aarch64-u8-pool-neon",
            convert: "aarch64-f32u8-convert-neon",
            // The library leaves tables to the scalar one, and so does this loop.
            lookup: ScalarRows.row_names().lookup,
        }
    }

    fn requantize_tile(
        &self,
        rows: usize,
        acc: &[i32],
        acc_stride: usize,
        offset: &[i32],
        multipliers: RowMultipliers,
        params: Requantize,
        out: &mut [u8],
        out_stride: usize,
    ) {
        // SAFETY: `self` exists, so the processor has NEON.
        unsafe {
            requantize::requantize_tile(rows, acc, acc_stride, offset, multipliers, params, out, out_stride);
        }
    }

    fn depthwise(
        &self,
        positions: usize,
        channels: usize,
        taps: &[Tap],
        weights: &[i16],
        weight_stride: usize,
        acc: &mut [i32],
    ) {
        // SAFETY: `self` exists, so the processor has NEON.
        let done = unsafe { depthwise::sums(positions, channels, taps, weights, weight_stride, acc) };
        depthwise_channels(done, positions, channels, taps, weights, weight_stride, acc);
    }

    fn pack_depthwise(&self, channels: usize, weights: &[i16]) -> AlignedBuffer {
        depthwise::pack_neon(channels, weights)
    }

    fn depthwise_codes(&self, run: &DepthwiseRun, out: &mut [u8], out_stride: usize) {
        // SAFETY: `self` exists, so the processor has NEON.
        unsafe { depthwise::neon(run, out, out_stride) }
    }

    fn binary(&self, params: &BinaryParams, lhs: &[u8], rhs: &[u8], out: &mut [u8]) {
        // SAFETY: `self` exists, so the processor has NEON.
        let done = unsafe { elementwise::binary(params, lhs, rhs, out) };
        binary_row(params, &lhs[done..], &rhs[done..], &mut out[done..]);
    }

    fn quantize(&self, src: &[f32], params: AffineU8, clamp: (i32, i32), dst: &mut [u8]) {
        // SAFETY: `self` exists, so the processor has NEON.
        let done = unsafe { elementwise::quantize(src, params, clamp, dst) };
        quantize_row(&src[done..], params, clamp, &mut dst[done..]);
    }

    fn dequantize(&self, src: &[u8], params: AffineU8, dst: &mut [f32]) {
        // SAFETY: `self` exists, so the processor has NEON.
        let done = unsafe { elementwise::dequantize(src, params, dst) };
        ScalarRows.dequantize(&src[done..], params, &mut dst[done..]);
    }
}

/// Depthwise windows by dot products; the epilogue of a tile and the sums of odd depthwise windows are those of NEON. Other loops
/// over rows are not asked of these tokens.
macro_rules! rows {
    ($token:ty, $below:ident, $name:literal) => {
        impl RowKernel for $token {
            fn row_names(&self) -> RowNames {
                RowNames { depthwise: $name, ..self.$below.row_names() }
            }

            fn requantize_tile(
                &self,
                rows: usize,
                acc: &[i32],
                acc_stride: usize,
                offset: &[i32],
                multipliers: RowMultipliers,
                params: Requantize,
                out: &mut [u8],
                out_stride: usize,
            ) {
                self.$below.requantize_tile(
                    rows,
                    acc,
                    acc_stride,
                    offset,
                    multipliers,
                    params,
                    out,
                    out_stride,
                );
            }

            fn depthwise(
                &self,
                positions: usize,
                channels: usize,
                taps: &[Tap],
                weights: &[i16],
                weight_stride: usize,
                acc: &mut [i32],
            ) {
                self.$below.depthwise(positions, channels, taps, weights, weight_stride, acc);
            }

            fn pack_depthwise(&self, channels: usize, weights: &[i16]) -> AlignedBuffer {
                depthwise::pack_dotprod(channels, weights)
            }

            fn depthwise_codes(&self, run: &DepthwiseRun, out: &mut [u8], out_stride: usize) {
                // SAFETY: `self` exists, so the processor has NEON and dot products.
                unsafe { depthwise::dotprod(run, out, out_stride) }
            }
        }
    };
}

rows!(DotProd, neon, "aarch64-u8i8i32-depthwise-dotprod");
rows!(I8mm, dotprod, "aarch64-u8i8i32-depthwise-dotprod");

impl Microkernel for Neon {
    const MR: usize = gemm::NEON.mr;
    const NR: usize = NR;
    const KU: usize = gemm::NEON.ku;

    fn name(&self) -> &'static str {
        "aarch64-u8i8i32-4x16c16-neon"
    }

    fn panel_bytes(k: usize) -> Option<usize> {
        gemm::sums_bytes(k)
    }

    fn pack_panel(&self, columns: RhsColumns, _: Effort, panel: &mut [i8]) -> u8 {
        gemm::pack_sums(columns.data, columns.k, gemm::NEON.ku, panel);
        u8::MAX
    }

    fn tile(&self, lhs: &LhsTile, k: Range<usize>, rhs: RhsPanel, tile: &mut [i32]) {
        // SAFETY: `self` exists, so the processor has NEON.
        unsafe { gemm::neon(lhs, k, rhs, tile) }
    }
}

impl Microkernel for DotProd {
    const MR: usize = gemm::DOTPROD.mr;
    const NR: usize = NR;
    const KU: usize = gemm::DOTPROD.ku;

    fn name(&self) -> &'static str {
        "aarch64-u8i8i32-5x16c4-dotprod"
    }

    fn panel_bytes(k: usize) -> Option<usize> {
        gemm::sums_bytes(k)
    }

    fn pack_panel(&self, columns: RhsColumns, _: Effort, panel: &mut [i8]) -> u8 {
        gemm::pack_sums(columns.data, columns.k, gemm::DOTPROD.ku, panel);
        u8::MAX
    }

    fn tile(&self, lhs: &LhsTile, k: Range<usize>, rhs: RhsPanel, tile: &mut [i32]) {
        // SAFETY: `self` exists, so the processor has NEON and dot products.
        unsafe { gemm::dotprod(lhs, k, rhs, tile) }
    }
}

impl Microkernel for I8mm {
    const MR: usize = gemm::I8MM.mr;
    const NR: usize = NR;
    const KU: usize = gemm::I8MM.ku;

    fn name(&self) -> &'static str {
        "aarch64-u8i8i32-4x16c8-i8mm"
    }

    fn tile(&self, lhs: &LhsTile, k: Range<usize>, rhs: RhsPanel, tile: &mut [i32]) {
        // SAFETY: `self` exists, so the processor has NEON and matrix products of bytes.
        unsafe { gemm::i8mm(lhs, k, rhs, tile) }
    }
}

impl GroupKernel for Neon {
    const MR: usize = group_wise::MR;
    const NR: usize = group_wise::NR;
    const KU: usize = group_wise::NEON_KU;

    fn name(&self) -> &'static str {
        "aarch64-u8i4f32-4x8c4-neon"
    }

    fn tile(&self, lhs: &GroupRows, rhs: &GroupPanel, sums: &mut [f32]) {
        // SAFETY: `self` exists, so the processor has NEON.
        unsafe { group_wise::neon(lhs, rhs, sums) }
    }
}

impl GroupKernel for DotProd {
    const MR: usize = group_wise::MR;
    const NR: usize = group_wise::NR;
    const KU: usize = group_wise::DOTPROD_KU;

    fn name(&self) -> &'static str {
        "aarch64-u8i4f32-4x8c4-dotprod"
    }

    fn tile(&self, lhs: &GroupRows, rhs: &GroupPanel, sums: &mut [f32]) {
        // SAFETY: `self` exists, so the processor has NEON and dot products.
        unsafe { group_wise::dotprod(lhs, rhs, sums) }
    }
}

impl GroupKernel for I8mm {
    const MR: usize = group_wise::MR;
    const NR: usize = group_wise::NR;
    const KU: usize = group_wise::I8MM_KU;

    fn name(&self) -> &'static str {
        "aarch64-u8i4f32-4x8c8-i8mm"
    }

    fn tile(&self, lhs: &GroupRows, rhs: &GroupPanel, sums: &mut [f32]) {
        // SAFETY: `self` exists, so the processor has NEON and matrix products of bytes.
        unsafe { group_wise::i8mm(lhs, rhs, sums) }
    }
}
