//! `cargo xtask tidy`: the rules that hold the workspace together.
//!
//! * arrows: a crate uses only what its row of [`ARROWS`] lists, and what that reaches;
//! * development dependencies make no cycle;
//! * `#![forbid(unsafe_code)]` in every crate but those of [`UNSAFE_CRATES`], and no exception in their tests and benches;
//! * manifests inherit edition, MSRV, licence and lints from the workspace, and describe the crate;
//! * files stay short: above [`REPORT_LINES`] they are reported, above [`MAX_LINES`] refused;
//! * nothing but [`TOP_LEVEL`] lies at the top.

use crate::workspace;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Which crates of this workspace each crate may use; what those reach is allowed too.
const ARROWS: &[(&str, &[&str])] = &[
    ("tq-qtypes", &[]),
    ("tq-observers", &["tq-qtypes"]),
    ("tq-graph", &["tq-qtypes"]),
    ("tq-kernels", &["tq-qtypes"]),
    ("tq-kernel-tests", &["tq-kernels"]),
    ("tq-x86", &["tq-kernels"]),
    ("tq-arm", &["tq-kernels"]),
    ("tq-eval", &["tq-graph", "tq-kernels"]),
    ("tq-passes", &["tq-observers", "tq-graph", "tq-eval"]),
    ("tq-qat", &["tq-passes", "tq-observers", "tq-graph", "tq-eval"]),
    ("tq-runtime", &["tq-graph", "tq-eval", "tq-kernels", "tq-x86", "tq-arm"]),
    ("tq-onnx", &["tq-graph"]),
    ("tq-format", &["tq-graph"]),
    ("tq-export", &["tq-onnx", "tq-format", "tq-passes", "tq-runtime"]),
    ("tq-analysis", &["tq-passes", "tq-eval", "tq-runtime"]),
    (
        "torsh-quantization",
        &["tq-qat", "tq-export", "tq-onnx", "tq-format", "tq-analysis", "tq-passes", "tq-runtime"],
    ),
    ("tq-cli", &["torsh-quantization"]),
    ("xtask", &[]),
    ("benches", &["torsh-quantization"]),
];

/// Crates that may hold `unsafe` code: the microkernels, and the allocator of their tests.
const UNSAFE_CRATES: &[&str] = &["tq-x86", "tq-arm", "tq-kernel-tests"];

/// How a source makes an exception from the lint (in two parts, so that this file makes none).
const EXCEPTION: &str = concat!("allow(", "unsafe_code");

const REPORT_LINES: usize = 600;
const MAX_LINES: usize = 700;

/// Generated sources, which no one reads: no limit on their length.
const GENERATED: &[&str] = &["crates/tq-onnx/src/proto/onnx.rs"];

/// Files and folders that may stand at the top, besides dotfiles and `target`.
const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "crates",
    "xtask",
    "benches",
    "docs",
    "README.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "rustfmt.toml",
    "clippy.toml",
];

/// Runs every rule; lists all that is wrong.
pub(crate) fn run() -> Result<()> {
    let report = check(&workspace::root())?;
    for line in &report.notes {
        eprintln!("note: {line}");
    }
    if !report.errors.is_empty() {
        bail!("tidy:\n  {}", report.errors.join("\n  "));
    }
    Ok(())
}

#[derive(Default)]
struct Report {
    errors: Vec<String>,
    notes: Vec<String>,
}

/// A crate of the workspace.
struct Member {
    name: String,
    folder: PathBuf,
    uses: Vec<String>,
    dev_uses: Vec<String>,
}

fn check(root: &Path) -> Result<Report> {
    let mut report = Report::default();
    let members = members()?;
    check_arrows(&members, &mut report);
    check_cycles(&members, &mut report);
    for member in &members {
        check_unsafe(member, &mut report)?;
        check_manifest(member, &mut report)?;
    }
    check_lengths(root, &mut report)?;
    match git_files(root) {
        Some(files) => check_top_level(&files, &mut report),
        None => report.notes.push("not a git checkout: what lies at the top was not checked".into()),
    }
    Ok(report)
}

fn members() -> Result<Vec<Member>> {
    let output = workspace::cargo()
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .output()
        .context("cannot run cargo metadata")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let names: BTreeSet<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let mut members = Vec::new();
    for package in packages {
        let text = |key: &str| package[key].as_str().with_context(|| format!("package without {key}"));
        let manifest = PathBuf::from(text("manifest_path")?);
        let mut member = Member {
            name: text("name")?.to_owned(),
            folder: manifest.parent().context("manifest without a folder")?.to_path_buf(),
            uses: Vec::new(),
            dev_uses: Vec::new(),
        };
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let Some(name) = dependency["name"].as_str().filter(|n| names.contains(n)) else { continue };
            match dependency["kind"].as_str() {
                Some("dev") => member.dev_uses.push(name.to_owned()),
                _ => member.uses.push(name.to_owned()),
            }
        }
        members.push(member);
    }
    Ok(members)
}

/// Everything that can be reached from `start` over `edges`, without `start` unless it is on a cycle.
fn reachable(start: &str, edges: &BTreeMap<&str, Vec<&str>>) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut stack: Vec<&str> = edges.get(start).into_iter().flatten().copied().collect();
    while let Some(name) = stack.pop() {
        if seen.insert(name.to_owned()) {
            stack.extend(edges.get(name).into_iter().flatten());
        }
    }
    seen
}

fn check_arrows(members: &[Member], report: &mut Report) {
    let table: BTreeMap<&str, Vec<&str>> = ARROWS.iter().map(|(n, uses)| (*n, uses.to_vec())).collect();
    for member in members {
        if !table.contains_key(member.name.as_str()) {
            report.errors.push(format!("{}: no row in the table of crates", member.name));
            continue;
        }
        let allowed = reachable(&member.name, &table);
        for used in member.uses.iter().filter(|u| !allowed.contains(*u)) {
            report.errors.push(format!("{}: may not use {used}", member.name));
        }
    }
}

fn check_cycles(members: &[Member], report: &mut Report) {
    let edges: BTreeMap<&str, Vec<&str>> = members
        .iter()
        .map(|m| (m.name.as_str(), m.uses.iter().chain(&m.dev_uses).map(String::as_str).collect()))
        .collect();
    for member in members {
        if reachable(&member.name, &edges).contains(&member.name) {
            report.errors.push(format!("{}: reaches itself through (development) dependencies", member.name));
        }
    }
}

fn check_unsafe(member: &Member, report: &mut Report) -> Result<()> {
    let may = UNSAFE_CRATES.contains(&member.name.as_str());
    let mut roots = 0;
    for file in ["src/lib.rs", "src/main.rs"] {
        let path = member.folder.join(file);
        if !path.exists() {
            continue;
        }
        roots += 1;
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        if !may && !text.contains("#![forbid(unsafe_code)]") {
            report.errors.push(format!("{}: {file} lacks #![forbid(unsafe_code)]", member.name));
        }
    }
    // Tests, benches and examples are crates of their own: there the workspace denies what the root forbids.
    let mut files = Vec::new();
    sources(&member.folder, &mut files)?;
    for path in files.iter().filter(|_| !may) {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        if text.contains(EXCEPTION) {
            report.errors.push(format!("{}: {} allows unsafe code", member.name, path.display()));
        }
    }
    if roots == 0 {
        report.errors.push(format!("{}: neither src/lib.rs nor src/main.rs", member.name));
    }
    Ok(())
}

fn check_manifest(member: &Member, report: &mut Report) -> Result<()> {
    let path = member.folder.join("Cargo.toml");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    for line in [
        "version.workspace = true",
        "edition.workspace = true",
        "rust-version.workspace = true",
        "license.workspace = true",
        "[lints]\nworkspace = true",
        "description = ",
    ] {
        if !text.contains(line) {
            let line = line.replace('\n', " ");
            report.errors.push(format!("{}: the manifest lacks `{line}`", member.name));
        }
    }
    let folder = member.folder.file_name().map(|n| n.to_string_lossy().into_owned());
    if folder.as_deref() != Some(member.name.as_str()) {
        report.errors.push(format!("{}: its folder has another name", member.name));
    }
    Ok(())
}

/// Files that git tracks or would track, relative to the root; `None` where this is no git checkout.
fn git_files(root: &Path) -> Option<Vec<String>> {
    let mut git = Command::new("git");
    let output = git
        .current_dir(root)
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| text.lines().map(str::to_owned).collect())
}

/// Rust sources below `folder`.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            sources(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

fn check_lengths(root: &Path, report: &mut Report) -> Result<()> {
    let mut files = Vec::new();
    for folder in ["crates", "xtask", "benches"] {
        sources(&root.join(folder), &mut files)?;
    }
    files.sort();
    for path in files {
        let file = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        if GENERATED.contains(&file.as_str()) {
            continue;
        }
        let lines = fs::read_to_string(&path).with_context(|| file.clone())?.lines().count();
        if lines > MAX_LINES {
            report.errors.push(format!("{file}: {lines} lines, at most {MAX_LINES}"));
        } else if lines > REPORT_LINES {
            report.notes.push(format!("{file}: {lines} lines, aim for {REPORT_LINES}"));
        }
    }
    Ok(())
}

fn check_top_level(files: &[String], report: &mut Report) {
    let tops: BTreeSet<&str> = files.iter().filter_map(|f| f.split('/').next()).collect();
    for top in tops {
        if !top.starts_with('.') && !TOP_LEVEL.contains(&top) {
            report.errors.push(format!("{top}: does not belong at the top"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_workspace_is_tidy() {
        let report = check(&workspace::root()).unwrap();
        assert!(report.errors.is_empty(), "{}", report.errors.join("\n"));
    }

    fn member(name: &str, uses: &[&str], dev_uses: &[&str]) -> Member {
        let own = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect();
        Member { name: name.into(), folder: PathBuf::new(), uses: own(uses), dev_uses: own(dev_uses) }
    }

    #[test]
    fn unsafe_code_is_found_wherever_it_hides() {
        let mut report = Report::default();
        let folder = workspace::root().join("crates/tq-x86");
        check_unsafe(&Member { folder, ..member("another", &[], &[]) }, &mut report).unwrap();
        assert!(report.errors[0].contains("lacks #![forbid(unsafe_code)]"), "{:?}", report.errors);
        assert!(report.errors[1].contains("allows unsafe code"), "{:?}", report.errors);
    }

    #[test]
    fn a_forbidden_arrow_is_found() {
        let mut report = Report::default();
        check_arrows(&[member("tq-graph", &["tq-qtypes", "tq-kernels"], &[])], &mut report);
        assert_eq!(report.errors, ["tq-graph: may not use tq-kernels"]);
    }

    #[test]
    fn what_a_row_reaches_is_allowed() {
        let mut report = Report::default();
        check_arrows(&[member("tq-x86", &["tq-kernels", "tq-qtypes"], &[])], &mut report);
        assert!(report.errors.is_empty());
    }

    #[test]
    fn a_cycle_through_development_dependencies_is_found() {
        let mut report = Report::default();
        let members = [member("tq-graph", &[], &["tq-eval"]), member("tq-eval", &["tq-graph"], &[])];
        check_cycles(&members, &mut report);
        assert_eq!(report.errors.len(), 2);
    }
}
