//! Operators that work element by element, by their number of inputs.

/// Functions of one real number that give one of the same type. `Relu`, `Abs`, `Neg`, `Sign` and `Erf` take
/// integers too.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum UnaryOp {
    /// `max(x, 0)`.
    Relu,
    /// `x` where not negative, else `alpha * x`.
    LeakyRelu {
        /// Slope of the negative part.
        alpha: f32,
    },
    /// `x` where above `alpha`, else 0.
    ThresholdedRelu {
        /// The threshold.
        alpha: f32,
    },
    /// `x` where positive, else `alpha * (exp(x) - 1)`.
    Elu {
        /// Slope of the negative part at zero.
        alpha: f32,
    },
    /// `max(x, 0) + min(alpha * (exp(x / alpha) - 1), 0)`.
    Celu {
        /// Where the negative part ends, negated.
        alpha: f32,
    },
    /// `gamma * x` where positive, else `gamma * alpha * (exp(x) - 1)`.
    Selu {
        /// Where the negative part ends, negated, before `gamma`.
        alpha: f32,
        /// Factor of everything.
        gamma: f32,
    },
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `max(0, min(1, alpha * x + beta))`.
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Value at zero.
        beta: f32,
    },
    /// `x * max(0, min(1, x / 6 + 0.5))`.
    HardSwish,
    /// `ln(1 + exp(x))`.
    Softplus,
    /// `x / (1 + |x|)`.
    Softsign,
    /// `x * tanh(ln(1 + exp(x)))`.
    Mish,
    /// `x * (1 + erf(x / sqrt(2))) / 2`, or the approximation of it by tanh.
    Gelu {
        /// True for `x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2`.
        tanh: bool,
    },
    /// The error function.
    Erf,
    /// Exponential.
    Exp,
    /// Natural logarithm.
    Log,
    /// Square root.
    Sqrt,
    /// `1 / x`.
    Reciprocal,
    /// Absolute value.
    Abs,
    /// `-x`.
    Neg,
    /// -1, 0 or 1.
    Sign,
    /// Rounded down.
    Floor,
    /// Rounded up.
    Ceil,
    /// Rounded to the nearest integer, half to even.
    Round,
    /// Sine.
    Sin,
    /// Cosine.
    Cos,
    /// Tangent.
    Tan,
    /// Inverse sine.
    Asin,
    /// Inverse cosine.
    Acos,
    /// Inverse tangent.
    Atan,
    /// Hyperbolic sine.
    Sinh,
    /// Hyperbolic cosine.
    Cosh,
    /// Hyperbolic tangent.
    Tanh,
    /// Inverse hyperbolic sine.
    Asinh,
    /// Inverse hyperbolic cosine.
    Acosh,
    /// Inverse hyperbolic tangent.
    Atanh,
}

/// Functions of two numbers, with numpy broadcasting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient; integers truncate towards zero.
    Div,
    /// Power. The exponent may be of another type; the result is of the base's.
    Pow,
    /// What is left after a division.
    Mod {
        /// True for the sign of the dividend, as C's `fmod`; false for that of the divisor, for integers only.
        fmod: bool,
    },
    /// `x` where not negative, else `slope * x`. The slope (second) broadcasts to the shape of `x`, not the other
    /// way round.
    PRelu,
}

/// Comparisons of two numbers, with numpy broadcasting; the result is bool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CompareOp {
    /// `a == b`, of truth values too.
    Equal,
    /// `a > b`.
    Greater,
    /// `a >= b`.
    GreaterOrEqual,
    /// `a < b`.
    Less,
    /// `a <= b`.
    LessOrEqual,
}

/// Functions of two truth values, with numpy broadcasting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogicOp {
    /// Both.
    And,
    /// At least one.
    Or,
    /// Exactly one.
    Xor,
}

/// Functions of the bits of two integers, with numpy broadcasting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BitwiseOp {
    /// Bits that are set in both.
    And,
    /// Bits that are set in at least one.
    Or,
    /// Bits that are set in exactly one.
    Xor,
    /// `a` shifted by `b` bits, both unsigned; zeros move in, and nothing is left of shifts by the whole width.
    Shift {
        /// Towards the high bits, or towards the low ones.
        left: bool,
    },
}

/// Functions of any number of tensors, with numpy broadcasting among all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VariadicOp {
    /// The smallest; NaN if one is NaN.
    Min,
    /// The largest; NaN if one is NaN.
    Max,
    /// Sum of floats.
    Sum,
    /// Mean of floats.
    Mean,
}

impl UnaryOp {
    /// The ONNX name of the operator.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            UnaryOp::Relu => "Relu",
            UnaryOp::LeakyRelu { .. } => "LeakyRelu",
            UnaryOp::ThresholdedRelu { .. } => "ThresholdedRelu",
            UnaryOp::Elu { .. } => "Elu",
            UnaryOp::Celu { .. } => "Celu",
            UnaryOp::Selu { .. } => "Selu",
            UnaryOp::Sigmoid => "Sigmoid",
            UnaryOp::HardSigmoid { .. } => "HardSigmoid",
            UnaryOp::HardSwish => "HardSwish",
            UnaryOp::Softplus => "Softplus",
            UnaryOp::Softsign => "Softsign",
            UnaryOp::Mish => "Mish",
            UnaryOp::Gelu { .. } => "Gelu",
            UnaryOp::Erf => "Erf",
            UnaryOp::Exp => "Exp",
            UnaryOp::Log => "Log",
            UnaryOp::Sqrt => "Sqrt",
            UnaryOp::Reciprocal => "Reciprocal",
            UnaryOp::Abs => "Abs",
            UnaryOp::Neg => "Neg",
            UnaryOp::Sign => "Sign",
            UnaryOp::Floor => "Floor",
            UnaryOp::Ceil => "Ceil",
            UnaryOp::Round => "Round",
            UnaryOp::Sin => "Sin",
            UnaryOp::Cos => "Cos",
            UnaryOp::Tan => "Tan",
            UnaryOp::Asin => "Asin",
            UnaryOp::Acos => "Acos",
            UnaryOp::Atan => "Atan",
            UnaryOp::Sinh => "Sinh",
            UnaryOp::Cosh => "Cosh",
            UnaryOp::Tanh => "Tanh",
            UnaryOp::Asinh => "Asinh",
            UnaryOp::Acosh => "Acosh",
            UnaryOp::Atanh => "Atanh",
        }
    }
}

impl BinaryOp {
    /// The ONNX name of the operator.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            BinaryOp::Add => "Add",
            BinaryOp::Sub => "Sub",
            BinaryOp::Mul => "Mul",
            BinaryOp::Div => "Div",
            BinaryOp::Pow => "Pow",
            BinaryOp::Mod { .. } => "Mod",
            BinaryOp::PRelu => "PRelu",
        }
    }
}

impl CompareOp {
    /// The ONNX name of the operator.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            CompareOp::Equal => "Equal",
            CompareOp::Greater => "Greater",
            CompareOp::GreaterOrEqual => "GreaterOrEqual",
            CompareOp::Less => "Less",
            CompareOp::LessOrEqual => "LessOrEqual",
        }
    }
}

impl LogicOp {
    /// The ONNX name of the operator.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            LogicOp::And => "And",
            LogicOp::Or => "Or",
            LogicOp::Xor => "Xor",
        }
    }
}

impl BitwiseOp {
    /// The ONNX name of the operator.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            BitwiseOp::And => "BitwiseAnd",
            BitwiseOp::Or => "BitwiseOr",
            BitwiseOp::Xor => "BitwiseXor",
            BitwiseOp::Shift { .. } => "BitShift",
        }
    }
}

impl VariadicOp {
    /// The ONNX name of the operator.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            VariadicOp::Min => "Min",
            VariadicOp::Max => "Max",
            VariadicOp::Sum => "Sum",
            VariadicOp::Mean => "Mean",
        }
    }
}
