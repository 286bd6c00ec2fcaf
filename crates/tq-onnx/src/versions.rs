//! Which operator set knows which operator, and in which form.

use crate::MIN_OPSET;
use tq_graph::op::ReduceKind;

/// The first operator set that has the operator; 0 for those that are in the lowest one that is read.
pub(crate) fn since(name: &str) -> i64 {
    match name {
        "HardSwish" | "Trilu" => 14,
        "CastLike" => 15,
        "LayerNormalization" => 17,
        "BitwiseAnd" | "BitwiseOr" | "BitwiseXor" | "BitwiseNot" | "GroupNormalization" | "Mish" => 18,
        "Gelu" => 20,
        _ => 0,
    }
}

/// The operator set since which the operator has been what it is at the lowest one that is read.
pub(crate) fn unchanged_since(name: &str) -> i64 {
    match name {
        "GlobalAveragePool" | "GlobalMaxPool" | "Not" | "Softplus" | "Softsign" => 1,
        "GlobalLpPool" => 2,
        "Elu" | "HardSigmoid" | "InstanceNormalization" | "LeakyRelu" | "Selu" => 6,
        "And" | "Or" | "Xor" | "Acos" | "Asin" | "Atan" | "Cos" | "GRU" | "LSTM" | "RNN" | "Sin" | "Tan" => 7,
        "Acosh" | "Asinh" | "Atanh" | "BatchNormalization" | "ConstantOfShape" | "Cosh" | "EyeLike"
        | "PRelu" | "Sinh" | "Where" => 9,
        "ConvInteger" | "IsInf" | "MatMulInteger" | "QLinearConv" | "QLinearMatMul" | "ThresholdedRelu" => 10,
        "AveragePool"
        | "BitShift"
        | "Conv"
        | "ConvTranspose"
        | "CumSum"
        | "DynamicQuantizeLinear"
        | "LpPool"
        | "NonMaxSuppression"
        | "OneHot"
        | "Range"
        | "Round"
        | "TopK" => 11,
        "Celu" | "Constant" | "Dropout" | "Einsum" | "GreaterOrEqual" | "LessOrEqual" | "MaxPool" => 12,
        _ => MIN_OPSET,
    }
}

/// The lowest operator set in which the axes of a reduction are an input instead of an attribute.
pub(crate) fn axes_are_input(kind: ReduceKind) -> i64 {
    if kind == ReduceKind::Sum { 13 } else { 18 }
}
