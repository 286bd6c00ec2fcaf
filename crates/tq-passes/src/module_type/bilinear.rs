//! Bilinear layers, which ONNX has no operator for: the operators that one is written as.
//!
//! ```text
//! x1 ─ MatMul W [in1, out·in2] ─ Reshape [.., out, in2] ─ MatMul ─ Squeeze -1 ─ [Add bias] ─ y
//!                                    x2 ─ Unsqueeze -1 ─────┘
//! ```
//!
//! This is how [`tq_graph::builder::Bilinear`] writes it. It is recognised by its form, whatever its nodes are called, so a
//! model that was read from a file has it too.

use std::collections::HashSet;
use tq_graph::op::BinaryOp;
use tq_graph::{Dim, Graph, Node, NodeId, Op, ValueId};

/// The first results of all nodes that are part of a bilinear layer.
pub(super) fn results(graph: &Graph) -> HashSet<ValueId> {
    let found = Finder { graph, producers: graph.producers(), consumers: graph.consumers() };
    let layers = graph.nodes.iter().filter_map(|node| found.layer(node));
    layers.flatten().filter_map(|node| node.output(0)).collect()
}

struct Finder<'g> {
    graph: &'g Graph,
    producers: Vec<Option<NodeId>>,
    consumers: Vec<Vec<NodeId>>,
}

impl<'g> Finder<'g> {
    /// The nodes of the layer whose second product is `second`.
    fn layer(&self, second: &'g Node) -> Option<Vec<&'g Node>> {
        if second.op != Op::MatMul {
            return None;
        }
        let reshape = self.only_for(second.input(0)?, |op| matches!(op, Op::Reshape { .. }))?;
        let first = self.only_for(reshape.input(0)?, |op| *op == Op::MatMul)?;
        let weights = self.graph.const_input(first, 1)?;
        let unsqueeze = self.producer(second.input(1)?).filter(|n| n.op == Op::Unsqueeze)?;
        let squeeze = self.only_reader(second.output(0)?).filter(|n| n.op == Op::Squeeze)?;
        let (rows, columns) = (self.shape(first.output(0)?)?, self.shape(reshape.output(0)?)?);
        let [rows @ .., product] = rows else { return None };
        let [leading @ .., out, in2] = columns else { return None };
        let (product, out, in2) = (product.known_usize()?, out.known_usize()?, in2.known_usize()?);
        let is_layer = weights.rank() == 2
            && rows == leading
            && out.checked_mul(in2) == Some(product)
            && self.is_over_last(unsqueeze, unsqueeze.output(0)?)
            && self.is_over_last(squeeze, squeeze.input(0)?);
        let bias = squeeze.output(0).and_then(|v| self.bias_of(v, out));
        is_layer.then(|| [first, reshape, unsqueeze, second, squeeze].into_iter().chain(bias).collect())
    }

    /// The sum of `v` and one constant element for each of its `out` features, where nobody else reads `v`.
    fn bias_of(&self, v: ValueId, out: usize) -> Option<&'g Node> {
        let add = self.only_reader(v).filter(|n| n.op == Op::Binary(BinaryOp::Add))?;
        let bias = (0..2).find_map(|i| self.graph.const_input(add, i))?;
        (bias.len() == out && bias.dims().last() == Some(&out)).then_some(add)
    }

    /// True where the only axis that `node` names is the last one of `v`.
    fn is_over_last(&self, node: &Node, v: ValueId) -> bool {
        let axes = self.graph.const_input(node, 1).and_then(|t| t.to_i64_vec());
        let rank = self.shape(v).map_or(0, |s| s.len() as i64);
        matches!(axes.as_deref(), Some([axis]) if *axis == -1 || *axis == rank - 1)
    }

    /// The producer of `v`, if its operator is such a one and nobody else than one node reads `v`.
    fn only_for(&self, v: ValueId, is: impl Fn(&Op) -> bool) -> Option<&'g Node> {
        self.only_reader(v)?;
        self.producer(v).filter(|n| is(&n.op))
    }

    fn producer(&self, v: ValueId) -> Option<&'g Node> {
        self.producers[v.0].map(|id| self.graph.node(id))
    }

    /// The one node that reads `v`, where it is no output of the model.
    fn only_reader(&self, v: ValueId) -> Option<&'g Node> {
        match self.consumers[v.0].as_slice() {
            [id] if !self.graph.outputs.contains(&v) => Some(self.graph.node(*id)),
            _ => None,
        }
    }

    fn shape(&self, v: ValueId) -> Option<&'g [Dim]> {
        self.graph.value(v).shape.as_deref()
    }
}
