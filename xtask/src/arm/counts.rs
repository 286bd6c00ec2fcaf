//! Instructions of the ARM kernels, counted in qemu and held to a record.
//!
//! Qemu is told to translate one instruction at a time, to link none with the next, and to write a line for each that it runs:
//! as many lines lie between two marks of the program as instructions were executed there. That is exact and the same on every
//! machine, for one compiler's code. It says nothing of time: how many instructions a processor does at once, and how long memory
//! takes, no emulator knows.

use super::tools::{Standard, Tools};
use super::{PROCESSORS, TARGET};
use crate::bench_counts::{Counts, Record, hold};
use crate::workspace;
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

/// Names of the functions that are marks, as symbols have them.
const BEGIN: &str = "6counts5begin";
const END: &str = "6counts3end";

/// Counts on each of [`PROCESSORS`] and compares; with `update` writes the record instead.
pub(super) fn run(update: bool) -> Result<()> {
    let tools = super::tools()?;
    let mut build = super::cargo(&tools, "max");
    build.args(["build", "--release", "--quiet", "--target", TARGET, "-p", "tq-arm", "--example", "counts"]);
    // Incremental builds cut the code in other pieces, which makes other instructions.
    workspace::run(build.env("CARGO_INCREMENTAL", "0"))?;
    let program = super::built().join("release/examples/counts");
    let mut counts = Counts::new();
    for (processor, levels) in PROCESSORS {
        let level = levels.last().context("a processor without a level")?;
        for (name, count) in count(&tools, processor, &program)? {
            println!("{level:8} {name:36} {count:>10} instructions");
            counts.insert(format!("{level}/{name}"), count);
        }
    }
    println!(
        "bench-arm: these are instructions executed in an emulator. No time is measured here: it would say nothing."
    );
    let now = Record { level: "neon, dotprod, i8mm".into(), rustc: rustc(&tools)?, counts };
    hold("bench-arm", &now, &workspace::root().join("benches/record/counts-arm.json"), update)
}

/// Version of the compiler that builds for ARM.
fn rustc(tools: &Tools) -> Result<String> {
    let Standard::Debian { rustc, .. } = &tools.standard else { return workspace::rustc_version() };
    let output = Command::new(rustc).arg("--version").output().context("cannot run Debian's rustc")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Names and counts of the program's cases as `processor`.
fn count(tools: &Tools, processor: &str, program: &Path) -> Result<Vec<(String, u64)>> {
    let help = Command::new(tools.qemu).arg("-h").output().context("cannot run qemu")?;
    // Qemu 8.1 gave it another name.
    let new = String::from_utf8_lossy(&help.stdout).contains("one-insn-per-tb");
    let one = if new { "-one-insn-per-tb" } else { "-singlestep" };
    let mut qemu = super::emulator(tools, processor);
    qemu.args([one, "-d", "exec,nochain"]).arg(program);
    qemu.env_remove("TQ_ISA").stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = qemu.spawn().context("cannot run qemu")?;
    let (mut names, trace) = (String::new(), child.stderr.take().context("no trace")?);
    let counts = between_marks(BufReader::with_capacity(1 << 20, trace))?;
    child.stdout.take().context("no output")?.read_to_string(&mut names)?;
    let status = child.wait()?;
    if !status.success() {
        bail!("{} as {processor}: {status}", program.display());
    }
    let names: Vec<String> = names.lines().map(str::to_owned).collect();
    if names.is_empty() || names.len() != counts.len() {
        bail!("{} cases ran as {processor}, and {} were counted", names.len(), counts.len());
    }
    Ok(names.into_iter().zip(counts).collect())
}

/// How many lines of the trace lie between each mark of a beginning and the next one of an end.
fn between_marks(mut trace: impl BufRead) -> Result<Vec<u64>> {
    let (mut counts, mut inside, mut line) = (Vec::new(), None, Vec::new());
    while trace.read_until(b'\n', &mut line)? > 0 {
        // The program writes to this stream, too.
        if line.starts_with(b"Trace ") {
            let symbol = line.rsplit(|b| *b == b' ').next().unwrap_or_default();
            let is = |mark: &str| symbol.windows(mark.len()).any(|part| part == mark.as_bytes());
            if is(BEGIN) {
                inside = Some(0);
            } else if is(END) {
                counts.extend(inside.take());
            } else if let Some(count) = &mut inside {
                *count += 1;
            }
        }
        line.clear();
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_between_marks_is_counted() {
        let line = |symbol: &str| format!("Trace 0: 0x7f [01/02/03] {symbol}\n");
        let (begin, end) = (line("_ZN6counts5begin17h0E"), line("_RNvCs_6counts3end"));
        let (work, unnamed) = (line("_ZN6tq_arm4gemmE"), line(""));
        let text = [
            &*work, &begin, &begin, &work, &unnamed, "a word\n", &work, &end, &end, &work, &begin, &work,
            &end,
        ];
        assert_eq!(between_marks(text.concat().as_bytes()).unwrap(), [3, 1]);
    }
}
