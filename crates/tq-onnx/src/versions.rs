//! Which operator set knows which operator, and in which form.

use tq_graph::op::ReduceKind;

/// The first operator set that has the operator; 0 for those that are in the lowest one that is read.
pub(crate) fn since(name: &str) -> i64 {
    match name {
        "Expand" => 8,
        "Acosh"
        | "Asinh"
        | "Atanh"
        | "ConstantOfShape"
        | "Cosh"
        | "Erf"
        | "EyeLike"
        | "IsNaN"
        | "MeanVarianceNormalization"
        | "NonZero"
        | "OneHot"
        | "Scatter"
        | "Sign"
        | "Sinh"
        | "Where" => 9,
        "ConvInteger" | "DequantizeLinear" | "IsInf" | "MatMulInteger" | "Mod" | "NonMaxSuppression"
        | "QLinearConv" | "QLinearMatMul" | "QuantizeLinear" | "Resize" | "ThresholdedRelu" => 10,
        "BitShift"
        | "CumSum"
        | "DynamicQuantizeLinear"
        | "GatherElements"
        | "GatherND"
        | "Range"
        | "Round"
        | "ScatterElements"
        | "ScatterND" => 11,
        "Celu" | "Einsum" | "GreaterOrEqual" | "LessOrEqual" => 12,
        "HardSwish" | "Trilu" => 14,
        "CastLike" => 15,
        "LayerNormalization" => 17,
        "BitwiseAnd" | "BitwiseOr" | "BitwiseXor" | "BitwiseNot" | "GroupNormalization" | "Mish" => 18,
        "Gelu" => 20,
        "RMSNormalization" => 23,
        "Swish" => 24,
        _ => 0,
    }
}

/// The operator set since which the operator has been what it is at the lowest one that is read, if that is older.
pub(crate) fn unchanged_since(name: &str) -> i64 {
    match name {
        "GlobalAveragePool" | "GlobalMaxPool" | "Not" | "Softplus" | "Softsign" => 1,
        "GlobalLpPool" => 2,
        "Elu" | "HardSigmoid" | "InstanceNormalization" | "LeakyRelu" | "Selu" => 6,
        _ => *crate::READ_OPSETS.start(),
    }
}

/// The lowest operator set in which the axes of a reduction are an input instead of an attribute.
pub(crate) fn axes_are_input(kind: ReduceKind) -> i64 {
    if kind == ReduceKind::Sum { 13 } else { 18 }
}
