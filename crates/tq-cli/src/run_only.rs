//! `tq run` for native files, with nothing but the runtime.

use crate::files::naming;
use crate::inputs::{assign, input_names};
use crate::npy::read_array;
use crate::output::emit;
use crate::outputs::{Written, write_outputs};
use anyhow::{Context as _, Result, bail};
use clap::{Args as ClapArgs, Parser, Subcommand};
use serde::Serialize;
use std::path::{Path, PathBuf};
use torsh_quantization::export::load;
use torsh_quantization::model::{Graph, Tensor, infer::infer};
use torsh_quantization::runtime::{Session, SessionOptions};

/// Runs quantized models on integer kernels. This program has the runtime alone: models are native files (.tq).
#[derive(Debug, Parser)]
#[command(name = "tq", version, about, max_term_width = 110)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a model and write its outputs.
    Run(Run),
}

#[derive(Debug, ClapArgs)]
struct Run {
    /// Model, .tq.
    model: PathBuf,
    /// Input data, .npy or .npz with one array, of the type and shape that the model takes; NAME is an input's.
    #[arg(long, num_args = 1.., value_name = "[NAME=]FILE")]
    input: Vec<String>,
    /// Folder for one NAME.npy an output; made if it is not there.
    #[arg(long)]
    out_dir: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    kernels: String,
    outputs: Vec<Written>,
}

/// Does what was asked for.
pub(crate) fn run(args: &Args) -> Result<()> {
    let Command::Run(args) = &args.command;
    let named = || args.model.display().to_string();
    let mut graph = load(&args.model).map_err(|e| naming(&args.model, e))?;
    infer(&mut graph).with_context(named)?;
    let inputs = inputs(&graph, &args.input)?;
    let session = Session::new(&graph, SessionOptions::default()).with_context(named)?;
    let outputs = session.run(&inputs).with_context(named)?;
    let kernels = session.kernels().library().name().to_owned();
    let report = Report { kernels, outputs: write_outputs(&graph, &outputs, &args.out_dir)? };
    emit(args.json, &report, || {
        let line = |o: &Written| format!("{}: {} {:?} {}\n", o.name, o.dtype, o.shape, o.file);
        report.outputs.iter().map(line).collect()
    })
}

/// One array for each input.
fn inputs(graph: &Graph, specs: &[String]) -> Result<Vec<Tensor>> {
    let names = input_names(graph);
    let mut out = Vec::with_capacity(names.len());
    for (name, files) in names.iter().zip(assign(&names, specs)?) {
        match files[..] {
            [file] => out.push(read_array(Path::new(file)).with_context(|| file.to_owned())?),
            [] => bail!("input {name} is not given; the model has inputs [{}]", names.join(", ")),
            _ => bail!("input {name} is given {} arrays, this program takes one", files.len()),
        }
    }
    Ok(out)
}
