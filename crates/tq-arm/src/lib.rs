//! Integer kernels for AArch64. On other architectures this crate is empty but for [`library`], which gives `None`.
//!
//! Kernels are exact: [`tq_kernels::conformance`] holds them bit for bit to plain 64-bit references.
//! Processors are asked at run time; `TQ_ISA` lowers the answer.
//!
//! Three levels: plain NEON, the dot products of Armv8.2, and its 8-bit matrix products. They differ in matrix products and
//! depthwise windows; everything else is NEON. Maxima and sums of rows are the portable loops, which compilers turn into NEON
//! by themselves, and tables are left to the scalar library.
//!
//! 32-bit ARM and big-endian AArch64 run the scalar library.
//!
//! ```
//! let kernels = tq_kernels::Kernels::new(tq_arm::library());
//! println!("{}", kernels.gemm().name());
//! ```

#[cfg(target_arch = "aarch64")]
mod depthwise;
#[cfg(target_arch = "aarch64")]
mod elementwise;
#[cfg(target_arch = "aarch64")]
mod gemm;
#[cfg(target_arch = "aarch64")]
mod group_wise;
#[cfg(target_arch = "aarch64")]
mod instructions;
#[cfg(target_arch = "aarch64")]
mod kernels;
#[cfg(target_arch = "aarch64")]
mod levels;
#[cfg(target_arch = "aarch64")]
mod library;
#[cfg(target_arch = "aarch64")]
mod memory;
#[cfg(target_arch = "aarch64")]
pub mod peak;
#[cfg(target_arch = "aarch64")]
mod requantize;

#[cfg(target_arch = "aarch64")]
pub use levels::{DotProd, I8mm, Neon};
#[cfg(target_arch = "aarch64")]
pub use library::ArmLibrary;

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
/// let names: Vec<&str> = tq_arm::libraries().map(|library| library.name()).collect();
/// assert_eq!(names.first().copied(), tq_arm::library().map(|library| library.name()));
/// ```
pub fn libraries() -> impl Iterator<Item = &'static dyn KernelLibrary> {
    #[cfg(target_arch = "aarch64")]
    let all = {
        use std::sync::LazyLock;
        use tq_kernels::Isa;
        static I8MM: LazyLock<Option<ArmLibrary<I8mm>>> = LazyLock::new(|| {
            let token = I8mm::detect()?;
            Isa::I8mm.allowed_by_env().then(|| ArmLibrary::<I8mm>::new(token))
        });
        static DOTPROD: LazyLock<Option<ArmLibrary<DotProd>>> = LazyLock::new(|| {
            let token = DotProd::detect()?;
            Isa::DotProd.allowed_by_env().then(|| ArmLibrary::<DotProd>::new(token))
        });
        static NEON: LazyLock<Option<ArmLibrary<Neon>>> = LazyLock::new(|| {
            let token = Neon::detect()?;
            Isa::Neon.allowed_by_env().then(|| ArmLibrary::<Neon>::new(token))
        });
        fn any<L: KernelLibrary>(library: &'static Option<L>) -> Option<&'static dyn KernelLibrary> {
            library.as_ref().map(|library| library as _)
        }
        [any(&*I8MM), any(&*DOTPROD), any(&*NEON)]
    };
    #[cfg(not(target_arch = "aarch64"))]
    let all: [Option<&'static dyn KernelLibrary>; 0] = [];
    all.into_iter().flatten()
}
