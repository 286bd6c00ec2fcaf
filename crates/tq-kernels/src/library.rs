//! Level 1: libraries of kernels, and choosing between one and the scalar one.

use crate::{Isa, Lookup, QBinary, QConvert, QDepthwise, QGemm, QGroupWise, QPool, ScalarLibrary};
use std::fmt;
use std::sync::Arc;
use tq_qtypes::{CapabilityTable, OperatorKind};

/// One object per operator family. A family that is `None` is run by the scalar library.
///
/// A user's own backend implements this; [`crate::conformance`] holds it to the exact results.
pub trait KernelLibrary: Send + Sync + fmt::Debug {
    /// Name shown in explain, logs and errors.
    fn name(&self) -> &'static str;

    /// Instruction-set level that the kernels need.
    fn isa(&self) -> Isa;

    /// What this library itself runs; operators that would fall to the scalar library have no row.
    fn capabilities(&self) -> &CapabilityTable;

    /// Matrix products and convolutions.
    fn gemm(&self) -> Option<&dyn QGemm> {
        None
    }

    /// Matrix products with 4-bit weights in groups.
    fn group_wise(&self) -> Option<&dyn QGroupWise> {
        None
    }

    /// Depthwise convolutions.
    fn depthwise(&self) -> Option<&dyn QDepthwise> {
        None
    }

    /// Elementwise binary operators.
    fn binary(&self) -> Option<&dyn QBinary> {
        None
    }

    /// Pooling.
    fn pool(&self) -> Option<&dyn QPool> {
        None
    }

    /// Quantize and dequantize.
    fn convert(&self) -> Option<&dyn QConvert> {
        None
    }

    /// Lookup tables.
    fn lookup(&self) -> Option<&dyn Lookup> {
        None
    }
}

/// Which kernel runs an operator, for explain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelChoice {
    /// Name of the kernel.
    pub kernel: &'static str,
    /// Name of the library that holds it.
    pub library: &'static str,
    /// True when the chosen library lacks the family and the scalar one stands in.
    pub fallback: bool,
}

#[derive(Clone)]
enum Source {
    Static(&'static dyn KernelLibrary),
    Shared(Arc<dyn KernelLibrary>),
}

/// A library completed by the scalar one: every family is there.
#[derive(Clone)]
pub struct Kernels {
    source: Source,
}

static SCALAR: ScalarLibrary = ScalarLibrary::new();

macro_rules! family {
    ($(#[$doc:meta])* $name:ident -> $family:ty, $fallback:ident) => {
        $(#[$doc])*
        #[must_use]
        pub fn $name(&self) -> &$family {
            self.library().$name().unwrap_or_else(|| SCALAR.$fallback())
        }
    };
}

impl Kernels {
    /// The scalar library alone.
    #[must_use]
    pub fn scalar() -> Self {
        Self { source: Source::Static(&SCALAR) }
    }

    /// A library compiled into the program, or the scalar one for `None`.
    #[must_use]
    pub fn new(library: Option<&'static dyn KernelLibrary>) -> Self {
        library.map_or_else(Self::scalar, |library| Self { source: Source::Static(library) })
    }

    /// A library made at run time, such as a user's own.
    #[must_use]
    pub fn shared(library: Arc<dyn KernelLibrary>) -> Self {
        Self { source: Source::Shared(library) }
    }

    /// The library that was chosen, without the scalar one behind it.
    #[must_use]
    pub fn library(&self) -> &dyn KernelLibrary {
        match &self.source {
            Source::Static(library) => *library,
            Source::Shared(library) => library.as_ref(),
        }
    }

    family! {
        /// Matrix products and convolutions.
        gemm -> dyn QGemm, gemm_family
    }
    family! {
        /// Matrix products with 4-bit weights in groups.
        group_wise -> dyn QGroupWise, group_wise_family
    }
    family! {
        /// Depthwise convolutions.
        depthwise -> dyn QDepthwise, depthwise_family
    }
    family! {
        /// Elementwise binary operators.
        binary -> dyn QBinary, binary_family
    }
    family! {
        /// Pooling.
        pool -> dyn QPool, pool_family
    }
    family! {
        /// Quantize and dequantize.
        convert -> dyn QConvert, convert_family
    }
    family! {
        /// Lookup tables.
        lookup -> dyn Lookup, lookup_family
    }

    /// Which kernel runs operators of `kind`; `None` for those that only move codes and need no kernel.
    #[must_use]
    pub fn choice(&self, kind: OperatorKind) -> Option<KernelChoice> {
        let library = self.library();
        let (own, kernel) = match kind {
            OperatorKind::Linear
            | OperatorKind::Conv
            | OperatorKind::ConvTranspose
            | OperatorKind::MatMul => (library.gemm().is_some(), self.gemm().name()),
            OperatorKind::GroupWiseLinear => (library.group_wise().is_some(), self.group_wise().name()),
            OperatorKind::DepthwiseConv => (library.depthwise().is_some(), self.depthwise().name()),
            OperatorKind::Add | OperatorKind::Sub | OperatorKind::Mul => {
                (library.binary().is_some(), self.binary().name())
            }
            OperatorKind::MaxPool | OperatorKind::AveragePool => {
                (library.pool().is_some(), self.pool().name())
            }
            OperatorKind::Lookup => (library.lookup().is_some(), self.lookup().name()),
            _ => return None,
        };
        let holder = if own { library.name() } else { SCALAR.name() };
        Some(KernelChoice { kernel, library: holder, fallback: !own })
    }
}

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kernels").field("library", &self.library().name()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Empty(CapabilityTable);

    impl KernelLibrary for Empty {
        fn name(&self) -> &'static str {
            "empty"
        }
        fn isa(&self) -> Isa {
            Isa::Scalar
        }
        fn capabilities(&self) -> &CapabilityTable {
            &self.0
        }
    }

    #[test]
    fn what_a_library_lacks_falls_to_scalar_and_says_so() {
        let kernels = Kernels::shared(Arc::new(Empty(CapabilityTable::default())));
        let choice = kernels.choice(OperatorKind::Conv).unwrap();
        assert_eq!((choice.library, choice.fallback), ("scalar", true));
        assert_eq!(choice.kernel, kernels.gemm().name());
        assert!(!Kernels::scalar().choice(OperatorKind::Conv).unwrap().fallback);
        assert_eq!(kernels.choice(OperatorKind::Movement), None);
    }
}
