//! Computing what depends on constants only.

use crate::PassError;
use tq_eval::{Precision, eval_op};
use tq_graph::dim::known_shape;
use tq_graph::tensor::checked_numel;
use tq_graph::{Graph, Node, Op, Tensor, infer};

/// Folded results larger than this, in bytes, and larger than what they are computed from, stay computations:
/// a model must not grow by being read.
const MAX_GROWTH_BYTES: usize = 1 << 20;

/// All folded results together may have this many bytes, and this many times those of the model's constants: few nodes
/// that double a constant each would otherwise fill the memory.
const MAX_ALL_BYTES: usize = 16 << 20;
const MAX_ALL_FACTOR: usize = 4;

/// Replaces every node whose inputs are all constant by its results, and removes what nobody needs any more.
/// Returns the number of nodes that went.
///
/// Quantize and Dequantize nodes stay: they say how a constant is stored. So do nodes that would blow the model up
/// (a result of more than 1 MiB that is larger than its inputs, or than 16 MiB and four times the model's constants less what
/// was folded before).
///
/// # Errors
/// [`PassError::Fold`] when such a node cannot be computed; [`PassError::Graph`] when the graph is broken.
pub fn fold_constants(graph: &mut Graph) -> Result<usize, PassError> {
    // On a copy (constants are shared), so that an error leaves the graph as it was.
    let mut next = graph.clone();
    infer::infer(&mut next)?;
    let before = next.nodes.len();
    let stored: usize =
        next.values.iter().filter_map(|v| v.constant.as_ref()).map(Tensor::packed_bytes).sum();
    let mut left = stored.saturating_mul(MAX_ALL_FACTOR).saturating_add(MAX_ALL_BYTES);
    let mut kept = Vec::with_capacity(before);
    for node in std::mem::take(&mut next.nodes) {
        let Some(results) = fold(&next, &node, left)? else {
            kept.push(node);
            continue;
        };
        left = left.saturating_sub(results.iter().map(Tensor::packed_bytes).sum());
        for (slot, result) in node.outputs.iter().zip(results) {
            if let Some(v) = slot {
                let value = &mut next.values[v.0];
                value.dtype = Some(result.dtype());
                value.shape = Some(tq_graph::dim::shape_of(result.dims()));
                value.constant = Some(result);
            }
        }
    }
    next.nodes = kept;
    next.compact();
    *graph = next;
    Ok(before - graph.nodes.len())
}

/// The results of `node` in at most `left` bytes, or `None` where it is to stay.
fn fold(graph: &Graph, node: &Node, left: usize) -> Result<Option<Vec<Tensor>>, PassError> {
    let stays = matches!(
        node.op,
        Op::QuantizeLinear { .. } | Op::DequantizeLinear { .. } | Op::DynamicQuantizeLinear { .. }
    );
    if stays || node.inputs.iter().all(Option::is_none) {
        return Ok(None);
    }
    let mut inputs = Vec::with_capacity(node.inputs.len());
    for slot in &node.inputs {
        match slot {
            None => inputs.push(None),
            Some(v) => match graph.constant(*v) {
                Some(t) => inputs.push(Some(t)),
                None => return Ok(None),
            },
        }
    }
    let read: usize = inputs.iter().flatten().map(|t| t.packed_bytes()).fold(0, usize::saturating_add);
    let allowed = read.max(MAX_GROWTH_BYTES);
    let mut all = 0usize;
    for v in node.outputs.iter().flatten() {
        let value = graph.value(*v);
        let Some(bytes) = value
            .dtype
            .zip(value.shape.as_deref().and_then(known_shape))
            .and_then(|(dtype, dims)| checked_numel(&dims, dtype).ok().map(|n| dtype.packed_bytes(n)))
        else {
            return Ok(None);
        };
        all = all.saturating_add(bytes);
        if bytes > allowed || all > left {
            return Ok(None);
        }
    }
    eval_op(&node.op, &inputs, node.outputs.len(), Precision::F32)
        .map(Some)
        .map_err(|source| PassError::Fold { node: node.name.clone(), op: node.op.name(), source })
}
