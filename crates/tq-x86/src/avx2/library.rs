//! The AVX2 loops as kernels of the contract.
#![allow(unsafe_code, reason = "functions compiled for AVX2 are called from code that is not")]

use super::{Avx2, depthwise, elementwise, gemm, lookup, requantize};
use crate::{dequantize, group_wise};
use std::ops::Range;
use tq_kernels::buffer::AlignedBuffer;
use tq_kernels::row::{binary_row, depthwise_channels, quantize_row};
use tq_kernels::scalar::{ScalarRows, support};
use tq_kernels::{
    Addend, AffineU8, BinaryDriver, BinaryParams, ConvertDriver, Depths, DepthwiseDriver, DepthwiseRun,
    Effort, GroupKernel, GroupPanel, GroupRows, GroupWiseDriver, Isa, KernelLibrary, LhsRows, LhsTile,
    Lookup, LookupDriver, Microkernel, PoolDriver, QBinary, QConvert, QDepthwise, QGemm, QGroupWise, QPool,
    Requantize, RhsColumns, RhsPanel, RowKernel, RowMultipliers, RowNames, Tap, TiledGemm,
};
use tq_qtypes::{CapabilityTable, OperatorKind};

impl RowKernel for Avx2 {
    fn row_names(&self) -> RowNames {
        RowNames {
            depthwise: "x86_64-u8i8i32-depthwise-avx2",
            binary: "x86_64-u8-binary-avx2",
            pool: "x86_64-u8-pool-avx2",
            convert: "x86_64-f32u8-convert-avx2",
            lookup: "x86_64-u8-lookup-avx2",
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
        // SAFETY: `self` exists, so the processor has AVX2.
        unsafe {
            requantize::requantize_tile(rows, acc, acc_stride, offset, multipliers, params, out, out_stride);
        }
    }

    fn dequantize_tile(
        &self,
        rows: usize,
        acc: &[i32],
        acc_stride: usize,
        offset: &[i32],
        scale: &[f32],
        addend: Addend,
        out: &mut [f32],
        out_stride: usize,
    ) {
        // SAFETY: `self` exists, so the processor has AVX2.
        unsafe {
            dequantize::avx2::dequantize_tile(rows, acc, acc_stride, offset, scale, addend, out, out_stride);
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
        // SAFETY: `self` exists, so the processor has AVX2.
        let done = unsafe { depthwise::depthwise(positions, channels, taps, weights, weight_stride, acc) };
        depthwise_channels(done, positions, channels, taps, weights, weight_stride, acc);
    }

    fn pack_depthwise(&self, channels: usize, weights: &[i16]) -> AlignedBuffer {
        crate::depthwise::pack_magnitudes(channels, weights)
    }

    fn depthwise_codes(&self, run: &DepthwiseRun, out: &mut [u8], out_stride: usize) {
        // SAFETY: `self` exists, so the processor has AVX2.
        unsafe { crate::depthwise::avx2::codes(run, out, out_stride) }
    }

    fn max_row(&self, acc: &mut [u8], row: &[u8]) {
        // SAFETY: `self` exists, so the processor has AVX2.
        unsafe { elementwise::max_row(acc, row) }
    }

    fn sum_row(&self, acc: &mut [i32], row: &[u8]) {
        // SAFETY: `self` exists, so the processor has AVX2.
        unsafe { elementwise::sum_row(acc, row) }
    }

    fn binary(&self, params: &BinaryParams, lhs: &[u8], rhs: &[u8], out: &mut [u8]) {
        // SAFETY: `self` exists, so the processor has AVX2.
        let done = unsafe { elementwise::binary(params, lhs, rhs, out) };
        binary_row(params, &lhs[done..], &rhs[done..], &mut out[done..]);
    }

    fn quantize(&self, src: &[f32], params: AffineU8, clamp: (i32, i32), dst: &mut [u8]) {
        // SAFETY: `self` exists, so the processor has AVX2.
        let done = unsafe { elementwise::quantize(src, params, clamp, dst) };
        quantize_row(&src[done..], params, clamp, &mut dst[done..]);
    }

    fn dequantize(&self, src: &[u8], params: AffineU8, dst: &mut [f32]) {
        // SAFETY: `self` exists, so the processor has AVX2.
        let done = unsafe { elementwise::dequantize(src, params, dst) };
        ScalarRows.dequantize(&src[done..], params, &mut dst[done..]);
    }

    fn real_range(&self, src: &[f32]) -> (f32, f32) {
        // SAFETY: `self` exists, so the processor has AVX2.
        unsafe { elementwise::real_range(src) }
    }

    fn lookup(&self, table: &[u8; 256], src: &[u8], dst: &mut [u8]) {
        // SAFETY: `self` exists, so the processor has AVX2.
        unsafe { lookup::lookup(table, src, dst) }
    }
}

impl Microkernel for Avx2 {
    const MR: usize = gemm::MR;
    const NR: usize = gemm::NR;
    const KU: usize = gemm::KU;

    fn name(&self) -> &'static str {
        "x86_64-u8i8i32-3x16c4-avx2"
    }

    fn panel_bytes(k: usize) -> Option<usize> {
        gemm::panel_bytes(k)
    }

    fn pack_panel(&self, columns: RhsColumns, effort: Effort, panel: &mut [i8]) -> u8 {
        // SAFETY: `self` exists, so the processor has AVX2.
        unsafe { gemm::pack_panel(columns, effort, panel) }
    }

    fn range(&self, codes: &[u8], rows: usize, stride: usize, k: usize) -> (u8, u8) {
        // SAFETY: `self` exists, so the processor has AVX2.
        unsafe { gemm::range(codes, rows, stride, k) }
    }

    fn depths(&self, k: usize, rhs: RhsPanel, max: u8) -> Depths {
        gemm::depths(k.next_multiple_of(gemm::KU), rhs, max)
    }

    fn tile(&self, lhs: &LhsTile, k: Range<usize>, rhs: RhsPanel, sums: &mut [i32]) {
        let &LhsTile { rows, codes, stride, max } = lhs;
        self.tiles(&LhsRows { rows, codes, stride, max: &[max] }, k, rhs, sums);
    }

    fn tiles(&self, lhs: &LhsRows, k: Range<usize>, rhs: RhsPanel, sums: &mut [i32]) {
        // SAFETY: `self` exists, so the processor has AVX2.
        unsafe { gemm::tiles(lhs, k, rhs.data, rhs.columns, sums) }
    }
}

impl GroupKernel for Avx2 {
    const MR: usize = group_wise::MR;
    const NR: usize = group_wise::NR;
    const KU: usize = group_wise::KU;

    fn name(&self) -> &'static str {
        "x86_64-u8i4f32-4x8c4-avx2"
    }

    fn tile(&self, lhs: &GroupRows, rhs: &GroupPanel, sums: &mut [f32]) {
        // SAFETY: `self` exists, so the processor has AVX2.
        unsafe { group_wise::avx2::tile(lhs, rhs, sums) }
    }
}

/// The kernels of AVX2.
#[derive(Debug)]
pub struct Avx2Library {
    gemm: TiledGemm<Avx2>,
    group_wise: GroupWiseDriver<Avx2>,
    depthwise: DepthwiseDriver<Avx2>,
    binary: BinaryDriver<Avx2>,
    pool: PoolDriver<Avx2>,
    convert: ConvertDriver<Avx2>,
    lookup: LookupDriver<Avx2>,
    capabilities: CapabilityTable,
}

impl Avx2Library {
    /// The library, for a processor that has AVX2.
    #[must_use]
    pub fn new(token: Avx2) -> Self {
        use OperatorKind as Op;
        let kinds = [
            Op::Linear,
            Op::GroupWiseLinear,
            Op::Conv,
            Op::DepthwiseConv,
            Op::ConvTranspose,
            Op::MatMul,
            Op::Add,
            Op::Sub,
            Op::Mul,
            Op::MaxPool,
            Op::AveragePool,
            Op::Lookup,
        ];
        Self {
            gemm: TiledGemm(token),
            group_wise: GroupWiseDriver(token),
            depthwise: DepthwiseDriver(token),
            binary: BinaryDriver(token),
            pool: PoolDriver(token),
            convert: ConvertDriver(token),
            lookup: LookupDriver(token),
            capabilities: CapabilityTable::new(kinds.into_iter().map(support).collect()),
        }
    }
}

impl KernelLibrary for Avx2Library {
    fn name(&self) -> &'static str {
        "x86_64-avx2"
    }

    fn isa(&self) -> Isa {
        Isa::Avx2
    }

    fn capabilities(&self) -> &CapabilityTable {
        &self.capabilities
    }

    fn gemm(&self) -> Option<&dyn QGemm> {
        Some(&self.gemm)
    }

    fn group_wise(&self) -> Option<&dyn QGroupWise> {
        Some(&self.group_wise)
    }

    fn depthwise(&self) -> Option<&dyn QDepthwise> {
        Some(&self.depthwise)
    }

    fn binary(&self) -> Option<&dyn QBinary> {
        Some(&self.binary)
    }

    fn pool(&self) -> Option<&dyn QPool> {
        Some(&self.pool)
    }

    fn convert(&self) -> Option<&dyn QConvert> {
        Some(&self.convert)
    }

    fn lookup(&self) -> Option<&dyn Lookup> {
        Some(&self.lookup)
    }
}
