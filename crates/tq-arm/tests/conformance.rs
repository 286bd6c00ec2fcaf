//! Every library of this crate gives the exact results.
#![cfg(target_arch = "aarch64")]

use tq_arm::{ArmLibrary, DotProd, I8mm, Neon};
use tq_kernels::conformance::Suite;
use tq_kernels::{Isa, KernelLibrary};

/// Holds a library to the references, where this processor and `TQ_ISA` have its level.
fn conforms(isa: Isa, library: Option<&dyn KernelLibrary>) {
    let library = library.filter(|_| isa.allowed_by_env());
    assert!(isa.exercise(library.is_some()).is_ok(), "{isa} is required and not there");
    let Some(library) = library else { return };
    for seed in 1..3 {
        let suite = Suite { seed, threads: vec![3] };
        let report = suite.check(library).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(report.missing, ["lookup"]);
    }
}

#[test]
fn neon_conforms() {
    let library = Neon::detect().map(ArmLibrary::<Neon>::new);
    conforms(Isa::Neon, library.as_ref().map(|library| library as _));
}

#[test]
fn dotprod_conforms() {
    let library = DotProd::detect().map(ArmLibrary::<DotProd>::new);
    conforms(Isa::DotProd, library.as_ref().map(|library| library as _));
}

#[test]
fn i8mm_conforms() {
    let library = I8mm::detect().map(ArmLibrary::<I8mm>::new);
    conforms(Isa::I8mm, library.as_ref().map(|library| library as _));
}

#[test]
fn the_library_is_the_best_that_the_processor_and_the_environment_allow() {
    let levels = [
        (Isa::I8mm, I8mm::detect().is_some()),
        (Isa::DotProd, DotProd::detect().is_some()),
        (Isa::Neon, Neon::detect().is_some()),
    ];
    let expected = levels.into_iter().find(|(isa, there)| *there && isa.allowed_by_env());
    let chosen = tq_arm::library().map(KernelLibrary::isa);
    assert_eq!(chosen, expected.map(|(isa, _)| isa));
    // `cargo xtask test-arm` knows what the processor that it emulates has to give.
    if let Ok(expected) = std::env::var("TQ_EXPECT_ISA") {
        assert_eq!(chosen.map(Isa::name), Some(&*expected));
    }
}
