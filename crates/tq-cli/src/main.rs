//! The tq program.
#![forbid(unsafe_code)]
fn main() {}
