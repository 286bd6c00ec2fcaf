//! `cargo xtask build-arm`: the program `tq` with the runtime alone, as one file for AArch64 that needs no library.

use super::{PROCESSORS, TARGET, Tools, cargo, home, mobile};
use crate::workspace;
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The same program for this machine, to compare with.
const HOST: &str = "x86_64-unknown-linux-gnu";

/// How often a program is started; the median is told.
const STARTS: usize = 21;

/// Builds both programs, tells their sizes and how long they take to start, and holds the answers of the one to those of the other.
pub(crate) fn build() -> Result<()> {
    let tools = Tools::find(&home())?;
    let folder = mobile::write()?;
    let input = folder.join("input.npy");
    std::fs::write(&input, npy(&std::fs::read(folder.join("input.bin"))?))?;
    let arm = program(&tools, TARGET)?;
    let host = if cfg!(target_arch = "x86_64") { Some(program(&tools, HOST)?) } else { None };
    let mut lines = Vec::new();
    for (target, file) in [(TARGET, Some(&arm)), (HOST, host.as_ref())] {
        let Some(file) = file else { continue };
        let bytes = std::fs::read(file)?;
        ensure!(is_static(&bytes), "{} asks for a dynamic linker", file.display());
        lines.push(format!(
            "{target}: {:.2} MB, static, stripped: {}",
            bytes.len() as f64 / 1e6,
            file.display()
        ));
    }
    let mut runs = vec![(String::from("this machine"), host.map(Command::new))];
    for (processor, _) in PROCESSORS {
        let mut emulated = Command::new(tools.qemu);
        emulated.args(["-cpu", processor]).arg(&arm);
        runs.push((format!("qemu-user {processor}"), Some(emulated)));
    }
    let mut answers = Vec::new();
    for (name, program) in runs {
        let Some(program) = program else { continue };
        let version = time(&program, &["--version"])?;
        let (model, out) = (folder.join("fixed_point.tq"), folder.join("out"));
        let words = ["run", text(&model)?, "--input", text(&input)?, "--out-dir", text(&out)?];
        let run = time(&program, &words)?;
        answers.push((name.clone(), std::fs::read(out.join("logits.npy"))?));
        lines.push(format!("{name}: `tq --version` {version:.1} ms, `tq run` of a small model {run:.1} ms"));
    }
    let (first, rest) = answers.split_first().context("no program ran")?;
    for (name, answer) in rest {
        ensure!(answer == &first.1, "{name} gives other bytes than {}", first.0);
    }
    eprintln!("build-arm: the same bytes on all of them; medians of {STARTS} runs");
    lines.iter().for_each(|line| eprintln!("  {line}"));
    Ok(())
}

/// The program for a target.
fn program(tools: &Tools, target: &str) -> Result<PathBuf> {
    let mut build = if target == TARGET { cargo(tools, "max") } else { workspace::cargo() };
    let flags = format!("CARGO_TARGET_{}_RUSTFLAGS", target.to_uppercase().replace('-', "_"));
    build.env("CARGO_TARGET_DIR", home().join("build")).env(flags, "-C target-feature=+crt-static");
    build.args(["build", "--profile", "mobile", "--target", target]);
    build.args(["-p", "tq-cli", "--bin", "tq", "--no-default-features"]);
    workspace::run(&mut build)?;
    Ok(home().join("build").join(target).join("mobile/tq"))
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is no text", path.display()))
}

/// Milliseconds from the start of a program to its end: the median.
fn time(program: &Command, words: &[&str]) -> Result<f64> {
    let mut all = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        let mut run = Command::new(program.get_program());
        run.args(program.get_args()).args(words).stdout(Stdio::null()).env_remove("TQ_ISA");
        let start = Instant::now();
        let status = run.status().context("cannot start")?;
        all.push(start.elapsed().as_secs_f64() * 1e3);
        if !status.success() {
            bail!("{run:?}: {status}");
        }
    }
    all.sort_by(f64::total_cmp);
    Ok(all[STARTS / 2])
}

/// True for an ELF file of 64 bits, little-endian, that names no dynamic linker.
fn is_static(file: &[u8]) -> bool {
    const DYNAMIC_LINKER: u32 = 3;
    let number = |at: usize, len: usize| {
        let bytes = file.get(at..at + len)?;
        Some(bytes.iter().rev().fold(0u64, |n, b| n << 8 | u64::from(*b)) as usize)
    };
    let headers = || {
        let (first, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        (0..count).map(|i| number(first + i * size, 4)).collect::<Option<Vec<usize>>>()
    };
    file.starts_with(b"\x7fELF\x02\x01")
        && headers().is_some_and(|types| !types.contains(&(DYNAMIC_LINKER as usize)))
}

/// The input of the example `mobile` as numpy writes arrays.
fn npy(values: &[u8]) -> Vec<u8> {
    let rows = values.len() / (4 * 3 * 8 * 8);
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, 3, 8, 8), }}\n");
    let mut out = b"\x93NUMPY\x01\x00".to_vec();
    out.extend_from_slice(&(header.len() as u16).to_le_bytes());
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(values);
    out
}

#[cfg(test)]
mod tests {
    use super::is_static;

    #[test]
    fn a_dynamic_linker_is_found() {
        let program = std::fs::read("/bin/sh").unwrap_or_default();
        assert!(program.is_empty() || !is_static(&program));
        assert!(!is_static(b""));
    }
}
