//! Operators with many attributes, and those of networks.

use super::Choices;
use tq_graph::Op;
use tq_graph::op::{
    Activation, AspectPolicy, Coordinates, Direction, NearestRounding, RecurrentAttrs, RecurrentKind,
    ResizeAttrs, ResizeMode, UnaryOp,
};
use tq_qtypes::DynamicFormula;

/// Numbers that attributes may hold, whatever they mean. None is NaN: graphs are compared.
const NUMBERS: [f32; 5] = [0.0, 1.0, -0.5, f32::MAX, f32::NEG_INFINITY];

const EQUATIONS: [&str; 8] =
    ["ij,jk", "...i,i...->...", "ii", "->", "ii->i", "i,j,k->", "ab,bc,cd->da", "bhid,bhjd->bhij"];

impl Choices {
    pub(super) fn recurrent(&mut self) -> Op {
        let kind = match self.below(5) {
            0 => RecurrentKind::Rnn,
            1 => RecurrentKind::Gru { linear_before_reset: true },
            2 => RecurrentKind::Gru { linear_before_reset: false },
            n => RecurrentKind::Lstm { input_forget: n == 3 },
        };
        let direction = self.pick(&[Direction::Forward, Direction::Reverse, Direction::Bidirectional]);
        let count = self.pick(&[0, 1, 1, direction.count(), 2]);
        let mut activations = kind.default_activations().repeat(count);
        if let (Some(first), true) = (activations.first_mut(), self.below(4) == 0) {
            *first = Activation::ScaledTanh { alpha: f32::MAX, beta: f32::INFINITY };
        }
        let formulas =
            [None, Some(DynamicFormula::Onnx), Some(DynamicFormula::Fbgemm { reduce_range: true })];
        let attrs = RecurrentAttrs {
            hidden_size: self.size(),
            direction,
            activations,
            clip: if self.below(3) == 0 { Some(self.pick(&NUMBERS)) } else { None },
            batch_first: self.below(2) == 0,
            dynamic: self.pick(&formulas),
        };
        Op::Recurrent { kind, attrs }
    }

    pub(super) fn resize(&mut self) -> Op {
        let rounding = self.pick(&[
            NearestRounding::PreferFloor,
            NearestRounding::PreferCeil,
            NearestRounding::Floor,
            NearestRounding::Ceil,
        ]);
        let a = self.pick(&NUMBERS);
        Op::Resize(ResizeAttrs {
            mode: self.pick(&[ResizeMode::Linear, ResizeMode::Nearest(rounding), ResizeMode::Cubic { a }]),
            coordinates: self.pick(&[
                Coordinates::HalfPixel,
                Coordinates::HalfPixelSymmetric,
                Coordinates::PytorchHalfPixel,
                Coordinates::AlignCorners,
                Coordinates::Asymmetric,
                Coordinates::TfCropAndResize { extrapolation_value: a },
            ]),
            antialias: self.below(4) == 0,
            exclude_outside: self.below(2) == 0,
            axes: if self.below(2) == 0 { None } else { Some(self.ints()) },
            policy: self.pick(&[AspectPolicy::Stretch, AspectPolicy::NotLarger, AspectPolicy::NotSmaller]),
        })
    }

    pub(super) fn einsum(&mut self) -> Op {
        Op::Einsum(self.pick(&EQUATIONS).parse().unwrap())
    }

    pub(super) fn unary(&mut self) -> Op {
        let alpha = self.pick(&NUMBERS);
        Op::Unary(self.pick(&[
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
        ]))
    }
}
