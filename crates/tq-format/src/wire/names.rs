//! Words of the file for what is one of a few.

use tq_graph::op::{
    Activation, AspectPolicy, BinaryOp, BitwiseOp, CompareOp, Direction, LogicOp, NearestRounding, PadMode,
    ReduceKind, ScatterReduction, UnaryOp, VariadicOp,
};
use tq_qtypes::DType;

/// Values that are written as a word each.
pub(super) trait Named: Copy + 'static {
    const ALL: &'static [Self];

    fn word(self) -> &'static str;
}

impl Named for DType {
    const ALL: &'static [Self] = &DType::ALL;
    fn word(self) -> &'static str {
        self.name()
    }
}

impl Named for PadMode {
    const ALL: &'static [Self] = &[PadMode::Constant, PadMode::Reflect, PadMode::Edge, PadMode::Wrap];
    fn word(self) -> &'static str {
        match self {
            PadMode::Constant => "constant",
            PadMode::Reflect => "reflect",
            PadMode::Edge => "edge",
            PadMode::Wrap => "wrap",
        }
    }
}

impl Named for ScatterReduction {
    const ALL: &'static [Self] = &[
        ScatterReduction::None,
        ScatterReduction::Add,
        ScatterReduction::Mul,
        ScatterReduction::Max,
        ScatterReduction::Min,
    ];
    fn word(self) -> &'static str {
        match self {
            ScatterReduction::None => "none",
            ScatterReduction::Add => "add",
            ScatterReduction::Mul => "mul",
            ScatterReduction::Max => "max",
            ScatterReduction::Min => "min",
        }
    }
}

impl Named for NearestRounding {
    const ALL: &'static [Self] = &[
        NearestRounding::PreferFloor,
        NearestRounding::PreferCeil,
        NearestRounding::Floor,
        NearestRounding::Ceil,
    ];
    fn word(self) -> &'static str {
        self.name()
    }
}

impl Named for AspectPolicy {
    const ALL: &'static [Self] = &[AspectPolicy::Stretch, AspectPolicy::NotLarger, AspectPolicy::NotSmaller];
    fn word(self) -> &'static str {
        self.name()
    }
}

impl Named for Direction {
    const ALL: &'static [Self] = &[Direction::Forward, Direction::Reverse, Direction::Bidirectional];
    fn word(self) -> &'static str {
        match self {
            Direction::Forward => "forward",
            Direction::Reverse => "reverse",
            Direction::Bidirectional => "bidirectional",
        }
    }
}

/// Functions without attributes; their words are the names of operators.
pub(super) const UNARY: [UnaryOp; 29] = [
    UnaryOp::Relu,
    UnaryOp::Sigmoid,
    UnaryOp::HardSwish,
    UnaryOp::Softplus,
    UnaryOp::Softsign,
    UnaryOp::Mish,
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

pub(super) const BINARY: [BinaryOp; 6] =
    [BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul, BinaryOp::Div, BinaryOp::Pow, BinaryOp::PRelu];

pub(super) const COMPARE: [CompareOp; 5] = [
    CompareOp::Equal,
    CompareOp::Greater,
    CompareOp::GreaterOrEqual,
    CompareOp::Less,
    CompareOp::LessOrEqual,
];

pub(super) const LOGIC: [LogicOp; 3] = [LogicOp::And, LogicOp::Or, LogicOp::Xor];

pub(super) const BITWISE: [BitwiseOp; 3] = [BitwiseOp::And, BitwiseOp::Or, BitwiseOp::Xor];

pub(super) const VARIADIC: [VariadicOp; 4] =
    [VariadicOp::Min, VariadicOp::Max, VariadicOp::Sum, VariadicOp::Mean];

pub(super) const REDUCE: [ReduceKind; 10] = [
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

/// The function of a recurrent operator by its name and parameters.
pub(super) fn activation(name: &str, parameters: &[f32]) -> Option<Activation> {
    Some(match (name, parameters) {
        ("Relu", []) => Activation::Relu,
        ("Tanh", []) => Activation::Tanh,
        ("Sigmoid", []) => Activation::Sigmoid,
        ("Softsign", []) => Activation::Softsign,
        ("Softplus", []) => Activation::Softplus,
        ("LeakyRelu", [alpha]) => Activation::LeakyRelu { alpha: *alpha },
        ("ThresholdedRelu", [alpha]) => Activation::ThresholdedRelu { alpha: *alpha },
        ("Elu", [alpha]) => Activation::Elu { alpha: *alpha },
        ("Affine", [alpha, beta]) => Activation::Affine { alpha: *alpha, beta: *beta },
        ("ScaledTanh", [alpha, beta]) => Activation::ScaledTanh { alpha: *alpha, beta: *beta },
        ("HardSigmoid", [alpha, beta]) => Activation::HardSigmoid { alpha: *alpha, beta: *beta },
        _ => return None,
    })
}
