//! `cargo xtask model-table`: writes docs/MODELS.md.
//!
//! The figures are those that the program's own test on real models measures and holds to its bounds.

use crate::workspace;
use anyhow::{Result, bail};

pub(crate) fn run() -> Result<()> {
    if std::env::var_os("TQ_MODELS_DIR").is_none() {
        bail!("TQ_MODELS_DIR has to name the folder of the models");
    }
    let table = workspace::root().join("docs/MODELS.md");
    let words = ["test", "--release", "-p", "tq-cli", "--test", "models", "--", "--nocapture"];
    workspace::run(workspace::cargo().args(words).env("TQ_TABLE", table))
}
