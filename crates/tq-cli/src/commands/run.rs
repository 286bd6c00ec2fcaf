//! `tq run`.

use super::load;
use crate::args::Run;
use crate::output::emit;
use crate::outputs::{Written, write_outputs};
use crate::progress::Progress;
use crate::{arrays, output};
use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use torsh_quantization::analysis::{Runner, concat_rows};
use torsh_quantization::model::{Graph, Tensor, ValueId};

#[derive(Serialize)]
struct Report {
    rows: usize,
    outputs: Vec<Written>,
}

pub(crate) fn run(args: &Run) -> Result<()> {
    let graph = load(&args.model)?;
    let arrays::Given { data, streamed, .. } = arrays::load(&graph, &args.input, &args.data)?;
    let batch = args.data.batch().or(streamed.then_some(arrays::DEFAULT_BATCH));
    data.require_whole_batches()?;
    let model = || args.model.display().to_string();
    let runner = if args.reference { Runner::reference(&graph) } else { Runner::session(&graph) };
    let runner = runner.with_context(model)?;
    let mut parts: Vec<Vec<Tensor>> = vec![Vec::new(); graph.outputs.len()];
    let mut progress = Progress::new("running", data.rows());
    let mut done = 0;
    // Outputs of sequences are stacked, those of batches joined.
    let stacks = args.data.sequences;
    if data.batch_count(batch) > 1 && !stacks {
        require_rows_first(&graph)?;
    }
    for batch in data.batches(batch) {
        let batch = batch?;
        for (parts, output) in parts.iter_mut().zip(runner.run(&batch.inputs).with_context(model)?) {
            let output = batch.trim(output)?;
            parts.push(if stacks { stacked(output)? } else { output });
        }
        done += batch.rows;
        progress.set(done);
    }
    drop(progress);
    let mut outputs = Vec::with_capacity(parts.len());
    for (id, parts) in graph.outputs.iter().zip(parts) {
        let joined = concat_rows(&parts);
        outputs.push(joined.with_context(|| format!("batches of output {}", graph.value(*id).name))?);
    }
    let report = Report { rows: data.rows(), outputs: write_outputs(&graph, &outputs, &args.out_dir)? };
    emit(args.json, &report, || {
        let mut table = output::table(&["output", "type", "shape", "file"]);
        for o in &report.outputs {
            table.add_row([o.name.as_str(), o.dtype, &format!("{:?}", o.shape), &o.file]);
        }
        table.to_string()
    })
}

/// The same output with an axis 0 of length 1 that counts sequences.
fn stacked(output: Tensor) -> Result<Tensor> {
    let dims: Vec<usize> = std::iter::once(1).chain(output.dims().iter().copied()).collect();
    Ok(output.reshape(&dims)?)
}

/// Checks that the outputs of batches can be joined: that in a model of any number of rows, rows are what the first
/// dimension of every output counts.
fn require_rows_first(graph: &Graph) -> Result<()> {
    let first = |id: &ValueId| graph.value(*id).shape.as_ref().and_then(|s| s.first().cloned());
    let any_rows = graph.inputs.iter().filter_map(first).any(|d| d.known().is_none());
    for id in graph.outputs.iter().filter(|_| any_rows) {
        if first(id).is_none_or(|d| d.known().is_some()) {
            bail!(
                "output {}: its first dimension does not count rows, so batches of it cannot be joined; \
                 give the data in one batch",
                graph.value(*id).name
            );
        }
    }
    Ok(())
}
