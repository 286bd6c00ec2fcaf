//! `cargo xtask oracle`: our exported files before other people's programs.
//!
//! Quantizes every model of `TQ_MODELS_DIR` (the embedded demo model where it is not set) with `tq`, has the file
//! checked by `onnx.checker`, runs it in ONNX Runtime with exact integer arithmetic, and compares the answers with
//! those of our own session. The Python packages go into `target/oracle`; a network is needed the first time.

use crate::workspace;
use anyhow::Result;
use std::process::Command;

/// Versions that the figures in the documentation were made with.
const PACKAGES: &[&str] = &["numpy", "onnx==1.16.2", "onnxruntime==1.32.0"];

pub(crate) fn run() -> Result<()> {
    let root = workspace::root();
    let home = root.join("target/oracle");
    let venv = home.join("venv");
    let python = venv.join("bin/python");
    if !python.exists() {
        workspace::run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        workspace::run(Command::new(venv.join("bin/pip")).args(["install", "-q"]).args(PACKAGES))?;
    }
    workspace::run(workspace::cargo().args(["build", "--release", "--quiet", "-p", "tq-cli"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let models =
        std::env::var_os("TQ_MODELS_DIR").map_or_else(|| root.join("crates/tq-cli/demo"), Into::into);
    workspace::run(
        Command::new(python)
            .arg(root.join("xtask/oracle/check_export.py"))
            .arg(target.join("release/tq"))
            .arg(models)
            .arg(home.join("work")),
    )
}
