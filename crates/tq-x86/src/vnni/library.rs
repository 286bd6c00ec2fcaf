//! The tiles as kernels of the contract.
#![allow(unsafe_code, reason = "functions compiled for VNNI are called from code that is not")]

use super::{Avx512Vnni, AvxVnni, avx, avx512};
use crate::{Avx2, Avx2Library};
use crate::{depthwise, dequantize, group_wise};
use std::fmt::Debug;
use std::ops::Range;
use tq_kernels::buffer::AlignedBuffer;
use tq_kernels::{
    Addend, DepthwiseDriver, DepthwiseRun, GroupKernel, GroupPanel, GroupRows, GroupWiseDriver, Isa,
    KernelLibrary, LhsTile, Lookup, Microkernel, QBinary, QConvert, QDepthwise, QGemm, QGroupWise, QPool,
    Requantize, RhsPanel, RowKernel, RowMultipliers, RowNames, Tap, TiledGemm,
};
use tq_qtypes::CapabilityTable;

/// Products by dot products; the codes of a tile and the sums of odd depthwise windows are made as AVX2 makes them, reals by
/// vectors as long as the level has them. Other loops over rows are not asked of these tokens.
macro_rules! rows {
    ($token:ty, $depthwise:ident, $reals:ident, $name:literal) => {
        impl RowKernel for $token {
            fn row_names(&self) -> RowNames {
                RowNames { depthwise: $name, ..self.avx2.row_names() }
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
                self.avx2.requantize_tile(
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
                // SAFETY: `self` exists, so the processor has the features of its level.
                unsafe {
                    dequantize::$reals::dequantize_tile(
                        rows, acc, acc_stride, offset, scale, addend, out, out_stride,
                    );
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
                self.avx2.depthwise(positions, channels, taps, weights, weight_stride, acc);
            }

            fn pack_depthwise(&self, channels: usize, weights: &[i16]) -> AlignedBuffer {
                depthwise::pack(channels, weights)
            }

            fn depthwise_codes(&self, run: &DepthwiseRun, out: &mut [u8], out_stride: usize) {
                // SAFETY: `self` exists, so the processor has the features of its level.
                unsafe { depthwise::$depthwise::codes(run, out, out_stride) }
            }
        }
    };
}

rows!(AvxVnni, avxvnni, avx2, "x86_64-u8i8i32-depthwise-avxvnni");
rows!(Avx512Vnni, avx512vnni, avx512, "x86_64-u8i8i32-depthwise-avx512vnni");

impl Microkernel for AvxVnni {
    const MR: usize = avx::MR;
    const NR: usize = avx::NR;
    const KU: usize = avx::KU;

    fn name(&self) -> &'static str {
        "x86_64-u8i8i32-6x16c4-avxvnni"
    }

    fn tile(&self, lhs: &LhsTile, k: Range<usize>, rhs: RhsPanel, tile: &mut [i32]) {
        let panel = rhs.data;
        // SAFETY: `self` exists, so the processor has AVX2 and AVX-VNNI.
        unsafe {
            match lhs.rows {
                1 => avx::tile::<1, 2>(lhs, k, panel, tile),
                2 => avx::tile::<2, 2>(lhs, k, panel, tile),
                3 => avx::tile::<3, 1>(lhs, k, panel, tile),
                4 => avx::tile::<4, 1>(lhs, k, panel, tile),
                5 => avx::tile::<5, 1>(lhs, k, panel, tile),
                _ => avx::tile::<6, 1>(lhs, k, panel, tile),
            }
        }
    }
}

impl Microkernel for Avx512Vnni {
    const MR: usize = avx512::MR;
    const NR: usize = avx512::NR;
    const KU: usize = avx512::KU;

    fn name(&self) -> &'static str {
        "x86_64-u8i8i32-8x32c4-avx512vnni"
    }

    fn tile(&self, lhs: &LhsTile, k: Range<usize>, rhs: RhsPanel, tile: &mut [i32]) {
        // SAFETY: `self` exists, so the processor has AVX-512F and AVX-512 VNNI.
        unsafe {
            match (lhs.rows, rhs.columns > 16) {
                (1, true) => avx512::tile::<1, 2, 4>(lhs, k, rhs.data, tile),
                (2, true) => avx512::tile::<2, 2, 2>(lhs, k, rhs.data, tile),
                (3, true) => avx512::tile::<3, 2, 1>(lhs, k, rhs.data, tile),
                (4, true) => avx512::tile::<4, 2, 1>(lhs, k, rhs.data, tile),
                (5, true) => avx512::tile::<5, 2, 1>(lhs, k, rhs.data, tile),
                (6, true) => avx512::tile::<6, 2, 1>(lhs, k, rhs.data, tile),
                (7, true) => avx512::tile::<7, 2, 1>(lhs, k, rhs.data, tile),
                (_, true) => avx512::tile::<8, 2, 1>(lhs, k, rhs.data, tile),
                (1, false) => avx512::tile::<1, 1, 4>(lhs, k, rhs.data, tile),
                (2, false) => avx512::tile::<2, 1, 4>(lhs, k, rhs.data, tile),
                (3, false) => avx512::tile::<3, 1, 2>(lhs, k, rhs.data, tile),
                (4, false) => avx512::tile::<4, 1, 2>(lhs, k, rhs.data, tile),
                (5, false) => avx512::tile::<5, 1, 1>(lhs, k, rhs.data, tile),
                (6, false) => avx512::tile::<6, 1, 1>(lhs, k, rhs.data, tile),
                (7, false) => avx512::tile::<7, 1, 1>(lhs, k, rhs.data, tile),
                (_, false) => avx512::tile::<8, 1, 1>(lhs, k, rhs.data, tile),
            }
        }
    }
}

impl GroupKernel for AvxVnni {
    const MR: usize = group_wise::MR;
    const NR: usize = group_wise::NR;
    const KU: usize = group_wise::KU;

    fn name(&self) -> &'static str {
        "x86_64-u8i4f32-4x8c4-avxvnni"
    }

    fn tile(&self, lhs: &GroupRows, rhs: &GroupPanel, sums: &mut [f32]) {
        // SAFETY: `self` exists, so the processor has AVX2 and AVX-VNNI.
        unsafe { group_wise::avxvnni::tile(lhs, rhs, sums) }
    }
}

impl GroupKernel for Avx512Vnni {
    const MR: usize = group_wise::MR;
    const NR: usize = group_wise::NR;
    const KU: usize = group_wise::KU;

    fn name(&self) -> &'static str {
        "x86_64-u8i4f32-4x8c4-avx512vnni"
    }

    fn tile(&self, lhs: &GroupRows, rhs: &GroupPanel, sums: &mut [f32]) {
        // SAFETY: `self` exists, so the processor has AVX2, AVX-512F, AVX-512VL and AVX-512 VNNI.
        unsafe { group_wise::avx512vnni::tile(lhs, rhs, sums) }
    }
}

/// The products of a VNNI level, and the rest of AVX2.
#[derive(Debug)]
pub struct VnniLibrary<K> {
    gemm: TiledGemm<K>,
    group_wise: GroupWiseDriver<K>,
    depthwise: DepthwiseDriver<K>,
    rest: Avx2Library,
    name: &'static str,
    isa: Isa,
}

impl VnniLibrary<AvxVnni> {
    /// The library, for a processor that has AVX-VNNI.
    #[must_use]
    pub fn new(token: AvxVnni) -> Self {
        Self::of(token, token.avx2, "x86_64-avxvnni", Isa::AvxVnni)
    }
}

impl VnniLibrary<Avx512Vnni> {
    /// The library, for a processor that has AVX-512 VNNI.
    #[must_use]
    pub fn new(token: Avx512Vnni) -> Self {
        Self::of(token, token.avx2, "x86_64-avx512vnni", Isa::Avx512Vnni)
    }
}

impl<K: Copy> VnniLibrary<K> {
    fn of(token: K, avx2: Avx2, name: &'static str, isa: Isa) -> Self {
        Self {
            gemm: TiledGemm(token),
            group_wise: GroupWiseDriver(token),
            depthwise: DepthwiseDriver(token),
            rest: Avx2Library::new(avx2),
            name,
            isa,
        }
    }
}

impl<K: Microkernel + GroupKernel + Debug> KernelLibrary for VnniLibrary<K> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn isa(&self) -> Isa {
        self.isa
    }

    fn capabilities(&self) -> &CapabilityTable {
        self.rest.capabilities()
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
        self.rest.binary()
    }

    fn pool(&self) -> Option<&dyn QPool> {
        self.rest.pool()
    }

    fn convert(&self) -> Option<&dyn QConvert> {
        self.rest.convert()
    }

    fn lookup(&self) -> Option<&dyn Lookup> {
        self.rest.lookup()
    }
}
