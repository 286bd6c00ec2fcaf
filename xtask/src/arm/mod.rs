//! `cargo xtask setup-arm`, `test-arm` and `build-arm`: the kernels of AArch64 on a machine that is none.
//!
//! Tests are built once for `aarch64-unknown-linux-gnu` and run in qemu's user mode as processors of three levels. What is
//! measured in time under qemu says nothing about ARM: only results are checked here.

mod counts;
mod debian;
mod mobile;
mod program;
mod tools;

pub(crate) use program::build;

use crate::workspace;
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::Command;
use tools::Standard;
pub(crate) use tools::Tools;

/// The target that everything is built for.
pub(crate) const TARGET: &str = "aarch64-unknown-linux-gnu";

/// The packages whose tests exercise kernels, without what the host tests as well.
const PACKAGES: [&str; 3] = ["tq-kernels", "tq-kernel-tests", "tq-arm"];

/// Processors of qemu, each with the levels that it has; the last one is what detection has to find.
pub(crate) const PROCESSORS: [(&str, &[&str]); 3] =
    [("cortex-a53", &["neon"]), ("neoverse-n1", &["neon", "dotprod"]), ("max", &["neon", "dotprod", "i8mm"])];

/// Everything that these tasks leave behind.
fn home() -> PathBuf {
    workspace::root().join("target/xarch")
}

/// What is there to build for ARM with; an error says what is missing.
pub(crate) fn tools() -> Result<Tools> {
    Tools::find(&home())
}

/// Where things built for ARM go.
pub(crate) fn built() -> PathBuf {
    home().join("build").join(TARGET)
}

/// The emulator as `processor`; the program and its arguments come behind.
pub(crate) fn emulator(tools: &Tools, processor: &str) -> Command {
    let mut qemu = Command::new(tools.qemu);
    qemu.args(["-L", tools::LIBRARIES, "-cpu", processor]);
    qemu
}

/// Finds out what is there; with `debian` installs what is not.
pub(crate) fn setup(debian: bool) -> Result<()> {
    if debian {
        debian::install(&home())?;
    }
    let tools = tools()?;
    eprintln!("setup-arm: all is there. {tools}");
    Ok(())
}

/// Builds the tests of kernels, and runs them on each of [`PROCESSORS`]. `filter` goes to the tests. Without one, models that
/// were quantized here run there too, and examples of backends.
///
/// Every run names the levels that it must exercise (`TQ_REQUIRE_ISA`) and the one that must be chosen by itself
/// (`TQ_EXPECT_ISA`), so a level that did not run is a failure.
pub(crate) fn test(filter: &[String]) -> Result<()> {
    let tools = tools()?;
    // Words choose tests of kernels.
    let mobile = if filter.is_empty() { Some(mobile::write()?) } else { None };
    let mut rows = Vec::new();
    for (processor, levels) in PROCESSORS {
        let level = levels.last().context("a processor without a level")?;
        let mut test = cargo(&tools, processor);
        test.args(["test", "--target", TARGET, "--lib", "--tests"]);
        test.args(PACKAGES.iter().flat_map(|package| ["-p", package]));
        test.arg("--").args(filter);
        test.env("TQ_REQUIRE_ISA", levels.join(",")).env("TQ_EXPECT_ISA", level).env_remove("TQ_ISA");
        let mut result = workspace::run_tests(&mut test);
        if let Some(folder) = &mobile {
            result = result.and_then(|()| mobile::check(&tools, processor, level, folder));
        }
        rows.push((processor, levels.join(" "), result.err().map(|error| error.to_string())));
    }
    if mobile.is_some() {
        // What they compute is checked above: one level is enough for all of the library.
        let (processor, _) = PROCESSORS[1];
        let result = mobile::examples(&tools, processor);
        rows.push((processor, "examples".into(), result.err().map(|error| error.to_string())));
    }
    eprintln!("test-arm:");
    let mut failed = 0;
    for (processor, levels, error) in rows {
        failed += usize::from(error.is_some());
        let outcome = error.map_or_else(|| "passed".to_owned(), |error| format!("FAILED: {error}"));
        eprintln!("  {processor:12} {levels:20} {outcome}");
    }
    if failed > 0 {
        bail!("test-arm: {failed} failed");
    }
    Ok(())
}

/// The conformance tests alone, on the last of [`PROCESSORS`], which has every level: what takes minutes, with building.
pub(crate) fn conformance(tools: &Tools) -> Result<()> {
    let [.., (processor, levels)] = PROCESSORS;
    let mut test = cargo(tools, processor);
    test.args(["test", "--target", TARGET, "-p", "tq-arm", "--test", "conformance"]);
    test.env("TQ_REQUIRE_ISA", levels.join(",")).env_remove("TQ_ISA");
    workspace::run_tests(&mut test)
}

/// Counts instructions in an emulator; see [`counts`].
pub(crate) fn count(update: bool) -> Result<()> {
    counts::run(update)
}

/// Cargo, building for [`TARGET`] and running what it built as `processor`.
pub(crate) fn cargo(tools: &Tools, processor: &str) -> Command {
    let mut cargo = workspace::cargo();
    cargo.env("CARGO_TARGET_DIR", home().join("build"));
    cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", tools.linker);
    let runner = format!("{} -L {} -cpu {processor}", tools.qemu, tools::LIBRARIES);
    cargo.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", runner);
    if let Standard::Debian { rustc, rustdoc } = &tools.standard {
        cargo.env("RUSTC", rustc).env("RUSTDOC", rustdoc).env_remove("RUSTUP_TOOLCHAIN");
    }
    cargo
}
