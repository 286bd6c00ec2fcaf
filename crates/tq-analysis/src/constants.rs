//! What constants of a quantized model were in the float one.

use crate::layers::stems;
use std::collections::HashMap;
use tq_graph::{Graph, Node, NodeId, Op, ValueId};

/// A constant of the float model, and where it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Operand {
    /// The node that reads it.
    pub(crate) node: NodeId,
    /// As which of its inputs.
    pub(crate) input: usize,
    pub(crate) value: ValueId,
    /// Whether the quantized model has the rows of it as columns.
    pub(crate) transposed: bool,
}

/// The constants of a float model, to be found by the nodes that read them.
///
/// A node keeps its name in the quantized model, and its operands their places. Names of constants are the second choice: weights
/// that several nodes read become codes for each of them, of which one alone can be called as they were.
pub(crate) struct FloatConstants<'g> {
    float: &'g Graph,
    nodes: HashMap<&'g str, NodeId>,
    /// By the name of the constant, where it is read first.
    named: HashMap<&'g str, Operand>,
}

impl<'g> FloatConstants<'g> {
    pub(crate) fn new(float: &'g Graph) -> Self {
        let mut named = HashMap::new();
        for (node, n) in float.iter_nodes() {
            for (input, value) in n.inputs.iter().enumerate().filter_map(|(i, v)| Some((i, (*v)?))) {
                if float.constant(value).is_some() {
                    let name = float.value(value).name.as_str();
                    named.entry(name).or_insert(Operand { node, input, value, transposed: false });
                }
            }
        }
        Self { float, nodes: float.iter_nodes().map(|(id, n)| (n.name.as_str(), id)).collect(), named }
    }

    /// What the node `reader` of the quantized model, which has it as its input numbered `input` under the name `name`, reads in
    /// the float model: as many elements as `dims` says, or a matrix that one of the models has transposed.
    pub(crate) fn find(&self, reader: &Node, input: usize, name: &str, dims: &[usize]) -> Option<Operand> {
        let placed = |o: Operand| {
            let given = self.float.constant(o.value).filter(|t| t.dtype().is_float())?;
            let transposed = input == 1 && is_transposed(reader) != is_transposed(self.float.node(o.node));
            let fits = match transposed {
                true => dims.len() == 2 && given.dims().iter().eq(dims.iter().rev()),
                false => given.len() == dims.iter().product::<usize>(),
            };
            fits.then_some(Operand { transposed, ..o })
        };
        let by_node = self.nodes.get(reader.name.as_str()).and_then(|node| {
            let value = self.float.node(*node).input(input)?;
            Some(Operand { node: *node, input, value, transposed: false })
        });
        by_node
            .and_then(placed)
            .or_else(|| stems(name).iter().find_map(|n| self.named.get(n.as_str()).copied()).and_then(placed))
    }
}

/// Whether a node reads weights `[outputs, inputs]` of a product whose operands are `[.., inputs]` and `[inputs, outputs]` else.
fn is_transposed(node: &Node) -> bool {
    matches!(node.op, Op::Gemm { trans_b: true, .. })
}

/// The node of the quantized model that computes with these real numbers, and as which input. A change of shape is passed over.
pub(crate) fn reader<'g>(
    quantized: &'g Graph,
    consumers: &[Vec<NodeId>],
    real: ValueId,
) -> Option<(NodeId, &'g Node, usize)> {
    let mut real = real;
    loop {
        let id = *consumers[real.0].first()?;
        let node = quantized.node(id);
        if matches!(node.op, Op::Reshape { .. }) {
            real = node.output(0)?;
            continue;
        }
        let input = node.inputs.iter().position(|v| *v == Some(real))?;
        return Some((id, node, input));
    }
}
