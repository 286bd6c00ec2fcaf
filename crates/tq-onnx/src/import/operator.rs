//! From a node of the file to an operator of the graph.
//!
//! Defaults are those of the operator's version at the model's opset; what the operator does not have at that
//! version is not accepted.

use super::around::{Surroundings, has};
use super::plan::{Plan, Source};
use super::{elementwise, index, microsoft, newer, older, qlinear, quantize, reduce, window};
use crate::attributes::Attributes;
use crate::external::Folder;
use crate::proto::NodeProto;
use crate::tensor::{self, Problem};
use crate::versions;
use half::{bf16, f16};
use tq_graph::op::{EinsumEquation, Op, PadMode};
use tq_graph::{Tensor, dim};
use tq_qtypes::{DType, DynamicFormula};

pub(super) type Result<T> = std::result::Result<T, Problem>;

pub(super) fn malformed<T>(message: String) -> Result<T> {
    Err(Problem::Malformed(message))
}

pub(super) fn unsupported<T>(reason: impl Into<String>) -> Result<T> {
    Err(Problem::Unsupported(reason.into()))
}

/// What becomes of `node`, whose operator [`super::subgraphs::foreign`] knows. `Constant` nodes do not come here.
pub(super) fn convert(node: &NodeProto, around: &Surroundings, folder: &mut Folder) -> Result<Plan> {
    if node.domain() == microsoft::DOMAIN {
        return microsoft::convert(node, around);
    }
    let opset = around.opset;
    let attributes = Attributes::new(node)?;
    let since = versions::since(node.op_type());
    if opset < since {
        return unsupported(format!("needs opset {since}"));
    }
    if let Some(last) = older::gone(node.op_type(), opset) {
        return unsupported(format!("is gone since opset {last}"));
    }
    let plan = match older::rule(node.op_type(), opset).or_else(|| newer::rule(node.op_type())) {
        Some(rule) => rule(&attributes, node, around)?,
        None => current(&attributes, node, around, folder)?,
    };
    attributes.finish(&format!("at opset {opset}"))?;
    Ok(plan)
}

/// What becomes of a node whose form is that of the graph's operators, but for attributes that are newer or older.
fn current(
    attributes: &Attributes,
    node: &NodeProto,
    around: &Surroundings,
    folder: &mut Folder,
) -> Result<Plan> {
    let opset = around.opset;
    let mut inputs = node.input.len();
    let mut axes = None;
    let op = match node.op_type() {
        "Conv" => Op::Conv(conv_attributes(attributes, around, 1)?),
        "ConvInteger" => Op::ConvInteger(conv_attributes(attributes, around, 1)?),
        "QLinearConv" => {
            return qlinear::conv(conv_attributes(attributes, around, 3)?, around, inputs);
        }
        "ConvTranspose" => {
            let conv = conv_attributes(attributes, around, 1)?;
            Op::ConvTranspose(window::transpose(attributes, conv)?)
        }
        "Gemm" => Op::Gemm {
            alpha: attributes.float("alpha", 1.0)?,
            beta: attributes.float("beta", 1.0)?,
            trans_a: attributes.int("transA", 0)? != 0,
            trans_b: attributes.int("transB", 0)? != 0,
        },
        "MatMul" => Op::MatMul,
        "Clip" => Op::Clip,
        "BatchNormalization" => batch_normalization(attributes, node, opset)?,
        "LayerNormalization" => Op::LayerNormalization {
            axis: attributes.int("axis", -1)?,
            epsilon: attributes.float("epsilon", 1e-5)?,
            stash: stash_type(attributes)?,
        },
        "InstanceNormalization" => Op::InstanceNormalization { epsilon: attributes.float("epsilon", 1e-5)? },
        "GroupNormalization" => {
            if opset >= 21 {
                // Where the mean is computed in: never less than f32 here.
                stash_type(attributes)?;
            }
            Op::GroupNormalization {
                epsilon: attributes.float("epsilon", 1e-5)?,
                groups: positive(attributes, "num_groups")?,
            }
        }
        "Einsum" => Op::Einsum(einsum(attributes)?),
        "NonMaxSuppression" => {
            Op::NonMaxSuppression { center_point_box: attributes.flag("center_point_box", false)? }
        }
        "Resize" => Op::Resize(super::resize::resize(attributes, opset)?),
        "LSTM" | "GRU" | "RNN" => super::recurrent::recurrent(attributes, node.op_type(), around)?,
        "MaxPool" => Op::MaxPool {
            attrs: window::pool(attributes, opset >= 10, opset >= 10)?,
            column_major: opset >= 8 && attributes.flag("storage_order", false)?,
        },
        "AveragePool" => Op::AveragePool {
            attrs: window::pool(attributes, opset >= 19, opset >= 10)?,
            count_include_pad: attributes.flag("count_include_pad", false)?,
        },
        "LpPool" => Op::LpPool { attrs: window::lp_pool(attributes, opset)?, p: exponent(attributes)? },
        "GlobalAveragePool" => Op::GlobalAveragePool,
        "GlobalMaxPool" => Op::GlobalMaxPool,
        "GlobalLpPool" => Op::GlobalLpPool { p: exponent(attributes)? },
        "MeanVarianceNormalization" => {
            Op::MeanVarianceNormalization { axes: attributes.ints("axes")?.unwrap_or(&[0, 2, 3]).to_vec() }
        }
        "LRN" => Op::Lrn {
            size: positive(attributes, "size")?,
            alpha: attributes.float("alpha", 1e-4)?,
            beta: attributes.float("beta", 0.75)?,
            bias: attributes.float("bias", 1.0)?,
        },
        "Flatten" => Op::Flatten { axis: attributes.int("axis", 1)? },
        "Reshape" => Op::Reshape { allow_zero: opset >= 14 && attributes.flag("allowzero", false)? },
        "Transpose" => Op::Transpose { perm: permutation(attributes)? },
        "Squeeze" => Op::Squeeze,
        "Unsqueeze" => Op::Unsqueeze,
        "Concat" => match attributes.int_opt("axis")? {
            Some(axis) => Op::Concat { axis },
            None => return malformed("axis is missing".into()),
        },
        "Slice" => Op::Slice,
        "Split" => split(attributes, node, opset)?,
        "Pad" => pad(attributes, node, opset)?,
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
        "ConstantOfShape" => Op::ConstantOfShape { value: fill_value(attributes, folder)? },
        "Identity" => Op::Identity,
        "Dropout" => {
            dropout(attributes, node, around)?;
            inputs = inputs.min(1);
            Op::Dropout
        }
        "QuantizeLinear" if opset >= 23 => return quantize::quantize(attributes, around, inputs),
        "DequantizeLinear" if opset >= 23 => return quantize::dequantize(attributes, around, inputs),
        "QuantizeLinear" => Op::QuantizeLinear {
            axis: axis(attributes, opset)?,
            block_size: block_size(attributes, opset)?,
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
            axis: axis(attributes, opset)?,
            block_size: block_size(attributes, opset)?,
        },
        "DynamicQuantizeLinear" => Op::DynamicQuantizeLinear { formula: DynamicFormula::Onnx },
        "MatMulInteger" => Op::MatMulInteger,
        "QLinearMatMul" => return qlinear::matmul(around, inputs),
        name => {
            if let Some(op) = elementwise::operator(name, attributes)? {
                op
            } else if let Some(op) = index::operator(name, attributes, opset)? {
                op
            } else if let Some((op, of_attribute)) = reduce::operator(node, attributes, opset)? {
                axes = of_attribute;
                op
            } else {
                return unsupported("");
            }
        }
    };
    let mut plan = Plan::same(op, inputs);
    if let Some(axes) = axes {
        plan.steps[0].inputs.push(Source::Constant("axes", axes));
    }
    Ok(plan)
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

fn conv_attributes(
    attributes: &Attributes,
    around: &Surroundings,
    weight: usize,
) -> Result<tq_graph::op::ConvAttrs> {
    let constant = around.constant(weight);
    let rank = around.rank(weight).or_else(|| around.rank(0));
    window::conv(attributes, constant.map(Tensor::dims), rank)
}

pub(super) fn batch_normalization(attributes: &Attributes, node: &NodeProto, opset: i64) -> Result<Op> {
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
pub(super) fn stash_type(attributes: &Attributes) -> Result<DType> {
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
        if has(node, 1) {
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
    Ok(Op::Pad { mode: pad_mode(attributes, opset)? })
}

pub(super) fn pad_mode(attributes: &Attributes, opset: i64) -> Result<PadMode> {
    match attributes.text("mode")?.unwrap_or("constant") {
        "constant" => Ok(PadMode::Constant),
        "reflect" => Ok(PadMode::Reflect),
        "edge" => Ok(PadMode::Edge),
        "wrap" if opset >= 19 => Ok(PadMode::Wrap),
        other => malformed(format!("mode {other:?} is unknown at opset {opset}")),
    }
}

/// A number of the type of input 0. Where that is not known it is f32, as nearly all are.
pub(super) fn number(what: &'static str, value: f32, around: &Surroundings) -> Result<Source> {
    let tensor = match around.dtype(0).unwrap_or(DType::F32) {
        DType::F32 => Tensor::scalar(value),
        DType::F64 => Tensor::scalar(f64::from(value)),
        DType::F16 => Tensor::scalar(f16::from_f32(value)),
        DType::BF16 => Tensor::scalar(bf16::from_f32(value)),
        other => return malformed(format!("data of type {other} beside the float attribute {what}")),
    };
    Ok(Source::Constant(what, tensor))
}

/// The axis of parameters; before 13 there was one pair of them.
fn axis(attributes: &Attributes, opset: i64) -> Result<i64> {
    if opset < 13 { Ok(1) } else { attributes.int("axis", 1) }
}

pub(super) fn block_size(attributes: &Attributes, opset: i64) -> Result<usize> {
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
    if !has(node, 2) {
        return Ok(());
    }
    let Some(mode) = around.constant(2) else {
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
