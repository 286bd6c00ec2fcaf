//! `cargo xtask ci`: what every change must pass besides the tests.

use crate::{bench_counts, tidy, workspace};
use anyhow::Result;

pub(crate) fn run() -> Result<()> {
    let cargo = |args: &[&str]| workspace::run(workspace::cargo().args(args));
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])?;
    workspace::run(
        workspace::cargo()
            .args(["doc", "--workspace", "--no-deps", "--quiet"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    tidy::run()?;
    eprintln!("ci: formatting, clippy, documentation and tidy are clean");
    bench_counts::run_if_there()?;
    Ok(())
}
