//! Attributes that became inputs.

use crate::attributes::Attributes;
use crate::import::around::{Surroundings, has};
use crate::import::operator::{Result, malformed, number, pad_mode, unsupported};
use crate::import::plan::{Plan, Source};
use crate::import::softmax::integers;
use crate::proto::NodeProto;
use tq_graph::op::{Op, ScatterReduction};

/// The only input, which has to be there.
fn single(node: &NodeProto) -> Result<Source> {
    match node.input.len() {
        1 => Ok(Source::Input(0)),
        n => malformed(format!("{n} inputs, expected 1")),
    }
}

/// Bounds were attributes until 10.
pub(super) fn clip(attributes: &Attributes, node: &NodeProto, around: &Surroundings) -> Result<Plan> {
    let x = single(node)?;
    let bound = |name: &'static str| match attributes.float_opt(name)? {
        Some(value) => number(name, value, around),
        None => Ok(Source::Absent),
    };
    Ok(Plan::of(Op::Clip, vec![x, bound("min")?, bound("max")?]))
}

/// The ratio was an attribute until 11, and nothing said whether it trains.
pub(super) fn dropout(attributes: &Attributes, node: &NodeProto, around: &Surroundings) -> Result<Plan> {
    attributes.float("ratio", 0.5)?;
    let x = single(node)?;
    if around.opset < 10 && node.output.get(1).is_some_and(|o| !o.is_empty()) {
        return unsupported(format!("the mask of opset {}, which is no bool", around.opset));
    }
    Ok(Plan::of(Op::Dropout, vec![x]))
}

/// Extents and value were attributes until 10.
pub(super) fn pad(attributes: &Attributes, node: &NodeProto, around: &Surroundings) -> Result<Plan> {
    let mode = pad_mode(attributes, around.opset)?;
    let Some(pads) = attributes.ints("pads")? else { return malformed("pads is missing".into()) };
    let value = attributes.float("value", 0.0)?;
    let mut inputs = vec![single(node)?, integers("pads", pads)];
    if value != 0.0 {
        inputs.push(number("value", value, around)?);
    }
    Ok(Plan::of(Op::Pad { mode }, inputs))
}

/// Starts, ends and axes were attributes until 9; steps came later.
pub(super) fn slice(attributes: &Attributes, node: &NodeProto, _: &Surroundings) -> Result<Plan> {
    let mut inputs = vec![single(node)?];
    for name in ["starts", "ends"] {
        match attributes.ints(name)? {
            Some(values) => inputs.push(integers(name, values)),
            None => return malformed(format!("{name} is missing")),
        }
    }
    inputs.extend(attributes.ints("axes")?.map(|axes| integers("axes", axes)));
    Ok(Plan::of(Op::Slice, inputs))
}

/// Sizes were an attribute until 12.
pub(super) fn split(attributes: &Attributes, node: &NodeProto, _: &Surroundings) -> Result<Plan> {
    let mut inputs = vec![single(node)?];
    inputs.extend(attributes.ints("split")?.map(|sizes| integers("split", sizes)));
    Ok(Plan::of(Op::Split { axis: attributes.int("axis", 0)? }, inputs))
}

/// Axes were an attribute until 12.
pub(super) fn squeeze(attributes: &Attributes, node: &NodeProto, _: &Surroundings) -> Result<Plan> {
    let mut inputs = vec![single(node)?];
    inputs.extend(attributes.ints("axes")?.map(|axes| integers("axes", axes)));
    Ok(Plan::of(Op::Squeeze, inputs))
}

/// Axes were an attribute until 12.
pub(super) fn unsqueeze(attributes: &Attributes, node: &NodeProto, _: &Surroundings) -> Result<Plan> {
    let x = single(node)?;
    match attributes.ints("axes")? {
        Some(axes) => Ok(Plan::of(Op::Unsqueeze, vec![x, integers("axes", axes)])),
        None => malformed("axes is missing".into()),
    }
}

/// How many was an attribute until 9, and only the largest were to be had.
pub(super) fn top_k(attributes: &Attributes, node: &NodeProto, _: &Surroundings) -> Result<Plan> {
    let x = single(node)?;
    let op = Op::TopK { axis: attributes.int("axis", -1)?, largest: true, sorted: true };
    match attributes.int_opt("k")? {
        Some(k) => Ok(Plan::of(op, vec![x, integers("k", &[k])])),
        None => malformed("k is missing".into()),
    }
}

/// The name of ScatterElements until 10.
pub(super) fn scatter(attributes: &Attributes, node: &NodeProto, _: &Surroundings) -> Result<Plan> {
    if node.input.len() != 3 || !(0..3).all(|i| has(node, i)) {
        return malformed(format!("{} inputs, expected 3", node.input.len()));
    }
    let op = Op::ScatterElements { axis: attributes.int("axis", 0)?, reduction: ScatterReduction::None };
    Ok(Plan::same(op, 3))
}
