//! `tq explain`, and the table of `tq quantize --dry-run`.

use super::load;
use super::prepare::prepared;
use crate::args::Explain;
use crate::output::{emit, on_one_line, table};
use anyhow::Result;
use serde::Serialize;
use torsh_quantization::ptq::{NodePlan, Prepared};
use torsh_quantization::qconfig::{Configuration, Rule};

/// What a configuration means for a model.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    model: String,
    config: &'a Configuration,
    integer_nodes: usize,
    float_nodes: usize,
    nodes: Vec<NodePlan>,
    warnings: &'a [String],
}

impl<'a> Report<'a> {
    pub(super) fn new(model: String, prepared: &'a Prepared) -> Self {
        let nodes = prepared.explain();
        Self {
            model,
            config: prepared.configuration(),
            integer_nodes: nodes.iter().filter(|n| n.placement.is_quantized()).count(),
            float_nodes: nodes.iter().filter(|n| n.placement.float_reason().is_some()).count(),
            nodes,
            warnings: prepared.warnings(),
        }
    }

    fn summary(&self) -> String {
        format!("{}: {} nodes in integers, {} in float", self.model, self.integer_nodes, self.float_nodes)
    }

    /// Node, type, scheme, rule, and how it runs or why in float.
    pub(super) fn plan(&self) -> String {
        let mut table = table(&["node", "type", "scheme", "rule", "runs as, or why in float"]);
        for n in &self.nodes {
            let kind = n.module_type.as_ref().unwrap_or(&n.op);
            table.add_lines([&on_one_line(&n.node), kind, &n.scheme, &n.rule.to_string(), &outcome(n)]);
        }
        format!("{table}\n{}", self.summary())
    }

    /// For each node the rule that won, those that lost, and what came of it.
    fn rules(&self) -> String {
        let mut table =
            table(&["node", "module path", "rule that wins", "rules that lose", "what comes of it"]);
        for n in &self.nodes {
            let losers: Vec<String> = n.losers.iter().map(Rule::to_string).collect();
            let outcome = format!("{}\n{}", n.scheme, outcome(n));
            let name = format!("{}\n{}", on_one_line(&n.node), n.module_type.as_ref().unwrap_or(&n.op));
            table.add_lines([
                &name,
                &on_one_line(&n.path),
                &n.rule.to_string(),
                &losers.join("\n"),
                &outcome,
            ]);
        }
        format!("{table}\n{}", self.summary())
    }
}

fn outcome(n: &NodePlan) -> String {
    let notes = n.notes.iter().map(|note| format!("\n{note}"));
    std::iter::once(n.placement.to_string()).chain(notes).collect()
}

pub(crate) fn explain(args: &Explain) -> Result<()> {
    let prepared = prepared(load(&args.model)?, &args.plan, &args.model)?;
    let report = Report::new(args.model.display().to_string(), &prepared);
    emit(args.json, &report, || report.rules())
}
