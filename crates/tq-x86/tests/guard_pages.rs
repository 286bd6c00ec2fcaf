//! No kernel reads or writes a byte outside its buffers: every allocation of this program lies against an inaccessible page,
//! once with its end and once with its beginning, so that one byte further ends the program.
//!
//! The conformance suite runs that way for the drivers, whose operands are the user's memory. They copy some operands to
//! scratch, so the loops below them are called here as well, with slices that are as short as their contracts allow.
#![cfg(all(target_arch = "x86_64", target_os = "linux"))]
#![allow(unsafe_code, reason = "an allocator, and reading a byte outside on purpose")]
#![allow(clippy::unwrap_used, reason = "a test")]

mod guarded;
mod loops;

use guarded::{End, Guarded, PAGE, against};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use tq_kernels::conformance::Suite;
use tq_kernels::{Isa, KernelLibrary, Microkernel};
use tq_x86::{Avx2, Avx2Library, Avx512Vnni, AvxVnni, VnniLibrary};

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
        let report = Suite::from_env(9, &[2]).check(&*library(token));
        assert!(report.unwrap_or_else(|failure| panic!("{failure}")).cases > 1000);
        loops::check_tiles(token);
    });
}

#[test]
fn avx2_stays_inside_its_buffers() {
    stays_inside(Isa::Avx2, Avx2::detect(), |token| Box::new(Avx2Library::new(token)));
}

#[test]
fn avxvnni_stays_inside_its_buffers() {
    stays_inside(Isa::AvxVnni, AvxVnni::detect(), |token| Box::new(VnniLibrary::<AvxVnni>::new(token)));
}

#[test]
fn avx512vnni_stays_inside_its_buffers() {
    stays_inside(Isa::Avx512Vnni, Avx512Vnni::detect(), |token| {
        Box::new(VnniLibrary::<Avx512Vnni>::new(token))
    });
}

#[test]
fn loops_over_rows_stay_inside_their_buffers() {
    let token = Avx2::detect().filter(|_| Isa::Avx2.allowed_by_env());
    assert!(Isa::Avx2.exercise(token.is_some()).is_ok(), "avx2 is required and not there");
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
        let sums = vec![7i32; 1001];
        let range = sums.as_ptr_range();
        assert!(range.start.addr().is_multiple_of(PAGE) || range.end.addr().is_multiple_of(PAGE));
    });
}

/// Named by itself as another process: reads the byte outside that this variable tells.
const OUTSIDE: &str = "TQ_TEST_READ_OUTSIDE";

#[test]
fn a_byte_outside_ends_the_program() {
    match std::env::var(OUTSIDE).as_deref() {
        Err(_) => {}
        Ok(side) => {
            against(if side == "before" { End::First } else { End::Last });
            let bytes = vec![7u8; std::hint::black_box(100)];
            let outside =
                if side == "before" { bytes.as_ptr().wrapping_sub(1) } else { bytes.as_ptr_range().end };
            // SAFETY: none: this is the mistake that the pages are there to show, and it must end the program.
            println!("{}", unsafe { outside.read_volatile() });
            return;
        }
    }
    let this = std::env::current_exe().unwrap();
    for side in ["before", "behind"] {
        let mut read = Command::new(&this);
        read.args(["--exact", "a_byte_outside_ends_the_program", "--nocapture"]).env(OUTSIDE, side);
        let output = read.output().unwrap();
        assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "a read {side} the buffer: {output:?}");
    }
}
