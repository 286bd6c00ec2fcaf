//! The scalar library: portable Rust, written so that compilers vectorise it, and complete.

use crate::{
    BinaryDriver, ConvertDriver, DepthwiseDriver, Isa, KernelLibrary, LhsTile, Lookup, Microkernel,
    PoolDriver, QBinary, QConvert, QDepthwise, QGemm, QPool, RhsPanel, RowKernel, RowNames, TableLookup,
    TiledGemm,
};
use std::ops::Range;
use std::sync::LazyLock;
use tq_qtypes::{CapabilityTable, DType, OperatorKind, OperatorSupport};

/// A microkernel of any shape in portable Rust. Odd shapes exercise the drivers on any machine.
#[derive(Debug, Clone, Copy)]
pub struct ScalarTile<const MR: usize, const NR: usize, const KU: usize> {
    name: &'static str,
}

impl<const MR: usize, const NR: usize, const KU: usize> ScalarTile<MR, NR, KU> {
    /// A microkernel with this name.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self { name }
    }
}

impl<const MR: usize, const NR: usize, const KU: usize> RowKernel for ScalarTile<MR, NR, KU> {
    fn row_names(&self) -> RowNames {
        ROW_NAMES
    }
}

impl<const MR: usize, const NR: usize, const KU: usize> Microkernel for ScalarTile<MR, NR, KU> {
    const MR: usize = MR;
    const NR: usize = NR;
    const KU: usize = KU;

    fn name(&self) -> &'static str {
        self.name
    }

    fn tile(&self, lhs: &LhsTile, k: Range<usize>, rhs: RhsPanel, tile: &mut [i32]) {
        let panel = &rhs.data[k.start * NR..];
        for r in 0..lhs.rows {
            let codes = &lhs.codes[r * lhs.stride..][k.clone()];
            let mut acc = [0i32; NR];
            for (a, panel) in codes.chunks_exact(KU).zip(panel.chunks_exact(NR * KU)) {
                for (acc, w) in acc.iter_mut().zip(panel.chunks_exact(KU)) {
                    // 16-bit factors: what compilers turn into widening multiply-adds.
                    let products =
                        a.iter().zip(w).map(|(&a, &w)| i32::from(i16::from(a)) * i32::from(i16::from(w)));
                    *acc += products.sum::<i32>();
                }
            }
            tile[r * NR..][..NR].copy_from_slice(&acc);
        }
    }
}

/// The scalar inner loops.
#[derive(Debug, Clone, Copy)]
pub struct ScalarRows;

const ROW_NAMES: RowNames = RowNames {
    depthwise: "scalar-u8i8i32-depthwise",
    binary: "scalar-u8-binary",
    pool: "scalar-u8-pool",
    convert: "scalar-f32u8-convert",
};

impl RowKernel for ScalarRows {
    fn row_names(&self) -> RowNames {
        ROW_NAMES
    }
}

/// The library that runs everywhere and stands in for what others lack.
#[derive(Debug, Clone, Copy)]
pub struct ScalarLibrary {
    gemm: TiledGemm<ScalarTile<4, 16, 1>>,
    depthwise: DepthwiseDriver<ScalarRows>,
    binary: BinaryDriver<ScalarRows>,
    pool: PoolDriver<ScalarRows>,
    convert: ConvertDriver<ScalarRows>,
    lookup: TableLookup,
}

impl ScalarLibrary {
    /// The library.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            gemm: TiledGemm(ScalarTile::new("scalar-u8i8i32-4x16c1")),
            depthwise: DepthwiseDriver(ScalarRows),
            binary: BinaryDriver(ScalarRows),
            pool: PoolDriver(ScalarRows),
            convert: ConvertDriver(ScalarRows),
            lookup: TableLookup { name: "scalar-u8-lookup" },
        }
    }

    pub(crate) fn gemm_family(&self) -> &dyn QGemm {
        &self.gemm
    }

    pub(crate) fn depthwise_family(&self) -> &dyn QDepthwise {
        &self.depthwise
    }

    pub(crate) fn binary_family(&self) -> &dyn QBinary {
        &self.binary
    }

    pub(crate) fn pool_family(&self) -> &dyn QPool {
        &self.pool
    }

    pub(crate) fn convert_family(&self) -> &dyn QConvert {
        &self.convert
    }

    pub(crate) fn lookup_family(&self) -> &dyn Lookup {
        &self.lookup
    }
}

impl Default for ScalarLibrary {
    fn default() -> Self {
        Self::new()
    }
}

/// The row of a capability table for an operator on `u8` or `i8` activations, as the drivers of this crate run it
/// (the runtime moves `i8` activations and `u8` weights by 128).
#[must_use]
pub fn support(kind: OperatorKind) -> OperatorSupport {
    let codes = vec![DType::U8, DType::I8];
    let weighted = kind.has_weights();
    OperatorSupport {
        kind,
        activations: codes.clone(),
        weights: if weighted { codes } else { Vec::new() },
        per_channel_weights: weighted,
    }
}

static CAPABILITIES: LazyLock<CapabilityTable> = LazyLock::new(|| {
    use OperatorKind as Op;
    // Concatenation and movement need no kernel: they are copies, with a table lookup where scales differ.
    let kinds = [
        Op::Linear,
        Op::Conv,
        Op::DepthwiseConv,
        Op::ConvTranspose,
        Op::MatMul,
        Op::Add,
        Op::Sub,
        Op::Mul,
        Op::Concat,
        Op::MaxPool,
        Op::AveragePool,
        Op::Lookup,
        Op::Movement,
    ];
    CapabilityTable::new(kinds.into_iter().map(support).collect())
});

impl KernelLibrary for ScalarLibrary {
    fn name(&self) -> &'static str {
        "scalar"
    }

    fn isa(&self) -> Isa {
        Isa::Scalar
    }

    fn capabilities(&self) -> &CapabilityTable {
        &CAPABILITIES
    }

    fn gemm(&self) -> Option<&dyn QGemm> {
        Some(&self.gemm)
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
