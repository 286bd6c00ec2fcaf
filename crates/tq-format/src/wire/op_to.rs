//! Operators to their attributes. Every operator has its arm, so that a new one cannot be forgotten.

use super::attributes::{Attribute, Attributes};
use super::names::Named;
use crate::FormatError;
use tq_graph::op::{
    Activation, ArgAttrs, BinaryOp, BitwiseOp, ConvAttrs, Coordinates, EinsumEquation, Padding, PoolAttrs,
    RecurrentAttrs, RecurrentKind, ResizeAttrs, ResizeMode, UnaryOp,
};
use tq_graph::{Op, Tensor};

/// Sets the attributes of an operator.
pub(super) fn write(op: &Op, a: &mut Attributes<'_>) -> Result<(), FormatError> {
    match op {
        Op::Conv(attrs) | Op::ConvInteger(attrs) | Op::QLinearConv(attrs) => conv(attrs, a),
        Op::ConvTranspose(attrs) => {
            a.set("strides", attrs.strides.as_slice());
            a.set("dilations", attrs.dilations.as_slice());
            padding(&attrs.padding, a);
            a.set("output_padding", attrs.output_padding.as_slice());
            a.set_some("output_shape", attrs.output_shape.as_deref());
            a.set("groups", attrs.groups);
        }
        Op::Gemm { alpha, beta, trans_a, trans_b } => {
            a.set("alpha", *alpha);
            a.set("beta", *beta);
            a.set("trans_a", *trans_a);
            a.set("trans_b", *trans_b);
        }
        Op::Unary(op) => unary(*op, a),
        Op::Binary(BinaryOp::Mod { fmod }) => a.set("fmod", *fmod),
        Op::Bitwise(BitwiseOp::Shift { left }) => a.set("left", *left),
        Op::IsInf { negative, positive } => {
            a.set("negative", *negative);
            a.set("positive", *positive);
        }
        Op::BatchNormalization { epsilon } | Op::InstanceNormalization { epsilon } => {
            a.set("epsilon", *epsilon);
        }
        Op::LayerNormalization { axis, epsilon, stash } => {
            a.set("axis", *axis);
            a.set("epsilon", *epsilon);
            a.set("stash", stash.word());
        }
        Op::GroupNormalization { epsilon, groups } => {
            a.set("epsilon", *epsilon);
            a.set("groups", *groups);
        }
        Op::Recurrent { kind, attrs } => recurrent(*kind, attrs, a),
        Op::Einsum(equation) => einsum(equation, a)?,
        Op::NonMaxSuppression { center_point_box } => a.set("center_point_box", *center_point_box),
        Op::Resize(attrs) => resize(attrs, a),
        Op::MaxPool { attrs, column_major } => {
            pool(attrs, a);
            a.set("column_major", *column_major);
        }
        Op::AveragePool { attrs, count_include_pad } => {
            pool(attrs, a);
            a.set("count_include_pad", *count_include_pad);
        }
        Op::LpPool { attrs, p } => {
            pool(attrs, a);
            a.set("p", *p);
        }
        Op::GlobalLpPool { p } => a.set("p", *p),
        Op::MeanVarianceNormalization { axes } => a.set("axes", axes.as_slice()),
        Op::Lrn { size, alpha, beta, bias } => {
            a.set("size", *size);
            a.set("alpha", *alpha);
            a.set("beta", *beta);
            a.set("bias", *bias);
        }
        Op::Reduce { kind: _, keep_dims, noop_with_empty_axes } => {
            a.set("keep_dims", *keep_dims);
            a.set("noop_with_empty_axes", *noop_with_empty_axes);
        }
        Op::ArgMax(ArgAttrs { axis, keep_dims, select_last })
        | Op::ArgMin(ArgAttrs { axis, keep_dims, select_last }) => {
            a.set("axis", *axis);
            a.set("keep_dims", *keep_dims);
            a.set("select_last", *select_last);
        }
        Op::TopK { axis, largest, sorted } => {
            a.set("axis", *axis);
            a.set("largest", *largest);
            a.set("sorted", *sorted);
        }
        Op::CumSum { exclusive, reverse } => {
            a.set("exclusive", *exclusive);
            a.set("reverse", *reverse);
        }
        Op::Flatten { axis }
        | Op::Concat { axis }
        | Op::Split { axis }
        | Op::Gather { axis }
        | Op::GatherElements { axis }
        | Op::OneHot { axis }
        | Op::Softmax { axis }
        | Op::LogSoftmax { axis }
        | Op::Hardmax { axis } => a.set("axis", *axis),
        Op::Reshape { allow_zero } => a.set("allow_zero", *allow_zero),
        Op::Transpose { perm } => a.set_some("perm", perm.as_deref()),
        Op::Pad { mode } => a.set("mode", mode.word()),
        Op::Shape { start, end } => {
            a.set("start", *start);
            a.set_some("end", *end);
        }
        Op::GatherND { batch_dims } => a.set("batch_dims", *batch_dims),
        Op::ScatterElements { axis, reduction } => {
            a.set("axis", *axis);
            a.set("reduction", reduction.word());
        }
        Op::ScatterND { reduction } => a.set("reduction", reduction.word()),
        Op::Trilu { upper } => a.set("upper", *upper),
        Op::DepthToSpace { block, channel_first } => {
            a.set("block", *block);
            a.set("channel_first", *channel_first);
        }
        Op::SpaceToDepth { block } => a.set("block", *block),
        Op::EyeLike { dtype, k } => {
            a.set_some("type", dtype.map(Named::word));
            a.set("k", *k);
        }
        Op::Cast { to, saturate } => {
            a.set("to", to.word());
            a.set("saturate", *saturate);
        }
        Op::CastLike { saturate } => a.set("saturate", *saturate),
        Op::ConstantOfShape { value } => tensor(value, a),
        Op::QuantizeLinear { axis, block_size, output_dtype, saturate } => {
            a.set("axis", *axis);
            a.set("block_size", *block_size);
            a.set_some("output_type", output_dtype.map(Named::word));
            a.set("saturate", *saturate);
        }
        Op::DequantizeLinear { axis, block_size } => {
            a.set("axis", *axis);
            a.set("block_size", *block_size);
        }
        Op::DynamicQuantizeLinear { formula } => a.set("formula", formula.name()),
        Op::MatMul
        | Op::Binary(
            BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul | BinaryOp::Div | BinaryOp::Pow | BinaryOp::PRelu,
        )
        | Op::Compare(_)
        | Op::Logic(_)
        | Op::Not
        | Op::Bitwise(BitwiseOp::And | BitwiseOp::Or | BitwiseOp::Xor)
        | Op::BitwiseNot
        | Op::IsNaN
        | Op::Where
        | Op::Variadic(_)
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
        | Op::QLinearMatMul => {}
    }
    Ok(())
}

fn unary(op: UnaryOp, a: &mut Attributes<'_>) {
    match op {
        UnaryOp::LeakyRelu { alpha }
        | UnaryOp::ThresholdedRelu { alpha }
        | UnaryOp::Elu { alpha }
        | UnaryOp::Celu { alpha } => a.set("alpha", alpha),
        UnaryOp::Selu { alpha, gamma } => {
            a.set("alpha", alpha);
            a.set("gamma", gamma);
        }
        UnaryOp::HardSigmoid { alpha, beta } => {
            a.set("alpha", alpha);
            a.set("beta", beta);
        }
        UnaryOp::Gelu { tanh } => a.set("tanh", tanh),
        UnaryOp::Relu
        | UnaryOp::Sigmoid
        | UnaryOp::HardSwish
        | UnaryOp::Softplus
        | UnaryOp::Softsign
        | UnaryOp::Mish
        | UnaryOp::Erf
        | UnaryOp::Exp
        | UnaryOp::Log
        | UnaryOp::Sqrt
        | UnaryOp::Reciprocal
        | UnaryOp::Abs
        | UnaryOp::Neg
        | UnaryOp::Sign
        | UnaryOp::Floor
        | UnaryOp::Ceil
        | UnaryOp::Round
        | UnaryOp::Sin
        | UnaryOp::Cos
        | UnaryOp::Tan
        | UnaryOp::Asin
        | UnaryOp::Acos
        | UnaryOp::Atan
        | UnaryOp::Sinh
        | UnaryOp::Cosh
        | UnaryOp::Tanh
        | UnaryOp::Asinh
        | UnaryOp::Acosh
        | UnaryOp::Atanh => {}
    }
}

fn padding(padding: &Padding, a: &mut Attributes<'_>) {
    match padding {
        Padding::Explicit { begin, end } => {
            a.set("pad_begin", begin.as_slice());
            a.set("pad_end", end.as_slice());
        }
        Padding::SameUpper => a.set("padding", "same_upper"),
        Padding::SameLower => a.set("padding", "same_lower"),
    }
}

fn conv(attrs: &ConvAttrs, a: &mut Attributes<'_>) {
    let ConvAttrs { strides, dilations, padding: pads, groups } = attrs;
    a.set("strides", strides.as_slice());
    a.set("dilations", dilations.as_slice());
    padding(pads, a);
    a.set("groups", *groups);
}

fn pool(attrs: &PoolAttrs, a: &mut Attributes<'_>) {
    let PoolAttrs { kernel, strides, dilations, padding: pads, ceil_mode } = attrs;
    a.set("kernel", kernel.as_slice());
    a.set("strides", strides.as_slice());
    a.set("dilations", dilations.as_slice());
    padding(pads, a);
    a.set("ceil_mode", *ceil_mode);
}

fn recurrent(kind: RecurrentKind, attrs: &RecurrentAttrs, a: &mut Attributes<'_>) {
    let RecurrentAttrs { hidden_size, direction, activations, clip, batch_first, dynamic } = attrs;
    match kind {
        RecurrentKind::Lstm { input_forget } => a.set("input_forget", input_forget),
        RecurrentKind::Gru { linear_before_reset } => a.set("linear_before_reset", linear_before_reset),
        RecurrentKind::Rnn => {}
    }
    // A name, and after it the parameters that the function has.
    let function = |f: &Activation| {
        let (alpha, beta) = f.parameters();
        let parameters = alpha.into_iter().chain(beta).map(Attribute::from);
        Attribute::List(std::iter::once(f.name().into()).chain(parameters).collect())
    };
    a.set("hidden_size", *hidden_size);
    a.set("direction", direction.word());
    a.set("activations", Attribute::List(activations.iter().map(function).collect()));
    a.set_some("clip", *clip);
    a.set("batch_first", *batch_first);
    a.set_some("dynamic", dynamic.map(|f| f.name()));
}

fn resize(attrs: &ResizeAttrs, a: &mut Attributes<'_>) {
    let ResizeAttrs { mode, coordinates, antialias, exclude_outside, axes, policy } = attrs;
    match mode {
        ResizeMode::Nearest(rounding) => {
            a.set("mode", "nearest");
            a.set("rounding", rounding.word());
        }
        ResizeMode::Linear => a.set("mode", "linear"),
        ResizeMode::Cubic { a: coefficient } => {
            a.set("mode", "cubic");
            a.set("coefficient", *coefficient);
        }
    }
    a.set("coordinates", coordinates.name());
    match coordinates {
        Coordinates::TfCropAndResize { extrapolation_value } => {
            a.set("extrapolation_value", *extrapolation_value);
        }
        Coordinates::HalfPixel
        | Coordinates::HalfPixelSymmetric
        | Coordinates::PytorchHalfPixel
        | Coordinates::AlignCorners
        | Coordinates::Asymmetric => {}
    }
    a.set("antialias", *antialias);
    a.set("exclude_outside", *exclude_outside);
    a.set_some("axes", axes.as_deref());
    a.set("policy", policy.word());
}

/// The equation as text, which has to say the same when it is read.
fn einsum(equation: &EinsumEquation, a: &mut Attributes<'_>) -> Result<(), FormatError> {
    let text = equation.to_string();
    if text.parse().as_ref() != Ok(equation) {
        return Err(a.error("equation", format!("{text:?} does not say what the operator holds")));
    }
    a.set("equation", text.as_str());
    Ok(())
}

/// A small tensor: type, shape, and its bytes as hexadecimal digits, one byte an element of less than 8 bits.
fn tensor(value: &Tensor, a: &mut Attributes<'_>) {
    let digits: String = value.le_bytes().iter().map(|b| format!("{b:02x}")).collect();
    a.set("type", value.dtype().word());
    a.set("shape", value.dims());
    a.set("bytes", digits.as_str());
}
