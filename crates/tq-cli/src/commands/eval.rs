//! `tq eval`.

use super::load;
use crate::args::{Eval, MetricName};
use crate::arrays::{self, DEFAULT_BATCH};
use crate::output::{decibels, emit};
use crate::progress::Progress;
use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use std::path::Path;
use torsh_quantization::analysis::{
    AucFigures, EvalOptions, Evaluation, FidelityFigures, PairFigures, Runner, evaluate, evaluate_against,
    evaluate_auc, evaluate_pairs,
};
use torsh_quantization::model::Graph;

#[derive(Serialize)]
struct Report {
    metric: MetricName,
    /// The figure on the scale of a percentage.
    points: f64,
    #[serde(flatten)]
    figures: Figures,
    /// Names of the folders that labels 0, 1, ... stand for.
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Figures {
    Top1(Evaluation),
    Auc(AucFigures),
    Fidelity(FidelityFigures),
    Pairs(PairFigures),
}

pub(crate) fn eval(args: &Eval) -> Result<()> {
    let graph = load(&args.model)?;
    let given = arrays::load(&graph, &args.input, &args.data)?;
    let labels_file =
        || args.labels.as_deref().with_context(|| format!("{} needs --labels", word(args.metric)));
    let data = &given.data;
    let runner = runner(args, &graph, &args.model)?;
    let options =
        EvalOptions { output: args.output.clone(), batch: Some(args.data.batch().unwrap_or(DEFAULT_BATCH)) };
    let model = || args.model.display().to_string();
    let mut classes = None;
    let (points, figures) = match args.metric {
        MetricName::Top1 => {
            if args.labels.is_none() && args.data.pictures.is_none() {
                bail!("top1 needs --labels");
            }
            let labels = given.labels(args.labels.as_deref())?.with_context(|| {
                let folder = args.data.pictures.as_deref().unwrap_or_default();
                format!("{folder}: labels are missing: the pictures are not in folders of their classes; --labels gives them")
            })?;
            classes = given.classes.as_ref().map(|c| c.names.clone()).filter(|_| args.labels.is_none());
            let mut progress = Progress::new("evaluating", data.rows());
            let result = evaluate(&graph, &runner, data, &labels, &options, |done| progress.set(done));
            let result = result.with_context(model)?;
            (result.top1, Figures::Top1(result))
        }
        MetricName::Auc => {
            let labels = arrays::load_flat_labels(labels_file()?)?;
            let mut progress = Progress::new("evaluating", data.rows());
            let set = |done| progress.set(done);
            let result = evaluate_auc(&graph, &runner, data, &labels, args.threshold, &options, set);
            let result = result.with_context(model)?;
            (100.0 * result.auc, Figures::Auc(result))
        }
        MetricName::Agreement | MetricName::Cosine => {
            let path = args.against.as_deref().context("--against is missing")?;
            let float = load(path)?;
            let reference = self::runner(args, &float, path)?;
            let mut progress = Progress::new("comparing", data.rows());
            let set = |done| progress.set(done);
            let (ours, theirs) = ((&graph, &runner), (&float, &reference));
            let result = evaluate_against(ours, theirs, data, args.threshold, &options, set);
            let result = result.with_context(model)?;
            let points = match args.metric {
                MetricName::Cosine => 100.0 * result.cosine,
                _ => result.agreement,
            };
            (points, Figures::Fidelity(result))
        }
        MetricName::Spearman => {
            let gold = arrays::load_scores(labels_file()?)?;
            let pairs = arrays::load(&graph, &args.pair_input, &args.data)?.data;
            let mut progress = Progress::new("evaluating", data.rows() + pairs.rows());
            let set = |done| progress.set(done);
            let result = evaluate_pairs(&graph, &runner, (data, &pairs), &gold, &options, set);
            let result = result.with_context(model)?;
            (100.0 * result.spearman, Figures::Pairs(result))
        }
    };
    let report = Report { metric: args.metric, points, figures, classes };
    emit(args.json, &report, || text(&report))
}

fn runner(args: &Eval, graph: &Graph, path: &Path) -> Result<Runner> {
    let runner = if args.reference { Runner::reference(graph) } else { Runner::session(graph) };
    runner.with_context(|| path.display().to_string())
}

/// The metric as the command line has it.
fn word(metric: MetricName) -> String {
    clap::ValueEnum::to_possible_value(&metric).map_or_else(String::new, |v| v.get_name().to_owned())
}

fn text(report: &Report) -> String {
    match &report.figures {
        Figures::Top1(Evaluation { n, top1, top5 }) => {
            let of = report.classes.as_ref().map_or(String::new(), |c| format!(" of {} classes", c.len()));
            format!("{n} samples{of}: top-1 {top1:.3} %, top-5 {top5:.3} %")
        }
        Figures::Auc(AucFigures { n, auc, accuracy }) => {
            format!("{n} scores: area under the ROC curve {auc:.5}, {accuracy:.3} % on the right side")
        }
        Figures::Fidelity(f) => format!(
            "{} samples: same decision {:.3} %, mean cosine {:.6}, SQNR {}, mean error {:.5}, largest {:.4}",
            f.n,
            f.agreement,
            f.cosine,
            decibels(f.sqnr_db, 2),
            f.mean_error,
            f.max_error
        ),
        Figures::Pairs(PairFigures { n, spearman }) => {
            format!("{n} pairs: Spearman's rank correlation {spearman:.5}")
        }
    }
}
