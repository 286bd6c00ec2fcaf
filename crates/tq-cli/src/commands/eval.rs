//! `tq eval`.

use super::load;
use crate::args::Eval;
use crate::arrays::{self, DEFAULT_BATCH};
use crate::output::emit;
use crate::progress::Progress;
use anyhow::{Context as _, Result};
use torsh_quantization::analysis::{EvalOptions, Runner, evaluate};

pub(crate) fn eval(args: &Eval) -> Result<()> {
    let graph = load(&args.model)?;
    let data = arrays::load(&graph, &args.input, &args.data)?;
    let labels = arrays::load_labels(&args.labels)?;
    let model = || args.model.display().to_string();
    let runner = if args.reference { Runner::reference(&graph) } else { Runner::session(&graph) };
    let runner = runner.with_context(model)?;
    let options =
        EvalOptions { output: args.output.clone(), batch: Some(args.data.batch().unwrap_or(DEFAULT_BATCH)) };
    let mut progress = Progress::new("evaluating", data.rows());
    let result = evaluate(&graph, &runner, &data, &labels, &options, |done| progress.set(done));
    drop(progress);
    let result = result.with_context(model)?;
    emit(args.json, &result, || {
        format!("{} samples: top-1 {:.3} %, top-5 {:.3} %", result.n, result.top1, result.top5)
    })
}
