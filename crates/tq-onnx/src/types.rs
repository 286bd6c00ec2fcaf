//! Which operator set knows which element type, operator by operator.

use tq_graph::op::{BinaryOp, CompareOp, Op, ReduceKind, UnaryOp, VariadicOp};
use tq_graph::{Graph, Node};
use tq_qtypes::DType;

/// In place of an operator set: no one up to the highest that is written has it.
pub(crate) const NEVER: i64 = 0;

/// What an operator set cannot say, and the lowest one that can (0: none).
#[derive(Debug)]
pub(crate) struct Lack {
    pub(crate) what: String,
    pub(crate) needs: i64,
}

/// Checks that the types of the node's inputs and outputs exist for its operator at `opset`.
pub(crate) fn check(graph: &Graph, node: &Node, opset: i64) -> Result<(), Lack> {
    let dtype = |id: Option<tq_graph::ValueId>| id.and_then(|v| graph.value(v).dtype);
    let data = dtype(node.input(0)).into_iter().map(|d| (d, lowest(&node.op, d)));
    let second = match node.op {
        Op::QuantizeLinear { .. } => dtype(node.output(0)).map(|d| (d, codes(d))),
        Op::DequantizeLinear { .. } => dtype(node.input(1)).map(|d| (d, scales(d))),
        Op::Cast { to, .. } => Some((to, lowest(&node.op, to))),
        Op::ConstantOfShape { ref value } => Some((value.dtype(), lowest(&node.op, value.dtype()))),
        Op::QLinearMatMul => dtype(node.input(1)).map(|d| (d, if d == DType::F32 { 10 } else { 21 })),
        Op::Binary(BinaryOp::Pow) => {
            dtype(node.input(1)).map(|d| (d, if d == DType::BF16 { 15 } else { 13 }))
        }
        Op::CastLike { .. } | Op::Where => dtype(node.input(1)).map(|d| (d, lowest(&node.op, d))),
        Op::OneHot { .. } => dtype(node.input(2)).map(|d| (d, lowest(&node.op, d))),
        Op::EyeLike { dtype: Some(to), .. } => Some((to, lowest(&node.op, to))),
        _ => None,
    };
    for (dtype, needs) in data.chain(second) {
        if needs == NEVER || needs > opset {
            return Err(Lack { what: format!("{dtype} data"), needs });
        }
    }
    Ok(())
}

/// The lowest operator set (13 or more) in which `op` takes `dtype` as its first input.
/// For Cast and ConstantOfShape also that of the output.
fn lowest(op: &Op, dtype: DType) -> i64 {
    let four_bit = dtype.bits() == 4;
    let small_int = dtype.is_integer() && dtype.bits() < 32;
    let plain = !four_bit && !dtype.is_float8();
    let when = |ok: bool, opset: i64| if ok { opset } else { NEVER };
    // Two-bit types came with operator set 25, for those operators that take four-bit ones.
    if dtype.bits() < 4 {
        let four = if dtype == DType::I2 { DType::I4 } else { DType::U4 };
        return when(lowest(op, four) != NEVER, 25);
    }
    match op {
        Op::Reshape { .. } | Op::Shape { .. } | Op::Identity | Op::Cast { .. } | Op::Size => match () {
            () if four_bit => 21,
            () if dtype.is_float8() => 19,
            () => 13,
        },
        Op::CastLike { .. } => match () {
            () if four_bit => 21,
            () if dtype.is_float8() => 19,
            () => 15,
        },
        Op::Transpose { .. } | Op::Squeeze | Op::Unsqueeze | Op::Flatten { .. } | Op::Pad { .. } => {
            if plain {
                13
            } else {
                21
            }
        }
        Op::Einsum(_) => when(plain && dtype != DType::Bool && dtype != DType::BF16, 13),
        Op::NonMaxSuppression { .. } => when(dtype == DType::F32, 13),
        Op::Resize(_)
        | Op::Concat { .. }
        | Op::Slice
        | Op::Split { .. }
        | Op::Gather { .. }
        | Op::GatherElements { .. }
        | Op::GatherND { .. }
        | Op::ScatterElements { .. }
        | Op::ScatterND { .. }
        | Op::Expand
        | Op::Tile
        | Op::DepthToSpace { .. }
        | Op::SpaceToDepth { .. }
        | Op::NonZero
        | Op::Compare(CompareOp::Equal) => when(plain, 13),
        Op::Trilu { .. } => when(plain, 14),
        Op::Where => when(plain, if dtype == DType::BF16 { 16 } else { 13 }),
        Op::OneHot { .. } | Op::EyeLike { .. } => when(plain && dtype != DType::BF16, 13),
        Op::ConstantOfShape { .. } => match () {
            () if four_bit => 21,
            () if dtype.is_float8() || dtype == DType::BF16 => 20,
            () => 13,
        },
        Op::Logic(_) | Op::Not => when(dtype == DType::Bool, 13),
        Op::IsNaN if dtype.is_float8() => 20,
        Op::IsNaN => when(dtype.is_float(), 13),
        Op::IsInf { .. } => match dtype {
            DType::F32 | DType::F64 => 13,
            d => when(d.is_float() || d.is_float8(), 20),
        },
        Op::Bitwise(_) | Op::BitwiseNot => when(plain && dtype.is_integer(), 13),
        Op::Compare(CompareOp::GreaterOrEqual | CompareOp::LessOrEqual) | Op::Binary(BinaryOp::PRelu)
            if dtype == DType::BF16 =>
        {
            16
        }
        Op::Compare(_)
        | Op::Variadic(VariadicOp::Min | VariadicOp::Max)
        | Op::Binary(BinaryOp::Mod { .. })
        | Op::ArgMax(_)
        | Op::ArgMin(_)
        | Op::Unary(UnaryOp::Abs | UnaryOp::Sign | UnaryOp::Erf) => when(plain && dtype != DType::Bool, 13),
        Op::TopK { .. } => when(plain && dtype != DType::Bool && dtype != DType::BF16, 13),
        Op::Binary(BinaryOp::Pow) => when(dtype.is_float() || matches!(dtype, DType::I32 | DType::I64), 13),
        Op::Binary(BinaryOp::PRelu) => {
            when(dtype.is_float() || (dtype.is_integer() && dtype.bits() >= 32), 13)
        }
        Op::Binary(_) => when(plain && dtype != DType::Bool, if small_int { 14 } else { 13 }),
        Op::Unary(UnaryOp::Neg) if dtype.is_integer() => {
            when(plain && dtype.quant_range().is_none_or(|(lo, _)| lo < 0) && dtype != DType::U64, 13)
        }
        Op::Unary(UnaryOp::Relu) if dtype.is_integer() => {
            when(plain && dtype.quant_range().is_none_or(|(lo, _)| lo < 0) && dtype != DType::U64, 14)
        }
        Op::Unary(UnaryOp::LeakyRelu { .. }) => {
            when(dtype.is_float(), if dtype == DType::BF16 { 16 } else { 13 })
        }
        Op::Unary(UnaryOp::Celu { .. }) => when(dtype == DType::F32, 13),
        Op::Unary(
            UnaryOp::Relu
            | UnaryOp::Sigmoid
            | UnaryOp::Tanh
            | UnaryOp::Sqrt
            | UnaryOp::Exp
            | UnaryOp::Log
            | UnaryOp::Neg
            | UnaryOp::Reciprocal
            | UnaryOp::Floor
            | UnaryOp::Ceil
            | UnaryOp::Gelu { .. },
        )
        | Op::Softmax { .. }
        | Op::LogSoftmax { .. }
        | Op::Hardmax { .. }
        | Op::Variadic(VariadicOp::Sum | VariadicOp::Mean)
        | Op::Dropout => when(dtype.is_float(), 13),
        Op::Clip => when(plain && dtype != DType::Bool, 13),
        Op::Reduce { kind: ReduceKind::Max | ReduceKind::Min, .. } => match dtype {
            DType::Bool => 20,
            d => when(
                d.is_float() || matches!(d, DType::I8 | DType::U8) || (d.is_integer() && d.bits() >= 32),
                13,
            ),
        },
        Op::CumSum { .. } if matches!(dtype, DType::F16 | DType::BF16) => 14,
        Op::Range => {
            when(matches!(dtype, DType::F32 | DType::F64 | DType::I16 | DType::I32 | DType::I64), 13)
        }
        Op::MatMul | Op::Gemm { .. } | Op::Reduce { .. } | Op::CumSum { .. } => {
            when(dtype.is_float() || (dtype.is_integer() && dtype.bits() >= 32), 13)
        }
        Op::BatchNormalization { .. } => when(dtype.is_float(), if dtype == DType::BF16 { 14 } else { 13 }),
        Op::MeanVarianceNormalization { .. } | Op::Lrn { .. } => when(dtype.is_float(), 13),
        Op::LayerNormalization { .. } => when(dtype.is_float(), 17),
        Op::GroupNormalization { .. } => when(dtype.is_float(), 18),
        Op::MaxPool { .. } => {
            when((dtype.is_float() && dtype != DType::BF16) || matches!(dtype, DType::I8 | DType::U8), 13)
        }
        Op::Conv(_)
        | Op::ConvTranspose(_)
        | Op::Recurrent { .. }
        | Op::InstanceNormalization { .. }
        | Op::AveragePool { .. }
        | Op::LpPool { .. }
        | Op::GlobalAveragePool
        | Op::GlobalMaxPool
        | Op::GlobalLpPool { .. }
        | Op::Unary(_) => when(dtype.is_float() && dtype != DType::BF16, 13),
        Op::QuantizeLinear { .. } => {
            if dtype == DType::I32 {
                13
            } else {
                scales(dtype)
            }
        }
        Op::DequantizeLinear { .. } => {
            if dtype == DType::I32 {
                13
            } else {
                codes(dtype)
            }
        }
        Op::DynamicQuantizeLinear { .. } => when(dtype == DType::F32, 13),
        Op::MatMulInteger | Op::ConvInteger(_) | Op::QLinearConv(_) => {
            when(matches!(dtype, DType::I8 | DType::U8), 13)
        }
        Op::QLinearMatMul if dtype.is_float8() => 21,
        Op::QLinearMatMul => when(matches!(dtype, DType::I8 | DType::U8), 13),
    }
}

/// The lowest operator set in which Quantize gives and Dequantize takes codes of this type.
fn codes(dtype: DType) -> i64 {
    match dtype {
        DType::I8 | DType::U8 => 13,
        d if d.is_float8() => 19,
        DType::I4 | DType::U4 | DType::I16 | DType::U16 => 21,
        DType::I2 | DType::U2 => 25,
        _ => NEVER,
    }
}

/// The lowest operator set in which scales, and the data beside them, are of this type.
fn scales(dtype: DType) -> i64 {
    match dtype {
        DType::F32 => 13,
        DType::F16 | DType::BF16 => 19,
        _ => NEVER,
    }
}
