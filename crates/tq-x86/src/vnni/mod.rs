//! `vpdpbusd`: four products of unsigned codes with signed weights, added to a 32-bit sum in one instruction. Nothing can
//! saturate, so packed weights need no proof. Everything but products runs on the loops of AVX2, and with AVX-512 the real
//! outputs of a tile do on loops of 512 bits. Codes are left to AVX2: AVX-512F packs no better, and the wider vectors take as long.

mod avx;
mod avx512;
mod library;

use crate::Avx2;

pub use library::VnniLibrary;

/// Proof that this processor has AVX-VNNI: dot products of 256 bits.
#[derive(Debug, Clone, Copy)]
pub struct AvxVnni {
    avx2: Avx2,
}

impl AvxVnni {
    /// Asks the processor.
    #[must_use]
    pub fn detect() -> Option<Self> {
        let avx2 = Avx2::detect()?;
        is_x86_feature_detected!("avxvnni").then_some(Self { avx2 })
    }
}

/// Proof that this processor has AVX-512 VNNI: dot products of 512 bits.
#[derive(Debug, Clone, Copy)]
pub struct Avx512Vnni {
    avx2: Avx2,
}

impl Avx512Vnni {
    /// Asks the processor.
    #[must_use]
    pub fn detect() -> Option<Self> {
        let avx2 = Avx2::detect()?;
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        has.then_some(Self { avx2 })
    }
}
