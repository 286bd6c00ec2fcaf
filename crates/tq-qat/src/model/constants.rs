//! Which constants of a model are trained, and why the others are not.

use super::QatModel;
use serde::Serialize;
use std::collections::{BTreeSet, HashMap, HashSet};
use tq_graph::op::BinaryOp;
use tq_graph::{Graph, Node, NodeId, Op, Tensor, ValueId};
use tq_qtypes::DType;

/// A constant of floats that keeps its values in training. Single numbers are not counted: they belong to formulas.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FixedConstant {
    /// Its name.
    pub name: String,
    /// Name of the node that reads it.
    pub node: String,
    /// The operator of that node.
    pub op: &'static str,
    /// How many numbers it has.
    pub elements: usize,
    /// Why it is not trained.
    pub reason: &'static str,
}

impl FixedConstant {
    fn new(graph: &Graph, v: ValueId, node: &Node, tensor: &Tensor, reason: &'static str) -> Self {
        let (name, node, op) = (graph.value(v).name.clone(), node.name.clone(), node.op.name());
        Self { name, node, op, elements: tensor.len(), reason }
    }
}

/// Whether a constant at this input is trained; where it is not, why.
pub(super) fn is_trained(node: &Node, slot: usize, tensor: &Tensor) -> Result<(), &'static str> {
    if tensor.dtype() != DType::F32 {
        return Err("only f32 is trained");
    }
    match (&node.op, slot) {
        (Op::Conv(_) | Op::ConvTranspose(_) | Op::Gemm { .. }, 1 | 2) | (Op::MatMul, 1) => Ok(()),
        (
            Op::LayerNormalization { .. }
            | Op::InstanceNormalization { .. }
            | Op::GroupNormalization { .. }
            | Op::BatchNormalization { .. },
            1 | 2,
        ) => Ok(()),
        (Op::BatchNormalization { .. }, _) => {
            Err("statistics of a normalization that is no part of a layer stay as they are")
        }
        (Op::Binary(BinaryOp::PRelu), 1) => Ok(()),
        // Weights, recurrent weights, biases, and peepholes.
        (Op::Recurrent { attrs, .. }, 1 | 2 | 3 | 7) => match attrs.dynamic {
            None => Ok(()),
            Some(_) => Err("a recurrent layer that quantizes its states at run time has no gradient"),
        },
        (Op::Recurrent { .. }, _) => Err("initial states of recurrent layers stay as they are"),
        (Op::Gather { axis: 0 | -2 }, 0) if tensor.rank() == 2 => Ok(()),
        (Op::Gather { .. }, 0) => Err("it is no embedding, a table of which rows are picked"),
        _ => Err("constant operands of this operator stay as they are"),
    }
}

impl QatModel {
    /// The constants of floats that no training changes, each with the reason.
    #[must_use]
    pub fn fixed_constants(&self) -> Vec<FixedConstant> {
        let graph = self.prepared.graph();
        let folded: HashSet<ValueId> = self.norms.values().flat_map(|n| n.folded).collect();
        let mut told = HashSet::new();
        let mut out = Vec::new();
        for (_, node) in graph.iter_nodes() {
            for (slot, v) in node.inputs.iter().enumerate() {
                let Some((v, tensor)) = v.and_then(|v| Some((v, graph.constant(v)?))) else { continue };
                let counts = tensor.len() > 1 && tensor.dtype().is_float();
                if !counts || self.parameters.contains_key(&v) || folded.contains(&v) {
                    continue;
                }
                if let Err(reason) = is_trained(node, slot, tensor)
                    && told.insert(v)
                {
                    out.push(FixedConstant::new(graph, v, node, tensor, reason));
                }
            }
        }
        out
    }

    /// Whether a loss of the first `heads` scores depends on any parameter, or scales are trained.
    pub(crate) fn is_trained(&self, heads: usize) -> bool {
        let of_norms: usize = self.norms.values().map(|n| n.folded.len()).sum();
        let scales = self.quantizers().any(|q| !q.parameters().is_empty());
        scales || self.out_of_reach(heads).len() < self.parameters.len() + of_norms
    }

    /// The parameters that a loss of the first `heads` scores does not depend on.
    pub(crate) fn out_of_reach(&self, heads: usize) -> Vec<FixedConstant> {
        let graph = self.prepared.graph();
        let makers: HashMap<ValueId, NodeId> = graph
            .iter_nodes()
            .flat_map(|(id, n)| n.outputs.iter().flatten().map(move |v| (*v, id)).collect::<Vec<_>>())
            .collect();
        let mut open: Vec<ValueId> = self.heads.iter().take(heads).map(|h| h.value).collect();
        let mut reached = BTreeSet::new();
        while let Some(v) = open.pop() {
            if let Some(id) = makers.get(&v).filter(|id| reached.insert(**id)) {
                open.extend(graph.node(*id).inputs.iter().flatten());
            }
        }
        let mut told = HashSet::new();
        let mut out = Vec::new();
        let reads_of_reached: HashSet<ValueId> =
            reached.iter().flat_map(|id| graph.node(*id).inputs.iter().flatten().copied()).collect();
        for (id, node) in graph.iter_nodes().filter(|(id, _)| !reached.contains(id)) {
            for v in node.inputs.iter().flatten().filter(|v| !reads_of_reached.contains(v)) {
                let of_norm = self.norms.get(&id).is_some_and(|n| n.folded.contains(v));
                let is_parameter = self.parameters.contains_key(v) || of_norm;
                if let Some(tensor) = graph.constant(*v).filter(|_| is_parameter && told.insert(*v)) {
                    let reason = "the loss does not depend on it: it is of outputs that are not trained";
                    out.push(FixedConstant::new(graph, *v, node, tensor, reason));
                }
            }
        }
        out
    }
}
