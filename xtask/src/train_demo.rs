//! `cargo xtask train-demo`: trains the float model that `tq demo` embeds, from the digits beside it.
//!
//! The training is a test of tq-cli, tests/train_demo, so that tests hold its parts to account as well.

use crate::workspace;
use anyhow::Result;

/// Writes the file, or with `check` compares it.
pub(crate) fn run(check: bool) -> Result<()> {
    let words = ["test", "--release", "-p", "tq-cli", "--test", "train_demo"];
    let mut command = workspace::cargo();
    command.args(words).args([
        "--",
        "--ignored",
        "--exact",
        "the_file_is_what_training_makes",
        "--nocapture",
    ]);
    if !check {
        command.env("TQ_TRAIN_DEMO", workspace::root().join("crates/tq-cli/demo/model.onnx"));
    }
    workspace::run(&mut command)
}
