//! Where the nodes of a graph stand: in layers from top to bottom, with few crossings.

use std::collections::HashMap;

/// A graph with a place for each node and a way for each edge.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    /// Layer and place across, in units of one node, by node.
    pub(super) nodes: Vec<(usize, f64)>,
    /// Layers.
    pub(super) depth: usize,
    /// The largest place across.
    pub(super) width: f64,
    /// For each edge the places that it passes between its ends, one a layer.
    pub(super) ways: Vec<Vec<(usize, f64)>>,
}

/// Sweeps over the layers, down and up.
const SWEEPS: usize = 8;

/// Room that an edge takes in a layer that it only passes, beside that of a node.
const PASSING: f64 = 0.25;

/// A node, or an edge that passes a layer.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Item {
    layer: usize,
    width: f64,
    at: f64,
}

impl Layout {
    /// After Sugiyama: the longest way from a source is a node's layer, an edge over several layers gets a place in each,
    /// and the items of a layer are ordered by the middle of their neighbours, up and down in turn. `edges` lead from
    /// earlier nodes to later ones.
    pub(super) fn new(nodes: usize, edges: &[(usize, usize)]) -> Self {
        let layers = layers(nodes, edges);
        let mut items: Vec<Item> = layers.iter().map(|l| Item { layer: *l, width: 1.0, at: 0.0 }).collect();
        let mut before: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut after: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut passed: Vec<Vec<usize>> = Vec::with_capacity(edges.len());
        for &(from, to) in edges {
            let mut last = from;
            let mut on_way = Vec::new();
            let mut join = |a: usize, b: usize| {
                after.entry(a).or_default().push(b);
                before.entry(b).or_default().push(a);
            };
            for layer in layers[from] + 1..layers[to] {
                items.push(Item { layer, width: PASSING, at: 0.0 });
                let item = items.len() - 1;
                join(last, item);
                on_way.push(item);
                last = item;
            }
            join(last, to);
            passed.push(on_way);
        }
        let depth = items.iter().map(|i| i.layer + 1).max().unwrap_or(0);
        let mut rows: Vec<Vec<usize>> = vec![Vec::new(); depth];
        for (i, item) in items.iter().enumerate() {
            rows[item.layer].push(i);
        }
        rows.iter().for_each(|row| spread(&mut items, row));
        for sweep in 0..SWEEPS {
            let (down, neighbours) = (sweep % 2 == 0, if sweep % 2 == 0 { &before } else { &after });
            let order: Vec<usize> = if down { (0..depth).collect() } else { (0..depth).rev().collect() };
            for row in order {
                let middle = |i: &usize| {
                    let near = neighbours.get(i).map_or(&[][..], Vec::as_slice);
                    let sum: f64 = near.iter().map(|n| items[*n].at).sum();
                    if near.is_empty() { items[*i].at } else { sum / near.len() as f64 }
                };
                let mut wanted: Vec<(f64, usize)> = rows[row].iter().map(|i| (middle(i), *i)).collect();
                wanted.sort_by(|a, b| a.0.total_cmp(&b.0));
                rows[row] = wanted.iter().map(|(_, i)| *i).collect();
                settle(&mut items, &wanted);
            }
        }
        let left = items.iter().map(|i| i.at - i.width / 2.0).fold(f64::INFINITY, f64::min);
        items.iter_mut().for_each(|i| i.at -= left);
        let width = items.iter().map(|i| i.at + i.width / 2.0).fold(0.0, f64::max);
        let place = |i: &usize| (items[*i].layer, items[*i].at);
        Self {
            nodes: (0..nodes).map(|i| place(&i)).collect(),
            depth,
            width,
            ways: passed.iter().map(|way| way.iter().map(place).collect()).collect(),
        }
    }
}

/// The longest way from a node without predecessors.
fn layers(nodes: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut layers = vec![0usize; nodes];
    let mut into: Vec<Vec<usize>> = vec![Vec::new(); nodes];
    edges.iter().for_each(|(from, to)| into[*to].push(*from));
    for to in 0..nodes {
        layers[to] = into[to].iter().filter(|f| **f < to).map(|f| layers[*f] + 1).max().unwrap_or(0);
    }
    // A source stands just above what reads it: a way to the far side of the graph helps nobody.
    for from in (0..nodes).filter(|n| into[*n].is_empty()) {
        let readers = edges.iter().filter(|(f, _)| *f == from).map(|(_, to)| layers[*to]);
        layers[from] = readers.min().unwrap_or(0).saturating_sub(1);
    }
    layers
}

/// The items of a row side by side, around zero.
fn spread(items: &mut [Item], row: &[usize]) {
    let all: f64 = row.iter().map(|i| items[*i].width).sum();
    let mut at = -all / 2.0;
    for i in row {
        items[*i].at = at + items[*i].width / 2.0;
        at += items[*i].width;
    }
}

/// Items in their order, as near to where they want to be as they can be without touching: runs of items that press
/// against each other share the displacement (isotonic regression by pooling).
fn settle(items: &mut [Item], wanted: &[(f64, usize)]) {
    /// Items that stand without a gap: where the first one would be, from all of them, and how many.
    struct Run {
        first: f64,
        count: usize,
    }
    let mut offset = 0.0;
    let mut offsets = Vec::with_capacity(wanted.len());
    let mut runs: Vec<Run> = Vec::new();
    for (i, (at, item)) in wanted.iter().enumerate() {
        if i > 0 {
            offset += (items[wanted[i - 1].1].width + items[*item].width) / 2.0;
        }
        offsets.push(offset);
        runs.push(Run { first: at - offset, count: 1 });
        while let [.., a, b] = runs.as_slice()
            && a.first > b.first
        {
            let count = a.count + b.count;
            let first = (a.first * a.count as f64 + b.first * b.count as f64) / count as f64;
            runs.truncate(runs.len() - 2);
            runs.push(Run { first, count });
        }
    }
    let places = runs.iter().flat_map(|r| std::iter::repeat_n(r.first, r.count));
    for (((_, item), offset), first) in wanted.iter().zip(offsets).zip(places) {
        items[*item].at = first + offset;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_chain_is_a_column_and_a_shortcut_goes_around() {
        let chain: Vec<(usize, usize)> = (0..9).map(|i| (i, i + 1)).collect();
        let l = Layout::new(10, &chain);
        assert_eq!((l.depth, l.width), (10, 1.0));
        assert!(l.nodes.iter().enumerate().all(|(i, n)| *n == (i, 0.5)));
        let mut edges = chain;
        edges.push((2, 6));
        let l = Layout::new(10, &edges);
        assert_eq!(l.ways[9].len(), 3);
        for (layer, at) in &l.ways[9] {
            assert!((at - l.nodes[*layer].1).abs() >= 0.62, "{l:?}");
        }
        assert!(l.width < 2.0, "{l:?}");
    }

    #[test]
    fn a_late_input_stands_by_its_reader() {
        let l = Layout::new(5, &[(0, 2), (2, 3), (1, 4), (3, 4)]);
        assert_eq!(l.nodes.iter().map(|n| n.0).collect::<Vec<_>>(), [0, 2, 1, 2, 3]);
        assert_eq!(Layout::new(0, &[]).depth, 0);
    }

    proptest! {
        #[test]
        fn nothing_overlaps_and_edges_lead_down(pairs in proptest::collection::vec((0usize..30, 0usize..30), 0..60)) {
            let mut edges: Vec<(usize, usize)> = pairs.into_iter().filter(|(a, b)| a < b).collect();
            edges.sort_unstable();
            edges.dedup();
            let l = Layout::new(30, &edges);
            for (i, a) in l.nodes.iter().enumerate() {
                prop_assert!(a.1 >= 0.499 && a.1 <= l.width - 0.499);
                for b in &l.nodes[i + 1..] {
                    prop_assert!(a.0 != b.0 || (a.1 - b.1).abs() > 0.999);
                }
            }
            for ((from, to), way) in edges.iter().zip(&l.ways) {
                prop_assert!(l.nodes[*from].0 < l.nodes[*to].0);
                prop_assert_eq!(way.len() + 1, l.nodes[*to].0 - l.nodes[*from].0);
            }
        }
    }
}
