//! Every operator, with any attributes.

use super::Source;
use tq_graph::Op;
use tq_graph::op::{
    Activation, ArgAttrs, AspectPolicy, BinaryOp, BitwiseOp, CompareOp, ConvAttrs, ConvTransposeAttrs,
    Coordinates, Direction, LogicOp, NearestRounding, PadMode, Padding, PoolAttrs, RecurrentAttrs,
    RecurrentKind, ReduceKind, ResizeAttrs, ResizeMode, ScatterReduction, UnaryOp, VariadicOp,
};
use tq_qtypes::DynamicFormula;

/// How many there are: those that [`nth`] makes.
pub(crate) const COUNT: usize = 141;

/// One of them.
pub(crate) fn op(s: &mut Source) -> Op {
    let n = s.below(COUNT);
    nth(n, s)
}

fn padding(s: &mut Source) -> Padding {
    match s.below(3) {
        0 => Padding::SameUpper,
        1 => Padding::SameLower,
        _ => Padding::Explicit { begin: s.sizes(), end: s.sizes() },
    }
}

fn conv(s: &mut Source) -> ConvAttrs {
    ConvAttrs { strides: s.sizes(), dilations: s.sizes(), padding: padding(s), groups: s.size() }
}

fn pool(s: &mut Source) -> PoolAttrs {
    let (kernel, strides, dilations) = (s.sizes(), s.sizes(), s.sizes());
    PoolAttrs { kernel, strides, dilations, padding: padding(s), ceil_mode: s.flag() }
}

fn arg(s: &mut Source) -> ArgAttrs {
    ArgAttrs { axis: s.int(), keep_dims: s.flag(), select_last: s.flag() }
}

fn formula(s: &mut Source) -> DynamicFormula {
    s.pick(&[
        DynamicFormula::Onnx,
        DynamicFormula::Fbgemm { reduce_range: true },
        DynamicFormula::Fbgemm { reduce_range: false },
    ])
}

fn activation(s: &mut Source) -> Activation {
    let (alpha, beta) = (s.float(), s.float());
    s.pick(&[
        Activation::Relu,
        Activation::Tanh,
        Activation::Sigmoid,
        Activation::Affine { alpha, beta },
        Activation::LeakyRelu { alpha },
        Activation::ThresholdedRelu { alpha },
        Activation::ScaledTanh { alpha, beta },
        Activation::HardSigmoid { alpha, beta },
        Activation::Elu { alpha },
        Activation::Softsign,
        Activation::Softplus,
    ])
}

fn recurrent(kind: RecurrentKind, s: &mut Source) -> Op {
    let attrs = RecurrentAttrs {
        hidden_size: s.size(),
        direction: s.pick(&[Direction::Forward, Direction::Reverse, Direction::Bidirectional]),
        activations: (0..s.below(7)).map(|_| activation(s)).collect(),
        clip: s.flag().then(|| s.float()),
        batch_first: s.flag(),
        dynamic: s.flag().then(|| formula(s)),
    };
    Op::Recurrent { kind, attrs }
}

fn resize(s: &mut Source) -> ResizeAttrs {
    let rounding = s.pick(&[
        NearestRounding::PreferFloor,
        NearestRounding::PreferCeil,
        NearestRounding::Floor,
        NearestRounding::Ceil,
    ]);
    let a = s.float();
    let extrapolation_value = s.float();
    ResizeAttrs {
        mode: s.pick(&[ResizeMode::Nearest(rounding), ResizeMode::Linear, ResizeMode::Cubic { a }]),
        coordinates: s.pick(&[
            Coordinates::HalfPixel,
            Coordinates::HalfPixelSymmetric,
            Coordinates::PytorchHalfPixel,
            Coordinates::AlignCorners,
            Coordinates::Asymmetric,
            Coordinates::TfCropAndResize { extrapolation_value },
        ]),
        antialias: s.flag(),
        exclude_outside: s.flag(),
        axes: s.flag().then(|| s.ints()),
        policy: s.pick(&[AspectPolicy::Stretch, AspectPolicy::NotLarger, AspectPolicy::NotSmaller]),
    }
}

fn reduction(s: &mut Source) -> ScatterReduction {
    s.pick(&[
        ScatterReduction::None,
        ScatterReduction::Add,
        ScatterReduction::Mul,
        ScatterReduction::Max,
        ScatterReduction::Min,
    ])
}

fn unary(n: usize, s: &mut Source) -> UnaryOp {
    use UnaryOp as U;
    let (alpha, beta, tanh) = (s.float(), s.float(), s.flag());
    [
        U::Relu,
        U::LeakyRelu { alpha },
        U::ThresholdedRelu { alpha },
        U::Elu { alpha },
        U::Celu { alpha },
        U::Selu { alpha, gamma: beta },
        U::Sigmoid,
        U::HardSigmoid { alpha, beta },
        U::HardSwish,
        U::Softplus,
        U::Softsign,
        U::Mish,
        U::Gelu { tanh },
        U::Erf,
        U::Exp,
        U::Log,
        U::Sqrt,
        U::Reciprocal,
        U::Abs,
        U::Neg,
        U::Sign,
        U::Floor,
        U::Ceil,
        U::Round,
        U::Sin,
        U::Cos,
        U::Tan,
        U::Asin,
        U::Acos,
        U::Atan,
        U::Sinh,
        U::Cosh,
        U::Tanh,
        U::Asinh,
        U::Acosh,
        U::Atanh,
    ][n]
}

fn small(n: usize, s: &mut Source) -> Op {
    let (fmod, left) = (s.flag(), s.flag());
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
        Op::Bitwise(BitwiseOp::And),
        Op::Bitwise(BitwiseOp::Or),
        Op::Bitwise(BitwiseOp::Xor),
        Op::Bitwise(BitwiseOp::Shift { left }),
        Op::Variadic(VariadicOp::Min),
        Op::Variadic(VariadicOp::Max),
        Op::Variadic(VariadicOp::Sum),
        Op::Variadic(VariadicOp::Mean),
        Op::MatMul,
        Op::Not,
        Op::BitwiseNot,
        Op::IsNaN,
        Op::Where,
        Op::Clip,
        Op::GlobalAveragePool,
        Op::GlobalMaxPool,
        Op::Squeeze,
        Op::Unsqueeze,
        Op::Slice,
        Op::Expand,
        Op::Tile,
        Op::Size,
        Op::NonZero,
        Op::Range,
        Op::Identity,
        Op::Dropout,
        Op::MatMulInteger,
        Op::QLinearMatMul,
    ][n]
        .clone()
}

const REDUCTIONS: [ReduceKind; 10] = [
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

const EQUATIONS: [&str; 4] = ["ij,jk->ik", "...ij,jk...->...", "ii", "a,b,c"];

/// Each of them by a number below [`COUNT`].
pub(crate) fn nth(n: usize, s: &mut Source) -> Op {
    match n {
        0..36 => Op::Unary(unary(n, s)),
        36..79 => small(n - 36, s),
        79..89 => {
            Op::Reduce { kind: REDUCTIONS[n - 79], keep_dims: s.flag(), noop_with_empty_axes: s.flag() }
        }
        89 => Op::Conv(conv(s)),
        90 => Op::ConvInteger(conv(s)),
        91 => Op::QLinearConv(conv(s)),
        92 => Op::ConvTranspose(ConvTransposeAttrs {
            strides: s.sizes(),
            dilations: s.sizes(),
            padding: padding(s),
            output_padding: s.sizes(),
            output_shape: s.flag().then(|| s.sizes()),
            groups: s.size(),
        }),
        93 => Op::Gemm { alpha: s.float(), beta: s.float(), trans_a: s.flag(), trans_b: s.flag() },
        94 => Op::IsInf { negative: s.flag(), positive: s.flag() },
        95 => Op::BatchNormalization { epsilon: s.float() },
        96 => Op::LayerNormalization { axis: s.int(), epsilon: s.float(), stash: s.dtype() },
        97 => Op::InstanceNormalization { epsilon: s.float() },
        98 => Op::GroupNormalization { epsilon: s.float(), groups: s.size() },
        99 => recurrent(RecurrentKind::Lstm { input_forget: s.flag() }, s),
        100 => recurrent(RecurrentKind::Gru { linear_before_reset: s.flag() }, s),
        101 => recurrent(RecurrentKind::Rnn, s),
        102 => Op::Einsum(s.pick(&EQUATIONS).parse().unwrap()),
        103 => Op::NonMaxSuppression { center_point_box: s.flag() },
        104 => Op::Resize(resize(s)),
        105 => Op::MaxPool { attrs: pool(s), column_major: s.flag() },
        106 => Op::AveragePool { attrs: pool(s), count_include_pad: s.flag() },
        107 => Op::LpPool { attrs: pool(s), p: s.next() as u32 },
        108 => Op::GlobalLpPool { p: s.next() as u32 },
        109 => Op::MeanVarianceNormalization { axes: s.ints() },
        110 => Op::Lrn { size: s.size(), alpha: s.float(), beta: s.float(), bias: s.float() },
        111 => Op::ArgMax(arg(s)),
        112 => Op::ArgMin(arg(s)),
        113 => Op::TopK { axis: s.int(), largest: s.flag(), sorted: s.flag() },
        114 => Op::CumSum { exclusive: s.flag(), reverse: s.flag() },
        115 => Op::Flatten { axis: s.int() },
        116 => Op::Reshape { allow_zero: s.flag() },
        117 => Op::Transpose { perm: s.flag().then(|| s.sizes()) },
        118 => Op::Concat { axis: s.int() },
        119 => Op::Split { axis: s.int() },
        120 => Op::Pad { mode: s.pick(&[PadMode::Constant, PadMode::Reflect, PadMode::Edge, PadMode::Wrap]) },
        121 => Op::Shape { start: s.int(), end: s.flag().then(|| s.int()) },
        122 => Op::Gather { axis: s.int() },
        123 => Op::GatherElements { axis: s.int() },
        124 => Op::GatherND { batch_dims: s.size() },
        125 => Op::ScatterElements { axis: s.int(), reduction: reduction(s) },
        126 => Op::ScatterND { reduction: reduction(s) },
        127 => Op::Trilu { upper: s.flag() },
        128 => Op::DepthToSpace { block: s.size(), channel_first: s.flag() },
        129 => Op::SpaceToDepth { block: s.size() },
        130 => Op::OneHot { axis: s.int() },
        131 => Op::EyeLike { dtype: s.flag().then(|| s.dtype()), k: s.int() },
        132 => Op::Cast { to: s.dtype(), saturate: s.flag() },
        133 => Op::CastLike { saturate: s.flag() },
        134 => {
            let (dtype, dims) = (s.dtype(), s.dims());
            Op::ConstantOfShape { value: s.tensor(dtype, &dims) }
        }
        135 => Op::Softmax { axis: s.int() },
        136 => Op::LogSoftmax { axis: s.int() },
        137 => Op::Hardmax { axis: s.int() },
        138 => Op::QuantizeLinear {
            axis: s.int(),
            block_size: s.size(),
            output_dtype: s.flag().then(|| s.dtype()),
            saturate: s.flag(),
        },
        139 => Op::DequantizeLinear { axis: s.int(), block_size: s.size() },
        _ => Op::DynamicQuantizeLinear { formula: formula(s) },
    }
}

/// Has to be told of a new operator, which then has to be among those of [`nth`] too.
pub(crate) fn is_made(op: &Op) -> bool {
    match op {
        Op::Unary(_)
        | Op::Binary(_)
        | Op::Compare(_)
        | Op::Logic(_)
        | Op::Bitwise(_)
        | Op::Variadic(_)
        | Op::Reduce { .. }
        | Op::Recurrent { .. }
        | Op::MatMul
        | Op::Not
        | Op::BitwiseNot
        | Op::IsNaN
        | Op::Where
        | Op::Clip
        | Op::GlobalAveragePool
        | Op::GlobalMaxPool
        | Op::Squeeze
        | Op::Unsqueeze
        | Op::Slice
        | Op::Expand
        | Op::Tile
        | Op::Size
        | Op::NonZero
        | Op::Range
        | Op::Identity
        | Op::Dropout
        | Op::MatMulInteger
        | Op::QLinearMatMul
        | Op::Conv(_)
        | Op::ConvInteger(_)
        | Op::QLinearConv(_)
        | Op::ConvTranspose(_)
        | Op::Gemm { .. }
        | Op::IsInf { .. }
        | Op::BatchNormalization { .. }
        | Op::LayerNormalization { .. }
        | Op::InstanceNormalization { .. }
        | Op::GroupNormalization { .. }
        | Op::Einsum(_)
        | Op::NonMaxSuppression { .. }
        | Op::Resize(_)
        | Op::MaxPool { .. }
        | Op::AveragePool { .. }
        | Op::LpPool { .. }
        | Op::GlobalLpPool { .. }
        | Op::MeanVarianceNormalization { .. }
        | Op::Lrn { .. }
        | Op::ArgMax(_)
        | Op::ArgMin(_)
        | Op::TopK { .. }
        | Op::CumSum { .. }
        | Op::Flatten { .. }
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Concat { .. }
        | Op::Split { .. }
        | Op::Pad { .. }
        | Op::Shape { .. }
        | Op::Gather { .. }
        | Op::GatherElements { .. }
        | Op::GatherND { .. }
        | Op::ScatterElements { .. }
        | Op::ScatterND { .. }
        | Op::Trilu { .. }
        | Op::DepthToSpace { .. }
        | Op::SpaceToDepth { .. }
        | Op::OneHot { .. }
        | Op::EyeLike { .. }
        | Op::Cast { .. }
        | Op::CastLike { .. }
        | Op::ConstantOfShape { .. }
        | Op::Softmax { .. }
        | Op::LogSoftmax { .. }
        | Op::Hardmax { .. }
        | Op::QuantizeLinear { .. }
        | Op::DequantizeLinear { .. }
        | Op::DynamicQuantizeLinear { .. } => true,
    }
}
