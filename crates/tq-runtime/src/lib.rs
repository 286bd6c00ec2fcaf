//! Runs graphs: quantized operators on integer kernels, everything else in float.
//!
//! * [`Session`]: a graph ready to run; [`SessionOptions`], [`KernelChoice`]: how it is made.
//! * [`Explanation`]: what runs how, and why; [`MemoryReport`]: what it takes;
//!   [`Profile`]: where the time goes.
//! * [`machine`]: what this machine is and what the kernels reach on it.
//! * [`mod@judge`]: every quantized operator against the reference evaluator in f64.
//!
//! Integer results are the same on every processor and for every number of threads. Threads are those of the
//! ambient rayon pool.
#![forbid(unsafe_code)]

mod codes;
mod compile;
mod depths;
mod error;
mod explain;
mod frame;
mod geometry;
pub mod judge;
mod layout;
pub mod machine;
mod movement;
mod options;
mod plan;
mod profile;
mod reference;
mod requantize;
mod session;
mod slots;
mod steps;
mod tap;
mod transposed;
mod weights;

pub use depths::{LayerDepths, ProductDepths};
pub use error::{RuntimeError, StepError};
pub use explain::{Execution, Explanation, MemoryReport, NodeReport, PlanMemory};
pub use judge::{JudgeReport, OperatorVerdict, judge};
pub use options::{KernelChoice, SessionOptions};
pub use profile::{NodeProfile, Profile};
pub use session::Session;
pub use tap::Tap;
