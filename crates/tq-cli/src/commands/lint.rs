//! `tq lint`.

use super::load;
use crate::args::Lint;
use crate::output::{emit, table};
use anyhow::{Context as _, Result, bail};
use torsh_quantization::export::{LintReport, Outcome, lint as lint_graph};

pub(crate) fn lint(args: &Lint) -> Result<()> {
    let graph = load(&args.model)?;
    let report = lint_graph(&graph, &args.target).with_context(|| args.model.display().to_string())?;
    emit(args.json, &Counted::of(&report), || text(&report))?;
    let refused = report.count(Outcome::Refused);
    if refused > 0 {
        bail!("{}: {} refuses {refused} of its nodes", args.model.display(), report.target);
    }
    Ok(())
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

/// A line of numbers, and a table of what is refused or runs in float.
pub(super) fn text(report: &LintReport) -> String {
    let Counted { integer, moved, float, refused, .. } = Counted::of(report);
    let mut out = format!(
        "{}: {integer} nodes in integers, {moved} move codes, {float} in float, {refused} refused\n",
        report.target
    );
    if float + refused > 0 {
        let mut table = table(&["node", "operator", "", "because", "rule"]);
        for n in report.refused().chain(report.floats()) {
            table.add_row([&n.node, &n.op, n.outcome.name(), &n.reason, &n.rule]);
        }
        out.push_str(&table.to_string());
    }
    out
}
