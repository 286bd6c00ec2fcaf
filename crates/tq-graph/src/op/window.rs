//! Attributes of window operators: convolutions and pools.

/// Padding of a window operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Padding {
    /// Elements before (`begin`) and after (`end`) each spatial axis.
    Explicit {
        /// Before each spatial axis.
        begin: Vec<usize>,
        /// After each spatial axis.
        end: Vec<usize>,
    },
    /// As much as keeps `ceil(in / stride)` outputs, the odd one at the end.
    SameUpper,
    /// As much as keeps `ceil(in / stride)` outputs, the odd one at the beginning.
    SameLower,
}

impl Padding {
    /// Whether any element may be added.
    #[must_use]
    pub fn is_any(&self) -> bool {
        match self {
            Padding::Explicit { begin, end } => begin.iter().chain(end).any(|p| *p != 0),
            Padding::SameUpper | Padding::SameLower => true,
        }
    }
}

/// Attributes of a convolution. The kernel's extent is that of the weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvAttrs {
    /// Step along each spatial axis.
    pub strides: Vec<usize>,
    /// Distance between kernel elements along each spatial axis.
    pub dilations: Vec<usize>,
    /// Padding.
    pub padding: Padding,
    /// Number of groups.
    pub groups: usize,
}

/// Attributes of a pooling window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolAttrs {
    /// Extent of the window along each spatial axis.
    pub kernel: Vec<usize>,
    /// Step along each spatial axis.
    pub strides: Vec<usize>,
    /// Distance between window elements along each spatial axis.
    pub dilations: Vec<usize>,
    /// Padding.
    pub padding: Padding,
    /// Whether the number of outputs is rounded up instead of down.
    pub ceil_mode: bool,
}

/// Attributes of a transposed convolution. The kernel's extent is that of the weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvTransposeAttrs {
    /// Distance between the windows along each spatial axis of the output.
    pub strides: Vec<usize>,
    /// Distance between kernel elements along each spatial axis.
    pub dilations: Vec<usize>,
    /// What is cut off the output. The SAME rules make it `in * stride` long.
    pub padding: Padding,
    /// What the output is longer by at the end of each spatial axis.
    pub output_padding: Vec<usize>,
    /// Spatial axes of the output. Where they are given, they tell what is cut off: half at either end, the odd
    /// element at the end for [`Padding::SameUpper`], else at the beginning.
    pub output_shape: Option<Vec<usize>>,
    /// Number of groups.
    pub groups: usize,
}
