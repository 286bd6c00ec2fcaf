//! Depthwise convolution.

mod codes;
pub(crate) mod columns;
mod packed;
mod words;

pub(super) use codes::codes;
pub(super) use packed::pack;
pub(super) use words::depthwise;
