//! The table of rules in docs/EXPORT.md is the one in the program.
#![allow(clippy::unwrap_used, reason = "what cannot be read fails the test")]

use std::path::Path;
use tq_export::lint::{RULES, Verdict};

const BEGIN: &str =
    "<!-- rules: written by `TQ_WRITE_DOCS=1 cargo test -p tq-export --test documentation` -->\n";
const END: &str = "<!-- end of rules -->\n";

fn table() -> String {
    let mut out = String::from(
        "| rule | target | looks at | verdict | because | known from |\n|---|---|---|---|---|---|\n",
    );
    for r in RULES {
        let verdict = match r.verdict {
            Verdict::Refused => "refused",
            Verdict::Float => "float",
            Verdict::Integer => "integer",
            Verdict::Moved => "moved",
        };
        out.push_str(&format!(
            "| `{}` | {} | {} | {verdict} | {} | {} |\n",
            r.id, r.targets, r.looks_at, r.words, r.source
        ));
    }
    out
}

#[test]
fn the_table_of_rules_is_that_of_the_program() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/EXPORT.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (have, after) = rest.split_once(END).unwrap();
    let want = table();
    if std::env::var_os("TQ_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{want}{END}{after}")).unwrap();
    } else {
        assert_eq!(have, want, "TQ_WRITE_DOCS=1 brings docs/EXPORT.md up to date");
    }
    let mut ids: Vec<&str> = RULES.iter().map(|r| r.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), RULES.len(), "two rules have the same name");
}
