//! A name for every operator: an operator that is new does not compile here until it has one, and then needs a case.

use tq_graph::Op;
use tq_graph::op::{Activation, BinaryOp, PadMode, ReduceKind, ScatterReduction, UnaryOp, VariadicOp};

/// One exhaustive match and the list of all its names.
macro_rules! names {
    ($of:ident: $type:ty, $all:ident, { $($pattern:pat => $name:literal,)* }) => {
        fn $of(value: &$type) -> &'static str {
            match value {
                $($pattern => $name,)*
            }
        }
        const $all: &[&str] = &[$($name),*];
    };
}

names!(op: Op, OPS, {
    Op::Conv(_) => "Conv",
    Op::ConvTranspose(_) => "ConvTranspose",
    Op::Gemm { .. } => "Gemm",
    Op::MatMul => "MatMul",
    Op::Unary(_) => "Unary",
    Op::Binary(_) => "Binary",
    Op::Compare(_) => "Compare",
    Op::Logic(_) => "Logic",
    Op::Not => "Not",
    Op::Bitwise(_) => "Bitwise",
    Op::BitwiseNot => "BitwiseNot",
    Op::IsNaN => "IsNaN",
    Op::IsInf { .. } => "IsInf",
    Op::Where => "Where",
    Op::Variadic(_) => "Variadic",
    Op::Clip => "Clip",
    Op::BatchNormalization { .. } => "BatchNormalization",
    Op::LayerNormalization { .. } => "LayerNormalization",
    Op::InstanceNormalization { .. } => "InstanceNormalization",
    Op::GroupNormalization { .. } => "GroupNormalization",
    Op::Recurrent { .. } => "Recurrent",
    Op::Einsum(_) => "Einsum",
    Op::NonMaxSuppression { .. } => "NonMaxSuppression",
    Op::Resize(_) => "Resize",
    Op::MaxPool { .. } => "MaxPool",
    Op::AveragePool { .. } => "AveragePool",
    Op::LpPool { .. } => "LpPool",
    Op::GlobalAveragePool => "GlobalAveragePool",
    Op::GlobalMaxPool => "GlobalMaxPool",
    Op::GlobalLpPool { .. } => "GlobalLpPool",
    Op::MeanVarianceNormalization { .. } => "MeanVarianceNormalization",
    Op::Lrn { .. } => "Lrn",
    Op::Reduce { .. } => "Reduce",
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
});

names!(unary: UnaryOp, UNARY, {
    UnaryOp::Relu => "Unary Relu",
    UnaryOp::LeakyRelu { .. } => "Unary LeakyRelu",
    UnaryOp::ThresholdedRelu { .. } => "Unary ThresholdedRelu",
    UnaryOp::Elu { .. } => "Unary Elu",
    UnaryOp::Celu { .. } => "Unary Celu",
    UnaryOp::Selu { .. } => "Unary Selu",
    UnaryOp::Sigmoid => "Unary Sigmoid",
    UnaryOp::HardSigmoid { .. } => "Unary HardSigmoid",
    UnaryOp::HardSwish => "Unary HardSwish",
    UnaryOp::Softplus => "Unary Softplus",
    UnaryOp::Softsign => "Unary Softsign",
    UnaryOp::Mish => "Unary Mish",
    UnaryOp::Gelu { tanh: false } => "Unary Gelu",
    UnaryOp::Gelu { tanh: true } => "Unary Gelu tanh",
    UnaryOp::Erf => "Unary Erf",
    UnaryOp::Exp => "Unary Exp",
    UnaryOp::Log => "Unary Log",
    UnaryOp::Sqrt => "Unary Sqrt",
    UnaryOp::Reciprocal => "Unary Reciprocal",
    UnaryOp::Abs => "Unary Abs",
    UnaryOp::Neg => "Unary Neg",
    UnaryOp::Sign => "Unary Sign",
    UnaryOp::Floor => "Unary Floor",
    UnaryOp::Ceil => "Unary Ceil",
    UnaryOp::Round => "Unary Round",
    UnaryOp::Sin => "Unary Sin",
    UnaryOp::Cos => "Unary Cos",
    UnaryOp::Tan => "Unary Tan",
    UnaryOp::Asin => "Unary Asin",
    UnaryOp::Acos => "Unary Acos",
    UnaryOp::Atan => "Unary Atan",
    UnaryOp::Sinh => "Unary Sinh",
    UnaryOp::Cosh => "Unary Cosh",
    UnaryOp::Tanh => "Unary Tanh",
    UnaryOp::Asinh => "Unary Asinh",
    UnaryOp::Acosh => "Unary Acosh",
    UnaryOp::Atanh => "Unary Atanh",
});

names!(binary: BinaryOp, BINARY, {
    BinaryOp::Add => "Binary Add",
    BinaryOp::Sub => "Binary Sub",
    BinaryOp::Mul => "Binary Mul",
    BinaryOp::Div => "Binary Div",
    BinaryOp::Pow => "Binary Pow",
    BinaryOp::Mod { .. } => "Binary Mod",
    BinaryOp::PRelu => "Binary PRelu",
});

names!(variadic: VariadicOp, VARIADIC, {
    VariadicOp::Min => "Variadic Min",
    VariadicOp::Max => "Variadic Max",
    VariadicOp::Sum => "Variadic Sum",
    VariadicOp::Mean => "Variadic Mean",
});

names!(reduce: ReduceKind, REDUCE, {
    ReduceKind::Sum => "Reduce Sum",
    ReduceKind::Mean => "Reduce Mean",
    ReduceKind::Prod => "Reduce Prod",
    ReduceKind::Max => "Reduce Max",
    ReduceKind::Min => "Reduce Min",
    ReduceKind::L1 => "Reduce L1",
    ReduceKind::L2 => "Reduce L2",
    ReduceKind::SumSquare => "Reduce SumSquare",
    ReduceKind::LogSum => "Reduce LogSum",
    ReduceKind::LogSumExp => "Reduce LogSumExp",
});

names!(pad: PadMode, PAD, {
    PadMode::Constant => "Pad Constant",
    PadMode::Reflect => "Pad Reflect",
    PadMode::Edge => "Pad Edge",
    PadMode::Wrap => "Pad Wrap",
});

names!(scatter: ScatterReduction, SCATTER, {
    ScatterReduction::None => "Scatter None",
    ScatterReduction::Add => "Scatter Add",
    ScatterReduction::Mul => "Scatter Mul",
    ScatterReduction::Max => "Scatter Max",
    ScatterReduction::Min => "Scatter Min",
});

names!(activation: Activation, ACTIVATION, {
    Activation::Relu => "Recurrent Relu",
    Activation::Tanh => "Recurrent Tanh",
    Activation::Sigmoid => "Recurrent Sigmoid",
    Activation::Affine { .. } => "Recurrent Affine",
    Activation::LeakyRelu { .. } => "Recurrent LeakyRelu",
    Activation::ThresholdedRelu { .. } => "Recurrent ThresholdedRelu",
    Activation::ScaledTanh { .. } => "Recurrent ScaledTanh",
    Activation::HardSigmoid { .. } => "Recurrent HardSigmoid",
    Activation::Elu { .. } => "Recurrent Elu",
    Activation::Softsign => "Recurrent Softsign",
    Activation::Softplus => "Recurrent Softplus",
});

/// All names that an operator stands for.
pub(crate) fn of(value: &Op) -> Vec<&'static str> {
    let mut names = vec![op(value)];
    match value {
        Op::Unary(o) => names.push(unary(o)),
        Op::Binary(o) => names.push(binary(o)),
        Op::Variadic(o) => names.push(variadic(o)),
        Op::Reduce { kind, .. } => names.push(reduce(kind)),
        Op::Pad { mode } => names.push(pad(mode)),
        Op::ScatterElements { reduction, .. } | Op::ScatterND { reduction } => names.push(scatter(reduction)),
        Op::Recurrent { kind, attrs } => {
            names.push(kind.name());
            names.extend(attrs.activations.iter().map(activation));
        }
        _ => {}
    }
    names
}

/// All names that there are.
pub(crate) fn all() -> Vec<&'static str> {
    let lists = [OPS, UNARY, BINARY, VARIADIC, REDUCE, PAD, SCATTER, ACTIVATION, &["LSTM", "GRU", "RNN"]];
    lists.concat()
}
