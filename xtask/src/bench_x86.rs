//! Times every kernel family and whole networks by criterion, puts them in a table and a record; with peers, runs other programs
//! beside ours.
//!
//! Results are checked by the benches themselves before they are timed. The record, `benches/record/x86-PROCESSOR.json` (`arm-` on ARM), is a
//! statement of what was measured where; nothing fails because a figure differs from it.

use crate::{bench_peers, workspace};
use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The task on this architecture, and how its records begin.
pub(crate) const TASK: &str = if cfg!(target_arch = "aarch64") { "bench-arm" } else { "bench-x86" };
const RECORDS: &str = if cfg!(target_arch = "aarch64") { "arm" } else { "x86" };

/// How much slower than another kernel of the machine the chosen one may be measured: less than that is noise.
const NOISE: f64 = 1.10;

/// What is asked for on the command line.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// The small shapes alone, shortly; no record is written.
    pub(crate) quick: bool,
    /// Other programs beside ours.
    pub(crate) peers: bool,
}

impl Options {
    pub(crate) fn of(args: &[String]) -> Result<Self> {
        let mut options = Self::default();
        for arg in args {
            match arg.as_str() {
                "--quick" => options.quick = true,
                "--peers" => options.peers = true,
                other => bail!("{TASK} takes --quick and --peers, not {other}"),
            }
        }
        Ok(options)
    }
}

/// One case on one kernel.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    /// `gemm/256x256x256/A1`.
    case: String,
    kernel: String,
    isa: String,
    /// Median of a call, and how far the medians of resamplings lie apart (95 %).
    nanoseconds: f64,
    spread: (f64, f64),
    /// Multiply-adds or elements of a call, where it says so.
    work: Option<u64>,
}

impl Row {
    /// 10⁹ a second.
    fn rate(&self) -> Option<f64> {
        Some(self.work? as f64 / self.nanoseconds.max(1e-3))
    }

    /// The share of what its processor could do at most.
    fn share(&self, limits: &Limits) -> Option<f64> {
        // As `benches/src/suite.rs` names them.
        if self.case.starts_with("gemv-from-memory/") {
            return Some(self.rate()? / limits.bandwidth?);
        }
        let families = ["gemm/", "group-wise/", "conv/", "depthwise/"];
        let multiplies = families.iter().any(|family| self.case.starts_with(family));
        let peak = limits.peaks.get(&self.isa).filter(|_| multiplies)?;
        Some(self.rate()? / peak)
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if !cfg!(any(target_arch = "x86_64", target_arch = "aarch64")) {
        bail!("there are no kernels of this architecture to be timed");
    }
    let folder = workspace::target().join(TASK);
    // What an earlier run left would be taken for this one's.
    match fs::remove_dir_all(&folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
        _ => fs::create_dir_all(&folder)?,
    }
    let mut cargo = workspace::cargo();
    cargo.args(["bench", "--quiet", "-p", "benches", "--bench", "x86"]).env("CRITERION_HOME", &folder);
    if options.quick {
        cargo.env("TQ_BENCH_QUICK", "1");
    }
    workspace::run(&mut cargo)?;
    let mut rows = Vec::new();
    collect(&folder, &mut rows)?;
    if rows.is_empty() {
        bail!("criterion left no results in {}", folder.display());
    }
    rows.sort_by(|a, b| {
        (&a.case, a.nanoseconds).partial_cmp(&(&b.case, b.nanoseconds)).unwrap_or(std::cmp::Ordering::Equal)
    });
    let machine: Value = serde_json::from_str(&fs::read_to_string(folder.join("machine.json"))?)?;
    if machine["emulated"] == true {
        bail!("this program is emulated: times would say nothing, and no record is written");
    }
    let limits = Limits::of(&machine);
    print!("{}", table(&rows, &limits));
    if !options.quick {
        let path = record(&rows, &machine)?;
        eprintln!("{TASK}: wrote {}", path.display());
    }
    if options.peers {
        bench_peers::run(&folder, options.quick)?;
    }
    let slower = not_fastest(&rows);
    if !slower.is_empty() {
        bail!("the dispatcher's pick is not the fastest kernel of this machine:\n  {}", slower.join("\n  "));
    }
    eprintln!("{TASK}: the dispatcher's pick is the fastest kernel of this machine in all cases");
    Ok(())
}

/// Adds the results that criterion left in the folders `new` below `folder`.
fn collect(folder: &Path, rows: &mut Vec<Row>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if !path.is_dir() {
            continue;
        }
        let (about, estimates) = (path.join("benchmark.json"), path.join("estimates.json"));
        if path.ends_with("new") && about.is_file() && estimates.is_file() {
            let read = |path: &Path| -> Result<Value> {
                serde_json::from_str(&fs::read_to_string(path)?).with_context(|| path.display().to_string())
            };
            rows.push(row(&read(&about)?, &read(&estimates)?).with_context(|| path.display().to_string())?);
        } else {
            collect(&path, rows)?;
        }
    }
    Ok(())
}

fn row(about: &Value, estimates: &Value) -> Result<Row> {
    let text = |key: &str| about[key].as_str().with_context(|| format!("no {key}"));
    let (kernel, isa) = text("value_str")?.rsplit_once('@').context("a kernel without its level")?;
    let median = &estimates["median"];
    let number = |value: &Value| value.as_f64().context("no number");
    let interval = &median["confidence_interval"];
    Ok(Row {
        case: text("group_id")?.to_owned(),
        kernel: kernel.to_owned(),
        isa: isa.to_owned(),
        nanoseconds: number(&median["point_estimate"])?,
        spread: (number(&interval["lower_bound"])?, number(&interval["upper_bound"])?),
        work: about["throughput"]["Elements"].as_u64(),
    })
}

/// What a processor can do at most.
#[derive(Debug, Default)]
struct Limits {
    /// The fastest sequence of each level, in 10⁹ multiply-adds a second.
    peaks: BTreeMap<String, f64>,
    /// Of one thread's reading from memory, in 10⁹ bytes a second.
    bandwidth: Option<f64>,
}

impl Limits {
    fn of(machine: &Value) -> Self {
        let mut limits = Self { bandwidth: machine["bandwidth"]["best"].as_f64(), ..Self::default() };
        for peak in machine["peaks"].as_array().into_iter().flatten() {
            if let (Some(isa), Some(rate)) = (peak["isa"].as_str(), peak["gmacs"]["best"].as_f64()) {
                let entry = limits.peaks.entry(isa.to_owned()).or_insert(rate);
                *entry = f64::max(*entry, rate);
            }
        }
        limits
    }
}

fn table(rows: &[Row], limits: &Limits) -> String {
    let mut out = String::from(
        "| case | kernel | level | median | 10⁹/s | of the limit |\n|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let rate = row.rate().map_or_else(String::new, |rate| format!("{rate:.1}"));
        let share = row.share(limits).map_or_else(String::new, |share| format!("{:.0} %", 100.0 * share));
        let time = format!("{:.1} µs", row.nanoseconds / 1e3);
        out += &format!("| {} | {} | {} | {time} | {rate} | {share} |\n", row.case, row.kernel, row.isa);
    }
    out
}

/// The order in which the dispatcher takes levels.
fn preference(isa: &str) -> usize {
    ["avx512vnni", "avxvnni", "avx2", "i8mm", "dotprod", "neon"]
        .iter()
        .position(|level| *level == isa)
        .unwrap_or(usize::MAX)
}

/// The cases in which another kernel is faster than the one that sessions use, beyond noise.
fn not_fastest(rows: &[Row]) -> Vec<String> {
    let mut cases: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        cases.entry(&row.case).or_default().push(row);
    }
    let slower = |(case, rows): (&str, Vec<&Row>)| {
        let chosen = rows.iter().min_by_key(|row| preference(&row.isa))?;
        let fastest = rows.iter().min_by(|a, b| a.nanoseconds.total_cmp(&b.nanoseconds))?;
        (chosen.nanoseconds > NOISE * fastest.nanoseconds).then(|| {
            format!(
                "{case}: {} takes {:.1} µs, {} {:.1} µs",
                chosen.kernel,
                chosen.nanoseconds / 1e3,
                fastest.kernel,
                fastest.nanoseconds / 1e3
            )
        })
    };
    cases.into_iter().filter_map(slower).collect()
}

fn record(rows: &[Row], machine: &Value) -> Result<PathBuf> {
    let processor = machine["processor"].as_str().unwrap_or("unknown");
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            json!({
                "case": row.case, "kernel": row.kernel, "isa": row.isa, "ns": round(row.nanoseconds),
                "ns_95": [round(row.spread.0), round(row.spread.1)], "work": row.work,
            })
        })
        .collect();
    let record = json!({
        "processor": processor, "rustc": workspace::rustc_version()?, "threads": 1, "peaks": machine["peaks"],
        "bandwidth": machine["bandwidth"], "rows": rows,
    });
    let path = workspace::root().join("benches/record").join(format!("{RECORDS}-{}.json", slug(processor)));
    fs::write(&path, serde_json::to_string_pretty(&record)? + "\n")
        .with_context(|| path.display().to_string())?;
    Ok(path)
}

fn round(nanoseconds: f64) -> f64 {
    (nanoseconds * 10.0).round() / 10.0
}

/// Letters and digits, in small letters, with dashes between words.
fn slug(text: &str) -> String {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.map(str::to_ascii_lowercase).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(case: &str, isa: &str, nanoseconds: f64) -> Row {
        Row {
            case: case.into(),
            kernel: format!("kernel-{isa}"),
            isa: isa.into(),
            nanoseconds,
            spread: (nanoseconds, nanoseconds),
            work: Some(1000),
        }
    }

    #[test]
    fn a_slower_pick_is_told_and_noise_is_not() {
        let rows = [
            timed("gemm/a", "avx512vnni", 100.0),
            timed("gemm/a", "avx2", 95.0),
            timed("gemm/b", "avx512vnni", 130.0),
            timed("gemm/b", "avx2", 100.0),
            timed("gemm/c", "avx2", 100.0),
        ];
        let slower = not_fastest(&rows);
        assert!(slower.len() == 1 && slower[0].starts_with("gemm/b: kernel-avx512vnni"), "{slower:?}");
    }

    #[test]
    fn results_of_criterion_are_read() {
        let about = json!({
            "group_id": "gemm/1x2x3/B", "value_str": "x86_64-u8i8i32-6x16c4-avx2@avx2", "throughput": {"Elements": 6},
        });
        let estimates = json!({
            "median": {"confidence_interval": {"lower_bound": 1.5, "upper_bound": 2.5}, "point_estimate": 2.0},
        });
        let row = row(&about, &estimates).unwrap();
        assert_eq!((row.isa.as_str(), row.rate(), row.spread), ("avx2", Some(3.0), (1.5, 2.5)));
        assert!(super::row(&json!({}), &estimates).is_err());
        let limits = Limits::of(&json!({
            "peaks": [{"isa": "avx2", "gmacs": {"best": 4.0}}, {"isa": "avx2", "gmacs": {"best": 6.0}}],
            "bandwidth": {"median": 10.0, "best": 12.0},
        }));
        let memory = Row { case: "gemv-from-memory/1x2x3/B".into(), ..row.clone() };
        let text = table(&[row, memory], &limits);
        assert!(text.contains("| 3.0 | 50 % |") && text.contains("| 3.0 | 25 % |"), "{text}");
    }

    #[test]
    fn records_are_named_after_processors() {
        assert_eq!(slug("AMD EPYC 7B13 64-Core"), "amd-epyc-7b13-64-core");
    }
}
