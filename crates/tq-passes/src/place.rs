//! Which nodes run in integers, and which tensors share scales.

use crate::fuse::clamp::{bounds_of, epilogue_host, is_clamp};
use serde::{Deserialize, Serialize};
use std::fmt;
use tq_graph::op::{BinaryOp, PadMode, ReduceKind};
use tq_graph::{Graph, Node, NodeId, Op, ValueId};
use tq_qtypes::{DType, OperatorKind};

/// Where a node runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "runs", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Placement {
    /// On codes.
    Integer {
        /// As which operator.
        kind: OperatorKind,
        /// True when its result stays float, as that of a network's last linear layer does.
        float_output: bool,
    },
    /// Within another integer operator, as bounds on its result.
    Epilogue {
        /// Name of that node.
        of: String,
    },
    /// In float.
    Float {
        /// Why.
        reason: String,
    },
    /// On shapes, indices or truth values, which are not quantized.
    Data,
}

impl Placement {
    /// True unless the node runs in float.
    #[must_use]
    pub fn is_quantized(&self) -> bool {
        matches!(self, Placement::Integer { .. } | Placement::Epilogue { .. })
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Placement::Integer { kind, float_output: false } => write!(f, "integer ({kind})"),
            Placement::Integer { kind, float_output: true } => write!(f, "integer ({kind}), float output"),
            Placement::Epilogue { of } => write!(f, "integer, epilogue of {of}"),
            Placement::Float { reason } => write!(f, "float: {reason}"),
            Placement::Data => write!(f, "works on shapes or indices"),
        }
    }
}

/// The decisions about a float graph.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// One a node.
    pub(crate) placements: Vec<Placement>,
    /// For every value that becomes codes the index of its group.
    pub(crate) group_of: Vec<Option<usize>>,
    /// Values that share scale and zero point, each group in graph order; graph inputs first.
    pub(crate) groups: Vec<Vec<ValueId>>,
}

impl Plan {
    pub(crate) fn is_integer(&self, node: NodeId) -> bool {
        matches!(self.placements[node.0], Placement::Integer { .. })
    }
}

/// How an operator takes part, if it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Computes: its own scales on every side.
    Compute(OperatorKind),
    /// Computes within the scale of its input.
    Sharing(OperatorKind),
    /// Moves or clamps codes; worth doing in integers only next to an operator that computes.
    Passing(OperatorKind),
}

/// A linear layer or convolution's weights must be f32 constants: rank and number of elements are checked.
fn weights(graph: &Graph, node: &Node, fits: impl Fn(&[usize]) -> bool) -> Result<Vec<usize>, String> {
    let v = node.input(1).ok_or("it has no weights")?;
    let name = &graph.value(v).name;
    let Some(t) = graph.constant(v) else { return Err(format!("weights {name} are not constant")) };
    if t.dtype() != DType::F32 {
        return Err(format!("weights {name} are {}, not f32", t.dtype()));
    }
    if t.is_empty() || !fits(t.dims()) {
        return Err(format!("weights {name} have shape {:?}", t.dims()));
    }
    Ok(t.dims().to_vec())
}

fn check_bias(graph: &Graph, node: &Node, channels: usize) -> Result<(), String> {
    let Some(v) = node.input(2) else { return Ok(()) };
    let name = &graph.value(v).name;
    let Some(t) = graph.constant(v) else { return Err(format!("bias {name} is not constant")) };
    let last = t.dims().last().copied().unwrap_or(1);
    let fits = t.len() == 1 || (t.len() == channels && last == channels);
    if t.dtype() == DType::F32 && fits {
        Ok(())
    } else {
        Err(format!("bias {name} is {} of shape {:?} for {channels} channels", t.dtype(), t.dims()))
    }
}

/// What kind of integer operator a node can be, or why it cannot be one.
fn role(graph: &Graph, consumers: &[Vec<NodeId>], node: &Node) -> Result<Role, String> {
    use OperatorKind as K;
    let no_form = || Err(format!("{} has no integer form", node.op.name()));
    let data_is_constant = || node.input(0).is_none_or(|v| graph.constant(v).is_some());
    let first_is_data = !matches!(node.op, Op::Binary(_) | Op::Concat { .. });
    if first_is_data && data_is_constant() {
        return Err("its data is constant".into());
    }
    Ok(match &node.op {
        Op::Conv(attrs) => {
            let dims = weights(graph, node, |d| (3..=5).contains(&d.len()))?;
            check_bias(graph, node, dims[0])?;
            let depthwise = attrs.groups > 1 && dims[1] == 1 && dims[0] == attrs.groups;
            Role::Compute(if depthwise { K::DepthwiseConv } else { K::Conv })
        }
        Op::Gemm { alpha, beta, trans_a, trans_b } => {
            let dims = weights(graph, node, |d| d.len() == 2)?;
            check_bias(graph, node, dims[if *trans_b { 0 } else { 1 }])?;
            if *trans_a {
                return Err("its data is transposed".into());
            }
            if *alpha != 1.0 || (*beta != 1.0 && node.input(2).is_some()) {
                return Err(format!("factors alpha {alpha} and beta {beta} could not be folded"));
            }
            Role::Compute(K::Linear)
        }
        Op::MatMul => {
            weights(graph, node, |d| d.len() == 2)?;
            Role::Compute(K::Linear)
        }
        Op::Binary(op) => {
            let (Some(a), Some(b)) = (node.input(0), node.input(1)) else { return no_form() };
            if graph.constant(a).is_some() && graph.constant(b).is_some() {
                return Err("its data is constant".into());
            }
            for v in [a, b] {
                if graph.constant(v).is_some_and(|t| t.is_empty()) {
                    return Err(format!("constant {} is empty", graph.value(v).name));
                }
            }
            let number = [a, b].iter().any(|v| graph.constant(*v).is_some_and(|t| t.len() == 1));
            Role::Compute(match op {
                // With a number on the other side it is a function of one code, whatever the operator.
                _ if number => K::Lookup,
                BinaryOp::Add => K::Add,
                BinaryOp::Sub => K::Sub,
                BinaryOp::Mul => K::Mul,
                _ => return no_form(),
            })
        }
        op if is_clamp(op) => {
            bounds_of(graph, node)?;
            Role::Passing(K::Lookup)
        }
        Op::Unary(_) => Role::Compute(K::Lookup),
        Op::Concat { .. } => {
            if node.inputs.iter().flatten().all(|v| graph.constant(*v).is_some()) {
                return Err("its data is constant".into());
            }
            Role::Sharing(K::Concat)
        }
        Op::MaxPool { .. } if node.output(1).is_some() => {
            return Err("the positions of the maxima are asked for".into());
        }
        Op::MaxPool { .. } => Role::Sharing(K::MaxPool),
        Op::AveragePool { .. } | Op::GlobalAveragePool => Role::Sharing(K::AveragePool),
        Op::Reduce { kind: ReduceKind::Mean, .. } => {
            spatial_mean(graph, node)?;
            Role::Sharing(K::AveragePool)
        }
        Op::Pad { mode } => {
            let zero = match node.input(2).map(|v| graph.constant(v).and_then(|t| t.to_f32_vec())) {
                None => true,
                Some(value) => value.is_some_and(|v| v == [0.0]),
            };
            if *mode == PadMode::Constant && !zero {
                return Err("it pads with a value other than zero".into());
            }
            Role::Passing(K::Movement)
        }
        Op::Split { .. } => {
            let unread = |v: &&ValueId| consumers[v.0].is_empty() && !graph.outputs.contains(v);
            if let Some(v) = node.outputs.iter().flatten().find(unread) {
                return Err(format!("nobody reads its output {}", graph.value(*v).name));
            }
            Role::Passing(K::Movement)
        }
        Op::Flatten { .. }
        | Op::Reshape { .. }
        | Op::Transpose { .. }
        | Op::Squeeze
        | Op::Unsqueeze
        | Op::Slice
        | Op::Gather { .. }
        | Op::Identity => Role::Passing(K::Movement),
        Op::Dropout if node.output(1).is_none() => Role::Passing(K::Movement),
        _ => return no_form(),
    })
}

/// Checks that a mean is over exactly the axes after the first two.
fn spatial_mean(graph: &Graph, node: &Node) -> Result<(), String> {
    let shape = node.input(0).and_then(|v| graph.value(v).shape.as_ref());
    let rank = shape.map(Vec::len).ok_or("the rank of its input is not known")?;
    let axes = graph.const_input(node, 1).and_then(|t| t.to_i64_vec()).ok_or("its axes are not constant")?;
    let mut axes: Vec<i64> = axes.into_iter().map(|a| if a < 0 { a + rank as i64 } else { a }).collect();
    axes.sort_unstable();
    if rank > 2 && axes.iter().copied().eq(2..rank as i64) {
        Ok(())
    } else {
        Err(format!("it is over axes {axes:?}, not over the spatial ones"))
    }
}

/// Real activations of a node: its f32 inputs that are data, constants left out.
pub(crate) fn activations<'g>(
    graph: &'g Graph,
    node: &'g Node,
) -> impl Iterator<Item = (usize, ValueId)> + 'g {
    let count = match node.op {
        Op::Binary(_) | Op::Concat { .. } => node.inputs.len(),
        _ => 1,
    };
    (0..count.min(node.inputs.len()))
        .filter_map(|i| node.input(i).map(|v| (i, v)))
        .filter(|(_, v)| graph.constant(*v).is_none())
}

/// Decides for every node where it runs, and which values share scales.
pub(crate) fn plan(graph: &Graph) -> Plan {
    let (producers, consumers) = (graph.producers(), graph.consumers());
    let f32_data = |v: ValueId| graph.value(v).dtype == Some(DType::F32);
    let roles: Vec<Result<Role, String>> = graph
        .nodes
        .iter()
        .map(|node| {
            let role = role(graph, &consumers, node)?;
            let bad = activations(graph, node).map(|(_, v)| v).find(|v| !f32_data(*v));
            match bad.or_else(|| node.outputs.iter().flatten().copied().find(|v| !f32_data(*v))) {
                None => Ok(role),
                Some(v) => {
                    let value = graph.value(v);
                    let dtype = value.dtype.map_or("of unknown type".to_owned(), |d| d.to_string());
                    Err(format!("{} is {dtype}, not f32", value.name))
                }
            }
        })
        .collect();

    // Is there an operator downstream that computes on codes, with nothing but passing ones before it?
    let mut wanted = vec![false; graph.values.len()];
    for (id, node) in graph.iter_nodes().collect::<Vec<_>>().into_iter().rev() {
        let wants = match roles[id.0] {
            Ok(Role::Compute(_) | Role::Sharing(_)) => true,
            Ok(Role::Passing(_)) => node.outputs.iter().flatten().any(|v| wanted[v.0]),
            Err(_) => false,
        };
        if wants {
            activations(graph, node).for_each(|(_, v)| wanted[v.0] = true);
        }
    }

    let mut plan = Plan {
        placements: Vec::with_capacity(graph.nodes.len()),
        group_of: vec![None; graph.values.len()],
        groups: Vec::new(),
    };
    // Values that leave an integer operator as codes.
    let mut coded = vec![false; graph.values.len()];
    let mut after_last_linear = vec![false; graph.values.len()];
    for (id, node) in graph.iter_nodes() {
        let placement = match &roles[id.0] {
            Ok(Role::Compute(kind)) => {
                let linear = *kind == OperatorKind::Linear;
                let float_output = linear && node.output(0).is_some_and(|v| !wanted[v.0]);
                if float_output {
                    node.outputs.iter().flatten().for_each(|v| after_last_linear[v.0] = true);
                }
                Placement::Integer { kind: *kind, float_output }
            }
            Ok(Role::Sharing(kind)) => Placement::Integer { kind: *kind, float_output: false },
            Ok(Role::Passing(kind)) => {
                let host = epilogue_host(graph, &producers, &consumers, id)
                    .ok()
                    .filter(|_| is_clamp(&node.op))
                    .filter(|h| {
                        matches!(plan.placements[h.0], Placement::Integer { float_output: false, .. })
                    });
                let input = node.input(0);
                let on_codes =
                    input.is_some_and(|v| coded[v.0]) || node.outputs.iter().flatten().any(|v| wanted[v.0]);
                match (host, input) {
                    (Some(h), _) => Placement::Epilogue { of: graph.node(h).name.clone() },
                    (None, _) if on_codes => Placement::Integer { kind: *kind, float_output: false },
                    (None, Some(v)) if after_last_linear[v.0] => {
                        node.outputs.iter().flatten().for_each(|v| after_last_linear[v.0] = true);
                        Placement::Float {
                            reason: "it follows the last linear layer, whose output stays float".into(),
                        }
                    }
                    _ => Placement::Float { reason: "only float operators are around it".into() },
                }
            }
            Err(_) if is_data_node(graph, node) => Placement::Data,
            Err(reason) => Placement::Float { reason: reason.clone() },
        };
        let gives_codes =
            matches!(placement, Placement::Integer { float_output: false, .. } | Placement::Epilogue { .. });
        if gives_codes {
            node.outputs.iter().flatten().for_each(|v| coded[v.0] = true);
        }
        if let Placement::Epilogue { .. } = placement
            && let Some(inner) = node.input(0)
        {
            coded[inner.0] = false;
        }
        plan.placements.push(placement);
    }
    group(graph, &roles, &coded, &mut plan);
    plan
}

/// True when neither data nor results of a node are float.
fn is_data_node(graph: &Graph, node: &Node) -> bool {
    let not_float = |v: &ValueId| graph.value(*v).dtype.is_some_and(|d| d.is_integer() || d == DType::Bool);
    node.outputs.iter().flatten().all(not_float)
}

/// Unites values that share scales, and numbers the groups in graph order.
fn group(graph: &Graph, roles: &[Result<Role, String>], coded: &[bool], plan: &mut Plan) {
    let mut becomes_codes = coded.to_vec();
    let mut parent: Vec<usize> = (0..graph.values.len()).collect();
    for (id, node) in graph.iter_nodes() {
        if !plan.is_integer(id) {
            continue;
        }
        for (_, v) in activations(graph, node) {
            becomes_codes[v.0] = true;
        }
        let shares = matches!(roles[id.0], Ok(Role::Sharing(_) | Role::Passing(_)));
        let Some(out) = node.output(0).filter(|_| shares) else { continue };
        let others = activations(graph, node).map(|(_, v)| v).chain(node.outputs.iter().flatten().copied());
        for v in others.collect::<Vec<_>>() {
            let (a, b) = (root(&mut parent, out.0), root(&mut parent, v.0));
            parent[a.max(b)] = a.min(b);
        }
    }
    let mut group_of_root = vec![None; graph.values.len()];
    let in_order = graph.inputs.iter().chain(graph.nodes.iter().flat_map(|n| n.outputs.iter().flatten()));
    for v in in_order {
        if !becomes_codes[v.0] || plan.group_of[v.0].is_some() {
            continue;
        }
        let root = root(&mut parent, v.0);
        let group = *group_of_root[root].get_or_insert_with(|| {
            plan.groups.push(Vec::new());
            plan.groups.len() - 1
        });
        plan.group_of[v.0] = Some(group);
        plan.groups[group].push(*v);
    }
}

/// The representative of a set, halving the path on the way.
fn root(parent: &mut [usize], mut i: usize) -> usize {
    while parent[i] != i {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    i
}
