//! The order in which the nodes of a file are taken: none before those whose results it reads.

use crate::proto::NodeProto;
use std::collections::{BTreeSet, HashMap};

/// The places of the nodes, in topological order and in the file's order where that is free. The nodes of a cycle, and
/// what depends on them, come last; `cyclic` says how many these are.
pub(super) struct Order {
    pub(super) places: Vec<usize>,
    pub(super) cyclic: usize,
}

pub(super) fn order(nodes: &[NodeProto]) -> Order {
    let mut producers: HashMap<&str, usize> = HashMap::new();
    for (i, node) in nodes.iter().enumerate() {
        for output in node.output.iter().filter(|o| !o.is_empty()) {
            producers.entry(output).or_insert(i);
        }
    }
    let mut missing = vec![0usize; nodes.len()];
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (i, node) in nodes.iter().enumerate() {
        for producer in node.input.iter().filter_map(|name| producers.get(name.as_str())) {
            missing[i] += 1;
            readers[*producer].push(i);
        }
    }
    let mut ready: BTreeSet<usize> = (0..nodes.len()).filter(|i| missing[*i] == 0).collect();
    let mut places = Vec::with_capacity(nodes.len());
    while let Some(i) = ready.pop_first() {
        places.push(i);
        for reader in &readers[i] {
            missing[*reader] -= 1;
            if missing[*reader] == 0 {
                ready.insert(*reader);
            }
        }
    }
    let cyclic = nodes.len() - places.len();
    places.extend((0..nodes.len()).filter(|i| missing[*i] > 0));
    Order { places, cyclic }
}
