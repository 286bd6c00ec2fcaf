//! Constant weights as a quantized model has them, in codes, in half precision or as they were, for each node that computes with them.

use crate::constants::{Operand, reader};
use crate::product::static_product;
use std::collections::HashMap;
use tq_graph::qdq::{QdqView, node_params};
use tq_graph::{Graph, Node, NodeId, Op, Tensor, ValueId};
use tq_qtypes::{AffineParams, DType, Granularity, affine};

/// Weights of one node.
pub(crate) struct Held {
    /// The constant.
    pub(crate) value: ValueId,
    /// The node that computes with them.
    pub(crate) reader: NodeId,
    /// As which of its inputs.
    pub(crate) input: usize,
    /// What the codes stand for; none where the constant holds real numbers.
    pub(crate) params: Option<AffineParams>,
}

/// Codes in the layout of the float model's weights.
pub(crate) struct Placed {
    pub(crate) codes: Vec<i32>,
    pub(crate) dims: Vec<usize>,
    pub(crate) params: AffineParams,
}

impl Placed {
    /// The real numbers that they stand for.
    pub(crate) fn values(&self) -> Option<Vec<f32>> {
        affine::dequantize(&self.codes, &self.dims, &self.params).ok()
    }
}

impl Held {
    /// The codes as the float model lays out what it has at this place; none for real numbers.
    pub(crate) fn placed(&self, graph: &Graph, at: &Operand) -> Option<Placed> {
        let (tensor, params) = (graph.constant(self.value)?, self.params.clone()?);
        let codes: Vec<i32> = tensor.to_i64_vec()?.into_iter().map(|c| c as i32).collect();
        let dims = tensor.dims().to_vec();
        match (at.transposed, dims.as_slice()) {
            (false, _) => Some(Placed { codes, dims, params }),
            (true, &[rows, columns]) => Some(Placed {
                codes: turned(&codes, rows, columns),
                dims: vec![columns, rows],
                params: turned_params(params, rows, columns)?,
            }),
            (true, _) => None,
        }
    }

    /// The real numbers that this model has in the place of the float model's.
    pub(crate) fn real(&self, graph: &Graph, at: &Operand) -> Option<Vec<f32>> {
        if self.params.is_some() {
            return self.placed(graph, at)?.values();
        }
        let tensor = graph.constant(self.value)?;
        let values = tensor.to_f32_vec()?;
        match (at.transposed, tensor.dims()) {
            (false, _) => Some(values),
            (true, &[rows, columns]) => Some(turned(&values, rows, columns)),
            (true, _) => None,
        }
    }
}

/// A matrix of so many rows and columns with these exchanged.
fn turned<T: Copy>(values: &[T], rows: usize, columns: usize) -> Vec<T> {
    (0..columns).flat_map(|c| (0..rows).map(move |r| values[r * columns + c])).collect()
}

/// Parameters of a matrix of so many rows and columns, for it with these exchanged.
fn turned_params(params: AffineParams, rows: usize, columns: usize) -> Option<AffineParams> {
    let other = |axis: usize| 1usize.checked_sub(axis);
    let (granularity, scale, zero_point) = match params.granularity {
        Granularity::PerTensor => return Some(params),
        Granularity::PerChannel { axis } => {
            (Granularity::PerChannel { axis: other(axis)? }, params.scale, params.zero_point)
        }
        Granularity::PerGroup { axis, group_size } => {
            // One a group, in the order of the matrix.
            let groups = |n: usize, own: usize| if own == axis { n.div_ceil(group_size.max(1)) } else { n };
            let (rows, columns) = (groups(rows, 0), groups(columns, 1));
            let all = |n: usize| n == rows * columns;
            let fits = all(params.scale.len()) && all(params.zero_point.len());
            let granularity = Granularity::PerGroup { axis: other(axis).filter(|_| fits)?, group_size };
            (granularity, turned(&params.scale, rows, columns), turned(&params.zero_point, rows, columns))
        }
    };
    Some(AffineParams { granularity, scale, zero_point, ..params })
}

/// All weights of a quantized model, and codes that are weights but of which it is not known what they stand for, with the reason.
pub(crate) struct AllHeld {
    pub(crate) weights: Vec<Held>,
    pub(crate) unknown: Vec<(ValueId, String)>,
}

/// Constants of rank 2 and more that nodes compute with, biases in codes left out.
pub(crate) fn held(graph: &Graph, view: &QdqView) -> AllHeld {
    let (producers, consumers) = (graph.producers(), graph.consumers());
    let products: HashMap<NodeId, &AffineParams> =
        view.operators.iter().filter_map(|o| Some((o.node, &o.weights.as_ref()?.params))).collect();
    let matrix = |v: ValueId| graph.constant(v).filter(|t| t.rank() >= 2);
    let (mut weights, mut unknown) = (Vec::new(), Vec::new());
    for (id, node) in graph.iter_nodes() {
        match &node.op {
            Op::DequantizeLinear { .. } => {
                let (Some(codes), Some(real)) = (node.input(0), node.output(0)) else { continue };
                if let Some(tensor) = matrix(codes).filter(|t| t.dtype() != DType::I32) {
                    let Some((reader, _, input)) = reader(graph, &consumers, real) else { continue };
                    match node_params(graph, node) {
                        Some(params) => {
                            weights.push(Held { value: codes, reader, input, params: Some(params) })
                        }
                        None => unknown.push((codes, not_constant(tensor))),
                    }
                } else if let Some((table, gather)) = table(graph, &producers, codes) {
                    match node_params(graph, node).filter(|p| p.uniform().is_some()) {
                        Some(params) => weights.push(Held {
                            value: table,
                            reader: gather,
                            input: 0,
                            params: Some(params),
                        }),
                        None => unknown
                            .push((table, "it is a table of which every row has a scale of its own".into())),
                    }
                }
            }
            Op::MatMulInteger | Op::ConvInteger(_) => {
                let Some(value) = node.input(1).filter(|v| matrix(*v).is_some()) else { continue };
                let of_run = products.get(&id).copied().cloned();
                let params =
                    of_run.or_else(|| Some(static_product(graph, &producers, &consumers, id)?.weights));
                match params {
                    Some(params) => weights.push(Held { value, reader: id, input: 1, params: Some(params) }),
                    None => {
                        unknown.push((value, format!("what {} scales its sums with is not known", node.name)))
                    }
                }
            }
            Op::Cast { .. } => {
                let halves = |t: &&Tensor| matches!(t.dtype(), DType::F16 | DType::BF16);
                let (Some(value), Some(real)) = (node.input(0), node.output(0)) else { continue };
                if matrix(value).filter(halves).is_some()
                    && let Some((reader, _, input)) = reader(graph, &consumers, real)
                {
                    weights.push(Held { value, reader, input, params: None });
                }
            }
            // Scales are no weights.
            Op::QuantizeLinear { .. } => {}
            _ => weights.extend(as_they_are(graph, id, node)),
        }
    }
    AllHeld { weights, unknown }
}

fn not_constant(tensor: &Tensor) -> String {
    format!("the scale of its {} codes is not constant", tensor.dtype())
}

/// The constant table of codes of which `codes` are rows, and the node that picks them.
fn table(graph: &Graph, producers: &[Option<NodeId>], codes: ValueId) -> Option<(ValueId, NodeId)> {
    let id = producers[codes.0]?;
    let node = graph.node(id);
    let value = node.input(0).filter(|_| matches!(node.op, Op::Gather { .. }))?;
    graph.constant(value).filter(|t| t.rank() >= 2).map(|_| (value, id))
}

/// Real constants that a node reads directly.
fn as_they_are(graph: &Graph, reader: NodeId, node: &Node) -> Vec<Held> {
    let is_real = |v: ValueId| graph.constant(v).is_some_and(|t| t.rank() >= 2 && t.dtype().is_float());
    let inputs = node.inputs.iter().enumerate().filter_map(|(i, v)| Some((i, (*v)?)));
    inputs
        .filter(|(_, v)| is_real(*v))
        .map(|(input, value)| Held { value, reader, input, params: None })
        .collect()
}
