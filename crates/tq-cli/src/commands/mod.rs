//! One module a subcommand.

mod advise;
mod bench;
mod calibrate;
mod compare;
mod demo;
mod doctor;
mod eval;
mod explain;
mod export;
mod export_onnx;
mod inspect;
mod layers;
mod lint;
mod mixed;
mod prepare;
mod qat;
mod quantize;
mod recommend;
mod report;
mod run;
mod sensitivity;

use crate::args::Command;
use crate::files::{Format, naming};
use anyhow::{Context as _, Result};
use std::path::Path;
use torsh_quantization::export::load as load_native;
use torsh_quantization::model::{Graph, infer::infer, load_model};

/// Does what was asked for.
pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Quantize(args) => quantize::quantize(&args),
        Command::Qat(args) => qat::qat(&args),
        Command::Calibrate(args) => calibrate::calibrate(&args),
        Command::MergeCalib(args) => calibrate::merge(&args),
        Command::Run(args) => run::run(&args),
        Command::Eval(args) => eval::eval(&args),
        Command::Compare(args) => compare::compare(&args),
        Command::Layers(args) => layers::layers(&args),
        Command::Report(args) => report::report(&args),
        Command::Advise(args) => advise::advise(&args),
        Command::Sensitivity(args) => sensitivity::sensitivity(&args),
        Command::Export(args) => export::export(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Lint(args) => lint::lint(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Demo(args) => demo::demo(&args),
    }
}

/// Reads a model, an ONNX file or a native one; the error names the file.
fn load(path: &Path) -> Result<Graph> {
    match Format::of_input(path) {
        Format::Onnx => load_model(path).map_err(|e| naming(path, e)),
        Format::Native => {
            let mut graph = load_native(path).map_err(|e| naming(path, e))?;
            // A file for devices leaves types and shapes out.
            infer(&mut graph).map_err(|e| naming(path, e))?;
            Ok(graph)
        }
    }
}

/// Bytes of a file.
fn file_bytes(path: &Path) -> Result<u64> {
    Ok(std::fs::metadata(path).with_context(|| path.display().to_string())?.len())
}

/// Whether two paths lead to one file, which need not be there yet.
fn is_same_file(a: &Path, b: &Path) -> bool {
    /// The path without detours: of the file, or of the folder that it will be in.
    fn place(path: &Path) -> Option<std::path::PathBuf> {
        path.canonicalize().ok().or_else(|| {
            let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Some(folder.canonicalize().ok()?.join(path.file_name()?))
        })
    }
    matches!((place(a), place(b)), (Some(a), Some(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_has_many_paths() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert!(is_same_file(&at("a.onnx"), &at("./a.onnx")), "before it is there");
        std::fs::create_dir(at("sub")).unwrap();
        assert!(is_same_file(&at("a.onnx"), &at("sub/../a.onnx")));
        assert!(!is_same_file(&at("a.onnx"), &at("sub/a.onnx")));
        std::fs::write(at("a.onnx"), b"x").unwrap();
        assert!(is_same_file(&at("a.onnx"), &at("./a.onnx")), "when it is there");
        assert!(!is_same_file(&at("nowhere/a.onnx"), &at("nowhere/b.onnx")));
    }
}
