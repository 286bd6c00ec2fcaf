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
    // Under emulation once is what there is time for.
    let seeds = if Suite::from_env(1, &[1]).threads.is_empty() { 1..2 } else { 1..4 };
    for seed in seeds {
        let suite = Suite::from_env(seed, &[1, 4]);
        let report = suite.check(library).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(report.missing.is_empty(), "{:?}", report.missing);
    }
}

#[test]
fn avx2_conforms() {
    let library = Avx2::detect().map(Avx2Library::new);
    conforms(Isa::Avx2, library.as_ref().map(|library| library as _));
}

#[test]
fn depths_are_what_the_weights_allow() {
    let Some(library) = Avx2::detect().filter(|_| Isa::Avx2.allowed_by_env()).map(Avx2Library::new) else {
        return;
    };
    let Some(gemm) = library.gemm() else { return };
    let (n, k) = (40, 1104);
    // Shares of pairs of groups: 5 halves of panels of 128 pairs of the first 1024 steps of K, and of 10 of the other 80.
    let of = |weight: i8, max: u8| {
        let packed = gemm.pack(&tq_kernels::RhsMatrix::new(&vec![weight; n * k], n, k));
        packed.map(|packed| gemm.depths(&packed, max)).map(|d| (d.two, d.one, d.plain))
    };
    let all = 5 * (128 + 10);
    // Four times 32 by 255 is below 2¹⁵, twice 64 is too, twice 65 is not.
    assert_eq!(of(32, 255), Ok((all, 0, 0)));
    assert_eq!(of(64, 255), Ok((0, all, 0)));
    assert_eq!(of(65, 255), Ok((0, 0, all)));
    // Four times 64 by 127 is, four times 65 is not, twice 127 is.
    assert_eq!(of(64, 127), Ok((all, 0, 0)));
    assert_eq!(of(-127, 127), Ok((0, all, 0)));
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
    let chosen = tq_x86::library().map(KernelLibrary::isa);
    assert_eq!(chosen, expected.map(|(isa, _)| isa));
    // `cargo xtask test-vnni` knows what the processor that it emulates has to give.
    if let Ok(expected) = std::env::var("TQ_EXPECT_ISA") {
        assert_eq!(chosen.map(Isa::name), Some(&*expected));
    }
}
