//! Depthwise convolution.

mod codes;
mod packed;
mod words;

pub(super) use codes::codes;
pub(super) use packed::pack;
pub(super) use words::depthwise;
