//! Operators as text.

use crate::Op;
use crate::op::{
    AspectPolicy, BinaryOp, BitwiseOp, ConvAttrs, Coordinates, Padding, PoolAttrs, RecurrentAttrs,
    RecurrentKind, ResizeAttrs, ResizeMode, ScatterReduction, UnaryOp,
};
use std::fmt;
use tq_qtypes::{DType, DynamicFormula};

/// Writes `name(key=value, ...)`, or the name alone when there is no attribute.
struct Attributes<'a, 'b> {
    f: &'a mut fmt::Formatter<'b>,
    any: bool,
}

impl Attributes<'_, '_> {
    fn put(&mut self, key: &str, value: impl fmt::Display) -> fmt::Result {
        write!(self.f, "{}{key}={value}", if self.any { ", " } else { "(" })?;
        self.any = true;
        Ok(())
    }

    /// Only where it is true.
    fn flag(&mut self, key: &str, value: bool) -> fmt::Result {
        if value { self.put(key, true) } else { Ok(()) }
    }

    fn list<T: fmt::Debug>(&mut self, key: &str, values: &[T]) -> fmt::Result {
        self.put(key, format_args!("{values:?}"))
    }

    fn padding(&mut self, padding: &Padding) -> fmt::Result {
        match padding {
            Padding::Explicit { begin, end } => self.put("pads", format_args!("{begin:?}..{end:?}")),
            Padding::SameUpper => self.put("pads", "same_upper"),
            Padding::SameLower => self.put("pads", "same_lower"),
        }
    }

    fn conv(&mut self, a: &ConvAttrs) -> fmt::Result {
        self.list("strides", &a.strides)?;
        self.list("dilations", &a.dilations)?;
        self.padding(&a.padding)?;
        self.put("groups", a.groups)
    }

    fn pool(&mut self, a: &PoolAttrs) -> fmt::Result {
        self.list("kernel", &a.kernel)?;
        self.list("strides", &a.strides)?;
        self.list("dilations", &a.dilations)?;
        self.padding(&a.padding)?;
        self.flag("ceil_mode", a.ceil_mode)
    }

    fn unary(&mut self, op: UnaryOp) -> fmt::Result {
        match op {
            UnaryOp::LeakyRelu { alpha }
            | UnaryOp::ThresholdedRelu { alpha }
            | UnaryOp::Elu { alpha }
            | UnaryOp::Celu { alpha } => self.put("alpha", alpha),
            UnaryOp::Selu { alpha, gamma } => {
                self.put("alpha", alpha)?;
                self.put("gamma", gamma)
            }
            UnaryOp::Gelu { tanh } => self.flag("tanh", tanh),
            UnaryOp::HardSigmoid { alpha, beta } => {
                self.put("alpha", alpha)?;
                self.put("beta", beta)
            }
            _ => Ok(()),
        }
    }

    fn reduction(&mut self, reduction: ScatterReduction) -> fmt::Result {
        match reduction {
            ScatterReduction::None => Ok(()),
            other => self.put("reduction", format_args!("{other:?}")),
        }
    }

    fn recurrent(&mut self, kind: RecurrentKind, a: &RecurrentAttrs) -> fmt::Result {
        self.put("hidden_size", a.hidden_size)?;
        self.put("direction", format_args!("{:?}", a.direction))?;
        let defaults = kind.default_activations();
        if a.activations.chunks(defaults.len()).any(|c| c != defaults) {
            self.list("activations", &a.activations)?;
        }
        a.clip.map_or(Ok(()), |clip| self.put("clip", clip))?;
        self.flag("batch_first", a.batch_first)?;
        a.dynamic.map_or(Ok(()), |formula| self.put("dynamic", formula.name()))?;
        match kind {
            RecurrentKind::Lstm { input_forget } => self.flag("input_forget", input_forget),
            RecurrentKind::Gru { linear_before_reset } => {
                self.flag("linear_before_reset", linear_before_reset)
            }
            RecurrentKind::Rnn => Ok(()),
        }
    }

    fn resize(&mut self, a: &ResizeAttrs) -> fmt::Result {
        match a.mode {
            ResizeMode::Nearest(rounding) => {
                self.put("mode", "nearest")?;
                self.put("rounding", rounding.name())?;
            }
            ResizeMode::Linear => self.put("mode", "linear")?,
            ResizeMode::Cubic { a } => {
                self.put("mode", "cubic")?;
                self.put("a", a)?;
            }
        }
        self.put("coordinates", a.coordinates.name())?;
        if let Coordinates::TfCropAndResize { extrapolation_value } = a.coordinates {
            self.put("extrapolation_value", extrapolation_value)?;
        }
        self.flag("antialias", a.antialias)?;
        self.flag("exclude_outside", a.exclude_outside)?;
        a.axes.as_ref().map_or(Ok(()), |axes| self.list("axes", axes))?;
        if a.policy == AspectPolicy::Stretch { Ok(()) } else { self.put("policy", a.policy.name()) }
    }

    fn op(&mut self, op: &Op) -> fmt::Result {
        match op {
            Op::Conv(a) | Op::ConvInteger(a) | Op::QLinearConv(a) => self.conv(a),
            Op::ConvTranspose(a) => {
                self.list("strides", &a.strides)?;
                self.list("dilations", &a.dilations)?;
                match &a.output_shape {
                    Some(shape) => self.list("output_shape", shape)?,
                    None => self.list("output_padding", &a.output_padding)?,
                }
                self.padding(&a.padding)?;
                self.put("groups", a.groups)
            }
            Op::Gemm { alpha, beta, trans_a, trans_b } => {
                self.put("alpha", alpha)?;
                self.put("beta", beta)?;
                self.flag("trans_a", *trans_a)?;
                self.flag("trans_b", *trans_b)
            }
            Op::Unary(op) => self.unary(*op),
            Op::BatchNormalization { epsilon } | Op::InstanceNormalization { epsilon } => {
                self.put("epsilon", epsilon)
            }
            Op::LayerNormalization { axis, epsilon, stash } => {
                self.put("axis", axis)?;
                self.put("epsilon", epsilon)?;
                if *stash == DType::F32 { Ok(()) } else { self.put("stash", stash) }
            }
            Op::GroupNormalization { epsilon, groups } => {
                self.put("epsilon", epsilon)?;
                self.put("groups", groups)
            }
            Op::Binary(BinaryOp::Mod { fmod }) => self.flag("fmod", *fmod),
            Op::Bitwise(BitwiseOp::Shift { left }) => {
                self.put("direction", if *left { "left" } else { "right" })
            }
            Op::IsInf { negative, positive } => {
                self.put("negative", negative)?;
                self.put("positive", positive)
            }
            Op::Einsum(equation) => self.put("equation", format_args!("{:?}", equation.to_string())),
            Op::NonMaxSuppression { center_point_box } => self.flag("center_point_box", *center_point_box),
            Op::Resize(attrs) => self.resize(attrs),
            Op::Recurrent { kind, attrs } => self.recurrent(*kind, attrs),
            Op::MaxPool { attrs, column_major } => {
                self.pool(attrs)?;
                self.flag("column_major", *column_major)
            }
            Op::LpPool { attrs, p } => {
                self.pool(attrs)?;
                self.put("p", p)
            }
            Op::GlobalLpPool { p } => self.put("p", p),
            Op::MeanVarianceNormalization { axes } => self.list("axes", axes),
            Op::Lrn { size, alpha, beta, bias } => {
                self.put("size", size)?;
                self.put("alpha", alpha)?;
                self.put("beta", beta)?;
                self.put("bias", bias)
            }
            Op::AveragePool { attrs, count_include_pad } => {
                self.pool(attrs)?;
                self.flag("count_include_pad", *count_include_pad)
            }
            Op::Reduce { keep_dims, noop_with_empty_axes, .. } => {
                self.put("keep_dims", keep_dims)?;
                self.flag("noop_with_empty_axes", *noop_with_empty_axes)
            }
            Op::Flatten { axis }
            | Op::Concat { axis }
            | Op::Split { axis }
            | Op::Gather { axis }
            | Op::GatherElements { axis }
            | Op::OneHot { axis }
            | Op::Softmax { axis }
            | Op::LogSoftmax { axis }
            | Op::Hardmax { axis } => self.put("axis", axis),
            Op::ArgMax(a) | Op::ArgMin(a) => {
                self.put("axis", a.axis)?;
                self.put("keep_dims", a.keep_dims)?;
                self.flag("select_last", a.select_last)
            }
            Op::TopK { axis, largest, sorted } => {
                self.put("axis", axis)?;
                self.put("largest", largest)?;
                self.put("sorted", sorted)
            }
            Op::CumSum { exclusive, reverse } => {
                self.flag("exclusive", *exclusive)?;
                self.flag("reverse", *reverse)
            }
            Op::Reshape { allow_zero } => self.flag("allow_zero", *allow_zero),
            Op::Transpose { perm: Some(perm) } => self.list("perm", perm),
            Op::GatherND { batch_dims } => self.put("batch_dims", batch_dims),
            Op::ScatterElements { axis, reduction } => {
                self.put("axis", axis)?;
                self.reduction(*reduction)
            }
            Op::ScatterND { reduction } => self.reduction(*reduction),
            Op::Trilu { upper } => self.put("upper", upper),
            Op::DepthToSpace { block, channel_first } => {
                self.put("block", block)?;
                self.flag("channel_first", *channel_first)
            }
            Op::SpaceToDepth { block } => self.put("block", block),
            Op::EyeLike { dtype, k } => {
                if let Some(d) = dtype {
                    self.put("dtype", d)?;
                }
                self.put("k", k)
            }
            Op::Pad { mode } => self.put("mode", format_args!("{mode:?}")),
            Op::Shape { start, end } => {
                self.put("start", start)?;
                end.map_or(Ok(()), |end| self.put("end", end))
            }
            Op::Cast { to, saturate } => {
                self.put("to", to)?;
                if *saturate { Ok(()) } else { self.put("saturate", false) }
            }
            Op::CastLike { saturate } => {
                if *saturate {
                    Ok(())
                } else {
                    self.put("saturate", false)
                }
            }
            Op::ConstantOfShape { value } => self.put("value", format_args!("{value:?}")),
            Op::QuantizeLinear { axis, block_size, output_dtype, saturate } => {
                self.put("axis", axis)?;
                if *block_size > 0 {
                    self.put("block_size", block_size)?;
                }
                if let Some(d) = output_dtype {
                    self.put("output_dtype", d)?;
                }
                if *saturate { Ok(()) } else { self.put("saturate", false) }
            }
            Op::DynamicQuantizeLinear { formula } => match formula {
                DynamicFormula::Onnx => Ok(()),
                formula => self.put("formula", formula.name()),
            },
            Op::DequantizeLinear { axis, block_size } => {
                self.put("axis", axis)?;
                if *block_size > 0 { self.put("block_size", block_size) } else { Ok(()) }
            }
            Op::MatMul
            | Op::Binary(_)
            | Op::Compare(_)
            | Op::Logic(_)
            | Op::Not
            | Op::Bitwise(_)
            | Op::BitwiseNot
            | Op::IsNaN
            | Op::Where
            | Op::Variadic(_)
            | Op::Clip
            | Op::GlobalAveragePool
            | Op::GlobalMaxPool
            | Op::Transpose { perm: None }
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
            | Op::QLinearMatMul => Ok(()),
        }
    }
}

/// The ONNX name, with the attributes in brackets.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let mut attributes = Attributes { f, any: false };
        attributes.op(self)?;
        if attributes.any { f.write_str(")") } else { Ok(()) }
    }
}
