//! What several tests need.
#![allow(dead_code)] // Each test file uses a part.

pub(crate) mod cases;
