//! Deciding for every node how it is quantized.

use super::role::{
    Role, activations, constant_weights, convolution, is_data_node, is_embedding, role, run_time,
    weight_axes, weight_slots, weighted_kind,
};
use super::{Placement, fixed, group, predict, scores};
use crate::config::rules::Verdict;
use crate::fuse::clamp::{epilogue_host, is_clamp};
use crate::scheme::{Activation, Weights};
use crate::{BackendConfig, CodeRange, QConfig, Rule};
use tq_graph::{Graph, Node, NodeId, Op, ValueId};
use tq_observers::{Mode, ObserverConfig};
use tq_qtypes::{DType, DynamicFormula, Granularity, OperatorKind, QScheme, QuantSpec};

/// How a node is written in the QDQ graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// Reads and writes codes with parameters from calibration.
    Static,
    /// Reads float, which it quantizes itself, and writes float; its weights are codes.
    Dynamic(DynamicFormula),
    /// Reads and writes float; its weights are codes or half precision.
    WeightOnly,
    /// As in the float graph.
    Float,
}

/// The decisions about one node.
#[derive(Debug, Clone)]
pub(crate) struct PlannedNode {
    pub(crate) placement: Placement,
    pub(crate) scheme: Scheme,
    /// What its rule says.
    pub(crate) qconfig: Option<QConfig>,
    /// True for operators whose weights are constant.
    pub(crate) has_weights: bool,
    /// What else is worth knowing.
    pub(crate) notes: Vec<String>,
}

/// Values that share scale and zero point.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    /// In graph order; graph inputs first.
    pub(crate) values: Vec<ValueId>,
    /// The observer of the rule that governs.
    pub(crate) observer: ObserverConfig,
}

/// The decisions about a float graph.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// One a node.
    pub(crate) nodes: Vec<PlannedNode>,
    /// For every value that becomes codes the index of its group.
    pub(crate) group_of: Vec<Option<usize>>,
    /// In graph order.
    pub(crate) groups: Vec<Group>,
}

impl Plan {
    /// True where a node reads and writes codes with parameters from calibration, in a node of its own.
    pub(crate) fn is_static(&self, node: NodeId) -> bool {
        let node = &self.nodes[node.0];
        node.scheme == Scheme::Static && !matches!(node.placement, Placement::Epilogue { .. })
    }
}

/// How a node is to be quantized if its neighbours allow.
pub(super) enum Intent {
    /// On codes.
    Static(Role),
    /// On codes that it makes of its data, by this formula, in every run.
    Dynamic(OperatorKind, DynamicFormula),
    /// Its weights alone, and how they are kept.
    WeightOnly(Weights),
    /// Not at all, and why.
    Float(String),
}

fn intent(
    graph: &Graph,
    consumers: &[Vec<NodeId>],
    node: &Node,
    verdict: &Verdict<'_>,
    backend: &BackendConfig,
) -> Intent {
    let rule = &verdict.winner;
    let Some(qconfig) = verdict.qconfig else {
        return Intent::Float(format!("configuration: the {rule} leaves it in float"));
    };
    let decided = match Activation::of(&qconfig.activation) {
        _ if is_embedding(graph, node) => table(graph, node, rule, qconfig, backend),
        Activation::Codes(_) => static_role(graph, consumers, node).and_then(|role| {
            takes(backend, role.kind(), qconfig)?;
            Ok(Intent::Static(role))
        }),
        Activation::AtRunTime(formula) => dynamic(graph, node, rule, qconfig, backend, formula),
        Activation::Float => weight_only(graph, node, rule, qconfig, backend),
    };
    decided.unwrap_or_else(Intent::Float)
}

/// Checks that the table of an embedding can be quantized, as it is whether activations are or not.
fn table(
    graph: &Graph,
    node: &Node,
    rule: &Rule,
    qconfig: &QConfig,
    backend: &BackendConfig,
) -> Result<Intent, String> {
    let weights = Weights::of(&qconfig.weight);
    if weights == Weights::Float {
        return Err(format!("configuration: the {rule} keeps weights in float"));
    }
    constant_weights(graph, node)?;
    takes(backend, OperatorKind::Embedding, qconfig)?;
    fits_half(graph, node, &weights)?;
    Ok(Intent::WeightOnly(weights))
}

/// Checks that weights kept in f16 are not beyond it.
fn fits_half(graph: &Graph, node: &Node, weights: &Weights) -> Result<(), String> {
    for slot in weight_slots(&node.op) {
        let data = graph.const_input(node, *slot).map(|t| t.as_slice::<f32>());
        if let (Weights::Half(DType::F16), Some(Ok(data))) = (weights, data) {
            let beyond = data.iter().filter(|w| w.is_finite() && w.abs() > LARGEST_F16).count();
            if beyond > 0 {
                return Err(format!("{beyond} of its weights exceed what f16 holds, {LARGEST_F16}"));
            }
        }
    }
    Ok(())
}

/// Checks that a node can quantize its data at run time. A convolution does so where a rule is for it: the global rule
/// means the layers whose time goes into reading weights, as in PyTorch.
fn dynamic(
    graph: &Graph,
    node: &Node,
    rule: &Rule,
    qconfig: &QConfig,
    backend: &BackendConfig,
    formula: DynamicFormula,
) -> Result<Intent, String> {
    let kind = weighted_kind(node).filter(|kind| match kind {
        OperatorKind::Linear | OperatorKind::Recurrent => true,
        OperatorKind::Conv => *rule != Rule::Global,
        _ => false,
    });
    let kind = kind.ok_or_else(|| {
        let does = match node.op {
            Op::Conv(_) => "Conv does where a rule of its own says so",
            _ => &format!("{} does not", node.op.name()),
        };
        format!(
            "the {rule} quantizes activations at run time, which linear and recurrent layers take, {does}"
        )
    })?;
    run_time(graph, node)?;
    let weights = node.input(1).and_then(|w| graph.constant(w));
    let kind = match (&node.op, weights) {
        (Op::Conv(attrs), Some(w)) => convolution(attrs.groups, w.dims()),
        _ => kind,
    };
    if let Some(refusal) = Weights::of(&qconfig.weight).dynamic_refusal() {
        return Err(refusal);
    }
    takes(backend, kind, qconfig)?;
    Ok(Intent::Dynamic(kind, formula))
}

/// Checks that a node has weights to be quantized alone.
fn weight_only(
    graph: &Graph,
    node: &Node,
    rule: &Rule,
    qconfig: &QConfig,
    backend: &BackendConfig,
) -> Result<Intent, String> {
    let kept = || format!("configuration: the {rule} keeps activations in float");
    let kind = weighted_kind(node).ok_or_else(kept)?;
    let weights = Weights::of(&qconfig.weight);
    if weights == Weights::Float {
        return Err(format!("configuration: the {rule} keeps activations and weights in float"));
    }
    constant_weights(graph, node)?;
    takes(backend, kind, qconfig)?;
    if let (OperatorKind::Recurrent, Some(Granularity::PerGroup { .. })) =
        (kind, weights.codes().map(|spec| spec.granularity))
    {
        return Err("weights of recurrent layers are not cut into groups".into());
    }
    fits_half(graph, node, &weights)?;
    Ok(Intent::WeightOnly(weights))
}

/// Larger values would become infinite.
const LARGEST_F16: f32 = 65_504.0;

/// What a rule means for a node with weights: groups along an axis of one element would give each its own scale, so
/// they become channels. Says so, where it happens.
fn fitted(graph: &Graph, node: &Node, qconfig: &QConfig) -> (QConfig, Option<String>) {
    let mut qconfig = qconfig.clone();
    if let ObserverConfig::PerGroupMinMax { spec, eps } = &qconfig.weight
        && (weighted_kind(node).is_some_and(|kind| kind != OperatorKind::Recurrent)
            || is_embedding(graph, node))
        && let Ok(dims) = constant_weights(graph, node)
        && dims.get(weight_axes(&node.op)[1]) == Some(&1)
    {
        let spec = QuantSpec { granularity: Granularity::PerChannel { axis: 0 }, ..*spec };
        qconfig.weight = ObserverConfig::PerChannelMinMax { spec, eps: *eps, mode: Mode::Native };
        let note = "its weights have one input feature a channel: one scale a channel instead of groups";
        return (qconfig, Some(note.into()));
    }
    (qconfig, None)
}

/// What a node can be among nodes on codes, or why it cannot be one.
fn static_role(graph: &Graph, consumers: &[Vec<NodeId>], node: &Node) -> Result<Role, String> {
    let role = role(graph, consumers, node)?;
    let f32_data = |v: ValueId| graph.value(v).dtype == Some(DType::F32);
    let bad = activations(graph, node).map(|(_, v)| v).find(|v| !f32_data(*v));
    match bad.or_else(|| node.outputs.iter().flatten().copied().find(|v| !f32_data(*v))) {
        None => Ok(role),
        Some(v) => {
            let value = graph.value(v);
            let dtype = value.dtype.map_or("of unknown type".to_owned(), |d| d.to_string());
            Err(format!("{} is {dtype}, not f32", value.name))
        }
    }
}

/// Checks that the backend takes an operator of this kind as the configuration asks for it.
fn takes(backend: &BackendConfig, kind: OperatorKind, qconfig: &QConfig) -> Result<(), String> {
    let name = &backend.name;
    let rows: Vec<_> = backend.operators.rows().iter().filter(|r| r.kind == kind).collect();
    if rows.is_empty() {
        return Err(format!("backend {name} has no {kind}"));
    }
    let activation = Activation::of(&qconfig.activation);
    let weights = kind.has_weights().then(|| Weights::of(&qconfig.weight));
    let fits = rows.iter().any(|r| {
        r.activations.contains(&activation.dtype())
            && weights.as_ref().is_none_or(|w| {
                r.weights.contains(&w.dtype()) && (r.per_channel_weights || !w.has_channels())
            })
    });
    if !fits {
        let with = weights.map_or(String::new(), |w| format!(" and weights {}", w.words()));
        return Err(format!("backend {name} takes no {kind} with activations {}{with}", activation.words()));
    }
    let activations = activation.codes().map(|spec| (spec, &backend.activation_ranges, "activations"));
    let weights = weights.as_ref().and_then(Weights::codes);
    let weights = weights.map(|spec| (spec, &backend.weight_ranges, "weights"));
    activations
        .into_iter()
        .chain(weights)
        .try_for_each(|(spec, ranges, what)| range_fits(name, ranges, spec, what))
}

fn range_fits(name: &str, ranges: &[CodeRange], spec: &QuantSpec, what: &str) -> Result<(), String> {
    let Some(range) = ranges.iter().find(|r| r.dtype == spec.dtype) else { return Ok(()) };
    if spec.quant_min < range.quant_min || spec.quant_max > range.quant_max {
        return Err(format!(
            "backend {name} takes {} {what} of codes {}..={}, the configuration asks for {}..={}",
            spec.dtype, range.quant_min, range.quant_max, spec.quant_min, spec.quant_max
        ));
    }
    if range.symmetric && spec.scheme != QScheme::Symmetric {
        return Err(format!("backend {name} takes symmetric {} {what} only", spec.dtype));
    }
    Ok(())
}

/// Is there an operator downstream that computes on codes, with nothing but passing ones before it?
fn wanted(graph: &Graph, intents: &[Intent]) -> Vec<bool> {
    let mut wanted = vec![false; graph.values.len()];
    for (id, node) in graph.iter_nodes().collect::<Vec<_>>().into_iter().rev() {
        let wants = match intents[id.0] {
            Intent::Static(Role::Compute(_) | Role::Sharing(_)) => true,
            Intent::Static(Role::Passing(_)) => node.outputs.iter().flatten().any(|v| wanted[v.0]),
            Intent::Dynamic(..) | Intent::WeightOnly(_) | Intent::Float(_) => false,
        };
        if wants {
            activations(graph, node).for_each(|(_, v)| wanted[v.0] = true);
        }
    }
    wanted
}

/// Decides for every node where it runs, and which values share scales. There is one verdict a node.
pub(crate) fn plan(graph: &Graph, verdicts: &[Verdict<'_>], backend: &BackendConfig) -> Plan {
    let (producers, consumers) = (graph.producers(), graph.consumers());
    let mut intents: Vec<Intent> = graph
        .nodes
        .iter()
        .zip(verdicts)
        .map(|(node, verdict)| intent(graph, &consumers, node, verdict, backend))
        .collect();
    scores::leave_in_float(graph, &consumers, &mut intents);
    let wanted = wanted(graph, &intents);
    let mut nodes: Vec<PlannedNode> = Vec::with_capacity(graph.nodes.len());
    // Values that leave a node on codes as codes.
    let mut coded = vec![false; graph.values.len()];
    let mut after_last_linear = vec![false; graph.values.len()];
    for (id, node) in graph.iter_nodes() {
        let placement = match &intents[id.0] {
            Intent::Static(Role::Compute(kind)) => {
                let linear = matches!(kind, OperatorKind::Linear | OperatorKind::MatMul);
                let float_output = linear && node.output(0).is_some_and(|v| !wanted[v.0]);
                if float_output {
                    node.outputs.iter().flatten().for_each(|v| after_last_linear[v.0] = true);
                }
                Placement::Integer { kind: *kind, float_output }
            }
            Intent::Static(Role::Sharing(kind)) => Placement::Integer { kind: *kind, float_output: false },
            Intent::Static(Role::Passing(kind)) => {
                let host = epilogue_host(graph, &producers, &consumers, id)
                    .ok()
                    .filter(|_| is_clamp(&node.op))
                    .filter(|h| {
                        matches!(nodes[h.0].placement, Placement::Integer { float_output: false, .. })
                    });
                let input = node.input(0);
                let on_codes =
                    input.is_some_and(|v| coded[v.0]) || node.outputs.iter().flatten().any(|v| wanted[v.0]);
                match (host, input) {
                    (Some(h), _) => Placement::Epilogue { of: graph.node(h).name.clone() },
                    // Before the clamp the range may be far larger: all that it keeps would become a few codes.
                    (None, Some(v)) if on_codes && is_clamp(&node.op) && !coded[v.0] => Placement::Float {
                        reason: "it clamps what is not in codes yet, which become finer after it".into(),
                    },
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
            Intent::Dynamic(kind, _) => Placement::Integer { kind: *kind, float_output: true },
            Intent::WeightOnly(weights) => Placement::Dequantized {
                reason: format!("its weights are {}, its activations stay float", weights.words()),
            },
            Intent::Float(_) if is_data_node(graph, node) => Placement::Data,
            Intent::Float(reason) => Placement::Float { reason: reason.clone() },
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
        let scheme = match &intents[id.0] {
            Intent::Static(_) if placement.is_quantized() => Scheme::Static,
            Intent::Dynamic(_, formula) => Scheme::Dynamic(*formula),
            Intent::WeightOnly(_) => Scheme::WeightOnly,
            _ => Scheme::Float,
        };
        let (qconfig, note) = match verdicts[id.0].qconfig.map(|q| fitted(graph, node, q)) {
            Some((qconfig, note)) => (Some(qconfig), note),
            None => (None, None),
        };
        let has_weights = match &intents[id.0] {
            Intent::Static(role) => role.kind().has_weights(),
            Intent::Dynamic(..) | Intent::WeightOnly(_) => true,
            Intent::Float(_) => false,
        };
        nodes.push(PlannedNode {
            placement,
            scheme,
            qconfig,
            has_weights,
            notes: note.into_iter().collect(),
        });
    }
    // What stays in float hands no scale on, and no more does an epilogue: before it there are no codes.
    let hands_on = |(intent, node): (&Intent, &PlannedNode)| {
        matches!(intent, Intent::Static(Role::Sharing(_) | Role::Passing(_)))
            && matches!(node.placement, Placement::Integer { .. })
    };
    let sharing: Vec<bool> = intents.iter().zip(&nodes).map(hands_on).collect();
    let shares = |id: NodeId| sharing[id.0];
    let mut plan = Plan { nodes, group_of: vec![None; graph.values.len()], groups: Vec::new() };
    group::group(graph, &producers, &shares, &coded, verdicts, &mut plan);
    fixed::fix(graph, &producers, &consumers, &shares, verdicts, &mut plan);
    predict::predict(graph, &producers, &mut plan);
    plan
}

/// The rule of a verdict, for notes.
pub(super) fn rule_of<'v>(verdicts: &'v [Verdict<'_>], node: NodeId) -> &'v Rule {
    &verdicts[node.0].winner
}
