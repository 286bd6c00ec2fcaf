//! What an operator could be among quantized ones, whatever the configuration says.

use crate::fuse::clamp::{bounds_of, is_clamp};
use tq_graph::op::{BinaryOp, PadMode, ReduceKind};
use tq_graph::{Graph, Node, NodeId, Op, ValueId};
use tq_qtypes::{DType, OperatorKind};

/// How an operator takes part, if it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Computes: its own scales on every side.
    Compute(OperatorKind),
    /// Computes within the scale of its input.
    Sharing(OperatorKind),
    /// Moves or clamps codes; worth doing in integers only next to an operator that computes.
    Passing(OperatorKind),
}

impl Role {
    /// The operator it is.
    pub(super) const fn kind(self) -> OperatorKind {
        match self {
            Role::Compute(kind) | Role::Sharing(kind) | Role::Passing(kind) => kind,
        }
    }
}

/// A linear layer or convolution's weights must be f32 constants: rank and number of elements are checked.
fn weights(graph: &Graph, node: &Node, fits: impl Fn(&[usize]) -> bool) -> Result<Vec<usize>, String> {
    weights_at(graph, node, weight_input(&node.op), fits)
}

fn weights_at(
    graph: &Graph,
    node: &Node,
    slot: usize,
    fits: impl Fn(&[usize]) -> bool,
) -> Result<Vec<usize>, String> {
    let v = node.input(slot).ok_or("it has no weights")?;
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

/// The operator that a node with weights is, whether they are constant or not.
pub(super) fn weighted_kind(node: &Node) -> Option<OperatorKind> {
    match node.op {
        Op::Conv(_) => Some(OperatorKind::Conv),
        Op::ConvTranspose(_) => Some(OperatorKind::ConvTranspose),
        Op::Gemm { .. } | Op::MatMul => Some(OperatorKind::Linear),
        Op::Recurrent { .. } => Some(OperatorKind::Recurrent),
        _ => None,
    }
}

/// The kind of a convolution with weights of this shape.
pub(crate) fn convolution(groups: usize, dims: &[usize]) -> OperatorKind {
    match dims {
        [channels, 1, ..] if groups > 1 && *channels == groups => OperatorKind::DepthwiseConv,
        _ => OperatorKind::Conv,
    }
}

/// The inputs of an operator with weights that are weights.
pub(crate) fn weight_slots(op: &Op) -> &'static [usize] {
    match op {
        Op::Recurrent { .. } => &[1, 2],
        Op::Gather { .. } => &[0],
        _ => &[1],
    }
}

/// The shape of weights that can be kept in another form, whatever becomes of the rest of the node.
pub(super) fn constant_weights(graph: &Graph, node: &Node) -> Result<Vec<usize>, String> {
    let fits = |d: &[usize]| match node.op {
        Op::Conv(_) | Op::ConvTranspose(_) => (3..=5).contains(&d.len()),
        Op::Recurrent { .. } => d.len() == 3,
        _ => d.len() == 2,
    };
    if let Op::Recurrent { .. } = node.op {
        weights_at(graph, node, 2, fits)?;
    }
    weights(graph, node, fits)
}

/// Checks that the activations of a linear layer, a recurrent one or a convolution can be quantized at run time, whatever
/// the configuration says of its weights.
pub(super) fn run_time(graph: &Graph, node: &Node) -> Result<(), String> {
    constant_weights(graph, node)?;
    let x = node.input(0).ok_or("it has no data")?;
    if graph.constant(x).is_some() {
        return Err("its data is constant".into());
    }
    if graph.value(x).dtype != Some(DType::F32) {
        return Err(format!("{} is not f32", graph.value(x).name));
    }
    match node.op {
        Op::Conv(_) => check_bias(graph, node, constant_weights(graph, node)?[0]),
        Op::Gemm { trans_a: true, .. } => Err("its data is transposed".into()),
        Op::Gemm { alpha, beta, .. } if alpha != 1.0 || (beta != 1.0 && node.input(2).is_some()) => {
            Err(format!("factors alpha {alpha} and beta {beta} could not be folded"))
        }
        _ => Ok(()),
    }
}

/// True for a Gather that picks rows of a constant table of real numbers: an embedding.
pub(super) fn is_embedding(graph: &Graph, node: &Node) -> bool {
    let Op::Gather { axis: 0 | -2 } = node.op else { return false };
    let table = graph.const_input(node, 0).is_some_and(|t| t.dtype() == DType::F32 && t.rank() == 2);
    table && graph.const_input(node, 1).is_none()
}

/// The input that holds the weights of a node that has some.
pub(crate) fn weight_input(op: &Op) -> usize {
    weight_slots(op)[0]
}

/// The axes of the weights that count output channels and input features: for a table its rows and what is in them.
/// Output channels of a transposed convolution are those of one group.
pub(crate) fn weight_axes(op: &Op) -> [usize; 2] {
    match op {
        Op::Conv(_) | Op::Gemm { trans_b: true, .. } | Op::Gather { .. } => [0, 1],
        _ => [1, 0],
    }
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
pub(super) fn role(graph: &Graph, consumers: &[Vec<NodeId>], node: &Node) -> Result<Role, String> {
    use OperatorKind as K;
    let no_form = || Err(format!("{} has no integer form", node.op.name()));
    let data_is_constant = || node.input(0).is_none_or(|v| graph.constant(v).is_some());
    let first_is_data =
        !matches!(node.op, Op::Binary(_) | Op::Concat { .. } | Op::Variadic(_) | Op::Where | Op::MatMul);
    if first_is_data && data_is_constant() {
        return Err("its data is constant".into());
    }
    Ok(match &node.op {
        Op::Conv(attrs) => {
            let dims = weights(graph, node, |d| (3..=5).contains(&d.len()))?;
            check_bias(graph, node, dims[0])?;
            Role::Compute(convolution(attrs.groups, &dims))
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
        Op::ConvTranspose(attrs) => {
            let dims = weights(graph, node, |d| (3..=5).contains(&d.len()))?;
            let channels = dims[1].checked_mul(attrs.groups).ok_or("it has too many channels")?;
            check_bias(graph, node, channels)?;
            Role::Compute(K::ConvTranspose)
        }
        Op::MatMul => match graph.const_input(node, 1).map(|t| t.rank()) {
            Some(2) if data_is_constant() => return Err("its data is constant".into()),
            Some(2) => {
                weights(graph, node, |d| d.len() == 2)?;
                Role::Compute(K::Linear)
            }
            _ => {
                matrices(graph, node)?;
                Role::Compute(K::MatMul)
            }
        },
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
                BinaryOp::PRelu if has_slope_a_channel(graph, node) => K::Lookup,
                BinaryOp::PRelu => {
                    return Err("its slopes are neither one nor one a channel: no table serves all".into());
                }
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
        Op::MaxPool { .. } | Op::GlobalMaxPool => Role::Sharing(K::MaxPool),
        // ONNX Runtime refuses a file in which such a pool stands between Dequantize and Quantize.
        Op::AveragePool { attrs, .. } if attrs.dilations.iter().any(|d| *d != 1) => {
            return Err("its windows are dilated, which integer pools of other runtimes lack".into());
        }
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
        | Op::GatherElements { .. }
        | Op::GatherND { .. }
        | Op::Expand
        | Op::Tile
        | Op::DepthToSpace { .. }
        | Op::SpaceToDepth { .. }
        | Op::Identity => Role::Passing(K::Movement),
        Op::Resize(attrs) if attrs.only_picks() => Role::Passing(K::Movement),
        Op::Resize(_) => return Err("it mixes elements, in float".into()),
        Op::Dropout if node.output(1).is_none() => Role::Passing(K::Movement),
        Op::Recurrent { .. } => {
            let name = node.op.name();
            return Err(format!(
                "{name} takes activations quantized at run time only, as int8-dynamic has them"
            ));
        }
        _ => return no_form(),
    })
}

/// True where the slopes are constant, and one for each channel of the data.
fn has_slope_a_channel(graph: &Graph, node: &Node) -> bool {
    let shape = node.input(0).and_then(|v| graph.value(v).shape.as_deref());
    let slope = graph.const_input(node, 1).map(|t| t.dims());
    slope.zip(shape).is_some_and(|(slope, shape)| tq_graph::qdq::is_along_channels(slope, shape))
}

/// Checks that both sides of a product are matrices, or stacks of them, and not both constant.
fn matrices(graph: &Graph, node: &Node) -> Result<(), String> {
    let sides = [node.input(0), node.input(1)];
    if sides.iter().flatten().all(|v| graph.constant(*v).is_some()) {
        return Err("its data is constant".into());
    }
    for v in sides.into_iter().flatten() {
        let value = graph.value(v);
        match value.shape.as_ref().map(Vec::len) {
            None => return Err(format!("the rank of {} is not known", value.name)),
            Some(0 | 1) => return Err(format!("{} is no matrix", value.name)),
            Some(_) if graph.constant(v).is_some_and(|t| t.is_empty()) => {
                return Err(format!("constant {} is empty", value.name));
            }
            Some(_) => {}
        }
    }
    Ok(())
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
        Op::Binary(_) | Op::Concat { .. } | Op::MatMul => node.inputs.len(),
        _ => 1,
    };
    (0..count.min(node.inputs.len()))
        .filter_map(|i| node.input(i).map(|v| (i, v)))
        .filter(|(_, v)| graph.constant(*v).is_none())
}

/// True when neither data nor results of a node are float.
pub(super) fn is_data_node(graph: &Graph, node: &Node) -> bool {
    let not_float = |v: &ValueId| graph.value(*v).dtype.is_some_and(|d| d.is_integer() || d == DType::Bool);
    node.outputs.iter().flatten().all(not_float)
}
