//! Operators from their names and attributes.

use super::attributes::{Attribute, Attributes};
use super::names::{self, BINARY, BITWISE, COMPARE, LOGIC, REDUCE, UNARY, VARIADIC};
use crate::FormatError;
use std::sync::Arc;
use tq_graph::op::{
    Activation, ArgAttrs, BinaryOp, BitwiseOp, ConvAttrs, ConvTransposeAttrs, Coordinates, Padding,
    PoolAttrs, RecurrentAttrs, RecurrentKind, ResizeAttrs, ResizeMode, UnaryOp,
};
use tq_graph::tensor::ByteBuffer;
use tq_graph::{Op, Tensor};
use tq_qtypes::DynamicFormula;

/// The operator of this name, with its attributes, which are taken out of `a`.
pub(super) fn read(name: &str, a: &mut Attributes<'_>) -> Result<Op, FormatError> {
    Ok(match name {
        "Conv" => Op::Conv(conv(a)?),
        "ConvInteger" => Op::ConvInteger(conv(a)?),
        "QLinearConv" => Op::QLinearConv(conv(a)?),
        "ConvTranspose" => Op::ConvTranspose(ConvTransposeAttrs {
            strides: a.get("strides")?,
            dilations: a.get("dilations")?,
            padding: padding(a)?,
            output_padding: a.get("output_padding")?,
            output_shape: a.get_some("output_shape")?,
            groups: a.get("groups")?,
        }),
        "Gemm" => Op::Gemm {
            alpha: a.get("alpha")?,
            beta: a.get("beta")?,
            trans_a: a.get("trans_a")?,
            trans_b: a.get("trans_b")?,
        },
        "IsInf" => Op::IsInf { negative: a.get("negative")?, positive: a.get("positive")? },
        "BatchNormalization" => Op::BatchNormalization { epsilon: a.get("epsilon")? },
        "InstanceNormalization" => Op::InstanceNormalization { epsilon: a.get("epsilon")? },
        "LayerNormalization" => Op::LayerNormalization {
            axis: a.get("axis")?,
            epsilon: a.get("epsilon")?,
            stash: a.get_named("stash")?,
        },
        "GroupNormalization" => {
            Op::GroupNormalization { epsilon: a.get("epsilon")?, groups: a.get("groups")? }
        }
        "LSTM" => recurrent(RecurrentKind::Lstm { input_forget: a.get("input_forget")? }, a)?,
        "GRU" => recurrent(RecurrentKind::Gru { linear_before_reset: a.get("linear_before_reset")? }, a)?,
        "RNN" => recurrent(RecurrentKind::Rnn, a)?,
        "Einsum" => {
            let text: String = a.get("equation")?;
            Op::Einsum(text.parse().map_err(|e| a.error("equation", e))?)
        }
        "NonMaxSuppression" => Op::NonMaxSuppression { center_point_box: a.get("center_point_box")? },
        "Resize" => Op::Resize(resize(a)?),
        "MaxPool" => Op::MaxPool { attrs: pool(a)?, column_major: a.get("column_major")? },
        "AveragePool" => Op::AveragePool { attrs: pool(a)?, count_include_pad: a.get("count_include_pad")? },
        "LpPool" => Op::LpPool { attrs: pool(a)?, p: a.get("p")? },
        "GlobalLpPool" => Op::GlobalLpPool { p: a.get("p")? },
        "MeanVarianceNormalization" => Op::MeanVarianceNormalization { axes: a.get("axes")? },
        "LRN" => Op::Lrn {
            size: a.get("size")?,
            alpha: a.get("alpha")?,
            beta: a.get("beta")?,
            bias: a.get("bias")?,
        },
        "ArgMax" => Op::ArgMax(arg(a)?),
        "ArgMin" => Op::ArgMin(arg(a)?),
        "TopK" => Op::TopK { axis: a.get("axis")?, largest: a.get("largest")?, sorted: a.get("sorted")? },
        "CumSum" => Op::CumSum { exclusive: a.get("exclusive")?, reverse: a.get("reverse")? },
        "Flatten" => Op::Flatten { axis: a.get("axis")? },
        "Concat" => Op::Concat { axis: a.get("axis")? },
        "Split" => Op::Split { axis: a.get("axis")? },
        "Gather" => Op::Gather { axis: a.get("axis")? },
        "GatherElements" => Op::GatherElements { axis: a.get("axis")? },
        "OneHot" => Op::OneHot { axis: a.get("axis")? },
        "Softmax" => Op::Softmax { axis: a.get("axis")? },
        "LogSoftmax" => Op::LogSoftmax { axis: a.get("axis")? },
        "Hardmax" => Op::Hardmax { axis: a.get("axis")? },
        "Reshape" => Op::Reshape { allow_zero: a.get("allow_zero")? },
        "Transpose" => Op::Transpose { perm: a.get_some("perm")? },
        "Pad" => Op::Pad { mode: a.get_named("mode")? },
        "Shape" => Op::Shape { start: a.get("start")?, end: a.get_some("end")? },
        "GatherND" => Op::GatherND { batch_dims: a.get("batch_dims")? },
        "ScatterElements" => {
            Op::ScatterElements { axis: a.get("axis")?, reduction: a.get_named("reduction")? }
        }
        "ScatterND" => Op::ScatterND { reduction: a.get_named("reduction")? },
        "Trilu" => Op::Trilu { upper: a.get("upper")? },
        "DepthToSpace" => Op::DepthToSpace { block: a.get("block")?, channel_first: a.get("channel_first")? },
        "SpaceToDepth" => Op::SpaceToDepth { block: a.get("block")? },
        "EyeLike" => {
            let dtype = if a.map.contains_key("type") { Some(a.get_named("type")?) } else { None };
            Op::EyeLike { dtype, k: a.get("k")? }
        }
        "Cast" => Op::Cast { to: a.get_named("to")?, saturate: a.get("saturate")? },
        "CastLike" => Op::CastLike { saturate: a.get("saturate")? },
        "ConstantOfShape" => Op::ConstantOfShape { value: tensor(a)? },
        "QuantizeLinear" => {
            let typed = a.map.contains_key("output_type");
            Op::QuantizeLinear {
                axis: a.get("axis")?,
                block_size: a.get("block_size")?,
                output_dtype: if typed { Some(a.get_named("output_type")?) } else { None },
                saturate: a.get("saturate")?,
            }
        }
        "DequantizeLinear" => Op::DequantizeLinear { axis: a.get("axis")?, block_size: a.get("block_size")? },
        "DynamicQuantizeLinear" => {
            let formula: String = a.get("formula")?;
            Op::DynamicQuantizeLinear { formula: dynamic("formula", &formula, a)? }
        }
        "MatMul" => Op::MatMul,
        "Not" => Op::Not,
        "BitwiseNot" => Op::BitwiseNot,
        "IsNaN" => Op::IsNaN,
        "Where" => Op::Where,
        "Clip" => Op::Clip,
        "GlobalAveragePool" => Op::GlobalAveragePool,
        "GlobalMaxPool" => Op::GlobalMaxPool,
        "Squeeze" => Op::Squeeze,
        "Unsqueeze" => Op::Unsqueeze,
        "Slice" => Op::Slice,
        "Expand" => Op::Expand,
        "Tile" => Op::Tile,
        "Size" => Op::Size,
        "NonZero" => Op::NonZero,
        "Range" => Op::Range,
        "Identity" => Op::Identity,
        "Dropout" => Op::Dropout,
        "MatMulInteger" => Op::MatMulInteger,
        "QLinearMatMul" => Op::QLinearMatMul,
        "BitShift" => Op::Bitwise(BitwiseOp::Shift { left: a.get("left")? }),
        "Mod" => Op::Binary(BinaryOp::Mod { fmod: a.get("fmod")? }),
        _ => match family(name, a)? {
            Some(op) => op,
            None => {
                return Err(FormatError::UnknownOperator { node: a.node.to_owned(), op: name.to_owned() });
            }
        },
    })
}

/// The operator, if it is one of a family.
fn family(name: &str, a: &mut Attributes<'_>) -> Result<Option<Op>, FormatError> {
    if let Some(kind) = REDUCE.into_iter().find(|k| k.name() == name) {
        let (keep_dims, noop_with_empty_axes) = (a.get("keep_dims")?, a.get("noop_with_empty_axes")?);
        return Ok(Some(Op::Reduce { kind, keep_dims, noop_with_empty_axes }));
    }
    let unary = match name {
        "LeakyRelu" => Some(UnaryOp::LeakyRelu { alpha: a.get("alpha")? }),
        "ThresholdedRelu" => Some(UnaryOp::ThresholdedRelu { alpha: a.get("alpha")? }),
        "Elu" => Some(UnaryOp::Elu { alpha: a.get("alpha")? }),
        "Celu" => Some(UnaryOp::Celu { alpha: a.get("alpha")? }),
        "Selu" => Some(UnaryOp::Selu { alpha: a.get("alpha")?, gamma: a.get("gamma")? }),
        "HardSigmoid" => Some(UnaryOp::HardSigmoid { alpha: a.get("alpha")?, beta: a.get("beta")? }),
        "Gelu" => Some(UnaryOp::Gelu { tanh: a.get("tanh")? }),
        _ => UNARY.into_iter().find(|u| u.name() == name),
    };
    Ok(unary
        .map(Op::Unary)
        .or_else(|| BINARY.into_iter().find(|o| o.name() == name).map(Op::Binary))
        .or_else(|| COMPARE.into_iter().find(|o| o.name() == name).map(Op::Compare))
        .or_else(|| LOGIC.into_iter().find(|o| o.name() == name).map(Op::Logic))
        .or_else(|| BITWISE.into_iter().find(|o| o.name() == name).map(Op::Bitwise))
        .or_else(|| VARIADIC.into_iter().find(|o| o.name() == name).map(Op::Variadic)))
}

fn padding(a: &mut Attributes<'_>) -> Result<Padding, FormatError> {
    Ok(match a.get_some::<String>("padding")?.as_deref() {
        None => Padding::Explicit { begin: a.get("pad_begin")?, end: a.get("pad_end")? },
        Some("same_upper") => Padding::SameUpper,
        Some("same_lower") => Padding::SameLower,
        Some(other) => return Err(a.error("padding", format!("there is no {other:?}"))),
    })
}

fn conv(a: &mut Attributes<'_>) -> Result<ConvAttrs, FormatError> {
    Ok(ConvAttrs {
        strides: a.get("strides")?,
        dilations: a.get("dilations")?,
        padding: padding(a)?,
        groups: a.get("groups")?,
    })
}

fn pool(a: &mut Attributes<'_>) -> Result<PoolAttrs, FormatError> {
    Ok(PoolAttrs {
        kernel: a.get("kernel")?,
        strides: a.get("strides")?,
        dilations: a.get("dilations")?,
        padding: padding(a)?,
        ceil_mode: a.get("ceil_mode")?,
    })
}

fn arg(a: &mut Attributes<'_>) -> Result<ArgAttrs, FormatError> {
    Ok(ArgAttrs { axis: a.get("axis")?, keep_dims: a.get("keep_dims")?, select_last: a.get("select_last")? })
}

fn dynamic(key: &str, name: &str, a: &Attributes<'_>) -> Result<DynamicFormula, FormatError> {
    DynamicFormula::by_name(name).ok_or_else(|| a.error(key, format!("there is no {name:?}")))
}

fn recurrent(kind: RecurrentKind, a: &mut Attributes<'_>) -> Result<Op, FormatError> {
    let functions: Vec<Vec<Attribute>> = a.get("activations")?;
    let activations = functions.iter().map(|f| function(f)).collect::<Option<Vec<Activation>>>();
    let formula: Option<String> = a.get_some("dynamic")?;
    let attrs = RecurrentAttrs {
        hidden_size: a.get("hidden_size")?,
        direction: a.get_named("direction")?,
        activations: activations
            .ok_or_else(|| a.error("activations", "one is no function with its parameters"))?,
        clip: a.get_some("clip")?,
        batch_first: a.get("batch_first")?,
        dynamic: formula.map(|name| dynamic("dynamic", &name, a)).transpose()?,
    };
    Ok(Op::Recurrent { kind, attrs })
}

fn function(words: &[Attribute]) -> Option<Activation> {
    use super::attributes::FromAttribute;
    let (Attribute::Text(name), parameters) = words.split_first()? else { return None };
    let parameters = parameters.iter().map(f32::from_attribute).collect::<Option<Vec<_>>>()?;
    names::activation(name, &parameters)
}

fn resize(a: &mut Attributes<'_>) -> Result<ResizeAttrs, FormatError> {
    let mode: String = a.get("mode")?;
    let coordinates: String = a.get("coordinates")?;
    Ok(ResizeAttrs {
        mode: match mode.as_str() {
            "nearest" => ResizeMode::Nearest(a.get_named("rounding")?),
            "linear" => ResizeMode::Linear,
            "cubic" => ResizeMode::Cubic { a: a.get("coefficient")? },
            other => return Err(a.error("mode", format!("there is no {other:?}"))),
        },
        coordinates: match coordinates.as_str() {
            "half_pixel" => Coordinates::HalfPixel,
            "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
            "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
            "align_corners" => Coordinates::AlignCorners,
            "asymmetric" => Coordinates::Asymmetric,
            "tf_crop_and_resize" => {
                Coordinates::TfCropAndResize { extrapolation_value: a.get("extrapolation_value")? }
            }
            other => return Err(a.error("coordinates", format!("there is no {other:?}"))),
        },
        antialias: a.get("antialias")?,
        exclude_outside: a.get("exclude_outside")?,
        axes: a.get_some("axes")?,
        policy: a.get_named("policy")?,
    })
}

/// A small tensor: type, shape, and its bytes as hexadecimal digits, one byte an element of less than 8 bits.
fn tensor(a: &mut Attributes<'_>) -> Result<Tensor, FormatError> {
    let (dtype, dims, digits): (_, Vec<usize>, String) =
        (a.get_named("type")?, a.get("shape")?, a.get("bytes")?);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes = digits.as_bytes().chunks(2).map(byte).collect::<Option<Vec<u8>>>();
    let bytes = bytes
        .filter(|b| digits.len() == 2 * b.len() && !digits.contains('+'))
        .ok_or_else(|| a.error("bytes", "they are no pairs of hexadecimal digits"))?;
    let mut buffer = ByteBuffer::zeroed(bytes.len())?;
    buffer.bytes_mut().copy_from_slice(&bytes);
    let value = Tensor::in_buffer(dtype, &dims, &Arc::new(buffer), 0).map_err(|e| a.error("bytes", e))?;
    if value.le_bytes().len() == bytes.len() {
        return Ok(value);
    }
    Err(a.error("bytes", format!("{} bytes for shape {dims:?} of {dtype}", bytes.len())))
}
