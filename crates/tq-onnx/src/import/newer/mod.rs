//! Operators of newer operator sets that are made of those that the graph has.

mod activation;
mod normalization;

use super::around::Surroundings;
use super::operator::Result;
use super::plan::Plan;
use crate::attributes::Attributes;
use crate::proto::NodeProto;

/// What becomes of a node.
pub(super) type Rule = fn(&Attributes, &NodeProto, &Surroundings) -> Result<Plan>;

/// The operators; [`crate::versions::since`] knows which operator set has them.
const RULES: &[(&str, Rule)] =
    &[("RMSNormalization", normalization::root_mean_square), ("Swish", activation::swish)];

/// What becomes of an operator of this name, if it is one of these.
pub(super) fn rule(name: &str) -> Option<Rule> {
    RULES.iter().find(|(known, _)| *known == name).map(|(_, rule)| *rule)
}
