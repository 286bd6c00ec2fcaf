//! The AVX2 library gives the exact results.
#![cfg(target_arch = "x86_64")]

use tq_kernels::Isa;
use tq_kernels::conformance::Suite;
use tq_x86::{Avx2, Avx2Library};

#[test]
fn avx2_conforms() {
    let token = Avx2::detect().filter(|_| Isa::Avx2.allowed_by_env());
    if !Isa::Avx2.exercise(token.is_some()).unwrap() {
        return;
    }
    let library = Avx2Library::new(token.unwrap());
    for seed in 1..4 {
        let suite = Suite { seed, ..Suite::default() };
        let report = suite.check(&library).unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(report.missing, ["lookup"]);
    }
}

#[test]
fn the_library_is_what_the_processor_and_the_environment_allow() {
    let expected = Avx2::detect().is_some() && Isa::Avx2.allowed_by_env();
    assert_eq!(tq_x86::library().is_some(), expected);
    assert!(tq_x86::library().is_none_or(|library| library.isa() != Isa::Scalar));
}
