//! Nodes in float between operators in integers, and what they cost.

use super::survey::Survey;
use super::suspect::{short, some};
use super::{Evidence, Finding, FindingKind};
use crate::layers::{Tapped, part, values};
use crate::{AnalysisError, Latency, LatencyOptions, Runner, measure};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;
use tq_graph::qdq::{FloatReason, QOutput};
use tq_graph::{Graph, NodeId, Op, Tensor, ValueId};

/// Islands of less than a hundredth of the run time are not worth a change.
const LEAST_TIME: f64 = 1.0;

/// Islands by their number, with the milliseconds that each takes.
type Members = Vec<(usize, f64)>;

/// Float nodes that hang together.
struct Island {
    nodes: Vec<NodeId>,
    /// Codes that it gives to operators in integers, and the nodes that make them.
    gives: Vec<(NodeId, ValueId)>,
    /// Tensors that it gets from operators in integers.
    gets: usize,
    /// Why its first node is in float.
    reason: String,
}

/// Islands of the same operators for the same reason are one finding.
pub(super) fn detect(survey: &Survey<'_>) -> Result<Vec<Finding>, AnalysisError> {
    let islands = islands(survey);
    let Some(batch) = survey.rows.batches.first().filter(|_| !islands.is_empty()) else {
        return Ok(Vec::new());
    };
    let graph = survey.quantized;
    let mut parts = Vec::new();
    for island in &islands {
        let (last, codes) = island.gives[island.gives.len() - 1];
        let core = [&island.nodes[..], &[last]].concat();
        parts.push(part(graph, &core, codes)?);
    }
    let tapped = Tapped::new(graph, values(parts.iter().flat_map(|(_, reads)| reads.iter().copied())))?;
    let found = tapped.run(batch)?;
    let whole = time(graph, &batch.inputs)?;
    // By operators and reason.
    let mut groups: BTreeMap<(Vec<&str>, &str), Members> = BTreeMap::new();
    for (i, (island, (graph_of_it, reads))) in islands.iter().zip(&parts).enumerate() {
        let inputs: Option<Vec<Tensor>> = reads.iter().map(|v| found.get(v).cloned()).collect();
        let Some(inputs) = inputs else { continue };
        let ops = island.nodes.iter().map(|n| graph.node(*n).op.name()).collect();
        let ms = time(graph_of_it, &inputs)?.median_ms;
        groups.entry((ops, island.reason.as_str())).or_default().push((i, ms));
    }
    let mut findings = Vec::new();
    for ((ops, reason), members) in groups {
        let ms: f64 = members.iter().map(|(_, ms)| ms).sum();
        let share = 100.0 * ms / whole.median_ms.max(f64::MIN_POSITIVE);
        if share < LEAST_TIME {
            continue;
        }
        let of_group = members.iter().map(|(i, _)| &islands[*i]);
        let borders: usize = of_group.clone().map(|i| i.gets + i.gives.len()).sum();
        let nodes: Vec<String> =
            of_group.flat_map(|i| &i.nodes).map(|n| graph.node(*n).name.clone()).collect();
        findings.push(finding(&ops, reason, nodes, (members.len(), borders), (ms, whole.median_ms, share)));
    }
    Ok(findings)
}

fn finding(
    ops: &[&str],
    reason: &str,
    nodes: Vec<String>,
    (count, borders): (usize, usize),
    (ms, whole, share): (f64, f64, f64),
) -> Finding {
    let ops = ops.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>();
    let one = if count == 1 { "One island".to_owned() } else { format!("{count} islands") };
    Finding {
        kind: FindingKind::FloatIsland,
        tensor: None,
        says: format!(
            "{one} of {} compute in float between operators in integers ({reason}), and take {} of {} ms with the conversions at \
             {borders} borders, {} % of a run.",
            some(&ops),
            short(ms),
            short(whole),
            short(share)
        ),
        evidence: vec![
            Evidence { what: "time of the islands", value: ms, unit: "ms" },
            Evidence { what: "time of the model", value: whole, unit: "ms" },
            Evidence { what: "share of the time", value: share, unit: "%" },
            Evidence { what: "conversions at the borders", value: borders as f64, unit: "" },
        ],
        noise: 0.0,
        share: 0.0,
        time_share: Some(share),
        advice: format!(
            "Quantize {} as well, where a rule or `--exclude` left them in float (`tq explain` tells the rule); where the operator has \
             no integer form, leaving its neighbours in float too saves the conversions, and `tq compare` tells whether that is \
             faster.",
            some(&nodes)
        ),
        nodes,
    }
}

fn time(graph: &Graph, inputs: &[Tensor]) -> Result<Latency, AnalysisError> {
    let options =
        LatencyOptions { warmup: 1, min_runs: 5, max_runs: 100, budget: Duration::from_millis(100) };
    let runner = Runner::session(graph)?;
    measure(&options, || runner.run(inputs).map(drop))
}

fn islands(survey: &Survey<'_>) -> Vec<Island> {
    let (graph, view) = (survey.quantized, &survey.view);
    let reasons: HashMap<NodeId, &FloatReason> = view
        .floats
        .iter()
        // A bias is told by itself.
        .filter(|f| !matches!(f.reason, FloatReason::NotReal | FloatReason::BiasOverflow { .. }))
        .map(|f| (f.node, &f.reason))
        .collect();
    let (producers, consumers) = (graph.producers(), graph.consumers());
    let read: HashSet<ValueId> = view.operators.iter().flat_map(|o| o.reads()).collect();
    let given: HashSet<ValueId> = view
        .operators
        .iter()
        .flat_map(|o| &o.outputs)
        .map(|o| match o {
            QOutput::Codes(c) => c.value,
            QOutput::Float(v) => *v,
        })
        .collect();
    // What an operator in integers gives: as it is, or behind a Dequantize.
    let from_integers = |v: &ValueId| {
        let behind =
            producers[v.0].map(|id| graph.node(id)).filter(|n| matches!(n.op, Op::DequantizeLinear { .. }));
        given.contains(v) || behind.and_then(|n| n.input(0)).is_some_and(|codes| given.contains(&codes))
    };
    let to_integers = |v: ValueId| {
        consumers[v.0].iter().find_map(|id| {
            let node = graph.node(*id);
            let codes = node.output(0).filter(|_| matches!(node.op, Op::QuantizeLinear { .. }))?;
            read.contains(&codes).then_some((*id, codes))
        })
    };
    let (mut seen, mut found) = (HashSet::new(), Vec::new());
    for (first, _) in graph.iter_nodes() {
        if !reasons.contains_key(&first) || !seen.insert(first) {
            continue;
        }
        let (mut nodes, mut open) = (Vec::new(), vec![first]);
        while let Some(id) = open.pop() {
            nodes.push(id);
            let node = graph.node(id);
            let before = node.inputs.iter().flatten().filter_map(|v| producers[v.0]);
            let after = node.outputs.iter().flatten().flat_map(|v| consumers[v.0].iter().copied());
            open.extend(
                before
                    .chain(after)
                    .filter(|n| reasons.contains_key(n) && seen.insert(*n))
                    .collect::<Vec<_>>(),
            );
        }
        nodes.sort_unstable();
        let inputs: HashSet<ValueId> =
            nodes.iter().flat_map(|n| graph.node(*n).inputs.iter().flatten().copied()).collect();
        let outputs = nodes.iter().flat_map(|n| graph.node(*n).outputs.iter().flatten().copied());
        let gets = inputs.iter().filter(|v| from_integers(v)).count();
        let gives: Vec<(NodeId, ValueId)> = outputs.filter_map(to_integers).collect();
        if gets > 0 && !gives.is_empty() {
            let reason = reasons.get(&nodes[0]).map_or(String::new(), |r| kind_of(r));
            found.push(Island { nodes, gives, gets, reason });
        }
    }
    found
}

/// The reason without the names of values in it, so that like islands can be told together.
fn kind_of(reason: &FloatReason) -> String {
    match reason {
        FloatReason::InputNotQuantized(_) => "what they read is not quantized".into(),
        FloatReason::OutputNotQuantized(_) => "what they give is not quantized".into(),
        FloatReason::Granularity(_) => "their scales do not suit them".into(),
        FloatReason::Type { dtype, .. } => format!("no integer form takes {dtype} codes"),
        other => other.to_string(),
    }
}
