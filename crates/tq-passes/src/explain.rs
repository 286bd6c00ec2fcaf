//! Which rule won where, and what came of it.

use crate::config::rules::{Rules, Verdict};
use crate::module_type::Types;
use crate::place::{Plan, PlannedNode};
use crate::scheme::{Activation, Weights};
use crate::{BackendConfig, FusionOutcome, FusionReport, PassError, Placement, QConfigDict, Rule};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use tq_graph::Graph;
use tq_observers::ObserverConfig;

/// What a configuration means for one node of the fused graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePlan {
    /// Name of the node.
    pub node: String,
    /// Name of its operator.
    pub op: String,
    /// Dotted path of the module it lies in, as far as its name tells; empty for the outermost module.
    pub path: String,
    /// Module type, for operators that a module stands for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module_type: Option<String>,
    /// The rule that won.
    pub rule: Rule,
    /// The rules that are for the node too, the strongest first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub losers: Vec<Rule>,
    /// What the winning rule asks for, in words; `float` where it leaves the node in float.
    pub scheme: String,
    /// Where the node runs.
    #[serde(flatten)]
    pub placement: Placement,
    /// What else is worth knowing, such as a scale shared with a node of another rule.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub notes: Vec<String>,
}

impl fmt::Display for NodePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {} ({}: {})", self.op, self.node, self.placement, self.rule, self.scheme)?;
        self.notes.iter().try_for_each(|note| write!(f, "; {note}"))
    }
}

/// What a configuration means for every node of `graph`, once that is folded and fused.
///
/// No data is needed: this is what [`crate::quantize_fx`] decides before calibration.
///
/// # Errors
/// As [`crate::quantize_fx`].
pub fn explain(
    graph: &Graph,
    qconfig_dict: &QConfigDict,
    backend: &BackendConfig,
) -> Result<Vec<NodePlan>, PassError> {
    Ok(crate::quantize_fx(graph.clone(), qconfig_dict.clone(), backend.clone())?.explain())
}

/// The plans of all nodes.
pub(crate) fn node_plans(types: &Types<'_>, rules: &Rules<'_>, plan: &Plan) -> Vec<NodePlan> {
    let report = |(node, planned): (&tq_graph::Node, &PlannedNode)| {
        let Verdict { path, module_type, winner, qconfig: _, losers } = rules.of(types, node);
        NodePlan {
            node: node.name.clone(),
            op: node.op.name().to_owned(),
            path,
            module_type: module_type.map(str::to_owned),
            rule: winner,
            losers,
            scheme: scheme(planned),
            placement: planned.placement.clone(),
            notes: planned.notes.clone(),
        }
    };
    types.graph.nodes.iter().zip(&plan.nodes).map(report).collect()
}

fn scheme(planned: &PlannedNode) -> String {
    let Some(qconfig) = &planned.qconfig else { return "float".into() };
    let activation = observed(Activation::of(&qconfig.activation).words(), &qconfig.activation);
    if planned.has_weights {
        let weights = observed(Weights::of(&qconfig.weight).words(), &qconfig.weight);
        format!("{activation}; weights {weights}")
    } else {
        activation
    }
}

/// The words for codes, with how their range is found where that is not by minimum and maximum.
fn observed(words: String, observer: &ObserverConfig) -> String {
    match observer {
        ObserverConfig::MinMax { .. }
        | ObserverConfig::PerChannelMinMax { .. }
        | ObserverConfig::PerGroupMinMax { .. }
        | ObserverConfig::Placeholder { .. }
        | ObserverConfig::NoOp => words,
        other => format!("{words}, by {}", other.name()),
    }
}

/// Rules that are for no node of the fused graph: each with what may be the reason.
pub(crate) fn unused_rules(
    original: &Types<'_>,
    fused: &Types<'_>,
    rules: &Rules<'_>,
    fusion: &FusionReport,
) -> Vec<String> {
    let (of_fused, of_original) = (applied(fused, rules), applied(original, rules));
    let mut out = Vec::new();
    let mut more = 0usize;
    for rule in rules.all().filter(|r| *r != Rule::Global && !of_fused.contains_key(r)) {
        if out.len() == MAX_UNUSED_TOLD {
            more += 1;
            continue;
        }
        out.push(match of_original.get(&rule) {
            None => format!("the {rule} is for no node of the model"),
            Some(node) => {
                let outcome = fusion.entries.iter().find(|e| e.node == *node).map(|e| &e.outcome);
                let why = match outcome {
                    Some(FusionOutcome::Fused { into }) => format!("fusion made part of {into}"),
                    _ => "folding or fusion took away".to_owned(),
                };
                format!("the {rule} is only for nodes such as {node}, which {why}")
            }
        });
    }
    if more > 0 {
        out.push(format!("{more} more rules are for no node of the fused model"));
    }
    out
}

/// Unused rules that are told one by one; of the others the number is told.
const MAX_UNUSED_TOLD: usize = 50;

/// Every rule that is for a node, with the name of the first such node.
fn applied<'g>(types: &Types<'g>, rules: &Rules<'_>) -> HashMap<Rule, &'g str> {
    let mut out = HashMap::new();
    for node in &types.graph.nodes {
        for rule in rules.of(types, node).all() {
            if !out.contains_key(rule) {
                out.insert(rule.clone(), node.name.as_str());
            }
        }
    }
    out
}
