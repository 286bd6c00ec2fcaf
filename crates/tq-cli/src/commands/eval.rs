//! `tq eval`.

use super::load;
use crate::args::Eval;
use crate::arrays::{self, DEFAULT_BATCH};
use crate::output::emit;
use crate::progress::Progress;
use anyhow::{Context as _, Result};
use serde::Serialize;
use torsh_quantization::analysis::{EvalOptions, Evaluation, Runner, evaluate};

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    result: Evaluation,
    /// Names of the folders that labels 0, 1, ... stand for.
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<Vec<String>>,
}

pub(crate) fn eval(args: &Eval) -> Result<()> {
    let graph = load(&args.model)?;
    let given = arrays::load(&graph, &args.input, &args.data)?;
    let labels = given.labels(args.labels.as_deref())?.with_context(|| {
        let folder = args.data.pictures.as_deref().unwrap_or_default();
        format!("{folder}: labels are missing: the pictures are not in folders of their classes; --labels gives them")
    })?;
    let arrays::Given { data, classes, .. } = given;
    let model = || args.model.display().to_string();
    let runner = if args.reference { Runner::reference(&graph) } else { Runner::session(&graph) };
    let runner = runner.with_context(model)?;
    let options =
        EvalOptions { output: args.output.clone(), batch: Some(args.data.batch().unwrap_or(DEFAULT_BATCH)) };
    let mut progress = Progress::new("evaluating", data.rows());
    let result = evaluate(&graph, &runner, &data, &labels, &options, |done| progress.set(done));
    drop(progress);
    let result = result.with_context(model)?;
    let report = Report { result, classes: classes.map(|c| c.names).filter(|_| args.labels.is_none()) };
    emit(args.json, &report, || {
        let Evaluation { n, top1, top5 } = result;
        let of = report.classes.as_ref().map_or(String::new(), |c| format!(" of {} classes", c.len()));
        format!("{n} samples{of}: top-1 {top1:.3} %, top-5 {top5:.3} %")
    })
}
