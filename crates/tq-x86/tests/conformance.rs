//! Every library of this crate gives the exact results.
#![cfg(target_arch = "x86_64")]

use tq_kernels::conformance::Suite;
use tq_kernels::{Isa, KernelLibrary};
use tq_x86::{Avx2, Avx2Library, Avx512Vnni, AvxVnni, VnniLibrary};

/// Holds a library to the references, where this processor and `TQ_ISA` have its level.
fn conforms(isa: Isa, library: Option<&dyn KernelLibrary>) {
    let library = library.filter(|_| isa.allowed_by_env());
    assert!(isa.exercise(library.is_some()).is_ok(), "{isa} is required and not there");
    let Some(library) = library else { return };
    for seed in 1..4 {
        let suite = Suite { seed, ..Suite::default() };
        let report = suite.check(library).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(report.missing, ["lookup"]);
    }
}

#[test]
fn avx2_conforms() {
    let library = Avx2::detect().map(Avx2Library::new);
    conforms(Isa::Avx2, library.as_ref().map(|library| library as _));
}

#[test]
fn avxvnni_conforms() {
    let library = AvxVnni::detect().map(VnniLibrary::<AvxVnni>::new);
    conforms(Isa::AvxVnni, library.as_ref().map(|library| library as _));
}

#[test]
fn avx512vnni_conforms() {
    let library = Avx512Vnni::detect().map(VnniLibrary::<Avx512Vnni>::new);
    conforms(Isa::Avx512Vnni, library.as_ref().map(|library| library as _));
}

#[test]
fn the_library_is_the_best_that_the_processor_and_the_environment_allow() {
    let levels = [
        (Isa::Avx512Vnni, Avx512Vnni::detect().is_some()),
        (Isa::AvxVnni, AvxVnni::detect().is_some()),
        (Isa::Avx2, Avx2::detect().is_some()),
    ];
    let expected = levels.into_iter().find(|(isa, there)| *there && isa.allowed_by_env());
    assert_eq!(tq_x86::library().map(KernelLibrary::isa), expected.map(|(isa, _)| isa));
}
