//! The tq program.
#![forbid(unsafe_code)]
#[allow(dead_code)]
mod npy;
fn main() {}
