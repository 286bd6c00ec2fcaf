//! `cargo xtask bench-counts`: instructions of the kernels and of small sessions, counted by callgrind and held to a record.
//!
//! Times on a shared machine say little about a change; counts of instructions hardly move. They are the same on every machine:
//! one thread, the level of AVX2 (`TQ_ISA`; the emulator has no AVX-512 anyway), fixed data, and nothing but the calls
//! themselves, which callgrind counts from the entry of one function to its return. Another compiler makes other
//! code: against a record of another one the counts are shown and not judged.

use crate::workspace;
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// More instructions than the record's, in percent, that pass.
const TOLERANCE: f64 = 2.0;

/// The function whose calls are counted, as callgrind writes its name.
const COUNTED: &str = "counts::counted";

/// The profile that programs to be counted are built in.
const PROFILE: &str = "counts";

pub(crate) type Counts = BTreeMap<String, u64>;

/// What was counted, and by which compiler's code.
#[derive(Debug, PartialEq)]
pub(crate) struct Record {
    /// The level of instructions, where all of it is of one.
    pub(crate) level: String,
    pub(crate) rustc: String,
    pub(crate) counts: Counts,
}

fn record_path() -> PathBuf {
    workspace::root().join("benches/record/counts.json")
}

/// Whether callgrind can count here; says what is missing where it cannot.
fn obstacle() -> Option<&'static str> {
    let there =
        Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_ok_and(|s| s.success());
    match (cfg!(target_arch = "x86_64"), there) {
        (false, _) => Some("the record is of x86-64"),
        (_, false) => Some("valgrind is not installed"),
        _ => None,
    }
}

/// Counts and compares; with `update` writes the record instead.
pub(crate) fn run(update: bool) -> Result<()> {
    if let Some(obstacle) = obstacle() {
        bail!("bench-counts: {obstacle}");
    }
    let now = Record { level: "avx2".into(), rustc: workspace::rustc_version()?, counts: count()? };
    hold("bench-counts", &now, &record_path(), update)
}

/// Holds counts to the record at `path`; with `update` writes it instead.
pub(crate) fn hold(task: &str, now: &Record, path: &Path, update: bool) -> Result<()> {
    if update {
        fs::write(path, now.to_text()?).with_context(|| path.display().to_string())?;
        eprintln!("{task}: wrote {} counts to {}", now.counts.len(), path.display());
        return Ok(());
    }
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let record = Record::of_text(&text).with_context(|| path.display().to_string())?;
    let comparison = compare(&record.counts, &now.counts);
    for line in &comparison.lines {
        eprintln!("{line}");
    }
    if record.rustc != now.rustc {
        eprintln!("NOT JUDGED: the record is of {}, this is {}", record.rustc, now.rustc);
        return Ok(());
    }
    if !comparison.worse.is_empty() {
        bail!(
            "{task}: {} of {} cases are not as recorded:\n  {}\n`cargo xtask {task} --update` records what is wanted",
            comparison.worse.len(),
            now.counts.len(),
            comparison.worse.join("\n  ")
        );
    }
    eprintln!("{task}: {} cases within {TOLERANCE} % of the record", now.counts.len());
    Ok(())
}

/// [`run`] where callgrind is there; says so where it is not.
pub(crate) fn run_if_there() -> Result<()> {
    match obstacle() {
        Some(obstacle) => {
            eprintln!("SKIPPED bench-counts: {obstacle}");
            Ok(())
        }
        None => run(false),
    }
}

/// Builds the program and has callgrind run it.
fn count() -> Result<Counts> {
    let words = ["build", "--profile", PROFILE, "--quiet", "-p", "benches", "--example", "counts"];
    // Incremental builds cut the code in other pieces, which makes other instructions.
    workspace::run(workspace::cargo().args(words).env("CARGO_INCREMENTAL", "0"))?;
    let target = workspace::target();
    let folder = target.join("bench-counts");
    // What an earlier run left would be taken for this one's.
    match fs::remove_dir_all(&folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
        _ => fs::create_dir_all(&folder)?,
    }
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--quiet", "--tool=callgrind"])
        .arg(format!("--callgrind-out-file={}", folder.join("counts").display()))
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(format!("--dump-after={COUNTED}"))
        .arg(target.join(PROFILE).join("examples/counts"))
        .env("TQ_ISA", "avx2")
        .stderr(Stdio::inherit());
    eprintln!("+ valgrind --tool=callgrind counts");
    let output = valgrind.output().context("cannot run valgrind")?;
    if !output.status.success() {
        bail!("valgrind: {}", output.status);
    }
    let names: Vec<String> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    let figures = figures(&folder)?;
    if names.len() != figures.len() {
        bail!("{} cases ran, and {} were counted", names.len(), figures.len());
    }
    Ok(names.into_iter().zip(figures).collect())
}

/// The counts in callgrind's files, in the order of the calls.
fn figures(folder: &Path) -> Result<Vec<u64>> {
    let mut parts = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        if let Some((part, figure)) = figure(&text) {
            parts.insert(part, figure);
        }
    }
    Ok(parts.into_values().collect())
}

/// Number and count of a file that was written after a call; `None` for the one that is written at the end.
fn figure(text: &str) -> Option<(u32, u64)> {
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    field("desc: Trigger:").filter(|trigger| trigger.contains("dump-after"))?;
    Some((field("part:")?.parse().ok()?, field("totals:").or_else(|| field("summary:"))?.parse().ok()?))
}

impl Record {
    fn to_text(&self) -> Result<String> {
        let counts: Map<String, Value> = self.counts.iter().map(|(n, c)| (n.clone(), json!(c))).collect();
        let record =
            json!({ "unit": "instructions", "level": self.level, "rustc": self.rustc, "counts": counts });
        Ok(serde_json::to_string_pretty(&record)? + "\n")
    }

    fn of_text(text: &str) -> Result<Self> {
        let record: Value = serde_json::from_str(text)?;
        let text = |key: &str| record[key].as_str().with_context(|| format!("no {key}"));
        let (level, rustc) = (text("level")?.to_owned(), text("rustc")?.to_owned());
        let counts = record["counts"].as_object().context("no counts")?;
        let count = |(name, count): (&String, &Value)| {
            Ok((name.clone(), count.as_u64().with_context(|| format!("{name}: no count"))?))
        };
        Ok(Self { level, rustc, counts: counts.iter().map(count).collect::<Result<_>>()? })
    }
}

#[derive(Debug, Default)]
struct Comparison {
    /// What has moved, for people.
    lines: Vec<String>,
    /// What does not pass.
    worse: Vec<String>,
}

fn compare(record: &Counts, now: &Counts) -> Comparison {
    let mut comparison = Comparison::default();
    for (name, &count) in now {
        let Some(&before) = record.get(name) else {
            comparison.worse.push(format!("{name}: {count}, not in the record"));
            continue;
        };
        let change = 100.0 * (count as f64 / before.max(1) as f64 - 1.0);
        let line = format!("{name}: {before} before, {count} now, {change:+.2} %");
        if change > TOLERANCE {
            comparison.worse.push(line);
        } else if change < -TOLERANCE {
            comparison.lines.push(format!("{line}: less than recorded, worth an --update"));
        }
    }
    let gone = record.keys().filter(|name| !now.contains_key(*name));
    comparison.worse.extend(gone.map(|name| format!("{name}: in the record, and not counted")));
    comparison
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(of: &[(&str, u64)]) -> Counts {
        of.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn more_instructions_than_tolerated_fail_and_fewer_are_told() {
        let record = counts(&[("a", 1000), ("b", 1000), ("c", 1000), ("gone", 5)]);
        let now = counts(&[("a", 1019), ("b", 1021), ("c", 900), ("new", 7)]);
        let comparison = compare(&record, &now);
        let worse: Vec<&str> = comparison.worse.iter().filter_map(|l| l.split(':').next()).collect();
        assert_eq!(worse, ["b", "new", "gone"]);
        assert!(comparison.lines.len() == 1 && comparison.lines[0].starts_with("c: "), "{comparison:?}");
        let same = compare(&record, &record);
        assert!(same.worse.is_empty() && same.lines.is_empty());
    }

    #[test]
    fn files_of_callgrind_are_read() {
        let call = "version: 1\npid: 7\npart: 3\n\ndesc: Trigger: --dump-after=counts::counted\nevents: Ir\nfn=x\n1 9\n\ntotals: 4321\n";
        assert_eq!(figure(call), Some((3, 4321)));
        assert_eq!(figure(&call.replace("--dump-after=counts::counted", "Program termination")), None);
        assert_eq!(figure(""), None);
    }

    #[test]
    fn records_come_back() {
        let record = Record {
            level: "x".into(),
            rustc: "rustc 1".into(),
            counts: counts(&[("a/b", 12), ("c", 1 << 40)]),
        };
        assert_eq!(Record::of_text(&record.to_text().unwrap()).unwrap(), record);
        assert!(Record::of_text("{}").is_err());
    }
}
