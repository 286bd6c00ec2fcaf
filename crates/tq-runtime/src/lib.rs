//! Runs graphs: quantized operators on integer kernels, everything else in float.
//!
//! * [`Session`]: a graph ready to run; [`SessionOptions`], [`KernelChoice`]: how it is made.
//! * [`Explanation`]: what runs how, and why; [`MemoryReport`]: what it takes.
//! * [`mod@judge`]: every quantized operator against the reference evaluator in f64.
//!
//! Integer results are the same on every processor and for every number of threads. Threads are those of the
//! ambient rayon pool.
#![forbid(unsafe_code)]

mod codes;
mod compile;
mod error;
mod explain;
mod frame;
mod geometry;
pub mod judge;
mod layout;
mod movement;
mod options;
mod plan;
mod reference;
mod session;
mod slots;
mod steps;
mod tap;
mod transposed;
mod weights;

pub use error::{RuntimeError, StepError};
pub use explain::{Execution, Explanation, MemoryReport, NodeReport, PlanMemory};
pub use judge::{JudgeReport, OperatorVerdict, judge};
pub use options::{KernelChoice, SessionOptions};
pub use session::Session;
pub use tap::Tap;
