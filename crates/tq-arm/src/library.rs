//! The kernels of a level, together.

use crate::{DotProd, I8mm, Neon};
use std::fmt::Debug;
use tq_kernels::scalar::support;
use tq_kernels::{
    BinaryDriver, ConvertDriver, DepthwiseDriver, GroupKernel, GroupWiseDriver, Isa, KernelLibrary,
    Microkernel, PoolDriver, QBinary, QConvert, QDepthwise, QGemm, QGroupWise, QPool, TiledGemm,
};
use tq_qtypes::{CapabilityTable, OperatorKind};

/// The products of a level, and the rest of NEON. Tables are left to the scalar library.
#[derive(Debug)]
pub struct ArmLibrary<K> {
    gemm: TiledGemm<K>,
    group_wise: GroupWiseDriver<K>,
    depthwise: DepthwiseDriver<K>,
    binary: BinaryDriver<Neon>,
    pool: PoolDriver<Neon>,
    convert: ConvertDriver<Neon>,
    capabilities: CapabilityTable,
    name: &'static str,
    isa: Isa,
}

impl ArmLibrary<Neon> {
    /// The library, for a processor that has NEON.
    #[must_use]
    pub fn new(token: Neon) -> Self {
        Self::of(token, token, "aarch64-neon", Isa::Neon)
    }
}

impl ArmLibrary<DotProd> {
    /// The library, for a processor that has dot products.
    #[must_use]
    pub fn new(token: DotProd) -> Self {
        Self::of(token, token.neon, "aarch64-dotprod", Isa::DotProd)
    }
}

impl ArmLibrary<I8mm> {
    /// The library, for a processor that has matrix products of bytes.
    #[must_use]
    pub fn new(token: I8mm) -> Self {
        Self::of(token, token.dotprod.neon, "aarch64-i8mm", Isa::I8mm)
    }
}

impl<K: Copy> ArmLibrary<K> {
    fn of(token: K, neon: Neon, name: &'static str, isa: Isa) -> Self {
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
        ];
        Self {
            gemm: TiledGemm(token),
            group_wise: GroupWiseDriver(token),
            depthwise: DepthwiseDriver(token),
            binary: BinaryDriver(neon),
            pool: PoolDriver(neon),
            convert: ConvertDriver(neon),
            capabilities: CapabilityTable::new(kinds.into_iter().map(support).collect()),
            name,
            isa,
        }
    }
}

impl<K: Microkernel + GroupKernel + Debug> KernelLibrary for ArmLibrary<K> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn isa(&self) -> Isa {
        self.isa
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
}
