//! Operators that networks are made of, beside convolutions and matrix products.

use super::{DTYPES, Source};
use tq_graph::Op;
use tq_graph::op::{
    Activation, AspectPolicy, ConvAttrs, ConvTransposeAttrs, Coordinates, Direction, NearestRounding,
    RecurrentAttrs, RecurrentKind, ResizeAttrs, ResizeMode,
};
use tq_qtypes::DynamicFormula;

impl Source {
    /// One of these operators.
    pub(super) fn network(&mut self, axis: i64, f: f32) -> Op {
        let p = self.pick(&[0, 1, 2, 3, u32::MAX]);
        match self.below(18) {
            0 => Op::LayerNormalization { axis, epsilon: f, stash: self.pick(&DTYPES) },
            1 => Op::InstanceNormalization { epsilon: f },
            2 => Op::GroupNormalization { epsilon: f, groups: self.pick(&[0, 1, 2, usize::MAX]) },
            3..=5 => self.recurrent(),
            6 | 7 => Op::ConvTranspose(self.transpose()),
            8 => Op::LpPool { attrs: self.pool(), p },
            9 => Op::GlobalLpPool { p },
            10 => Op::GlobalMaxPool,
            12 | 13 => Op::Resize(self.resize(f)),
            14 | 15 => Op::Einsum(
                self.pick(&["ij,jk", "...i,i...->...", "ii", "i,j,k->", "ab,bc,cd->da", "->"])
                    .parse()
                    .unwrap(),
            ),
            16 => Op::NonMaxSuppression { center_point_box: self.flag() },
            11 => Op::MeanVarianceNormalization { axes: vec![0, axis] },
            _ => Op::Lrn { size: self.size(), alpha: f, beta: f, bias: f },
        }
    }

    /// Dimensions that mostly fit, for those operators whose inputs have shapes of their own.
    pub(super) fn network_dims(&mut self, op: &Op, i: usize, base: &[usize]) -> Option<Vec<usize>> {
        let free = self.below(40) == 0;
        let dims = match op {
            Op::Recurrent { kind, attrs } => recurrent_dims(*kind, attrs, i),
            Op::ConvTranspose(attrs) => match i {
                0 => vec![self.below(3), 2, self.below(5), self.below(5)],
                1 => vec![2, self.pick(&[0, 1, 2]), 1 + self.below(3), 1 + self.below(3)],
                _ => vec![attrs.groups.min(8) * self.pick(&[1, 2])],
            },
            Op::Resize(_) if i == 0 => vec![self.below(4), self.below(4)],
            Op::Resize(_) => vec![self.pick(if i == 1 { &[0, 4] } else { &[0, 2] })],
            Op::Einsum(_) => (0..self.below(3)).map(|_| self.pick(&[1, 2, 2, 0])).collect(),
            Op::NonMaxSuppression { .. } => match i {
                0 => vec![2, 3, 4],
                1 => vec![2, self.below(3), 3],
                _ => vec![],
            },
            Op::InstanceNormalization { .. } | Op::GroupNormalization { .. } if i > 0 => {
                base.get(1).map_or(vec![1], |c| vec![*c])
            }
            _ => return None,
        };
        Some(if free { self.dims() } else { dims })
    }

    fn transpose(&mut self) -> ConvTransposeAttrs {
        let ConvAttrs { strides, dilations, padding, groups } = self.conv();
        let output_shape = (self.below(4) == 0).then(|| self.list(2));
        let output_padding = if self.below(4) == 0 { self.list(2) } else { vec![0, 1] };
        ConvTransposeAttrs { strides, dilations, padding, output_padding, output_shape, groups }
    }

    fn resize(&mut self, f: f32) -> ResizeAttrs {
        let rounding = self.pick(&[
            NearestRounding::PreferFloor,
            NearestRounding::PreferCeil,
            NearestRounding::Floor,
            NearestRounding::Ceil,
        ]);
        ResizeAttrs {
            mode: self.pick(&[ResizeMode::Nearest(rounding), ResizeMode::Linear, ResizeMode::Cubic { a: f }]),
            coordinates: self.pick(&[
                Coordinates::HalfPixel,
                Coordinates::HalfPixelSymmetric,
                Coordinates::PytorchHalfPixel,
                Coordinates::AlignCorners,
                Coordinates::Asymmetric,
                Coordinates::TfCropAndResize { extrapolation_value: f },
            ]),
            antialias: self.below(3) == 0,
            exclude_outside: self.flag(),
            axes: self.flag().then(|| vec![0, self.int()]),
            policy: self.pick(&[AspectPolicy::Stretch, AspectPolicy::NotLarger, AspectPolicy::NotSmaller]),
        }
    }

    fn recurrent(&mut self) -> Op {
        let kind = match self.below(3) {
            0 => RecurrentKind::Rnn,
            1 => RecurrentKind::Gru { linear_before_reset: self.flag() },
            _ => RecurrentKind::Lstm { input_forget: self.flag() },
        };
        let direction = self.pick(&[Direction::Forward, Direction::Reverse, Direction::Bidirectional]);
        let count = direction.count() * kind.default_activations().len();
        let count = if self.below(8) == 0 { self.below(8) } else { count };
        let functions = [
            Activation::Relu,
            Activation::Sigmoid,
            Activation::Tanh,
            Activation::HardSigmoid { alpha: f32::NAN, beta: f32::INFINITY },
            Activation::Softplus,
        ];
        let attrs = RecurrentAttrs {
            hidden_size: self.pick(&[2, 2, 2, 2, 0, usize::MAX, 1 << 62, 1 << 40]),
            direction,
            activations: (0..count).map(|_| self.pick(&functions)).collect(),
            clip: self.flag().then(|| self.pick(&[0.5, 0.0, -1.0, f32::NAN, f32::INFINITY])),
            batch_first: self.flag(),
            dynamic: self.pick(&[
                None,
                None,
                Some(DynamicFormula::Onnx),
                Some(DynamicFormula::Fbgemm { reduce_range: true }),
            ]),
        };
        Op::Recurrent { kind, attrs }
    }
}

/// Inputs over 3 steps, 2 samples, 1 feature and 2 hidden elements.
fn recurrent_dims(kind: RecurrentKind, attrs: &RecurrentAttrs, i: usize) -> Vec<usize> {
    let (d, rows) = (attrs.direction.count(), 2 * kind.gates());
    match (i, attrs.batch_first) {
        (0, false) => vec![3, 2, 1],
        (0, true) => vec![2, 3, 1],
        (1, _) => vec![d, rows, 1],
        (2, _) => vec![d, rows, 2],
        (3, _) => vec![d, 2 * rows],
        (4, _) => vec![2],
        (7, _) => vec![d, 6],
        (_, false) => vec![d, 2, 2],
        (_, true) => vec![2, d, 2],
    }
}
