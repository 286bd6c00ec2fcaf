//! Names of the operators, and how many inputs and outputs they have.

use super::{Op, RecurrentKind};

impl Op {
    /// The ONNX name of the operator.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Op::Conv(_) => "Conv",
            Op::ConvTranspose(_) => "ConvTranspose",
            Op::Gemm { .. } => "Gemm",
            Op::MatMul => "MatMul",
            Op::Unary(op) => op.name(),
            Op::Binary(op) => op.name(),
            Op::Compare(op) => op.name(),
            Op::Logic(op) => op.name(),
            Op::Not => "Not",
            Op::Bitwise(op) => op.name(),
            Op::BitwiseNot => "BitwiseNot",
            Op::IsNaN => "IsNaN",
            Op::IsInf { .. } => "IsInf",
            Op::Where => "Where",
            Op::Variadic(op) => op.name(),
            Op::Clip => "Clip",
            Op::BatchNormalization { .. } => "BatchNormalization",
            Op::LayerNormalization { .. } => "LayerNormalization",
            Op::InstanceNormalization { .. } => "InstanceNormalization",
            Op::GroupNormalization { .. } => "GroupNormalization",
            Op::Recurrent { kind, .. } => kind.name(),
            Op::Resize(_) => "Resize",
            Op::Einsum(_) => "Einsum",
            Op::NonMaxSuppression { .. } => "NonMaxSuppression",
            Op::MaxPool { .. } => "MaxPool",
            Op::AveragePool { .. } => "AveragePool",
            Op::LpPool { .. } => "LpPool",
            Op::GlobalAveragePool => "GlobalAveragePool",
            Op::GlobalMaxPool => "GlobalMaxPool",
            Op::GlobalLpPool { .. } => "GlobalLpPool",
            Op::MeanVarianceNormalization { .. } => "MeanVarianceNormalization",
            Op::Lrn { .. } => "LRN",
            Op::Reduce { kind, .. } => kind.name(),
            Op::ArgMax(_) => "ArgMax",
            Op::ArgMin(_) => "ArgMin",
            Op::TopK { .. } => "TopK",
            Op::CumSum { .. } => "CumSum",
            Op::Flatten { .. } => "Flatten",
            Op::Reshape { .. } => "Reshape",
            Op::Transpose { .. } => "Transpose",
            Op::Squeeze => "Squeeze",
            Op::Unsqueeze => "Unsqueeze",
            Op::Concat { .. } => "Concat",
            Op::Slice => "Slice",
            Op::Split { .. } => "Split",
            Op::Pad { .. } => "Pad",
            Op::Shape { .. } => "Shape",
            Op::Gather { .. } => "Gather",
            Op::GatherElements { .. } => "GatherElements",
            Op::GatherND { .. } => "GatherND",
            Op::ScatterElements { .. } => "ScatterElements",
            Op::ScatterND { .. } => "ScatterND",
            Op::Expand => "Expand",
            Op::Tile => "Tile",
            Op::Trilu { .. } => "Trilu",
            Op::DepthToSpace { .. } => "DepthToSpace",
            Op::SpaceToDepth { .. } => "SpaceToDepth",
            Op::Size => "Size",
            Op::NonZero => "NonZero",
            Op::Range => "Range",
            Op::OneHot { .. } => "OneHot",
            Op::EyeLike { .. } => "EyeLike",
            Op::Cast { .. } => "Cast",
            Op::CastLike { .. } => "CastLike",
            Op::ConstantOfShape { .. } => "ConstantOfShape",
            Op::Identity => "Identity",
            Op::Dropout => "Dropout",
            Op::Softmax { .. } => "Softmax",
            Op::LogSoftmax { .. } => "LogSoftmax",
            Op::Hardmax { .. } => "Hardmax",
            Op::QuantizeLinear { .. } => "QuantizeLinear",
            Op::DequantizeLinear { .. } => "DequantizeLinear",
            Op::DynamicQuantizeLinear { .. } => "DynamicQuantizeLinear",
            Op::MatMulInteger => "MatMulInteger",
            Op::ConvInteger(_) => "ConvInteger",
            Op::QLinearMatMul => "QLinearMatMul",
            Op::QLinearConv(_) => "QLinearConv",
        }
    }

    /// Fewest and most inputs the operator takes.
    #[must_use]
    pub const fn input_arity(&self) -> (usize, usize) {
        match self {
            Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm { .. } | Op::LayerNormalization { .. } => (2, 3),
            Op::InstanceNormalization { .. } | Op::GroupNormalization { .. } => (3, 3),
            Op::MatMul
            | Op::Binary(_)
            | Op::Compare(_)
            | Op::Logic(_)
            | Op::Bitwise(_)
            | Op::CastLike { .. }
            | Op::TopK { .. }
            | Op::CumSum { .. }
            | Op::Reshape { .. }
            | Op::Unsqueeze
            | Op::Gather { .. }
            | Op::GatherElements { .. }
            | Op::GatherND { .. }
            | Op::Expand
            | Op::Tile => (2, 2),
            Op::Recurrent { kind: RecurrentKind::Lstm { .. }, .. } => (3, 8),
            Op::Recurrent { .. } => (3, 6),
            Op::Resize(_) => (1, 4),
            Op::Einsum(_) => (1, usize::MAX),
            Op::NonMaxSuppression { .. } => (2, 5),
            Op::Unary(_)
            | Op::Not
            | Op::BitwiseNot
            | Op::IsNaN
            | Op::IsInf { .. }
            | Op::MaxPool { .. }
            | Op::AveragePool { .. }
            | Op::LpPool { .. }
            | Op::GlobalAveragePool
            | Op::GlobalMaxPool
            | Op::GlobalLpPool { .. }
            | Op::MeanVarianceNormalization { .. }
            | Op::Lrn { .. }
            | Op::Flatten { .. }
            | Op::Transpose { .. }
            | Op::Shape { .. }
            | Op::Size
            | Op::NonZero
            | Op::EyeLike { .. }
            | Op::DepthToSpace { .. }
            | Op::SpaceToDepth { .. }
            | Op::Cast { .. }
            | Op::ConstantOfShape { .. }
            | Op::Identity
            | Op::Dropout
            | Op::Softmax { .. }
            | Op::LogSoftmax { .. }
            | Op::Hardmax { .. }
            | Op::ArgMax(_)
            | Op::ArgMin(_)
            | Op::DynamicQuantizeLinear { .. } => (1, 1),
            Op::Clip => (1, 3),
            Op::BatchNormalization { .. } => (5, 5),
            Op::Reduce { .. } | Op::Squeeze | Op::Split { .. } | Op::Trilu { .. } => (1, 2),
            Op::Concat { .. } | Op::Variadic(_) => (1, usize::MAX),
            Op::Where | Op::ScatterElements { .. } | Op::ScatterND { .. } | Op::Range | Op::OneHot { .. } => {
                (3, 3)
            }
            Op::Slice => (3, 5),
            Op::Pad { .. } => (2, 4),
            Op::QuantizeLinear { .. } | Op::DequantizeLinear { .. } => (2, 3),
            Op::MatMulInteger | Op::ConvInteger(_) => (2, 4),
            Op::QLinearMatMul => (8, 8),
            Op::QLinearConv(_) => (8, 9),
        }
    }

    /// Fewest and most outputs the operator gives.
    #[must_use]
    pub const fn output_arity(&self) -> (usize, usize) {
        match self {
            Op::MaxPool { .. } | Op::Dropout => (1, 2),
            Op::TopK { .. } => (2, 2),
            Op::Split { .. } => (1, usize::MAX),
            Op::LayerNormalization { .. } | Op::Recurrent { kind: RecurrentKind::Lstm { .. }, .. } => (1, 3),
            Op::Recurrent { .. } => (1, 2),
            Op::DynamicQuantizeLinear { .. } => (3, 3),
            _ => (1, 1),
        }
    }
}
