//! What is known about a node of the file when its operator is chosen.

use crate::proto::NodeProto;
use tq_graph::{Graph, Shape, Tensor, Value, ValueId};
use tq_qtypes::DType;

/// The node's operator set, and the values that it reads.
pub(super) struct Surroundings<'a> {
    pub(super) opset: i64,
    pub(super) graph: &'a Graph,
    /// The node's inputs; those that are absent or that nothing defines are `None`.
    pub(super) inputs: Vec<Option<ValueId>>,
}

impl<'a> Surroundings<'a> {
    /// Around a node about whose inputs nothing is known.
    pub(super) fn unknown(opset: i64, graph: &'a Graph) -> Self {
        Self { opset, graph, inputs: Vec::new() }
    }

    pub(super) fn value(&self, i: usize) -> Option<&'a Value> {
        let id = self.inputs.get(i).copied().flatten()?;
        self.graph.values.get(id.0)
    }

    pub(super) fn constant(&self, i: usize) -> Option<&'a Tensor> {
        self.value(i)?.constant.as_ref()
    }

    pub(super) fn dtype(&self, i: usize) -> Option<DType> {
        self.value(i)?.dtype
    }

    pub(super) fn shape(&self, i: usize) -> Option<&'a Shape> {
        self.value(i)?.shape.as_ref()
    }

    pub(super) fn rank(&self, i: usize) -> Option<usize> {
        self.shape(i).map(Vec::len)
    }
}

/// Whether the file's node has its input `i`.
pub(super) fn has(node: &NodeProto, i: usize) -> bool {
    node.input.get(i).is_some_and(|name| !name.is_empty())
}
