//! What processors have, as tokens: holding one is the proof.

use std::arch::is_aarch64_feature_detected;

/// Proof that this processor has NEON: [`Neon::detect`] is the only way to one.
#[derive(Debug, Clone, Copy)]
pub struct Neon {
    _detected: (),
}

impl Neon {
    /// Asks the processor. None where it runs big-endian, for which kernels of codes beside each other are not made.
    #[must_use]
    pub fn detect() -> Option<Self> {
        let there = cfg!(target_endian = "little") && is_aarch64_feature_detected!("neon");
        there.then_some(Self { _detected: () })
    }
}

/// Proof that this processor has dot products of bytes: optional in Armv8.2, part of Armv8.4.
#[derive(Debug, Clone, Copy)]
pub struct DotProd {
    pub(crate) neon: Neon,
}

impl DotProd {
    /// Asks the processor.
    #[must_use]
    pub fn detect() -> Option<Self> {
        let neon = Neon::detect()?;
        is_aarch64_feature_detected!("dotprod").then_some(Self { neon })
    }
}

/// Proof that this processor has matrix products of bytes: optional in Armv8.2, part of Armv8.6.
#[derive(Debug, Clone, Copy)]
pub struct I8mm {
    pub(crate) dotprod: DotProd,
}

impl I8mm {
    /// Asks the processor.
    #[must_use]
    pub fn detect() -> Option<Self> {
        let dotprod = DotProd::detect()?;
        is_aarch64_feature_detected!("i8mm").then_some(Self { dotprod })
    }
}
