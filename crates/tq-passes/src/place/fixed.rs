//! Ranges that are known beforehand.
//!
//! What a sigmoid, a tanh or a softmax gives lies in a range that no data can leave. As in PyTorch their u8 codes have
//! fixed parameters then: scale 1/256 and zero point 0 for 0..1, scale 1/128 and zero point 128 for -1..1.

use super::{Plan, Scheme};
use crate::Rule;
use crate::config::rules::Verdict;
use tq_graph::op::UnaryOp;
use tq_graph::{Graph, NodeId, Op};
use tq_observers::{FixedQParamsObserver, ObserverConfig};
use tq_qtypes::QuantSpec;

/// The observer for the result of an operator of known range.
fn fixed(op: &Op) -> Option<FixedQParamsObserver> {
    match op {
        Op::Unary(UnaryOp::Sigmoid | UnaryOp::HardSigmoid { .. }) | Op::Softmax { .. } => {
            Some(FixedQParamsObserver::zero_to_one())
        }
        Op::Unary(UnaryOp::Tanh) => Some(FixedQParamsObserver::minus_one_to_one()),
        _ => None,
    }
}

/// Gives fixed parameters to groups of values that come from such operators alone, where the global rule asks for u8 codes
/// 0..=255. A rule of its own for the operator keeps its observer. `shares` tells which nodes hand on the scale of
/// their input.
pub(super) fn fix(
    graph: &Graph,
    producers: &[Option<NodeId>],
    consumers: &[Vec<NodeId>],
    shares: &dyn Fn(NodeId) -> bool,
    verdicts: &[Verdict<'_>],
    plan: &mut Plan,
) {
    for at in 0..plan.groups.len() {
        let group = &plan.groups[at];
        let whole = group.observer.spec() == Some(&QuantSpec::u8_affine());
        if !whole || matches!(group.observer, ObserverConfig::FixedQParams { .. }) {
            continue;
        }
        let mut config: Option<ObserverConfig> = None;
        let mut sources = Vec::new();
        let all = group.values.iter().all(|v| {
            let Some(id) = producers[v.0] else { return false };
            if plan.nodes[id.0].scheme == Scheme::Static && shares(id) {
                return true;
            }
            // What computes in float is governed by who reads its codes.
            let governor = match plan.nodes[id.0].scheme {
                Scheme::Static => Some(id),
                _ => consumers[v.0].iter().copied().find(|c| plan.nodes[c.0].scheme == Scheme::Static),
            };
            let global = governor.is_some_and(|g| verdicts[g.0].winner == Rule::Global);
            let Some(observer) = fixed(&graph.node(id).op).filter(|_| global) else { return false };
            sources.push(id);
            let observer = ObserverConfig::from(observer);
            *config.get_or_insert_with(|| observer.clone()) == observer
        });
        let (true, Some(config)) = (all, config) else { continue };
        plan.groups[at].observer = config;
        for id in sources {
            let note = "its result has fixed parameters, whatever the data";
            plan.nodes[id.0].notes.push(note.into());
        }
    }
}
