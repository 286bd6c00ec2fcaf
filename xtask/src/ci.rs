//! `cargo xtask ci`: what every change must pass besides the tests.

use crate::{arm, bench_counts, level, tidy, workspace};
use anyhow::{Result, bail};

pub(crate) fn run() -> Result<()> {
    let cargo = |args: &[&str]| workspace::run(workspace::cargo().args(args));
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])?;
    // The program for devices, which leaves most of the library out.
    cargo(&["clippy", "-p", "tq-cli", "--no-default-features", "--quiet", "--", "-D", "warnings"])?;
    workspace::run(
        workspace::cargo()
            .args(["doc", "--workspace", "--no-deps", "--quiet"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    tidy::run()?;
    eprintln!("ci: formatting, clippy, documentation and tidy are clean");
    bench_counts::run_if_there()?;
    other_levels()
}

/// Of the levels that this processor has not got, CI emulates those of ARM where the tools are there, on one processor that has
/// them all. Guard pages, sessions, digests and the levels of other x86 processors take an hour, which `matrix` has.
fn other_levels() -> Result<()> {
    let mut left: Vec<&str> =
        level::LEVELS.iter().map(|(name, _)| *name).filter(|name| !level::is_native(name)).collect();
    let of_arm = |name: &&str| arm::PROCESSORS.iter().any(|(_, levels)| levels.contains(name));
    if left.iter().any(of_arm) {
        match arm::tools() {
            Ok(tools) => {
                arm::conformance(&tools)?;
                left.retain(|name| !of_arm(name));
            }
            Err(missing) => eprintln!("SKIPPED kernels of ARM: {missing:#}"),
        }
    }
    if let Some(level) = left.iter().find(|name| level::is_required(name)) {
        bail!("TQ_REQUIRE_ISA names {level}, which was not tested");
    }
    if !left.is_empty() {
        eprintln!(
            "SKIPPED {}: this processor has not got them; `cargo xtask matrix` emulates them",
            left.join(", ")
        );
    }
    Ok(())
}
