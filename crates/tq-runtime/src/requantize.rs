//! How the sums of a product become codes.

use crate::codes::Held;
use tq_graph::qdq::QOperator;
use tq_kernels::OutputStage;
use tq_qtypes::fixed_point::FixedPointMultiplier;
use tq_qtypes::requantize::multiplier;
use tq_qtypes::{OperatorKind, Requantization};

/// What sums are multiplied by: one for all channels, or one each.
#[derive(Debug)]
enum Multipliers {
    Float(Vec<f32>),
    FixedPoint(Vec<FixedPointMultiplier>),
}

/// A requantization, made when a plan is.
#[derive(Debug)]
pub(crate) struct Requantizer {
    multipliers: Multipliers,
    zero_point: i32,
    clamp: (i32, i32),
}

impl Requantizer {
    /// From sums of products with codes of scale `lhs` and of scales `rhs` to codes of `out`, within `clamp`.
    pub(crate) fn new(by: Requantization, lhs: f32, rhs: &[f32], out: Held, clamp: (i32, i32)) -> Self {
        let multipliers = match by {
            Requantization::Float => {
                Multipliers::Float(rhs.iter().map(|rhs| multiplier(lhs, *rhs, out.scale)).collect())
            }
            Requantization::FixedPoint => Multipliers::FixedPoint(
                rhs.iter().map(|rhs| FixedPointMultiplier::of_scales(lhs, *rhs, out.scale)).collect(),
            ),
        };
        Self { multipliers, zero_point: out.zero_point, clamp }
    }

    /// The output stage of channels `first..first + n`.
    pub(crate) fn stage(&self, first: usize, n: usize) -> OutputStage<'_> {
        let multiplier = match &self.multipliers {
            Multipliers::Float(m) => tq_kernels::Multipliers::Float(of_channels(m, first, n)),
            Multipliers::FixedPoint(m) => tq_kernels::Multipliers::FixedPoint(of_channels(m, first, n)),
        };
        OutputStage::Requantize { multiplier, zero_point: self.zero_point, clamp: self.clamp }
    }
}

/// What is said of an operator that does not requantize as the graph asks for.
pub(crate) fn exception(by: Requantization, op: &QOperator) -> Option<String> {
    use OperatorKind as K;
    let what = match op.kind {
        K::Add | K::Sub | K::Mul | K::AveragePool => "fixed point is for products",
        K::GroupWiseLinear if op.output_codes(0).is_some() => {
            "fixed point is for products whose sums have one scale, not one for every group"
        }
        _ => return None,
    };
    (by == Requantization::FixedPoint).then(|| format!("computed in f32 up to its codes: {what}"))
}

/// The values of channels `first..first + n`, or the one that all share.
pub(crate) fn of_channels<T>(values: &[T], first: usize, n: usize) -> &[T] {
    if values.len() == 1 { values } else { values.get(first..first + n).unwrap_or_default() }
}
