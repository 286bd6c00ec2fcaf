//! Batch normalization before it said whether it trains.

use crate::attributes::Attributes;
use crate::import::around::Surroundings;
use crate::import::operator::{Result, batch_normalization, unsupported};
use crate::import::plan::Plan;
use crate::proto::NodeProto;

/// Until 13 more outputs than one meant training; until 8 statistics could be those of single elements.
pub(super) fn batch(attributes: &Attributes, node: &NodeProto, around: &Surroundings) -> Result<Plan> {
    if around.opset < 9 && attributes.int("spatial", 1)? == 0 {
        return unsupported("spatial is 0");
    }
    Ok(Plan::same(batch_normalization(attributes, node, around.opset)?, node.input.len()))
}
