//! Values that share scales, and whose rule governs them.

use super::plan::rule_of;
use super::role::activations;
use super::{Group, Placement, Plan, Scheme};
use crate::config::rules::Verdict;
use tq_graph::{Graph, NodeId, ValueId};

/// Unites values that share scales, numbers the groups in graph order, and finds the observer of each.
///
/// What a node writes is governed by its rule, what an epilogue writes by the rule of the node it is part of. Values that
/// no node on codes writes are governed by the first such node that reads them. In a group the first value in graph order
/// decides; where a node's own rule asks for something else, a note says so.
pub(super) fn group(
    graph: &Graph,
    producers: &[Option<NodeId>],
    shares: &dyn Fn(NodeId) -> bool,
    coded: &[bool],
    verdicts: &[Verdict<'_>],
    plan: &mut Plan,
) {
    let mut becomes_codes = coded.to_vec();
    let mut parent: Vec<usize> = (0..graph.values.len()).collect();
    let mut first_reader: Vec<Option<NodeId>> = vec![None; graph.values.len()];
    for (id, node) in graph.iter_nodes() {
        if !plan.is_static(id) {
            continue;
        }
        for (_, v) in activations(graph, node) {
            becomes_codes[v.0] = true;
            first_reader[v.0].get_or_insert(id);
        }
        let Some(out) = node.output(0).filter(|_| shares(id)) else { continue };
        let others = activations(graph, node).map(|(_, v)| v).chain(node.outputs.iter().flatten().copied());
        for v in others.collect::<Vec<_>>() {
            let (a, b) = (root(&mut parent, out.0), root(&mut parent, v.0));
            parent[a.max(b)] = a.min(b);
        }
    }
    let governor = |v: ValueId| -> Option<NodeId> {
        let writer = producers[v.0].filter(|id| plan.nodes[id.0].scheme == Scheme::Static && coded[v.0]);
        match writer {
            Some(id) if matches!(plan.nodes[id.0].placement, Placement::Epilogue { .. }) => {
                graph.node(id).input(0).and_then(|v| producers[v.0])
            }
            Some(id) => Some(id),
            None => first_reader[v.0],
        }
    };
    let mut group_of_root = vec![None; graph.values.len()];
    let mut group_of = vec![None; graph.values.len()];
    let mut groups: Vec<Group> = Vec::new();
    let mut notes: Vec<(NodeId, String)> = Vec::new();
    // The node whose rule governs a group, in the order of the groups.
    let mut governors: Vec<NodeId> = Vec::new();
    let in_order = graph.inputs.iter().chain(graph.nodes.iter().flat_map(|n| n.outputs.iter().flatten()));
    for v in in_order {
        if !becomes_codes[v.0] || group_of[v.0].is_some() {
            continue;
        }
        let Some(by) = governor(*v) else { continue };
        let Some(observer) = plan.nodes[by.0].qconfig.as_ref().map(|q| q.activation.clone()) else {
            continue;
        };
        let root = root(&mut parent, v.0);
        let at = *group_of_root[root].get_or_insert_with(|| {
            groups.push(Group { values: Vec::new(), observer: observer.clone() });
            governors.push(by);
            groups.len() - 1
        });
        group_of[v.0] = Some(at);
        groups[at].values.push(*v);
    }
    for (id, node) in graph.iter_nodes() {
        let planned = &plan.nodes[id.0];
        let (Scheme::Static, Some(own)) = (planned.scheme, &planned.qconfig) else { continue };
        let Some(at) = node.output(0).and_then(|v| group_of[v.0]) else { continue };
        let by = governors[at];
        if by != id && own.activation != groups[at].observer {
            let (name, rule) = (&graph.node(by).name, rule_of(verdicts, by));
            notes.push((id, format!("shares its scale with {name}, whose {rule} says how it is observed")));
        }
    }
    for (id, note) in notes {
        plan.nodes[id.0].notes.push(note);
    }
    (plan.group_of, plan.groups) = (group_of, groups);
}

/// The representative of a set, halving the path on the way.
fn root(parent: &mut [usize], mut i: usize) -> usize {
    while parent[i] != i {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    i
}
