//! From a node of the file to an operator of the graph.
//!
//! Defaults are those of the operator's version at the model's opset; what the operator does not have at that
//! version is not accepted.

use super::{elementwise, index, reduce, window};
use crate::attributes::Attributes;
use crate::external::Folder;
use crate::proto::NodeProto;
use crate::tensor::{self, Problem};
use crate::versions;
use std::collections::HashMap;
use tq_graph::op::{EinsumEquation, Op, PadMode};
use tq_graph::{Tensor, dim};
use tq_qtypes::{DType, DynamicFormula};

/// What a node of the file becomes.
pub(super) struct Converted {
    pub(super) op: Op,
    /// How many of the file's inputs stay; the others only configured the operator.
    pub(super) inputs: usize,
    /// An input that was an attribute: what to call it, and its value. It comes after the others.
    pub(super) appended: Option<(&'static str, Tensor)>,
}

/// What is known about the values around a node.
pub(super) struct Surroundings<'a> {
    pub(super) opset: i64,
    pub(super) constants: &'a HashMap<&'a str, Tensor>,
    pub(super) ranks: &'a super::ranks::Ranks<'a>,
}

pub(super) type Result<T> = std::result::Result<T, Problem>;

pub(super) fn malformed<T>(message: String) -> Result<T> {
    Err(Problem::Malformed(message))
}

pub(super) fn unsupported<T>(reason: impl Into<String>) -> Result<T> {
    Err(Problem::Unsupported(reason.into()))
}

/// The operator of `node`, which is of ONNX's own domain. `Constant` nodes do not come here.
pub(super) fn convert<'a>(
    node: &'a NodeProto,
    around: &Surroundings<'a>,
    folder: &mut Folder,
) -> Result<Converted> {
    let opset = around.opset;
    let attributes = Attributes::new(node)?;
    let mut inputs = node.input.len();
    let mut appended = None;
    let since = versions::since(node.op_type());
    if opset < since {
        return unsupported(format!("needs opset {since}"));
    }
    let op = match node.op_type() {
        "Conv" => Op::Conv(conv_attributes(&attributes, node, around, 1)?),
        "ConvInteger" => Op::ConvInteger(conv_attributes(&attributes, node, around, 1)?),
        "QLinearConv" => Op::QLinearConv(conv_attributes(&attributes, node, around, 3)?),
        "ConvTranspose" => {
            let conv = conv_attributes(&attributes, node, around, 1)?;
            Op::ConvTranspose(window::transpose(&attributes, conv)?)
        }
        "Gemm" => Op::Gemm {
            alpha: attributes.float("alpha", 1.0)?,
            beta: attributes.float("beta", 1.0)?,
            trans_a: attributes.int("transA", 0)? != 0,
            trans_b: attributes.int("transB", 0)? != 0,
        },
        "MatMul" => Op::MatMul,
        "Clip" => Op::Clip,
        "BatchNormalization" => batch_normalization(&attributes, node, opset)?,
        "LayerNormalization" => Op::LayerNormalization {
            axis: attributes.int("axis", -1)?,
            epsilon: attributes.float("epsilon", 1e-5)?,
            stash: stash_type(&attributes)?,
        },
        "InstanceNormalization" => Op::InstanceNormalization { epsilon: attributes.float("epsilon", 1e-5)? },
        "GroupNormalization" => {
            if opset >= 21 {
                // Where the mean is computed in: never less than f32 here.
                stash_type(&attributes)?;
            }
            Op::GroupNormalization {
                epsilon: attributes.float("epsilon", 1e-5)?,
                groups: positive(&attributes, "num_groups")?,
            }
        }
        "Einsum" => Op::Einsum(einsum(&attributes)?),
        "NonMaxSuppression" => {
            Op::NonMaxSuppression { center_point_box: attributes.flag("center_point_box", false)? }
        }
        "Resize" => Op::Resize(super::resize::resize(&attributes, opset)?),
        "LSTM" | "GRU" | "RNN" => super::recurrent::recurrent(&attributes, node, around)?,
        "MaxPool" => Op::MaxPool {
            attrs: window::pool(&attributes, true)?,
            column_major: attributes.flag("storage_order", false)?,
        },
        "AveragePool" => Op::AveragePool {
            attrs: window::pool(&attributes, opset >= 19)?,
            count_include_pad: attributes.flag("count_include_pad", false)?,
        },
        "LpPool" => Op::LpPool { attrs: window::lp_pool(&attributes, opset)?, p: exponent(&attributes)? },
        "GlobalAveragePool" => Op::GlobalAveragePool,
        "GlobalMaxPool" => Op::GlobalMaxPool,
        "GlobalLpPool" => Op::GlobalLpPool { p: exponent(&attributes)? },
        "MeanVarianceNormalization" => {
            Op::MeanVarianceNormalization { axes: attributes.ints("axes")?.unwrap_or(&[0, 2, 3]).to_vec() }
        }
        "LRN" => Op::Lrn {
            size: positive(&attributes, "size")?,
            alpha: attributes.float("alpha", 1e-4)?,
            beta: attributes.float("beta", 0.75)?,
            bias: attributes.float("bias", 1.0)?,
        },
        "Flatten" => Op::Flatten { axis: attributes.int("axis", 1)? },
        "Reshape" => Op::Reshape { allow_zero: opset >= 14 && attributes.flag("allowzero", false)? },
        "Transpose" => Op::Transpose { perm: permutation(&attributes)? },
        "Squeeze" => Op::Squeeze,
        "Unsqueeze" => Op::Unsqueeze,
        "Concat" => match attributes.int_opt("axis")? {
            Some(axis) => Op::Concat { axis },
            None => return malformed("axis is missing".into()),
        },
        "Slice" => Op::Slice,
        "Split" => split(&attributes, node, opset)?,
        "Pad" => pad(&attributes, node, opset)?,
        "Shape" if opset < 15 => Op::Shape { start: 0, end: None },
        "Shape" => Op::Shape { start: attributes.int("start", 0)?, end: attributes.int_opt("end")? },
        "Cast" => Op::Cast {
            to: match attributes.int_opt("to")? {
                Some(to) => dtype(to)?,
                None => return malformed("to is missing".into()),
            },
            saturate: if opset < 19 { true } else { attributes.flag("saturate", true)? },
        },
        "CastLike" => Op::CastLike { saturate: opset < 19 || attributes.flag("saturate", true)? },
        "ConstantOfShape" => Op::ConstantOfShape { value: fill_value(&attributes, folder)? },
        "Identity" => Op::Identity,
        "Dropout" => {
            dropout(&attributes, node, around)?;
            inputs = inputs.min(1);
            Op::Dropout
        }
        "QuantizeLinear" => Op::QuantizeLinear {
            axis: attributes.int("axis", 1)?,
            block_size: block_size(&attributes, opset)?,
            output_dtype: if opset < 21 {
                None
            } else {
                match attributes.int("output_dtype", 0)? {
                    0 => None,
                    code => Some(dtype(code)?),
                }
            },
            saturate: if opset < 19 { true } else { attributes.flag("saturate", true)? },
        },
        "DequantizeLinear" => Op::DequantizeLinear {
            axis: attributes.int("axis", 1)?,
            block_size: block_size(&attributes, opset)?,
        },
        "DynamicQuantizeLinear" => Op::DynamicQuantizeLinear { formula: DynamicFormula::Onnx },
        "MatMulInteger" => Op::MatMulInteger,
        "QLinearMatMul" => Op::QLinearMatMul,
        name => {
            if let Some(op) = elementwise::operator(name, &attributes)? {
                op
            } else if let Some(op) = index::operator(name, &attributes, opset)? {
                op
            } else if let Some((op, axes)) = reduce::operator(node, &attributes, opset)? {
                appended = axes.map(|axes| ("axes", axes));
                op
            } else {
                return unsupported("");
            }
        }
    };
    attributes.finish(opset)?;
    Ok(Converted { op, inputs, appended })
}

/// The value of a `Constant` node.
pub(super) fn constant(node: &NodeProto, folder: &mut Folder) -> Result<Tensor> {
    let attributes = Attributes::new(node)?;
    if let [one] = node.attribute.as_slice() {
        if matches!(one.name(), "value_string" | "value_strings" | "sparse_value") {
            return unsupported(format!("attribute {}", one.name()));
        }
    } else {
        return malformed(format!("{} attributes, expected one value", node.attribute.len()));
    }
    if !node.input.is_empty() {
        return malformed(format!("{} inputs, expected none", node.input.len()));
    }
    let value = if let Some(t) = attributes.tensor("value")? {
        tensor::read(t, folder)?
    } else if let Some(v) = attributes.float_opt("value_float")? {
        Tensor::scalar(v)
    } else if let Some(v) = attributes.floats("value_floats")? {
        Tensor::vector(v.to_vec())
    } else if let Some(v) = attributes.int_opt("value_int")? {
        Tensor::scalar(v)
    } else if let Some(v) = attributes.ints("value_ints")? {
        Tensor::vector(v.to_vec())
    } else {
        return unsupported(format!("attribute {}", node.attribute[0].name()));
    };
    Ok(value)
}

pub(super) fn dtype(code: i64) -> Result<DType> {
    match i32::try_from(code) {
        Ok(code) => tensor::dtype_of(code),
        Err(_) => malformed(format!("element type {code}")),
    }
}

fn conv_attributes<'a>(
    attributes: &Attributes,
    node: &'a NodeProto,
    around: &Surroundings<'a>,
    weight: usize,
) -> Result<tq_graph::op::ConvAttrs> {
    let name = |i: usize| node.input.get(i).map(String::as_str);
    let constant = name(weight).and_then(|w| around.constants.get(w));
    let rank = name(weight)
        .and_then(|w| around.ranks.of(w, around.constants))
        .or_else(|| name(0).and_then(|x| around.ranks.of(x, around.constants)));
    window::conv(attributes, constant.map(Tensor::dims), rank)
}

fn batch_normalization(attributes: &Attributes, node: &NodeProto, opset: i64) -> Result<Op> {
    attributes.float("momentum", 0.9)?; // of no use at inference
    if opset >= 14 && attributes.int("training_mode", 0)? != 0 {
        return unsupported("training_mode is 1");
    }
    if node.output.iter().skip(1).any(|o| !o.is_empty()) {
        return unsupported("gives running statistics, which is training");
    }
    Ok(Op::BatchNormalization { epsilon: attributes.float("epsilon", 1e-5)? })
}

/// The type of a normalization's mean.
fn stash_type(attributes: &Attributes) -> Result<DType> {
    let code = attributes.int("stash_type", 1)?;
    match dtype(code)? {
        d if d.is_float() => Ok(d),
        d => malformed(format!("stash_type is {code} ({d}), expected a float type")),
    }
}

fn einsum(attributes: &Attributes) -> Result<EinsumEquation> {
    match attributes.text("equation")? {
        None => malformed("equation is missing".into()),
        Some(text) => text.parse().or_else(|why| malformed(format!("equation {text:?}: {why}"))),
    }
}

/// The exponent of a norm.
fn exponent(attributes: &Attributes) -> Result<u32> {
    let p = attributes.int("p", 2)?;
    match u32::try_from(p) {
        Ok(n) if n > 0 => Ok(n),
        _ => malformed(format!("p is {p}")),
    }
}

/// A required number of at least 1.
fn positive(attributes: &Attributes, name: &str) -> Result<usize> {
    match attributes.int_opt(name)? {
        None => malformed(format!("{name} is missing")),
        Some(n) => match usize::try_from(n) {
            Ok(n) if n > 0 => Ok(n),
            _ => malformed(format!("{name} is {n}")),
        },
    }
}

fn permutation(attributes: &Attributes) -> Result<Option<Vec<usize>>> {
    let Some(ints) = attributes.ints("perm")? else { return Ok(None) };
    let mut seen = vec![false; ints.len()];
    let mut perm = Vec::with_capacity(ints.len());
    for p in ints {
        match usize::try_from(*p).ok().filter(|p| seen.get(*p) == Some(&false)) {
            Some(p) => {
                seen[p] = true;
                perm.push(p);
            }
            None => return malformed(format!("perm {ints:?} is not a permutation")),
        }
    }
    Ok(Some(perm))
}

fn split(attributes: &Attributes, node: &NodeProto, opset: i64) -> Result<Op> {
    let axis = attributes.int("axis", 0)?;
    if opset >= 18
        && let Some(n) = attributes.int_opt("num_outputs")?
    {
        if node.input.get(1).is_some_and(|s| !s.is_empty()) {
            return malformed("both split and num_outputs are given".into());
        }
        if usize::try_from(n) != Ok(node.output.len()) {
            return malformed(format!("num_outputs is {n}, there are {} outputs", node.output.len()));
        }
    }
    Ok(Op::Split { axis })
}

fn pad(attributes: &Attributes, node: &NodeProto, opset: i64) -> Result<Op> {
    if opset < 18 && node.input.len() > 3 {
        return malformed(format!("{} inputs, at most 3 at opset {opset}", node.input.len()));
    }
    let mode = match attributes.text("mode")?.unwrap_or("constant") {
        "constant" => PadMode::Constant,
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Edge,
        "wrap" if opset >= 19 => PadMode::Wrap,
        other => return malformed(format!("mode {other:?} is unknown at opset {opset}")),
    };
    Ok(Op::Pad { mode })
}

fn block_size(attributes: &Attributes, opset: i64) -> Result<usize> {
    if opset < 21 {
        return Ok(0);
    }
    let n = attributes.int("block_size", 0)?;
    usize::try_from(n).or_else(|_| malformed(format!("block_size is {n}")))
}

fn fill_value(attributes: &Attributes, folder: &mut Folder) -> Result<Tensor> {
    let Some(t) = attributes.tensor("value")? else { return Ok(Tensor::vector(vec![0.0f32])) };
    let value = tensor::read(t, folder)?;
    if value.len() != 1 {
        return malformed(format!("value has {} elements, expected one", value.len()));
    }
    Ok(value.reshape(&[1])?)
}

/// Checks that a Dropout only passes its input on.
fn dropout(attributes: &Attributes, node: &NodeProto, around: &Surroundings) -> Result<()> {
    attributes.int_opt("seed")?;
    if node.input.len() > 3 {
        return malformed(format!("{} inputs, expected 1 to 3", node.input.len()));
    }
    let Some(mode) = node.input.get(2).filter(|m| !m.is_empty()) else { return Ok(()) };
    let Some(mode) = around.constants.get(mode.as_str()) else {
        return unsupported("training_mode is not a constant");
    };
    match mode.as_slice::<bool>() {
        Ok([false]) => Ok(()),
        Ok([true]) => unsupported("training_mode is true"),
        _ => {
            malformed(format!("training_mode is {} of shape {:?}", mode.dtype(), dim::shape_of(mode.dims())))
        }
    }
}
