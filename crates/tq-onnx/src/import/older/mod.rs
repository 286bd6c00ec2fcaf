//! Operators as they were in older operator sets, brought to the form that the graph has.
//!
//! One table says until which operator set which form was in use. Most of them kept in attributes what has become an
//! input.

mod attributes_to_inputs;
mod normalization;
mod resize;
mod softmax;

use super::around::Surroundings;
use super::operator::Result;
use super::plan::Plan;
use crate::attributes::Attributes;
use crate::proto::NodeProto;

/// What becomes of a node of an older form.
pub(super) type Rule = fn(&Attributes, &NodeProto, &Surroundings) -> Result<Plan>;

/// Operator, the last operator set with the form, and what becomes of it.
const RULES: &[(&str, i64, Rule)] = &[
    ("BatchNormalization", 13, normalization::batch),
    ("Clip", 10, attributes_to_inputs::clip),
    ("Dropout", 11, attributes_to_inputs::dropout),
    ("Hardmax", 12, softmax::softmax),
    ("LogSoftmax", 12, softmax::softmax),
    ("Pad", 10, attributes_to_inputs::pad),
    ("Resize", 10, resize::from_scales),
    ("Resize", 12, resize::with_coordinates),
    ("Scatter", 10, attributes_to_inputs::scatter),
    ("Slice", 9, attributes_to_inputs::slice),
    ("Softmax", 12, softmax::softmax),
    ("Split", 12, attributes_to_inputs::split),
    ("Squeeze", 12, attributes_to_inputs::squeeze),
    ("TopK", 9, attributes_to_inputs::top_k),
    ("Unsqueeze", 12, attributes_to_inputs::unsqueeze),
    ("Upsample", 8, resize::upsample_by_attribute),
    ("Upsample", 9, resize::from_scales),
];

/// Operators that are gone, and the last operator set that had them.
const GONE: &[(&str, i64)] = &[("Scatter", 10), ("Upsample", 9)];

/// What becomes of an operator of this name, if its form at `opset` is an older one.
pub(super) fn rule(name: &str, opset: i64) -> Option<Rule> {
    RULES.iter().find(|(known, last, _)| *known == name && opset <= *last).map(|(_, _, rule)| *rule)
}

/// The last operator set that had the operator, if it is gone at `opset`.
pub(super) fn gone(name: &str, opset: i64) -> Option<i64> {
    GONE.iter().find(|(known, last)| *known == name && opset > *last).map(|(_, last)| *last)
}
