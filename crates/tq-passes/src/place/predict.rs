//! Which nodes on codes have no integer kernel: what the view of the finished graph is going to say.

use super::role::activations;
use super::{Placement, Plan, Scheme};
use crate::scheme::{Activation, Weights, is_8_bit_activation};
use tq_graph::{Graph, NodeId, ValueId};
use tq_qtypes::{DType, OperatorKind};

/// Turns placements in integers into placements on dequantized codes where no integer kernel takes the codes.
pub(super) fn predict(graph: &Graph, producers: &[Option<NodeId>], plan: &mut Plan) {
    let mut in_float = vec![None; graph.values.len()];
    for (id, node) in graph.iter_nodes() {
        if plan.nodes[id.0].scheme != Scheme::Static {
            continue;
        }
        let dtype = |v: ValueId| plan.group_of[v.0].map(|g| Activation::of(&plan.groups[g].observer).dtype());
        let wide = |v: &ValueId| dtype(*v).filter(|d| !is_8_bit_activation(*d)).map(|d| (*v, d));
        let refusal = |(v, d): (ValueId, DType)| {
            format!("no integer kernel takes the {d} codes of {}", graph.value(v).name)
        };
        let kind = match &plan.nodes[id.0].placement {
            Placement::Integer { kind, .. } => *kind,
            Placement::Epilogue { .. } => {
                // The host's result is a value of its own where the host computes in float, or where 8-bit codes do not
                // follow.
                let wide_output = node.output(0).as_ref().and_then(wide);
                let host = node.input(0).and_then(|v| in_float[v.0].clone());
                if wide_output.is_some()
                    && host.is_none()
                    && let Some(host) = node.input(0).and_then(|v| producers[v.0])
                {
                    float_output(&mut plan.nodes[host.0].placement, &wide_output.map(refusal));
                }
                if let Some(reason) = host.or_else(|| wide_output.map(refusal)) {
                    plan.nodes[id.0].placement = Placement::Dequantized { reason };
                }
                continue;
            }
            _ => continue,
        };
        let reads = activations(graph, node).find_map(|(_, v)| wide(&v));
        let writes = node.outputs.iter().flatten().find_map(wide);
        let weights = plan.nodes[id.0].qconfig.as_ref().filter(|_| kind.has_weights());
        let in_groups = weights.is_some_and(|q| Weights::of(&q.weight).are_few_bits_in_groups());
        let kind = match kind {
            OperatorKind::Linear if in_groups => OperatorKind::GroupWiseLinear,
            kind => kind,
        };
        let reason = match (reads, writes) {
            (Some(wide), _) => Some(refusal(wide)),
            (None, Some(wide)) if !leaves_float(kind) => Some(refusal(wide)),
            _ if kind == OperatorKind::GroupWiseLinear => None,
            _ => weights.and_then(|q| Weights::of(&q.weight).refusal()),
        };
        match (reason, writes) {
            (Some(reason), _) => {
                mark(graph, &mut in_float, id, &reason);
                plan.nodes[id.0].placement = Placement::Dequantized { reason };
            }
            (None, Some(_)) => plan.nodes[id.0].placement = Placement::Integer { kind, float_output: true },
            (None, None) => {
                if let Placement::Integer { kind: planned, .. } = &mut plan.nodes[id.0].placement {
                    *planned = kind;
                }
            }
        }
    }
}

/// Remembers why what a node writes comes out of a float computation.
fn mark(graph: &Graph, in_float: &mut [Option<String>], id: NodeId, reason: &str) {
    let node = graph.node(id);
    for v in node.outputs.iter().flatten() {
        in_float[v.0] = Some(format!("{} before it computes in float: {reason}", node.name));
    }
}

/// True for operators whose result may leave the integer kernel as float.
fn leaves_float(kind: OperatorKind) -> bool {
    use OperatorKind as Kind;
    matches!(kind, Kind::Linear | Kind::GroupWiseLinear | Kind::Conv | Kind::MatMul)
}

/// The placement of a node whose result is clamped in float and becomes codes only then.
fn float_output(placement: &mut Placement, reason: &Option<String>) {
    if let Placement::Integer { kind, float_output } = placement {
        if leaves_float(*kind) {
            *float_output = true;
        } else if let Some(reason) = reason.clone() {
            *placement = Placement::Dequantized { reason };
        }
    }
}
