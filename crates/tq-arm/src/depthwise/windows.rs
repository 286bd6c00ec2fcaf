//! Reads of runs without a bound for each.
#![allow(unsafe_code, reason = "one bound for a whole run in place of one for each load")]

use super::WIDTH;
use std::arch::aarch64::*;
use tq_kernels::depthwise::{Place, RunWindows};

/// [`WIDTH`] channels from channel `channel` on of `P` positions from `position` on.
#[inline]
pub(super) fn places<const P: usize>(windows: &RunWindows, position: usize, channel: usize) -> [Place; P] {
    std::array::from_fn(|p| windows.at(position + p, channel, WIDTH))
}

/// The codes of a tap at a place.
///
/// # Safety
/// The tap is one of [`RunWindows::taps`], and [`places`] of the same windows gave the place.
#[inline]
#[target_feature(enable = "neon")]
pub(super) unsafe fn codes(tap: &[u8], at: Place) -> uint8x16_t {
    // SAFETY: each of these taps has 16 elements from the place on.
    unsafe { vld1q_u8(tap.as_ptr().add(at.offset())) }
}
