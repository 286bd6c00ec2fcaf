//! Products of integers whose sums are scaled by a constant: what a file of quantized operators has where a result stays real.

use tq_graph::op::BinaryOp;
use tq_graph::qdq::node_params;
use tq_graph::{Graph, Node, NodeId, Op, Tensor, ValueId};
use tq_qtypes::{AffineParams, DType, Granularity};

/// ```text
/// codes ─ MatMulInteger ─ [Add] ─ Cast ─ Mul ─ [Add] ─ y
/// ```
/// with one scale for the codes, which are constant as the factors are.
pub(crate) struct StaticProduct {
    /// The nodes, from the product on.
    pub(crate) nodes: Vec<NodeId>,
    /// The real result.
    pub(crate) result: ValueId,
    /// What the codes of the weights stand for: the factor is the product of both scales.
    pub(crate) weights: AffineParams,
}

/// The product that a MatMulInteger or a ConvInteger is the heart of; none where it is not of that form.
pub(crate) fn static_product(
    graph: &Graph,
    producers: &[Option<NodeId>],
    consumers: &[Vec<NodeId>],
    id: NodeId,
) -> Option<StaticProduct> {
    let node = graph.node(id);
    let weights = graph.constant(node.input(1)?)?;
    let axis = match (&node.op, weights.rank()) {
        (Op::MatMulInteger, 2) => 1,
        (Op::ConvInteger(_), 3..) => 0,
        _ => return None,
    };
    let (channels, x_scale) = (weights.dims()[axis], scale_of(graph, producers, node.input(0)?)?);
    let only = |v: ValueId| match consumers[v.0][..] {
        [next] if !graph.outputs.contains(&v) => Some((next, graph.node(next))),
        _ => None,
    };
    let (mut nodes, mut at) = (vec![id], node.output(0)?);
    let (mut next, mut reader) = only(at)?;
    if reader.op == Op::Binary(BinaryOp::Add) {
        beside(graph, reader, at).filter(|t| t.dtype() == DType::I32)?;
        nodes.push(next);
        at = reader.output(0)?;
        (next, reader) = only(at)?;
    }
    if !matches!(reader.op, Op::Cast { to: DType::F32, .. }) {
        return None;
    }
    nodes.push(next);
    at = reader.output(0)?;
    (next, reader) = only(at)?;
    if reader.op != Op::Binary(BinaryOp::Mul) {
        return None;
    }
    let factors = beside(graph, reader, at)?.to_f32_vec()?;
    nodes.push(next);
    let mut result = reader.output(0)?;
    if let Some((last, sum)) = only(result)
        && sum.op == Op::Binary(BinaryOp::Add)
        && beside(graph, sum, result).is_some_and(|t| [1, channels].contains(&t.len()))
    {
        nodes.push(last);
        result = sum.output(0)?;
    }
    let zero_point = match node.input(3) {
        None => vec![0],
        Some(z) => graph.constant(z)?.to_i64_vec()?.into_iter().map(|z| z as i32).collect(),
    };
    let fits = |n: usize| n == 1 || n == channels;
    if !fits(factors.len()) || !fits(zero_point.len()) {
        return None;
    }
    let one = factors.len() == 1 && zero_point.len() == 1;
    let count = if one { 1 } else { channels };
    let (quant_min, quant_max) = weights.dtype().quant_range()?;
    let weights = AffineParams {
        dtype: weights.dtype(),
        quant_min,
        quant_max,
        granularity: if one { Granularity::PerTensor } else { Granularity::PerChannel { axis } },
        scale: (0..count).map(|c| factors[c % factors.len()] / x_scale).collect(),
        zero_point: (0..count).map(|c| zero_point[c % zero_point.len()]).collect(),
    };
    weights.validate().is_ok().then_some(StaticProduct { nodes, result, weights })
}

/// The constant that a node of two operands takes beside `v`.
fn beside<'g>(graph: &'g Graph, node: &Node, v: ValueId) -> Option<&'g Tensor> {
    let other = match (node.input(0)?, node.input(1)?) {
        (a, b) if a == v => b,
        (a, b) if b == v => a,
        _ => return None,
    };
    graph.constant(other)
}

/// The one constant scale of codes.
fn scale_of(graph: &Graph, producers: &[Option<NodeId>], codes: ValueId) -> Option<f32> {
    node_params(graph, made_by(graph, producers, codes)?)?.uniform().map(|(scale, _)| scale)
}

/// The Quantize node that has made codes, wherever they have been moved since.
pub(crate) fn made_by<'g>(
    graph: &'g Graph,
    producers: &[Option<NodeId>],
    codes: ValueId,
) -> Option<&'g Node> {
    let mut v = codes;
    loop {
        let node = graph.node(producers[v.0]?);
        match &node.op {
            Op::QuantizeLinear { .. } => return Some(node),
            op if moves_codes(op) => v = node.input(0)?,
            _ => return None,
        }
    }
}

/// Whether an operator gives some of the elements that it reads, or clamps them: codes in, codes of the same scale out.
pub(crate) fn moves_codes(op: &Op) -> bool {
    matches!(
        op,
        Op::MaxPool { .. }
            | Op::Reshape { .. }
            | Op::Flatten { .. }
            | Op::Transpose { .. }
            | Op::Squeeze
            | Op::Unsqueeze
            | Op::Slice
            | Op::Gather { .. }
            | Op::DepthToSpace { .. }
            | Op::SpaceToDepth { .. }
            | Op::Identity
            | Op::Clip
    )
}
