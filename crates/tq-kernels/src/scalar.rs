//! The scalar library: portable Rust, written so that compilers vectorise it, and complete.

use crate::{
    BinaryDriver, ConvertDriver, DepthwiseDriver, GroupKernel, GroupPanel, GroupRows, GroupWiseDriver, Isa,
    KernelLibrary, LhsTile, Lookup, LookupDriver, Microkernel, PoolDriver, QBinary, QConvert, QDepthwise,
    QGemm, QGroupWise, QPool, RhsPanel, RowKernel, RowNames, TiledGemm,
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

impl<const MR: usize, const NR: usize, const KU: usize> GroupKernel for ScalarTile<MR, NR, KU> {
    const MR: usize = MR;
    const NR: usize = NR;
    const KU: usize = KU;

    fn name(&self) -> &'static str {
        self.name
    }

    fn tile(&self, lhs: &GroupRows, rhs: &GroupPanel, sums: &mut [f32]) {
        for (r, sums) in sums.chunks_exact_mut(NR).take(lhs.rows).enumerate() {
            let mut codes = lhs.codes[r * lhs.stride..].chunks_exact(2 * KU);
            let mut totals = [0f32; NR];
            for group in rhs.groups::<NR>() {
                let mut acc = [0i32; NR];
                for (weights, codes) in group.codes.chunks_exact(NR * KU).zip(&mut codes) {
                    let (low, high) = codes.split_at(KU);
                    for ((acc, weights), zero_point) in
                        acc.iter_mut().zip(weights.chunks_exact(KU)).zip(group.zero_points)
                    {
                        let product = |code: u8, weight: u8| {
                            i32::from(code) * (i32::from(weight) - i32::from(*zero_point))
                        };
                        for ((w, low), high) in weights.iter().zip(low).zip(high) {
                            *acc += product(*low, w & 15) + product(*high, w >> 4);
                        }
                    }
                }
                for (c, total) in totals.iter_mut().enumerate() {
                    *total += (acc[c] - lhs.zero_point * group.sums[c]) as f32 * group.scales[c];
                }
            }
            sums.copy_from_slice(&totals);
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
    lookup: "scalar-u8-lookup",
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
    group_wise: GroupWiseDriver<ScalarTile<4, 8, 4>>,
    depthwise: DepthwiseDriver<ScalarRows>,
    binary: BinaryDriver<ScalarRows>,
    pool: PoolDriver<ScalarRows>,
    convert: ConvertDriver<ScalarRows>,
    lookup: LookupDriver<ScalarRows>,
}

impl ScalarLibrary {
    /// The library.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            gemm: TiledGemm(ScalarTile::new("scalar-u8i8i32-4x16c1")),
            group_wise: GroupWiseDriver(ScalarTile::new("scalar-u8i4f32-4x8c4")),
            depthwise: DepthwiseDriver(ScalarRows),
            binary: BinaryDriver(ScalarRows),
            pool: PoolDriver(ScalarRows),
            convert: ConvertDriver(ScalarRows),
            lookup: LookupDriver(ScalarRows),
        }
    }

    pub(crate) fn gemm_family(&self) -> &dyn QGemm {
        &self.gemm
    }

    pub(crate) fn group_wise_family(&self) -> &dyn QGroupWise {
        &self.group_wise
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
    let weights = match kind {
        OperatorKind::GroupWiseLinear => vec![DType::I4, DType::U4, DType::I2, DType::U2],
        _ if weighted => codes.clone(),
        _ => Vec::new(),
    };
    OperatorSupport { kind, activations: codes, weights, per_channel_weights: weighted }
}

static CAPABILITIES: LazyLock<CapabilityTable> = LazyLock::new(|| {
    use OperatorKind as Op;
    // Concatenation and movement need no kernel: they are copies, with a table lookup where scales differ.
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
