//! How a session is made.

use std::sync::Arc;
use tq_kernels::{Isa, KernelLibrary};

/// Which kernels a session uses.
#[derive(Debug, Clone, Default)]
pub enum KernelChoice {
    /// The fastest that this processor has and `TQ_ISA` leaves.
    #[default]
    Auto,
    /// Those of one instruction set; an error where they cannot be had.
    Isa(Isa),
    /// A library of the caller's own; what it lacks the scalar kernels run.
    Library(Arc<dyn KernelLibrary>),
}

/// How a session is made.
#[derive(Debug, Clone)]
pub struct SessionOptions {
    /// The kernels.
    pub kernels: KernelChoice,
    /// Plans kept for shapes seen before, at least 1; the least recently used one goes first.
    pub max_plans: usize,
    /// The most bytes that one value may take; larger ones are an error before anything is allocated.
    pub max_value_bytes: usize,
}

impl Default for SessionOptions {
    /// Automatic kernels, 8 plans, 2 GiB a value.
    fn default() -> Self {
        Self { kernels: KernelChoice::Auto, max_plans: 8, max_value_bytes: 2 << 30 }
    }
}

impl SessionOptions {
    /// The default options with the kernels of `isa`.
    #[must_use]
    pub fn with_isa(isa: Isa) -> Self {
        Self { kernels: KernelChoice::Isa(isa), ..Self::default() }
    }

    /// The default options with a library of the caller's own.
    #[must_use]
    pub fn with_library(library: Arc<dyn KernelLibrary>) -> Self {
        Self { kernels: KernelChoice::Library(library), ..Self::default() }
    }
}
