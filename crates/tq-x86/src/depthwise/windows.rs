//! Reads of runs without a bound for each.
#![allow(unsafe_code, reason = "one bound for a whole run in place of one for each load")]

use tq_kernels::depthwise::Place;

/// The codes of a tap at a place.
///
/// # Safety
/// The tap is one of [`RunWindows::taps`](tq_kernels::depthwise::RunWindows::taps), and
/// [`at`](tq_kernels::depthwise::RunWindows::at) of the same windows gave the place for `N` channels or more.
#[inline(always)]
pub(super) unsafe fn codes<const N: usize>(tap: &[u8], at: Place) -> &[u8; N] {
    // SAFETY: each of these taps has `N` elements from the place on.
    unsafe { &*tap.as_ptr().add(at.offset()).cast::<[u8; N]>() }
}
