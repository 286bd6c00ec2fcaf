//! Which nodes run in integers, and which tensors share scales.

mod fixed;
mod group;
mod placement;
mod plan;
mod predict;
mod role;
mod scores;

pub use placement::Placement;
pub(crate) use plan::{Group, Plan, PlannedNode, Scheme, plan};
pub(crate) use role::{activations, convolution, weight_axes, weight_input, weight_slots};
