//! A quantized graph without what only serves quantization.

use crate::LayerErrors;
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};
use tq_graph::{Graph, Op, ValueId};
use tq_runtime::{Execution, Explanation};

/// How a node of the picture runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NodeKind {
    /// An input of the model.
    Input,
    /// On codes.
    Integer,
    /// In float.
    Float,
    /// An output of the model.
    Output,
}

/// A node of the picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkNode {
    /// Name of the node, of the input or of the output.
    pub name: String,
    /// Its operator, as ONNX names it; empty for inputs and outputs.
    pub op: String,
    /// How it runs.
    pub kind: NodeKind,
    /// Its place among [`LayerErrors::layers`], where it has figures.
    pub layer: Option<usize>,
}

/// The operators of a quantized model and what feeds them: codes and real numbers are one thing here, fused activations are
/// part of their operators, and what is computed once is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Network {
    /// Inputs, operators in the order of the model, outputs.
    pub nodes: Vec<NetworkNode>,
    /// From which node to which, by their places; every edge once, in order.
    pub edges: Vec<(usize, usize)>,
}

impl Network {
    pub(crate) fn new(graph: &Graph, explanation: &Explanation, errors: &LayerErrors) -> Self {
        let runs: HashMap<&str, Execution> =
            explanation.nodes.iter().map(|n| (n.node.as_str(), n.execution)).collect();
        // Several results of one node are one layer here.
        let mut layers: HashMap<&str, usize> = HashMap::new();
        for (i, layer) in errors.layers.iter().enumerate() {
            layers.entry(layer.node.as_str()).or_insert(i);
        }
        let mut nodes = Vec::new();
        let mut edges = BTreeSet::new();
        let mut sources: HashMap<ValueId, BTreeSet<usize>> = HashMap::new();
        let port = |v: &ValueId, kind| NetworkNode {
            name: graph.value(*v).name.clone(),
            op: String::new(),
            kind,
            layer: None,
        };
        for v in &graph.inputs {
            sources.insert(*v, BTreeSet::from([nodes.len()]));
            nodes.push(port(v, NodeKind::Input));
        }
        for node in &graph.nodes {
            let read = node.inputs.iter().flatten().filter_map(|v| sources.get(v)).flatten();
            let mut from: BTreeSet<usize> = read.copied().collect();
            let kind = match runs.get(node.name.as_str()) {
                Some(Execution::Integer) => Some(NodeKind::Integer),
                Some(Execution::Float) => Some(NodeKind::Float),
                _ => None,
            };
            let borders = matches!(
                node.op,
                Op::QuantizeLinear { .. } | Op::DequantizeLinear { .. } | Op::DynamicQuantizeLinear { .. }
            );
            if let Some(kind) = kind.filter(|_| !borders) {
                edges.extend(from.iter().map(|f| (*f, nodes.len())));
                from = BTreeSet::from([nodes.len()]);
                nodes.push(NetworkNode {
                    name: node.name.clone(),
                    op: node.op.name().to_owned(),
                    kind,
                    layer: layers.get(node.name.as_str()).copied(),
                });
            }
            sources.extend(node.outputs.iter().flatten().map(|v| (*v, from.clone())));
        }
        for v in &graph.outputs {
            edges.extend(sources.get(v).into_iter().flatten().map(|f| (*f, nodes.len())));
            nodes.push(port(v, NodeKind::Output));
        }
        Self { nodes, edges: edges.into_iter().collect() }
    }
}
