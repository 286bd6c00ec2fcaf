//! Integer kernels for x86-64. On other architectures this crate is empty but for [`library`], which gives `None`.
//!
//! Kernels are exact: [`tq_kernels::conformance`] holds them bit for bit to plain 64-bit references.
//! Processors are asked at run time; `TQ_ISA` lowers the answer.
//!
//! ```
//! let kernels = tq_kernels::Kernels::new(tq_x86::library());
//! println!("{}", kernels.gemm().name());
//! ```

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod depthwise;
#[cfg(target_arch = "x86_64")]
mod dequantize;
#[cfg(target_arch = "x86_64")]
mod group_wise;
#[cfg(target_arch = "x86_64")]
mod memory;
#[cfg(target_arch = "x86_64")]
pub mod peak;
#[cfg(target_arch = "x86_64")]
mod vnni;

#[cfg(target_arch = "x86_64")]
pub use avx2::{Avx2, Avx2Library};
#[cfg(target_arch = "x86_64")]
pub use vnni::{Avx512Vnni, AvxVnni, VnniLibrary};

use tq_kernels::KernelLibrary;

/// The best library that this processor runs and `TQ_ISA` allows; `None` leaves the scalar one.
///
/// The answer is found once a process.
#[must_use]
pub fn library() -> Option<&'static dyn KernelLibrary> {
    libraries().next()
}

/// Every library that this processor runs and `TQ_ISA` allows, best first: for those who compare them.
///
/// ```
/// let names: Vec<&str> = tq_x86::libraries().map(|library| library.name()).collect();
/// assert_eq!(names.first().copied(), tq_x86::library().map(|library| library.name()));
/// ```
pub fn libraries() -> impl Iterator<Item = &'static dyn KernelLibrary> {
    #[cfg(target_arch = "x86_64")]
    let all = {
        use std::sync::LazyLock;
        use tq_kernels::Isa;
        static AVX512_VNNI: LazyLock<Option<VnniLibrary<Avx512Vnni>>> = LazyLock::new(|| {
            let token = Avx512Vnni::detect()?;
            Isa::Avx512Vnni.allowed_by_env().then(|| VnniLibrary::<Avx512Vnni>::new(token))
        });
        static AVX_VNNI: LazyLock<Option<VnniLibrary<AvxVnni>>> = LazyLock::new(|| {
            let token = AvxVnni::detect()?;
            Isa::AvxVnni.allowed_by_env().then(|| VnniLibrary::<AvxVnni>::new(token))
        });
        static AVX2: LazyLock<Option<Avx2Library>> = LazyLock::new(|| {
            let token = Avx2::detect()?;
            Isa::Avx2.allowed_by_env().then(|| Avx2Library::new(token))
        });
        fn any<L: KernelLibrary>(library: &'static Option<L>) -> Option<&'static dyn KernelLibrary> {
            library.as_ref().map(|library| library as _)
        }
        [any(&*AVX512_VNNI), any(&*AVX_VNNI), any(&*AVX2)]
    };
    #[cfg(not(target_arch = "x86_64"))]
    let all: [Option<&'static dyn KernelLibrary>; 0] = [];
    all.into_iter().flatten()
}
