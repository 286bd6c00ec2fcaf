//! Operators that work element by element, and reductions.

use super::Attributes;
use tq_graph::Op;
use tq_graph::op::{ArgAttrs, BinaryOp, BitwiseOp, CompareOp, LogicOp, ReduceKind, UnaryOp, VariadicOp};

const UNARY: [UnaryOp; 37] = [
    UnaryOp::Relu,
    UnaryOp::LeakyRelu { alpha: 0.01 },
    UnaryOp::ThresholdedRelu { alpha: 1.0 },
    UnaryOp::Elu { alpha: 1.0 },
    UnaryOp::Celu { alpha: 1.0 },
    UnaryOp::Selu { alpha: 1.67, gamma: 1.05 },
    UnaryOp::Sigmoid,
    UnaryOp::HardSigmoid { alpha: 0.2, beta: 0.5 },
    UnaryOp::HardSwish,
    UnaryOp::Softplus,
    UnaryOp::Softsign,
    UnaryOp::Mish,
    UnaryOp::Gelu { tanh: false },
    UnaryOp::Gelu { tanh: true },
    UnaryOp::Erf,
    UnaryOp::Exp,
    UnaryOp::Log,
    UnaryOp::Sqrt,
    UnaryOp::Reciprocal,
    UnaryOp::Abs,
    UnaryOp::Neg,
    UnaryOp::Sign,
    UnaryOp::Floor,
    UnaryOp::Ceil,
    UnaryOp::Round,
    UnaryOp::Sin,
    UnaryOp::Cos,
    UnaryOp::Tan,
    UnaryOp::Asin,
    UnaryOp::Acos,
    UnaryOp::Atan,
    UnaryOp::Sinh,
    UnaryOp::Cosh,
    UnaryOp::Tanh,
    UnaryOp::Asinh,
    UnaryOp::Acosh,
    UnaryOp::Atanh,
];

const REDUCE: [ReduceKind; 10] = [
    ReduceKind::Sum,
    ReduceKind::Mean,
    ReduceKind::Prod,
    ReduceKind::Max,
    ReduceKind::Min,
    ReduceKind::L1,
    ReduceKind::L2,
    ReduceKind::SumSquare,
    ReduceKind::LogSum,
    ReduceKind::LogSumExp,
];

/// The operator of this name, if it is one of these.
pub(super) fn op(name: &str, attributes: &Attributes<'_>) -> Option<Op> {
    if let Some(op) = UNARY.into_iter().find(|u| u.name() == name) {
        return Some(Op::Unary(op));
    }
    if let Some(kind) = REDUCE.into_iter().find(|k| k.name() == name) {
        let noop_with_empty_axes = attributes.flag("noop_with_empty_axes");
        return Some(Op::Reduce { kind, keep_dims: attributes.flag("keepdims"), noop_with_empty_axes });
    }
    let fmod = attributes.flag("fmod");
    let left = attributes.0.get("direction") == Some(&"LEFT");
    let arg = ArgAttrs {
        axis: attributes.int("axis", 0),
        keep_dims: attributes.flag("keepdims"),
        select_last: attributes.flag("select_last_index"),
    };
    let axis = attributes.int("axis", -1);
    [
        Op::Binary(BinaryOp::Add),
        Op::Binary(BinaryOp::Sub),
        Op::Binary(BinaryOp::Mul),
        Op::Binary(BinaryOp::Div),
        Op::Binary(BinaryOp::Pow),
        Op::Binary(BinaryOp::Mod { fmod }),
        Op::Binary(BinaryOp::PRelu),
        Op::Compare(CompareOp::Equal),
        Op::Compare(CompareOp::Greater),
        Op::Compare(CompareOp::GreaterOrEqual),
        Op::Compare(CompareOp::Less),
        Op::Compare(CompareOp::LessOrEqual),
        Op::Logic(LogicOp::And),
        Op::Logic(LogicOp::Or),
        Op::Logic(LogicOp::Xor),
        Op::Not,
        Op::Bitwise(BitwiseOp::And),
        Op::Bitwise(BitwiseOp::Or),
        Op::Bitwise(BitwiseOp::Xor),
        Op::Bitwise(BitwiseOp::Shift { left }),
        Op::BitwiseNot,
        Op::IsNaN,
        Op::IsInf { negative: true, positive: true },
        Op::Where,
        Op::Variadic(VariadicOp::Min),
        Op::Variadic(VariadicOp::Max),
        Op::Variadic(VariadicOp::Sum),
        Op::Variadic(VariadicOp::Mean),
        Op::ArgMax(arg),
        Op::ArgMin(arg),
        Op::TopK { axis, largest: true, sorted: true },
        Op::CumSum { exclusive: false, reverse: false },
        Op::LogSoftmax { axis },
        Op::Hardmax { axis },
    ]
    .into_iter()
    .find(|op| op.name() == name)
}
