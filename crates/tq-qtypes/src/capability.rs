//! Which operator takes which types: the one table type of the project.
//!
//! Backend configurations, kernel libraries and export targets each hold a [`CapabilityTable`].

use crate::DType;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Families of quantized operators.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OperatorKind {
    /// Matrix product with constant weights: Gemm, MatMul.
    Linear,
    /// Matrix product with constant weights of at most 4 bits that have a scale for every group of input features.
    GroupWiseLinear,
    /// Convolution of any rank with one or more groups.
    Conv,
    /// Convolution with one input channel a group.
    DepthwiseConv,
    /// Transposed convolution of any rank with one or more groups.
    ConvTranspose,
    /// Matrix product of two quantized tensors.
    MatMul,
    /// Rows of a constant table, which alone is quantized.
    Embedding,
    /// Elementwise sum of two quantized tensors.
    Add,
    /// Elementwise difference of two quantized tensors.
    Sub,
    /// Elementwise product of two quantized tensors.
    Mul,
    /// Concatenation.
    Concat,
    /// Maximum over windows.
    MaxPool,
    /// Average over windows or over all positions, reductions to the mean included.
    AveragePool,
    /// A function of one code, as a table of all its values.
    Lookup,
    /// LSTM, GRU, RNN, with data and states quantized at run time.
    Recurrent,
    /// Moving codes without changing them: reshape, transpose, slice, pad and their like; clamps too.
    Movement,
}

impl OperatorKind {
    /// The name used in messages and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            OperatorKind::Linear => "linear",
            OperatorKind::GroupWiseLinear => "group_wise_linear",
            OperatorKind::Conv => "conv",
            OperatorKind::DepthwiseConv => "depthwise_conv",
            OperatorKind::ConvTranspose => "conv_transpose",
            OperatorKind::MatMul => "matmul",
            OperatorKind::Embedding => "embedding",
            OperatorKind::Add => "add",
            OperatorKind::Sub => "sub",
            OperatorKind::Mul => "mul",
            OperatorKind::Concat => "concat",
            OperatorKind::MaxPool => "max_pool",
            OperatorKind::AveragePool => "average_pool",
            OperatorKind::Lookup => "lookup",
            OperatorKind::Recurrent => "recurrent",
            OperatorKind::Movement => "movement",
        }
    }

    /// True for operators with constant weights.
    #[must_use]
    pub const fn has_weights(self) -> bool {
        matches!(
            self,
            OperatorKind::Linear
                | OperatorKind::GroupWiseLinear
                | OperatorKind::Conv
                | OperatorKind::DepthwiseConv
                | OperatorKind::ConvTranspose
                | OperatorKind::Embedding
                | OperatorKind::Recurrent
        )
    }
}

impl fmt::Display for OperatorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One row: an operator with the types it takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorSupport {
    /// The operator.
    pub kind: OperatorKind,
    /// Types of the activations.
    pub activations: Vec<DType>,
    /// Types of the weights; empty for operators without any.
    #[serde(default)]
    pub weights: Vec<DType>,
    /// True where weights may have one scale a channel.
    #[serde(default)]
    pub per_channel_weights: bool,
}

/// A set of rows. An operator that has no row is not supported.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CapabilityTable {
    rows: Vec<OperatorSupport>,
}

impl CapabilityTable {
    /// A table of these rows.
    #[must_use]
    pub fn new(rows: Vec<OperatorSupport>) -> Self {
        Self { rows }
    }

    /// All rows, in the order given.
    #[must_use]
    pub fn rows(&self) -> &[OperatorSupport] {
        &self.rows
    }

    /// True when some row of `kind` takes activations of type `activation` and, if given, weights of type `weight`.
    #[must_use]
    pub fn supports(&self, kind: OperatorKind, activation: DType, weight: Option<DType>) -> bool {
        self.rows.iter().any(|row| {
            row.kind == kind
                && row.activations.contains(&activation)
                && weight.is_none_or(|w| row.weights.contains(&w))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_row_is_not_supported() {
        let table = CapabilityTable::new(vec![OperatorSupport {
            kind: OperatorKind::Conv,
            activations: vec![DType::U8],
            weights: vec![DType::I8],
            per_channel_weights: true,
        }]);
        assert!(table.supports(OperatorKind::Conv, DType::U8, Some(DType::I8)));
        assert!(!table.supports(OperatorKind::Conv, DType::U8, Some(DType::U8)));
        assert!(!table.supports(OperatorKind::Add, DType::U8, None));
    }
}
