//! Instruction-set levels and the two environment variables about them.

use crate::{KernelError, Result};
use std::fmt;
use std::str::FromStr;

/// Instruction-set level of a kernel library. Within an architecture later levels include earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// Portable Rust.
    Scalar,
    /// x86-64 with AVX2.
    Avx2,
    /// x86-64 with AVX-VNNI (256-bit dot products).
    AvxVnni,
    /// x86-64 with AVX-512 VNNI.
    Avx512Vnni,
    /// AArch64 with NEON.
    Neon,
    /// AArch64 with the dot-product extension.
    DotProd,
    /// AArch64 with the 8-bit matrix-multiply extension.
    I8mm,
}

#[derive(PartialEq, Eq)]
enum Architecture {
    Any,
    X86,
    Arm,
}

impl Isa {
    /// All levels.
    pub const ALL: [Isa; 7] =
        [Isa::Scalar, Isa::Avx2, Isa::AvxVnni, Isa::Avx512Vnni, Isa::Neon, Isa::DotProd, Isa::I8mm];

    /// The name used in environment variables and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avxvnni",
            Isa::Avx512Vnni => "avx512vnni",
            Isa::Neon => "neon",
            Isa::DotProd => "dotprod",
            Isa::I8mm => "i8mm",
        }
    }

    const fn place(self) -> (Architecture, u8) {
        match self {
            Isa::Scalar => (Architecture::Any, 0),
            Isa::Avx2 => (Architecture::X86, 1),
            Isa::AvxVnni => (Architecture::X86, 2),
            Isa::Avx512Vnni => (Architecture::X86, 3),
            Isa::Neon => (Architecture::Arm, 1),
            Isa::DotProd => (Architecture::Arm, 2),
            Isa::I8mm => (Architecture::Arm, 3),
        }
    }

    /// True when a limit of `limit` allows kernels of this level: the same architecture and not above it.
    /// Scalar kernels are always allowed.
    #[must_use]
    pub fn allowed_by(self, limit: Isa) -> bool {
        let ((arch, level), (limit_arch, limit_level)) = (self.place(), limit.place());
        self == Isa::Scalar || (arch == limit_arch && level <= limit_level)
    }

    /// The limit set by `TQ_ISA`, or `None` when it is unset or empty. It only ever lowers what was detected.
    ///
    /// # Errors
    /// [`KernelError::UnknownIsa`].
    pub fn limit_from_env() -> Result<Option<Isa>> {
        match std::env::var("TQ_ISA") {
            Ok(value) if !value.trim().is_empty() => value.parse().map(Some),
            _ => Ok(None),
        }
    }

    /// True when kernels of this level may be used under `TQ_ISA`.
    ///
    /// An unknown name in the variable is reported on stderr and allows scalar kernels only: whoever sets it
    /// wants less than was detected.
    #[must_use]
    pub fn allowed_by_env(self) -> bool {
        match Isa::limit_from_env() {
            Ok(None) => true,
            Ok(Some(limit)) => self.allowed_by(limit),
            Err(error) => {
                eprintln!("TQ_ISA: {error}; using scalar kernels");
                self == Isa::Scalar
            }
        }
    }

    /// For tests: `Ok(true)` when this level can be exercised. Otherwise prints `SKIPPED` and gives `Ok(false)`,
    /// unless `TQ_REQUIRE_ISA` (a comma-separated list) names the level.
    ///
    /// # Errors
    /// [`KernelError::RequiredIsaMissing`], and [`KernelError::UnknownIsa`] for a bad list.
    pub fn exercise(self, available: bool) -> Result<bool> {
        if available {
            return Ok(true);
        }
        let list = std::env::var("TQ_REQUIRE_ISA").unwrap_or_default();
        for name in list.split(',').filter(|name| !name.trim().is_empty()) {
            if name.parse::<Isa>()? == self {
                return Err(KernelError::RequiredIsaMissing { isa: self.name() });
            }
        }
        eprintln!("SKIPPED {self}: not available here");
        Ok(false)
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Isa {
    type Err = KernelError;

    fn from_str(s: &str) -> Result<Self> {
        let name = s.trim();
        Isa::ALL
            .into_iter()
            .find(|isa| isa.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| KernelError::UnknownIsa { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_only_lowers() {
        assert!(Isa::Avx2.allowed_by(Isa::Avx512Vnni));
        assert!(!Isa::AvxVnni.allowed_by(Isa::Avx2));
        assert!(!Isa::Avx2.allowed_by(Isa::Scalar));
        assert!(!Isa::Avx2.allowed_by(Isa::I8mm));
        assert!(Isa::Scalar.allowed_by(Isa::Neon));
    }

    #[test]
    fn names_parse_back() {
        for isa in Isa::ALL {
            assert_eq!(isa.name().parse::<Isa>().unwrap(), isa);
        }
        assert!(matches!("sse9".parse::<Isa>(), Err(KernelError::UnknownIsa { .. })));
    }
}
