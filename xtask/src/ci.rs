//! `cargo xtask ci`: what every change must pass besides the tests.

use crate::{bench_counts, level, tidy, workspace};
use anyhow::Result;

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
    // Emulating them takes longer than all of this.
    let others: Vec<&str> =
        level::LEVELS.iter().map(|(name, _)| *name).filter(|name| !level::is_native(name)).collect();
    if !others.is_empty() {
        eprintln!(
            "SKIPPED {}: this processor has not got them; `cargo xtask matrix` emulates them",
            others.join(", ")
        );
    }
    Ok(())
}
