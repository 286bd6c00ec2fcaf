//! Operators of ONNX Runtime's own domain that its quantizer writes, as operators of ONNX.

mod nbits;
mod product;
mod qlinear;
mod recurrent;

use super::around::Surroundings;
use super::operator::{Result, unsupported};
use super::plan::Plan;
use crate::attributes::Attributes;
use crate::proto::NodeProto;
use tq_graph::Op;

/// The domain.
pub(super) const DOMAIN: &str = "com.microsoft";

/// What becomes of a node, by the name of its operator.
type Rule = fn(&Attributes, &NodeProto, &Surroundings) -> Result<Plan>;

/// The operators that are read.
const RULES: &[(&str, Rule)] = &[
    ("DequantizeLinear", dequantize_linear),
    ("DynamicQuantizeLSTM", recurrent::lstm),
    ("DynamicQuantizeMatMul", product::dynamic_quantize_matmul),
    ("MatMulIntegerToFloat", product::matmul_integer_to_float),
    ("MatMulNBits", nbits::matmul),
    ("QGemm", qlinear::gemm),
    ("QLinearAdd", qlinear::binary),
    ("QLinearAveragePool", qlinear::average_pool),
    ("QLinearConcat", qlinear::concat),
    ("QLinearConv", qlinear::conv),
    ("QLinearGlobalAveragePool", qlinear::unary),
    ("QLinearLeakyRelu", qlinear::unary),
    ("QLinearMul", qlinear::binary),
    ("QLinearSigmoid", qlinear::unary),
    ("QLinearSoftmax", qlinear::softmax),
    ("QLinearWhere", qlinear::choose),
    ("QuantizeLinear", quantize_linear),
];

fn rule(name: &str) -> Option<Rule> {
    RULES.iter().find(|(known, _)| *known == name).map(|(_, rule)| *rule)
}

/// Whether the domain has an operator of this name that is read.
pub(super) fn knows(node: &NodeProto) -> bool {
    node.domain() == DOMAIN && rule(node.op_type()).is_some()
}

/// What becomes of a node of this domain.
pub(super) fn convert(node: &NodeProto, around: &Surroundings) -> Result<Plan> {
    let Some(rule) = rule(node.op_type()) else { return unsupported("") };
    let attributes = Attributes::new(node)?;
    let plan = rule(&attributes, node, around)?;
    attributes.finish(&format!("to {DOMAIN}"))?;
    Ok(plan)
}

/// The same as ONNX's, with types that that one got later.
fn dequantize_linear(attributes: &Attributes, node: &NodeProto, _: &Surroundings) -> Result<Plan> {
    let axis = attributes.int("axis", 1)?;
    Ok(Plan::same(Op::DequantizeLinear { axis, block_size: 0 }, node.input.len()))
}

/// The same as ONNX's, with types that that one got later.
fn quantize_linear(attributes: &Attributes, node: &NodeProto, _: &Surroundings) -> Result<Plan> {
    let axis = attributes.int("axis", 1)?;
    let op = Op::QuantizeLinear { axis, block_size: 0, output_dtype: None, saturate: true };
    Ok(Plan::same(op, node.input.len()))
}

/// Layouts with the channels last are made for one processor, while a model is loaded.
fn channels_first(attributes: &Attributes) -> Result<()> {
    if attributes.flag("channels_last", false)? { unsupported("channels_last is 1") } else { Ok(()) }
}
