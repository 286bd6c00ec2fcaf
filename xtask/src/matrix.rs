//! `cargo xtask matrix`: every level against every suite. `cargo xtask test-scalar`: its first row, and more.

use crate::digests::{self, Digests};
use crate::level::{self, LEVELS, Machine, Outcome, Suite};
use crate::{record, workspace};
use anyhow::{Result, bail};
use std::fmt::Write as _;

/// What came of one level.
struct Row {
    level: &'static str,
    /// Where it ran.
    on: String,
    outcomes: Vec<(String, Outcome)>,
}

/// Runs all and shows the table; an error where anything failed.
pub(crate) fn run(with_record: bool) -> Result<()> {
    let mut rows: Vec<Row> = LEVELS.iter().map(|(level, _)| suites(level)).collect();
    // Without digests what the suites gave is still worth to be seen: it took hours.
    let digests =
        digests::collect().inspect_err(|_| eprintln!("matrix, without digests:\n{}", table(&rows)))?;
    for row in &mut rows {
        row.outcomes.push(("digests".to_owned(), digests.outcome(row.level)));
    }
    let table = table(&rows);
    eprintln!("matrix:\n{table}\n{}", digests.table());
    if with_record {
        record::write("matrix", &table)?;
        record::write("digests", &digests.table())?;
    }
    judge(&rows, &digests)
}

fn suites(level: &'static str) -> Row {
    let run = |machine: &Machine| {
        Suite::ALL.iter().map(|suite| (suite.to_string(), suite.run(machine, level))).collect()
    };
    match Machine::of(level) {
        Ok(machine) => Row { level, on: machine.to_string(), outcomes: run(&machine) },
        Err(reason) => {
            let absent = |suite: &Suite| (suite.to_string(), level::absent(level, reason.clone()));
            Row { level, on: "nowhere".to_owned(), outcomes: Suite::ALL.iter().map(absent).collect() }
        }
    }
}

fn judge(rows: &[Row], digests: &Digests) -> Result<()> {
    let failed: Vec<String> = rows
        .iter()
        .flat_map(|row| row.outcomes.iter().map(move |(suite, outcome)| (row.level, suite, outcome)))
        .filter(|(_, _, outcome)| outcome.is_failure())
        .map(|(level, suite, _)| format!("{level}, {suite}"))
        .collect();
    if !failed.is_empty() {
        bail!("matrix: failed: {}", failed.join("; "));
    }
    digests.judge()
}

/// In Markdown, with the reasons of what was skipped below it.
fn table(rows: &[Row]) -> String {
    let mut out = String::from("| level | on |");
    let names: Vec<&str> =
        rows.first().into_iter().flat_map(|row| row.outcomes.iter().map(|(name, _)| name.as_str())).collect();
    names.iter().for_each(|name| {
        let _ = write!(out, " {name} |");
    });
    let _ = writeln!(out, "\n|{}", "---|".repeat(2 + names.len()));
    let mut notes = Vec::new();
    for row in rows {
        let _ = write!(out, "| `{}` | {} |", row.level, row.on);
        for (_, outcome) in &row.outcomes {
            let word = match outcome {
                Outcome::Passed => "passed".to_owned(),
                Outcome::Failed(error) => format!("FAILED{}", note(&mut notes, error)),
                Outcome::Skipped(reason) => format!("skipped{}", note(&mut notes, reason)),
            };
            let _ = write!(out, " {word} |");
        }
        out.push('\n');
    }
    for (i, text) in notes.iter().enumerate() {
        let _ = write!(out, "\n{}. {text}.", i + 1);
    }
    if !notes.is_empty() {
        out.push('\n');
    }
    out
}

/// The number of a note, in brackets.
fn note(notes: &mut Vec<String>, text: &str) -> String {
    let at = notes.iter().position(|n| n == text).unwrap_or_else(|| {
        notes.push(text.to_owned());
        notes.len() - 1
    });
    format!(" ({})", at + 1)
}

/// All tests of kernels and sessions with the scalar kernels forced, and the demo model's digest among them. With
/// `TQ_MODELS_DIR` sessions run its models as well, which takes minutes; `TQ_CASE` names one.
pub(crate) fn scalar(filter: &[String]) -> Result<()> {
    let mut test = workspace::cargo();
    test.args([
        "test",
        "-p",
        "tq-kernels",
        "-p",
        "tq-x86",
        "-p",
        "tq-arm",
        "-p",
        "tq-runtime",
        "--lib",
        "--tests",
    ]);
    test.args(["--examples", "--"]).args(filter).env("TQ_ISA", "scalar").env("TQ_REQUIRE_ISA", "scalar");
    workspace::run_tests(&mut test)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stand_below_the_table_once_each() {
        let outcomes = |outcome: Outcome| vec![("a".to_owned(), outcome.clone()), ("b".to_owned(), outcome)];
        let row = |level, outcome| Row { level, on: "natively".into(), outcomes: outcomes(outcome) };
        let rows = [row("scalar", Outcome::Passed), row("neon", Outcome::Skipped("no qemu".into()))];
        let table = table(&rows);
        assert!(table.contains("| level | on | a | b |\n|---|---|---|---|\n"), "{table}");
        assert!(
            table.contains("| `neon` | natively | skipped (1) | skipped (1) |\n\n1. no qemu.\n"),
            "{table}"
        );
        assert!(judge(&[row("neon", Outcome::Failed("x".into()))], &Digests::default()).is_err());
    }
}
