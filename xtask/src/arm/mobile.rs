//! Models quantized for mobile devices here and run as ARM processors: the same file, the same bytes.

use super::{TARGET, Tools, cargo, home};
use crate::workspace;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

const PACKAGE: [&str; 2] = ["-p", "torsh-quantization"];

/// Examples that take all of the library, beside the one that takes the runtime alone.
const EXAMPLES: [&str; 3] = ["backends", "custom_backend", "deploy"];

/// Quantizes on this machine, by the example `mobile`. Gives the folder with models, input, and this machine's answers.
pub(super) fn write() -> Result<PathBuf> {
    let folder = home().join("mobile");
    // What an earlier run left would be taken for this one's.
    match std::fs::remove_dir_all(&folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
        _ => std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?,
    }
    let mut write = workspace::cargo();
    write.arg("test").args(PACKAGE).args(["--example", "mobile"]).env("TQ_MOBILE_DIR", &folder);
    workspace::run_tests(&mut write)?;
    Ok(folder)
}

/// Runs the models of `folder` as `processor`, on the runtime alone.
pub(super) fn check(tools: &Tools, processor: &str, level: &str, folder: &Path) -> Result<()> {
    let mut check = cargo(tools, processor);
    check.args(["test", "--target", TARGET]).args(PACKAGE).args([
        "--no-default-features",
        "--features",
        "runtime",
    ]);
    check
        .args(["--example", "mobile", "--example", "run_native"])
        .env("TQ_MOBILE_DIR", folder)
        .env("TQ_EXPECT_ISA", level)
        .env_remove("TQ_ISA");
    workspace::run_tests(&mut check)
}

/// Runs the examples of backends as `processor`.
pub(super) fn examples(tools: &Tools, processor: &str) -> Result<()> {
    let mut examples = cargo(tools, processor);
    examples.args(["test", "--target", TARGET]).args(PACKAGE).env_remove("TQ_ISA");
    examples.args(EXAMPLES.iter().flat_map(|example| ["--example", example]));
    workspace::run_tests(&mut examples)
}
