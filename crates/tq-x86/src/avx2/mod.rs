//! AVX2: no dot-product instructions, so products are summed in 16 bits where that is proved exact, and by magnitude elsewhere.

mod depthwise;
mod elementwise;
mod gemm;
mod library;
mod lookup;
mod requantize;

pub use library::Avx2Library;
pub(crate) use requantize::{Factors, Narrow};

/// Proof that this processor has AVX2: [`Avx2::detect`] is the only way to one.
#[derive(Debug, Clone, Copy)]
pub struct Avx2 {
    _detected: (),
}

impl Avx2 {
    /// Asks the processor.
    #[must_use]
    pub fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self { _detected: () })
    }
}
