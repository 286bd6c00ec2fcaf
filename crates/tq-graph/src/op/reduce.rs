//! Reductions, and what else looks at all elements along an axis.

/// What a reduction makes of the elements along the reduced axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReduceKind {
    /// Sum; integers wrap.
    Sum,
    /// Arithmetic mean; of integers it truncates towards zero.
    Mean,
    /// Product; integers wrap.
    Prod,
    /// The largest; NaN if one is NaN.
    Max,
    /// The smallest; NaN if one is NaN.
    Min,
    /// Sum of absolute values.
    L1,
    /// Square root of the sum of squares.
    L2,
    /// Sum of squares.
    SumSquare,
    /// Natural logarithm of the sum.
    LogSum,
    /// Natural logarithm of the sum of exponentials.
    LogSumExp,
}

impl ReduceKind {
    /// The ONNX name of the reduction.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            ReduceKind::Sum => "ReduceSum",
            ReduceKind::Mean => "ReduceMean",
            ReduceKind::Prod => "ReduceProd",
            ReduceKind::Max => "ReduceMax",
            ReduceKind::Min => "ReduceMin",
            ReduceKind::L1 => "ReduceL1",
            ReduceKind::L2 => "ReduceL2",
            ReduceKind::SumSquare => "ReduceSumSquare",
            ReduceKind::LogSum => "ReduceLogSum",
            ReduceKind::LogSumExp => "ReduceLogSumExp",
        }
    }
}

/// Attributes of ArgMax and ArgMin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArgAttrs {
    /// The axis along which is searched, may be negative.
    pub axis: i64,
    /// Whether the axis stays as 1.
    pub keep_dims: bool,
    /// Whether the last of equal elements counts instead of the first.
    pub select_last: bool,
}
