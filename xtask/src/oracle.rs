//! `cargo xtask oracle`: our exported files before other people's programs, and theirs before ours.
//!
//! Single forms of quantized operators, and every model of `TQ_MODELS_DIR` (the embedded demo model where it is not set)
//! that `tq` quantizes, with calibrated ranges and with those of every run: the files are checked by `onnx.checker` and
//! run in ONNX Runtime with exact integer arithmetic, and the answers compared with those of our own session. Then ONNX
//! Runtime's quantizer makes files of the same models in all its forms, and our session has to give ONNX Runtime's answers
//! for them. Last, small models of every operator and the real ones are written in every form at several operator sets, and
//! the linter's forecast is held to the graph that ONNX Runtime's optimizer makes. The Python packages go into `target/oracle`; a network is needed the first time.

use crate::workspace;
use anyhow::Result;
use std::process::Command;

/// Versions that the figures in the documentation were made with.
const PACKAGES: &[&str] = &["numpy", "onnx==1.23.2", "onnxruntime==1.32.0", "onnx_ir", "sympy"];

pub(crate) fn run() -> Result<()> {
    let root = workspace::root();
    let home = root.join("target/oracle");
    let venv = home.join("venv");
    let python = venv.join("bin/python");
    if !python.exists() {
        workspace::run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        workspace::run(Command::new(venv.join("bin/pip")).args(["install", "-q"]).args(PACKAGES))?;
    }
    let forms = home.join("forms");
    let words = ["test", "--release", "--quiet", "-p", "tq-runtime", "--test", "exported_forms"];
    workspace::run(workspace::cargo().args(words).env("TQ_FORMS_DIR", &forms))?;
    workspace::run(Command::new(&python).arg(root.join("xtask/oracle/check_forms.py")).arg(&forms))?;
    workspace::run(workspace::cargo().args(["build", "--release", "--quiet", "-p", "tq-cli"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    let models =
        std::env::var_os("TQ_MODELS_DIR").map_or_else(|| root.join("crates/tq-cli/demo"), Into::into);
    for (script, work) in
        [("check_export.py", "work"), ("check_import.py", "imported"), ("check_targets.py", "targets")]
    {
        workspace::run(
            Command::new(&python)
                .arg(root.join("xtask/oracle").join(script))
                .arg(target.join("release/tq"))
                .arg(&models)
                .arg(home.join(work)),
        )?;
    }
    Ok(())
}
