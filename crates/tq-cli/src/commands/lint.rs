//! `tq lint`.

use super::load;
use crate::args::Lint;
use crate::files::Format;
use crate::output::{emit, say, table};
use anyhow::{Context as _, Result, bail};
use torsh_quantization::export::{
    LintReport, Outcome, Precision, Target, TargetOptions, export_tensorrt, forecast, lint as lint_graph,
    lint_at, opset_of,
};
use torsh_quantization::model::Graph;

pub(crate) fn lint(args: &Lint) -> Result<()> {
    let graph = load(&args.model)?;
    let name = || args.model.display().to_string();
    let opset = match Format::of_input(&args.model) {
        Format::Onnx => opset_of(&args.model).with_context(name)?,
        Format::Native => None,
    };
    let report = match opset {
        Some(opset) => lint_at(&graph, &args.target, opset),
        None => lint_graph(&graph, &args.target),
    };
    let report = report.with_context(name)?;
    emit(args.json, &Counted::of(&report), || text(&report))?;
    let refused = report.count(Outcome::Refused);
    if refused > 0 {
        if is_exportable(&graph, &args.target) {
            say(&format!(
                "`tq export --target {}` writes this model so that nothing of it is refused",
                report.target
            ));
        }
        bail!("{}: {} refuses {refused} of its nodes", args.model.display(), report.target);
    }
    Ok(())
}

/// Whether the file that export would write for the target has nothing that it refuses.
fn is_exportable(graph: &Graph, target: &Target) -> bool {
    let options = TargetOptions::new(*target);
    let forecast = match target {
        Target::TensorRt { .. } => export_tensorrt(graph, Precision::Int8, None)
            .and_then(|m| forecast(&m.graph, &TargetOptions { target: *target, ..m.options() })),
        _ => forecast(graph, &options),
    };
    forecast.is_ok_and(|report| report.count(Outcome::Refused) == 0)
}

/// The report with its numbers.
#[derive(serde::Serialize)]
pub(super) struct Counted<'a> {
    integer: usize,
    moved: usize,
    float: usize,
    refused: usize,
    #[serde(flatten)]
    report: &'a LintReport,
}

impl<'a> Counted<'a> {
    pub(super) fn of(report: &'a LintReport) -> Self {
        Self {
            integer: report.integer(),
            moved: report.count(Outcome::Moved),
            float: report.count(Outcome::Float),
            refused: report.count(Outcome::Refused),
            report,
        }
    }
}

/// A line of numbers, one on products that round otherwise than the model asks for, and a table of what is refused or runs in float.
pub(super) fn text(report: &LintReport) -> String {
    let Counted { integer, moved, float, refused, .. } = Counted::of(report);
    let mut out = format!(
        "{}: {integer} nodes in integers, {moved} move codes, {float} in float, {refused} refused\n",
        report.target
    );
    let unlike: Vec<_> = report.nodes.iter().filter(|n| n.rule == "float-requantization").collect();
    if let Some(first) = unlike.first() {
        out.push_str(&format!("{} of them: {} ({})\n", unlike.len(), first.reason, first.rule));
    }
    if float + refused > 0 {
        let mut table = table(&["node", "operator", "", "because", "rule"]);
        for n in report.refused().chain(report.floats()) {
            table.add_row([&n.node, &n.op, n.outcome.name(), &n.reason, &n.rule]);
        }
        out.push_str(&table.to_string());
    }
    out
}
