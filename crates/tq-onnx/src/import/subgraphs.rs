//! Nodes that no operator of the graph stands for: foreign domains, functions, control flow, and what is inside it.
//!
//! The graph has no sub-graphs, so nothing in one is built. Still one error names everything: whoever removes the
//! control flow should not find the next obstacle behind it.

use super::around::Surroundings;
use super::graph::{Functions, MAX_NODES, is_onnx, node_names};
use super::microsoft;
use super::operator;
use crate::external::Folder;
use crate::proto::{GraphProto, NodeProto};
use crate::tensor::Problem;
use crate::{OnnxError, UnsupportedItem};
use tq_graph::Graph;

/// How much of the way to a sub-graph stands before the names in it. Without a limit one long name would be copied
/// for every node.
const WAY_BYTES: usize = 200;

/// Operator and reason of a node that is none of ONNX's plain operators.
pub(super) fn foreign(node: &NodeProto, functions: &Functions) -> Option<(String, String)> {
    let op = if is_onnx(node.domain()) {
        node.op_type().to_owned()
    } else {
        format!("{}::{}", node.domain(), node.op_type())
    };
    let reason = if functions.contains(&(node.domain(), node.op_type())) {
        "is a function of the model"
    } else if microsoft::knows(node) {
        return None;
    } else if !is_onnx(node.domain()) {
        ""
    } else if graphs(node).next().is_some() {
        "has a sub-graph"
    } else {
        return None;
    };
    Some((op, reason.to_owned()))
}

/// The graphs in the attributes of a node, each with the attribute's name.
fn graphs(node: &NodeProto) -> impl Iterator<Item = (&str, &GraphProto)> {
    node.attribute.iter().flat_map(|a| a.g.as_deref().into_iter().chain(&a.graphs).map(|g| (a.name(), g)))
}

/// Looks into sub-graphs.
pub(super) struct SubGraphs<'a> {
    opset: i64,
    functions: &'a Functions<'a>,
    /// Nodes seen so far.
    nodes: usize,
    /// Nothing is built: no data is read from anywhere.
    folder: Folder,
}

impl<'a> SubGraphs<'a> {
    pub(super) fn new(opset: i64, functions: &'a Functions<'a>) -> Self {
        Self { opset, functions, nodes: 0, folder: Folder::default() }
    }

    /// Everything in the sub-graphs of a node, and in theirs, that is not supported: nodes with sub-graphs, functions,
    /// and operators that are not there, named `<node>/<attribute>/<inner node>`.
    ///
    /// The decoder has bounded how deep messages nest.
    ///
    /// # Errors
    /// [`OnnxError::Model`] for more nodes than any model has.
    pub(super) fn unsupported(
        &mut self,
        node: &NodeProto,
        name: &str,
    ) -> Result<Vec<UnsupportedItem>, OnnxError> {
        let mut items = Vec::new();
        self.look_into(node, name, &mut items)?;
        Ok(items)
    }

    fn look_into(
        &mut self,
        node: &NodeProto,
        name: &str,
        items: &mut Vec<UnsupportedItem>,
    ) -> Result<(), OnnxError> {
        for (attribute, graph) in graphs(node) {
            self.nodes += graph.node.len();
            if self.nodes > MAX_NODES {
                return Err(OnnxError::Model(format!(
                    "more than {MAX_NODES} nodes in sub-graphs, at most that many are read"
                )));
            }
            let way = shortened(&format!("{}/{}", shortened(name), shortened(attribute)));
            for (inner, inner_name) in graph.node.iter().zip(node_names(&graph.node)) {
                let name = format!("{way}/{inner_name}");
                if let Some((op, reason)) = foreign(inner, self.functions) {
                    items.push(UnsupportedItem { name: name.clone(), op, reason });
                    self.look_into(inner, &name, items)?;
                } else if let Some(reason) = self.lack(inner) {
                    items.push(UnsupportedItem { name, op: inner.op_type().to_owned(), reason });
                }
            }
        }
        Ok(())
    }

    /// Why there is no such operator, if there is none. What its attributes say stays open: they may depend on
    /// values outside of the sub-graph.
    fn lack(&mut self, node: &NodeProto) -> Option<String> {
        if node.op_type() == "Constant" {
            return None;
        }
        let nothing = Graph::default();
        let around = Surroundings::unknown(self.opset, &nothing);
        match operator::convert(node, &around, &mut self.folder) {
            Err(Problem::Unsupported(reason)) if reason.is_empty() || reason.starts_with("needs opset") => {
                Some(reason)
            }
            _ => None,
        }
    }
}

/// The beginning of a text.
fn shortened(text: &str) -> String {
    let cut = text.char_indices().map(|(i, c)| i + c.len_utf8()).take_while(|end| *end <= WAY_BYTES).last();
    match cut {
        Some(end) if end < text.len() => format!("{}...", &text[..end]),
        _ => text.to_owned(),
    }
}
