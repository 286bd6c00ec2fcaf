//! Operators that work element by element.

use super::operator::{Result, malformed};
use crate::attributes::Attributes;
use tq_graph::op::{BinaryOp, BitwiseOp, CompareOp, LogicOp, Op, UnaryOp, VariadicOp};

/// The operator of this name, if it is one of these.
pub(super) fn operator(name: &str, attributes: &Attributes) -> Result<Option<Op>> {
    let op = match name {
        "Add" => Op::Binary(BinaryOp::Add),
        "Sub" => Op::Binary(BinaryOp::Sub),
        "Mul" => Op::Binary(BinaryOp::Mul),
        "Div" => Op::Binary(BinaryOp::Div),
        "Pow" => Op::Binary(BinaryOp::Pow),
        "Mod" => Op::Binary(BinaryOp::Mod { fmod: attributes.flag("fmod", false)? }),
        "PRelu" => Op::Binary(BinaryOp::PRelu),
        "Equal" => Op::Compare(CompareOp::Equal),
        "Greater" => Op::Compare(CompareOp::Greater),
        "GreaterOrEqual" => Op::Compare(CompareOp::GreaterOrEqual),
        "Less" => Op::Compare(CompareOp::Less),
        "LessOrEqual" => Op::Compare(CompareOp::LessOrEqual),
        "And" => Op::Logic(LogicOp::And),
        "Or" => Op::Logic(LogicOp::Or),
        "Xor" => Op::Logic(LogicOp::Xor),
        "Not" => Op::Not,
        "BitwiseAnd" => Op::Bitwise(BitwiseOp::And),
        "BitwiseOr" => Op::Bitwise(BitwiseOp::Or),
        "BitwiseXor" => Op::Bitwise(BitwiseOp::Xor),
        "BitwiseNot" => Op::BitwiseNot,
        "BitShift" => Op::Bitwise(BitwiseOp::Shift { left: shifts_left(attributes)? }),
        "IsNaN" => Op::IsNaN,
        "IsInf" => Op::IsInf {
            negative: attributes.flag("detect_negative", true)?,
            positive: attributes.flag("detect_positive", true)?,
        },
        "Where" => Op::Where,
        "Min" => Op::Variadic(VariadicOp::Min),
        "Max" => Op::Variadic(VariadicOp::Max),
        "Sum" => Op::Variadic(VariadicOp::Sum),
        "Mean" => Op::Variadic(VariadicOp::Mean),
        _ => return Ok(unary(name, attributes)?.map(Op::Unary)),
    };
    Ok(Some(op))
}

fn unary(name: &str, attributes: &Attributes) -> Result<Option<UnaryOp>> {
    Ok(Some(match name {
        "Relu" => UnaryOp::Relu,
        "LeakyRelu" => UnaryOp::LeakyRelu { alpha: attributes.float("alpha", 0.01)? },
        "ThresholdedRelu" => UnaryOp::ThresholdedRelu { alpha: attributes.float("alpha", 1.0)? },
        "Elu" => UnaryOp::Elu { alpha: attributes.float("alpha", 1.0)? },
        "Celu" => UnaryOp::Celu { alpha: attributes.float("alpha", 1.0)? },
        // The defaults of the operator, which are f32 numbers.
        "Selu" => UnaryOp::Selu {
            alpha: attributes.float("alpha", 1.673_263_2)?,
            gamma: attributes.float("gamma", 1.050_701)?,
        },
        "Sigmoid" => UnaryOp::Sigmoid,
        "HardSigmoid" => UnaryOp::HardSigmoid {
            alpha: attributes.float("alpha", 0.2)?,
            beta: attributes.float("beta", 0.5)?,
        },
        "HardSwish" => UnaryOp::HardSwish,
        "Softplus" => UnaryOp::Softplus,
        "Softsign" => UnaryOp::Softsign,
        "Mish" => UnaryOp::Mish,
        "Gelu" => UnaryOp::Gelu {
            tanh: match attributes.text("approximate")?.unwrap_or("none") {
                "none" => false,
                "tanh" => true,
                other => return malformed(format!("approximate is {other:?}")),
            },
        },
        "Erf" => UnaryOp::Erf,
        "Exp" => UnaryOp::Exp,
        "Log" => UnaryOp::Log,
        "Sqrt" => UnaryOp::Sqrt,
        "Reciprocal" => UnaryOp::Reciprocal,
        "Abs" => UnaryOp::Abs,
        "Neg" => UnaryOp::Neg,
        "Sign" => UnaryOp::Sign,
        "Floor" => UnaryOp::Floor,
        "Ceil" => UnaryOp::Ceil,
        "Round" => UnaryOp::Round,
        "Sin" => UnaryOp::Sin,
        "Cos" => UnaryOp::Cos,
        "Tan" => UnaryOp::Tan,
        "Asin" => UnaryOp::Asin,
        "Acos" => UnaryOp::Acos,
        "Atan" => UnaryOp::Atan,
        "Sinh" => UnaryOp::Sinh,
        "Cosh" => UnaryOp::Cosh,
        "Tanh" => UnaryOp::Tanh,
        "Asinh" => UnaryOp::Asinh,
        "Acosh" => UnaryOp::Acosh,
        "Atanh" => UnaryOp::Atanh,
        _ => return Ok(None),
    }))
}

fn shifts_left(attributes: &Attributes) -> Result<bool> {
    match attributes.text("direction")? {
        Some("LEFT") => Ok(true),
        Some("RIGHT") => Ok(false),
        Some(other) => malformed(format!("direction is {other:?}")),
        None => malformed("direction is missing".into()),
    }
}
