//! No kernel reads or writes a byte outside its buffers: every allocation of this program lies against an inaccessible page,
//! once with its end and once with its beginning, so that one byte further ends the program.
//!
//! The conformance suite runs that way for the drivers, and the loops below them with slices that are as short as their contracts
//! allow. The allocator and those calls are the ones of the x86-64 kernels, whose tests show as well that the pages do their work.
#![cfg(all(target_arch = "aarch64", target_os = "linux"))]
#![allow(unsafe_code, reason = "an allocator")]
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../../tq-x86/tests/guarded/mod.rs"]
mod guarded;
#[path = "../../tq-x86/tests/loops/mod.rs"]
mod loops;

use guarded::{End, Guarded, PAGE, against};
use std::sync::{Mutex, PoisonError};
use tq_arm::{ArmLibrary, DotProd, I8mm, Neon};
use tq_kernels::conformance::Suite;
use tq_kernels::{Isa, KernelLibrary, Microkernel};

#[global_allocator]
static ALLOCATOR: Guarded = Guarded;

/// Runs `check` with each end of what it allocates against a page. One test at a time: the end is the whole program's.
fn at_both_ends(check: impl Fn()) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    for end in [End::Last, End::First] {
        against(end);
        check();
    }
}

fn stays_inside<K: Microkernel>(isa: Isa, token: Option<K>, library: impl Fn(K) -> Box<dyn KernelLibrary>) {
    let token = token.filter(|_| isa.allowed_by_env());
    assert!(isa.exercise(token.is_some()).is_ok(), "{isa} is required and not there");
    let Some(token) = token else { return };
    at_both_ends(|| {
        let report = Suite { threads: Vec::new(), seed: 9 }.check(&*library(token));
        assert!(report.unwrap_or_else(|failure| panic!("{failure}")).cases > 500);
        loops::check_tiles(token);
    });
}

#[test]
fn neon_stays_inside_its_buffers() {
    stays_inside(Isa::Neon, Neon::detect(), |token| Box::new(ArmLibrary::<Neon>::new(token)));
}

#[test]
fn dotprod_stays_inside_its_buffers() {
    stays_inside(Isa::DotProd, DotProd::detect(), |token| Box::new(ArmLibrary::<DotProd>::new(token)));
}

#[test]
fn i8mm_stays_inside_its_buffers() {
    stays_inside(Isa::I8mm, I8mm::detect(), |token| Box::new(ArmLibrary::<I8mm>::new(token)));
}

#[test]
fn loops_over_rows_stay_inside_their_buffers() {
    let token = Neon::detect().filter(|_| Isa::Neon.allowed_by_env());
    assert!(Isa::Neon.exercise(token.is_some()).is_ok(), "neon is required and not there");
    let Some(token) = token else { return };
    at_both_ends(|| loops::check_rows(token));
}

#[test]
fn buffers_lie_against_the_pages() {
    at_both_ends(|| {
        for size in [1, 63, 64, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE + 17] {
            let bytes = vec![7u8; size];
            let range = bytes.as_ptr_range();
            let (first, last) = (range.start.addr() % PAGE, range.end.addr() % PAGE);
            assert!(first == 0 || last == 0, "{size} bytes from {first} to {last}");
        }
    });
}
