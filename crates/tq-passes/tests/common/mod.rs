//! What several tests need.
#![allow(dead_code)] // Each test file uses a part.
#![allow(clippy::unwrap_used)] // A test that cannot read its data has failed.

pub(crate) mod cases;
pub(crate) mod net;
