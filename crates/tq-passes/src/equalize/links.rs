//! Layers that give channels to others through nothing that minds how large they are.

use super::shared;
use crate::fuse::clamp::bounds_of;
use std::collections::HashSet;
use tq_graph::op::UnaryOp;
use tq_graph::{Dim, Graph, Node, NodeId, Op, ValueId};
use tq_qtypes::DType;

/// A layer, those that read its channels, and what lies between.
pub(super) struct Link {
    pub(super) node: NodeId,
    pub(super) channels: usize,
    pub(super) weights: Weights,
    pub(super) bias: Option<ValueId>,
    pub(super) readers: Vec<(NodeId, Weights)>,
    pub(super) between: Vec<ValueId>,
}

/// Constant weights, and which channel each of them belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weights {
    pub(super) value: ValueId,
    pub(super) layout: Layout,
}

/// Where channels lie in weights.
#[derive(Debug, Clone, Copy)]
pub(super) enum Layout {
    /// On one axis, whose elements are `inner` apart.
    Axis { inner: usize, count: usize },
    /// Inputs of a convolution in groups, `[outputs, inputs of a group, kernel]`.
    Grouped { outputs: usize, inputs: usize, kernel: usize },
}

impl Link {
    /// All that is scaled with its channels, and whether it reads them: then it is multiplied, else divided.
    pub(super) fn sides(&self) -> impl Iterator<Item = (Weights, bool)> {
        let bias = |value| Weights { value, layout: Layout::Axis { inner: 1, count: self.channels } };
        let given = [self.weights].into_iter().chain(self.bias.map(bias)).map(|w| (w, false));
        given.chain(self.readers.iter().map(|(_, w)| (*w, true)))
    }

    /// The constants of [`Link::sides`].
    pub(super) fn constants(&self) -> impl Iterator<Item = ValueId> {
        self.sides().map(|(w, _)| w.value)
    }
}

impl Layout {
    pub(super) fn channel(self, i: usize) -> usize {
        match self {
            Layout::Axis { inner, count } => i / inner % count,
            Layout::Grouped { outputs, inputs, kernel } => {
                i / (inputs * kernel) / outputs * inputs + i / kernel % inputs
            }
        }
    }
}

pub(super) fn links(graph: &Graph) -> Vec<Link> {
    let (consumers, shared) = (graph.consumers(), shared(graph));
    let found = graph.iter_nodes().filter_map(|(id, node)| {
        let (weights, channels, axis) = gives(graph, node, &shared)?;
        let bias = match node.input(2) {
            None => None,
            Some(b) => Some(floats(graph, b, &shared).filter(|b| length(graph, *b) == channels)?),
        };
        let mut link = Link { node: id, channels, weights, bias, readers: Vec::new(), between: Vec::new() };
        follow(graph, &consumers, &shared, node.output(0)?, axis, &mut link)?;
        Some(link)
    });
    found.collect()
}

/// A constant of f32 that nobody else reads.
fn floats(graph: &Graph, value: ValueId, shared: &HashSet<ValueId>) -> Option<ValueId> {
    let is_f32 = graph.constant(value).is_some_and(|t| t.dtype() == DType::F32);
    (is_f32 && !shared.contains(&value)).then_some(value)
}

fn length(graph: &Graph, value: ValueId) -> usize {
    graph.constant(value).map_or(0, tq_graph::Tensor::len)
}

fn rank(graph: &Graph, value: ValueId) -> Option<usize> {
    graph.value(value).shape.as_ref().map(Vec::len)
}

/// The weights of a layer by the channels that it gives, their number, and their axis in its result.
fn gives(graph: &Graph, node: &Node, shared: &HashSet<ValueId>) -> Option<(Weights, usize, usize)> {
    let value = floats(graph, node.input(1)?, shared)?;
    let dims = graph.constant(value)?.dims();
    let axis = |inner, count| Weights { value, layout: Layout::Axis { inner, count } };
    match (&node.op, dims) {
        (Op::Conv(_), [count, rest @ ..]) => {
            let inner = rest.iter().product::<usize>();
            (inner > 0).then(|| (axis(inner, *count), *count, 1))
        }
        (Op::Gemm { trans_a: false, trans_b: true, .. }, [n, k]) if *k > 0 => Some((axis(*k, *n), *n, 1)),
        (Op::Gemm { trans_a: false, trans_b: false, .. }, [_, n]) => Some((axis(1, *n), *n, 1)),
        (Op::MatMul, [_, n]) => Some((axis(1, *n), *n, rank(graph, node.output(0)?)?.checked_sub(1)?)),
        _ => None,
    }
}

/// Goes from `value`, whose axis `axis` has the channels, to all that read it; `None` where one of them minds.
fn follow(
    graph: &Graph,
    consumers: &[Vec<NodeId>],
    shared: &HashSet<ValueId>,
    value: ValueId,
    axis: usize,
    link: &mut Link,
) -> Option<()> {
    // How many elements of the axis in a row are one channel.
    let mut open = vec![(value, axis, 1usize)];
    while let Some((value, axis, run)) = open.pop() {
        if graph.outputs.contains(&value) || consumers[value.0].is_empty() {
            return None;
        }
        link.between.push(value);
        let rank = rank(graph, value)?;
        for id in &consumers[value.0] {
            let node = graph.node(*id);
            // It is read as data, and as nothing else.
            if node.inputs.iter().filter(|v| **v == Some(value)).count() != 1 || node.input(0) != Some(value)
            {
                return None;
            }
            let spatial = axis == 1 && rank >= 3;
            match &node.op {
                Op::Unary(UnaryOp::Relu | UnaryOp::LeakyRelu { .. }) | Op::Identity => {
                    open.push((node.output(0)?, axis, run));
                }
                Op::Clip if keeps_proportions(graph, node) => open.push((node.output(0)?, axis, run)),
                Op::MaxPool { .. } | Op::AveragePool { .. } if spatial && node.outputs.len() == 1 => {
                    open.push((node.output(0)?, axis, run));
                }
                Op::GlobalAveragePool | Op::GlobalMaxPool if spatial => {
                    open.push((node.output(0)?, axis, run))
                }
                Op::Flatten { .. } | Op::Reshape { .. } if axis == 1 => {
                    let out = node.output(0)?;
                    open.push((out, 1, run * flattened(graph, value, out)?));
                }
                Op::Conv(attrs) if spatial => {
                    let value = floats(graph, node.input(1)?, shared)?;
                    let [count, inputs, kernel @ ..] = graph.constant(value)?.dims() else { return None };
                    let groups = attrs.groups.max(1);
                    let (outputs, kernel) = (count / groups, kernel.iter().product::<usize>());
                    if outputs * groups != *count || inputs * groups != link.channels || kernel == 0 {
                        return None;
                    }
                    let layout = Layout::Grouped { outputs, inputs: *inputs, kernel };
                    link.readers.push((*id, Weights { value, layout }));
                }
                Op::Gemm { trans_a: false, .. } | Op::MatMul if axis + 1 == rank => {
                    let value = floats(graph, node.input(1)?, shared)?;
                    let &[rows, columns] = graph.constant(value)?.dims() else { return None };
                    let transposed = matches!(node.op, Op::Gemm { trans_b: true, .. });
                    let (length, step) = if transposed { (columns, 1) } else { (rows, columns) };
                    if length != link.channels * run || step == 0 {
                        return None;
                    }
                    let layout = Layout::Axis { inner: step * run, count: link.channels };
                    link.readers.push((*id, Weights { value, layout }));
                }
                _ => return None,
            }
        }
    }
    Some(())
}

/// Whether a clamp has no ends but zero.
fn keeps_proportions(graph: &Graph, node: &Node) -> bool {
    let free = |b: f32| b == 0.0 || b.is_infinite();
    bounds_of(graph, node).is_ok_and(|(lo, hi)| free(lo) && free(hi))
}

/// The elements of a channel, where `out` is `value` with all axes from the channels on in one.
fn flattened(graph: &Graph, value: ValueId, out: ValueId) -> Option<usize> {
    let known = |dims: &[Dim]| dims.iter().map(Dim::known_usize).collect::<Option<Vec<_>>>();
    let [_, inner @ ..] = graph.value(value).shape.as_deref()? else { return None };
    let [_, flat] = graph.value(out).shape.as_deref()? else { return None };
    let (inner, flat) = (known(inner)?, flat.known_usize()?);
    let all = inner.iter().product::<usize>();
    // With as many elements a row, a row is a row.
    (all == flat && all > 0).then(|| all / inner[0])
}
