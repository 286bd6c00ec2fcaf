//! The text of `docs/OPERATORS.md`.

use super::{ARCHIVES, BOTH, EXCEPTIONS, F32, F64, Precision, Results, exception, text};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use tq_onnx::OnnxError;

const HEAD: &str = "\
# Operators

Which operators of ONNX are read, written, and run, and how they do in the ONNX project's own test cases. A test writes
this page, and fails where it is not what the cases give:

    TQ_WRITE_DOCS=1 cargo test -p tq-eval --test onnx_node_cases

The cases are those of the ONNX releases 1.16.2 and 1.23.2, at opset 7 to 25: newer ones are brought down to it where
they are valid there. Each runs in the reference evaluator, in F32 (what ONNX says) and in F64 (the judge of integer
sessions), and must give the expected outputs: integers exactly, floats to 2e-6 of the element for each node of the case
(ONNX's runner allows 1e-3). A case counts for every operator in its file; function bodies (`*_expanded`) have several.
Random cases with the outputs of ONNX Runtime come on top: `crates/tq-eval/tests/runtime_cases.rs`.
";

/// The operators that ONNX has and when they came, without the deprecated ones.
fn known() -> BTreeMap<String, i64> {
    let lines = text(ARCHIVES[1], "known.txt");
    lines
        .lines()
        .map(|l| l.split_once(' ').unwrap())
        .map(|(n, v)| (n.to_owned(), v.parse().unwrap()))
        .collect()
}

/// A length-delimited field of a protobuf message; all lengths here fit one byte.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2, u8::try_from(content.len()).unwrap()];
    out.extend_from_slice(content);
    out
}

/// Whether the import knows the operator: a node that has only its name is refused as wrong, not as unknown.
fn is_supported(op: &str) -> bool {
    let graph = field(7, &field(1, &field(4, op.as_bytes())));
    // ir_version 10, then the operator set: version 25.
    let model = [&[8, 10][..], &graph, &field(8, &[16, 25])].concat();
    match tq_onnx::import_bytes(&model, None) {
        Err(OnnxError::Unsupported(items)) => !items.iter().any(|i| i.op == op && i.reason.is_empty()),
        _ => true,
    }
}

/// Pairs of a text file whose lines are `<case>: <rest>`, of all archives.
fn pairs(file: &str) -> Vec<(String, String)> {
    let texts = ARCHIVES.map(|a| text(a, file)).concat();
    texts.lines().map(|l| l.split_once(": ").unwrap()).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

fn passed(results: &Results, cases: &BTreeSet<String>) -> usize {
    cases.iter().filter(|c| results[c.as_str()].is_ok()).count()
}

/// The page.
pub(super) fn document() -> String {
    let known = known();
    let (supported, lacking): (Vec<_>, Vec<_>) = known.iter().partition(|(op, _)| is_supported(op));
    let mut cases: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (case, ops) in pairs("operators.txt") {
        for op in ops.split(' ') {
            assert!(known.contains_key(op), "{case} has {op}");
            cases.entry(op.to_owned()).or_default().insert(case.clone());
        }
    }
    let mut out = HEAD.to_owned();
    let all: BTreeSet<String> = cases.values().flatten().cloned().collect();
    assert_eq!(all.len(), F32.len());
    let _ = writeln!(
        out,
        "\n## Supported: {} operators\n\n{} cases, of which {} pass in F32 and {} in F64.\n",
        supported.len(),
        all.len(),
        passed(&F32, &all),
        passed(&F64, &all)
    );
    out.push_str(
        "| operator | since opset | cases | pass in F32 | pass in F64 | fail |\n|---|---|---|---|---|---|\n",
    );
    let none = BTreeSet::new();
    for (op, since) in &supported {
        let own = cases.get(*op).unwrap_or(&none);
        let fails = |c: &&String| BOTH.iter().any(|p| exception(c, *p).is_some());
        let failing: Vec<String> = own.iter().filter(fails).map(|c| format!("`{c}`")).collect();
        let (f32, f64) = (passed(&F32, own), passed(&F64, own));
        let _ = writeln!(out, "| {op} | {since} | {} | {f32} | {f64} | {} |", own.len(), failing.join(", "));
    }
    out.push_str("\nThe cases that fail, and why:\n\n");
    for e in &EXCEPTIONS {
        let only = match e.precisions {
            [Precision::F64] => " (in F64)",
            [Precision::F32] => " (in F32)",
            _ => "",
        };
        let _ = writeln!(out, "- `{}`{only}: {}.", e.case, e.reason);
    }
    out.push_str(
        "\n## Cases that are left out\n\nThose with one of the operators above that do not run, and why:\n\n",
    );
    let mut reasons: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (case, reason) in pairs("skipped.txt") {
        reasons.entry(reason).or_default().push(format!("`{case}`"));
    }
    for (reason, names) in reasons {
        let _ = writeln!(out, "- {reason}: {}.", names.join(", "));
    }
    let _ = writeln!(
        out,
        "\n## Not supported: {} operators\n\nA model that has them is refused by one error that names all of them. \
         Control flow (If, Loop, Scan) is among them:\nthe graph has no sub-graphs.\n",
        lacking.len()
    );
    let names: Vec<String> = lacking.iter().map(|(op, since)| format!("{op} ({since})")).collect();
    let _ = writeln!(out, "{}.", names.join(", "));
    out
}
