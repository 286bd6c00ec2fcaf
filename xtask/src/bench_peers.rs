//! `cargo xtask bench-x86 --peers`: other programs beside ours, by the scripts of `benches/peers`.

use crate::bench_x86::TASK;
use crate::workspace;
use anyhow::{Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The trained networks of `TQ_MODELS_DIR` that are timed in three modes: what `benches/peers/modes.py` can quantize.
const TRAINED: [&str; 3] = ["cifar10_resnet20", "kws_dscnn", "imagenet_efficientnet_lite0"];

/// ONNX Runtime, and OpenVINO, PyTorch and LiteRT where they are installed, beside ours, in turns.
pub(crate) fn run(folder: &Path, quick: bool) -> Result<()> {
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let there = Command::new(&python).args(["-c", "import numpy, onnx, onnxruntime, sympy"]).status();
    if !there.is_ok_and(|status| status.success()) {
        bail!(
            "--peers needs Python with numpy, onnx, onnxruntime and sympy (and openvino, torch==2.5.1 and ai-edge-litert, if they are to be compared): PYTHON names another than {}",
            python.to_string_lossy()
        );
    }
    let words = ["build", "--release", "--quiet", "-p", "benches", "-p", "tq-cli", "--bins", "--examples"];
    workspace::run(workspace::cargo().args(words))?;
    let programs = workspace::target().join("release");
    let (products, tq) = (programs.join("examples/products"), programs.join("tq"));
    let script = |name: &str| {
        let mut command = Command::new(&python);
        command.current_dir(workspace::root()).arg(Path::new("benches/peers").join(name));
        command
    };
    let trained =
        if quick { Vec::new() } else { trained(&mut script("modes.py"), &tq, &folder.join("trained"))? };
    let run_products = |name: &str, layers: &[PathBuf]| {
        let mut command = script(name);
        command.arg("--program").arg(&products);
        if quick {
            command.args(["--rounds", "1", "--ms", "10"]);
        }
        layers.iter().for_each(|layer| {
            command.arg("--layers").arg(layer);
        });
        workspace::run(&mut command)
    };
    run_products("gemm.py", &[])?;
    if !trained.is_empty() {
        run_products("gemm.py", &trained)?;
    }
    run_products("group_wise.py", &[])?;
    let networks = folder.join("networks");
    workspace::run(Command::new(programs.join("examples/networks")).arg(&networks))?;
    let mut names: Vec<PathBuf> =
        fs::read_dir(&networks)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    names.sort();
    names.extend(trained);
    for threads in if quick { &["1"][..] } else { &["1", "2"] } {
        let mut whole = script("networks.py");
        whole.arg("--tq").arg(&tq).args(["--threads", threads]);
        if quick {
            whole.args(["--rounds", "1", "--ms", "50"]);
        }
        for network in &names {
            for mode in ["float", "A1", "A2", "B"] {
                let model = network.join(format!("{mode}.onnx"));
                if model.is_file() {
                    whole.arg("--case").arg(network).arg(&model);
                }
            }
        }
        workspace::run(&mut whole)?;
    }
    Ok(())
}

/// The folders of trained networks, quantized in each mode; none without `TQ_MODELS_DIR`.
fn trained(modes: &mut Command, tq: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let Some(models) = std::env::var_os("TQ_MODELS_DIR") else {
        eprintln!("{TASK}: SKIPPED trained networks: TQ_MODELS_DIR is not set");
        return Ok(Vec::new());
    };
    let there: Vec<&str> = TRAINED
        .into_iter()
        .filter(|name| Path::new(&models).join(name).join("case.json").is_file())
        .collect();
    if there.is_empty() {
        bail!("none of {} in {}", TRAINED.join(", "), models.to_string_lossy());
    }
    let cases = there.iter().map(|name| Path::new(&models).join(name));
    workspace::run(modes.arg("--tq").arg(tq).arg("--out").arg(folder).args(cases))?;
    Ok(there.iter().map(|name| folder.join(name)).collect())
}
