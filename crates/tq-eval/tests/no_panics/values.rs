//! Operators that work on values one by one, move them or make them.

use super::{DTYPES, Source};
use tq_graph::Op;
use tq_graph::op::{
    ArgAttrs, BinaryOp, BitwiseOp, CompareOp, LogicOp, ReduceKind, ScatterReduction, UnaryOp, VariadicOp,
};

impl Source {
    /// Operators that work element by element, reduce, pick, repeat or make elements.
    pub(super) fn values_op(&mut self, axis: i64) -> Op {
        let (a, b) = (self.flag(), self.flag());
        let reductions = [
            ScatterReduction::None,
            ScatterReduction::Add,
            ScatterReduction::Mul,
            ScatterReduction::Max,
            ScatterReduction::Min,
        ];
        let reduction = self.pick(&reductions);
        let arg = ArgAttrs { axis, keep_dims: a, select_last: b };
        match self.below(30) {
            0 => Op::Binary(self.pick(&[
                BinaryOp::Pow,
                BinaryOp::Mod { fmod: a },
                BinaryOp::Mod { fmod: b },
                BinaryOp::PRelu,
            ])),
            1 | 2 => Op::Compare(self.pick(&[
                CompareOp::Equal,
                CompareOp::Greater,
                CompareOp::GreaterOrEqual,
                CompareOp::Less,
                CompareOp::LessOrEqual,
            ])),
            3 => Op::Logic(self.pick(&[LogicOp::And, LogicOp::Or, LogicOp::Xor])),
            4 => self.pick(&[Op::Not, Op::BitwiseNot, Op::IsNaN, Op::IsInf { negative: a, positive: b }]),
            5 => Op::Bitwise(self.pick(&[
                BitwiseOp::And,
                BitwiseOp::Or,
                BitwiseOp::Xor,
                BitwiseOp::Shift { left: a },
            ])),
            6 | 7 => Op::Where,
            8 => Op::Variadic(self.pick(&[
                VariadicOp::Min,
                VariadicOp::Max,
                VariadicOp::Sum,
                VariadicOp::Mean,
            ])),
            9 | 10 => Op::Reduce {
                kind: self.pick(&[
                    ReduceKind::Sum,
                    ReduceKind::Prod,
                    ReduceKind::Max,
                    ReduceKind::Min,
                    ReduceKind::L1,
                    ReduceKind::L2,
                    ReduceKind::SumSquare,
                    ReduceKind::LogSum,
                    ReduceKind::LogSumExp,
                ]),
                keep_dims: a,
                noop_with_empty_axes: b,
            },
            11 => Op::ArgMax(arg),
            12 => Op::ArgMin(arg),
            13 => Op::TopK { axis, largest: a, sorted: b },
            14 => Op::CumSum { exclusive: a, reverse: b },
            15 => self.pick(&[Op::LogSoftmax { axis }, Op::Hardmax { axis }]),
            16 => Op::GatherElements { axis },
            17 => Op::GatherND { batch_dims: self.pick(&[0, 0, 1, 2, usize::MAX]) },
            18 => Op::ScatterElements { axis, reduction },
            19 => Op::ScatterND { reduction },
            20 | 21 => Op::Expand,
            22 => Op::Tile,
            23 => Op::Trilu { upper: a },
            24 => Op::DepthToSpace { block: self.size(), channel_first: a },
            25 => Op::SpaceToDepth { block: self.size() },
            26 => self.pick(&[Op::Size, Op::NonZero, Op::CastLike { saturate: a }]),
            27 => Op::Range,
            28 => Op::OneHot { axis },
            _ => Op::EyeLike { dtype: self.flag().then(|| self.pick(&DTYPES)), k: axis },
        }
    }

    pub(super) fn unary(&mut self) -> UnaryOp {
        let alpha = self.pick(&[0.0f32, 1.0, -0.5, f32::NAN, f32::INFINITY]);
        self.pick(&[
            UnaryOp::Relu,
            UnaryOp::LeakyRelu { alpha },
            UnaryOp::ThresholdedRelu { alpha },
            UnaryOp::Elu { alpha },
            UnaryOp::Celu { alpha },
            UnaryOp::Selu { alpha, gamma: alpha },
            UnaryOp::Sigmoid,
            UnaryOp::HardSigmoid { alpha, beta: alpha },
            UnaryOp::HardSwish,
            UnaryOp::Softplus,
            UnaryOp::Softsign,
            UnaryOp::Mish,
            UnaryOp::Gelu { tanh: alpha > 0.0 },
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
        ])
    }
}
