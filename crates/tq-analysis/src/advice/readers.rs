//! Who has a tensor as codes in the quantized model, and who as it is: a residual sum may well read the real numbers that a
//! product beside it has in codes.

use std::collections::{HashMap, HashSet};
use tq_graph::{Graph, Node, NodeId, Op, ValueId};

/// The nodes of the float model, and its outputs by their numbers, that have codes of one tensor in the quantized model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Readers {
    pub(super) nodes: Vec<NodeId>,
    pub(super) outputs: Vec<usize>,
}

impl Readers {
    /// Takes in the readers of equal codes.
    pub(super) fn join(&mut self, other: Readers) {
        self.nodes.extend(other.nodes);
        self.nodes.sort_unstable();
        self.nodes.dedup();
        self.outputs.extend(other.outputs);
        self.outputs.sort_unstable();
        self.outputs.dedup();
    }

    /// They but these nodes.
    pub(super) fn without(&self, nodes: &[NodeId]) -> Readers {
        let kept = self.nodes.iter().copied().filter(|id| !nodes.contains(id));
        Readers { nodes: kept.collect(), outputs: self.outputs.clone() }
    }

    /// Whether nobody reads codes.
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.outputs.is_empty()
    }
}

/// The two models, to be asked for readers.
pub(super) struct Neighbours<'g> {
    float: &'g Graph,
    quantized: &'g Graph,
    consumers: Vec<Vec<NodeId>>,
    producers: Vec<Option<NodeId>>,
    float_names: HashSet<&'g str>,
    twins: HashMap<&'g str, &'g Node>,
}

impl<'g> Neighbours<'g> {
    pub(super) fn new(float: &'g Graph, quantized: &'g Graph) -> Self {
        Self {
            float,
            quantized,
            consumers: float.consumers(),
            producers: quantized.producers(),
            float_names: float.nodes.iter().map(|n| n.name.as_str()).collect(),
            twins: quantized.nodes.iter().map(|n| (n.name.as_str(), n)).collect(),
        }
    }

    /// Who reads `value` of the float model as `codes`, which a Quantize node makes of `real`. A reader without a counterpart of its name
    /// is taken for one that does.
    pub(super) fn of(&self, value: ValueId, real: ValueId, codes: ValueId) -> Readers {
        let reals = self.reals(real);
        let from = |v: &ValueId| self.has_codes(*v, &reals, codes);
        let mut nodes = self.consumers[value.0].clone();
        nodes.sort_unstable();
        nodes.dedup();
        nodes.retain(|id| {
            let Some(twin) = self.twins.get(self.float.node(*id).name.as_str()) else { return true };
            let known: Vec<bool> = twin.inputs.iter().flatten().filter_map(from).collect();
            known.is_empty() || known.contains(&true)
        });
        let outputs = self.float.outputs.iter().zip(&self.quantized.outputs).enumerate();
        let reads =
            |(_, (v, twin)): &(usize, (&ValueId, &ValueId))| **v == value && from(twin).unwrap_or(true);
        Readers { nodes, outputs: outputs.filter(reads).map(|(i, _)| i).collect() }
    }

    /// The real numbers in front of codes, with and without a Clip that belongs to these alone.
    fn reals(&self, real: ValueId) -> Vec<ValueId> {
        let before = self.producers[real.0].map(|id| self.quantized.node(id));
        let clip = before.filter(|n| n.op == Op::Clip && !self.float_names.contains(n.name.as_str()));
        [Some(real), clip.and_then(|n| n.input(0))].into_iter().flatten().collect()
    }

    /// Whether `v` is made of these codes or else of the real numbers before them; by nodes that the float model does not have.
    fn has_codes(&self, v: ValueId, reals: &[ValueId], codes: ValueId) -> Option<bool> {
        let mut v = v;
        loop {
            if v == codes || reals.contains(&v) {
                return Some(v == codes);
            }
            let node = self.quantized.node(self.producers[v.0]?);
            if self.float_names.contains(node.name.as_str()) {
                return None;
            }
            v = node.input(0)?;
        }
    }
}
