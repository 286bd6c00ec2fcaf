//! The pages do their work: allocations lie against them, and a byte outside ends the program.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "reading a byte outside on purpose")]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use tq_kernel_tests::guarded::{End, Guarded, PAGE, against, at_both_ends};

#[global_allocator]
static ALLOCATOR: Guarded = Guarded;

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
    let starts = Command::new(&this).arg("--list").output().is_ok_and(|output| output.status.success());
    if cfg!(target_arch = "aarch64") && !starts {
        // An emulated program cannot start another one, unless the system knows the emulator.
        eprintln!("SKIPPED a_byte_outside_ends_the_program: this program is emulated");
        return;
    }
    for side in ["before", "behind"] {
        let mut read = Command::new(&this);
        read.args(["--exact", "a_byte_outside_ends_the_program", "--nocapture"]).env(OUTSIDE, side);
        let output = read.output().unwrap();
        assert_eq!(output.status.signal(), Some(libc::SIGSEGV), "a read {side} the buffer: {output:?}");
    }
}
