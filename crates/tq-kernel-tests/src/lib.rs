//! What the tests of the microkernels of every architecture share.
//!
//! [`guarded`] is an allocator that puts every allocation against a page without access; [`loops`] calls the innermost loops with
//! slices that are as short as their contracts allow; [`stays_inside`] holds a library to both. All of it is for tests: what does
//! not hold panics.

#[cfg(target_os = "linux")]
pub mod guarded;
pub mod loops;

#[cfg(target_os = "linux")]
use tq_kernels::conformance::Suite;
#[cfg(target_os = "linux")]
use tq_kernels::{Isa, KernelLibrary, Microkernel};

/// Holds a microkernel and its library to the references, with each end of what is allocated against a page, where this processor
/// has the level (`token`) and `TQ_ISA` allows it. The conformance suite runs on the calling thread and in pools of `threads`.
///
/// # Panics
/// Where a result differs, and where the level is required (`TQ_REQUIRE_ISA`) and not there.
#[cfg(target_os = "linux")]
pub fn stays_inside<K: Microkernel>(
    isa: Isa,
    token: Option<K>,
    threads: &[usize],
    library: impl Fn(K) -> Box<dyn KernelLibrary>,
) {
    let Some(token) = exercised(isa, token) else { return };
    guarded::at_both_ends(|| {
        let report = Suite::from_env(9, threads).check(&*library(token));
        assert!(report.unwrap_or_else(|failure| panic!("{failure}")).cases > 500);
        loops::check_tiles(token);
    });
}

/// Holds the loops over rows of a level to the portable ones, in the same way.
///
/// # Panics
/// As [`stays_inside`].
#[cfg(target_os = "linux")]
pub fn rows_stay_inside<R: tq_kernels::RowKernel>(isa: Isa, token: Option<R>) {
    let Some(token) = exercised(isa, token) else { return };
    guarded::at_both_ends(|| loops::check_rows(token));
}

/// Holds the loops that make the outputs of tiles to the portable ones, in the same way.
///
/// # Panics
/// As [`stays_inside`].
#[cfg(target_os = "linux")]
pub fn outputs_stay_inside<R: tq_kernels::RowKernel>(isa: Isa, token: Option<R>) {
    let Some(token) = exercised(isa, token) else { return };
    guarded::at_both_ends(|| loops::check_outputs(token));
}

/// The token, where `TQ_ISA` allows its level.
#[cfg(target_os = "linux")]
fn exercised<T>(isa: Isa, token: Option<T>) -> Option<T> {
    let token = token.filter(|_| isa.allowed_by_env());
    assert!(isa.exercise(token.is_some()).is_ok(), "{isa} is required and not there");
    token
}
