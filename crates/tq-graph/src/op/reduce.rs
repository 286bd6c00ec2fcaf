//! Reductions.

/// What a reduction makes of the elements along the reduced axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReduceKind {
    /// Arithmetic mean; of integers it truncates towards zero.
    Mean,
}

impl ReduceKind {
    /// The ONNX name of the reduction.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ReduceKind::Mean => "ReduceMean",
        }
    }
}
