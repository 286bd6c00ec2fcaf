//! The steps that plans are made of.

pub(crate) mod border;
pub(crate) mod concat;
pub(crate) mod elementwise;
pub(crate) mod eval;
pub(crate) mod gemm;
pub(crate) mod group_wise;
pub(crate) mod matmul;
pub(crate) mod movement;
pub(crate) mod recurrent;
pub(crate) mod run_time;
pub(crate) mod run_time_conv;
pub(crate) mod table;
pub(crate) mod transposed;
pub(crate) mod window;
