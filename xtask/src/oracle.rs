//! `cargo xtask oracle`: our exported files before other people's programs, and theirs before ours.
//!
//! Single forms of quantized operators, and every model of `TQ_MODELS_DIR` (the embedded demo model where it is not set)
//! that `tq` quantizes, with calibrated ranges and with those of every run: the files are checked by `onnx.checker` and
//! run in ONNX Runtime with exact integer arithmetic, and the answers compared with those of our own session. Then ONNX
//! Runtime's quantizer makes files of the same models in all its forms, and our session has to give ONNX Runtime's answers
//! for them. Last, small models of every operator and the real ones are written in every form at several operator sets, run
//! at all of ONNX Runtime's levels of optimization, and the linter's forecast is held to the graph that its optimizer makes.
//! The Python packages go into `target/oracle`; a network is needed the first time. `TQ_ORACLE_SAMPLES=N` takes the first N
//! samples of each model in the last part.

use crate::workspace;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Versions that the figures in the documentation were made with.
const PACKAGES: &[&str] = &["numpy", "onnx==1.23.2", "onnxruntime==1.32.0", "onnx_ir", "sympy"];

/// What the checks work with.
struct Oracle {
    root: PathBuf,
    /// The folder of everything that they leave behind.
    home: PathBuf,
    python: PathBuf,
    /// The program under test.
    tq: PathBuf,
    models: PathBuf,
}

impl Oracle {
    /// Sets the Python packages up, and builds the program and the single forms.
    fn new() -> Result<Self> {
        let root = workspace::root();
        let home = root.join("target/oracle");
        let venv = home.join("venv");
        let python = venv.join("bin/python");
        if !python.exists() {
            workspace::run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
            workspace::run(Command::new(venv.join("bin/pip")).args(["install", "-q"]).args(PACKAGES))?;
        }
        let words = ["test", "--release", "--quiet", "-p", "tq-runtime", "--test", "exported_forms"];
        workspace::run(workspace::cargo().args(words).env("TQ_FORMS_DIR", home.join("forms")))?;
        workspace::run(workspace::cargo().args(["build", "--release", "--quiet", "-p", "tq-cli"]))?;
        let target = workspace::target();
        let models =
            std::env::var_os("TQ_MODELS_DIR").map_or_else(|| root.join("crates/tq-cli/demo"), Into::into);
        Ok(Self { tq: target.join("release/tq"), root, home, python, models })
    }

    /// Runs a script.
    fn check(&self, script: &str, arguments: &[&Path]) -> Result<()> {
        let script = self.root.join("xtask/oracle").join(script);
        workspace::run(Command::new(&self.python).arg(script).args(arguments))
    }
}

pub(crate) fn run() -> Result<()> {
    let oracle = Oracle::new()?;
    let (tq, models, home) = (&*oracle.tq, &*oracle.models, &oracle.home);
    oracle.check("check_forms.py", &[&home.join("forms")])?;
    oracle.check("check_export.py", &[tq, models, &home.join("work")])?;
    oracle.check("check_import.py", &[tq, models, &home.join("imported")])?;
    oracle.check("check_targets.py", &[tq, &home.join("targets")])?;
    oracle.check("check_models.py", &[tq, models, &home.join("models")])
}

/// The same files in tract and rten: a package of its own, as normal builds need none of what it is made of.
pub(crate) fn run_rust() -> Result<()> {
    let oracle = Oracle::new()?;
    let target = oracle.home.join("rust");
    let manifest = oracle.root.join("xtask/oracle-rust/Cargo.toml");
    let words = ["build", "--release", "--locked", "--quiet", "--manifest-path"];
    workspace::run(workspace::cargo().args(words).arg(manifest).arg("--target-dir").arg(&target))?;
    let (program, forms) = (target.join("release/oracle-rust"), oracle.home.join("forms"));
    let work = oracle.home.join("rust-work");
    oracle.check("check_rust.py", &[&program, &oracle.tq, &forms, &oracle.models, &work])
}
