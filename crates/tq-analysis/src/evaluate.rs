//! Running a model over data for figures other than top-1.

use crate::accuracy::{EvalOptions, find_output, nth};
use crate::{AnalysisError, Dataset, Fidelity, FidelityFigures, PairSimilarity, RocAuc, Runner};
use tq_graph::{Graph, Tensor};

/// How well a detector tells two classes apart.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct AucFigures {
    /// Scores evaluated.
    pub n: usize,
    /// Area under the ROC curve, from 0 to 1.
    pub auc: f64,
    /// Percent of scores on the right side of the threshold.
    pub accuracy: f64,
}

/// How well similarities of embeddings follow gold scores.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct PairFigures {
    /// Pairs evaluated.
    pub n: usize,
    /// Spearman's rank correlation, from -1 to 1.
    pub spearman: f64,
}

/// The output that is looked at, batch by batch: `take` is given it without filling, and the rows of the batch.
fn each_output(
    graph: &Graph,
    runner: &Runner,
    data: &Dataset,
    options: &EvalOptions,
    mut take: impl FnMut(&str, Tensor, usize) -> Result<(), AnalysisError>,
) -> Result<(), AnalysisError> {
    let (index, name) = find_output(graph, options.output.as_deref())?;
    for batch in data.batches(options.batch) {
        let batch = batch?;
        let outputs = runner.run(&batch.inputs)?;
        take(name, batch.trim(nth(&outputs, index, name)?.clone())?, batch.rows)?;
    }
    Ok(())
}

/// Runs a detector over data with one label, 0 or 1, for each of its scores, in order.
/// `progress` is told the rows done after every batch.
///
/// # Errors
/// [`AnalysisError::Labels`] when there are not as many labels as scores, otherwise as [`RocAuc::add`],
/// [`RocAuc::area`], [`Runner::run`] and [`Dataset::batches`].
pub fn evaluate_auc(
    graph: &Graph,
    runner: &Runner,
    data: &Dataset,
    labels: &[i64],
    threshold: f64,
    options: &EvalOptions,
    mut progress: impl FnMut(usize),
) -> Result<AucFigures, AnalysisError> {
    let (mut auc, mut rows) = (RocAuc::default(), 0);
    each_output(graph, runner, data, options, |name, scores, n| {
        // `[n, 2]` is one score a row, everything else one an element.
        let two_classes = scores.dims().first() == Some(&n) && scores.len() == 2 * n;
        let count = if two_classes { n } else { scores.len() };
        let Some(labels) = labels.get(auc.n()..auc.n() + count) else {
            return Err(AnalysisError::Labels(format!(
                "{} labels, but there are at least {} scores",
                labels.len(),
                auc.n() + count
            )));
        };
        auc.add(name, &scores, labels)?;
        rows += n;
        progress(rows);
        Ok(())
    })?;
    if auc.n() != labels.len() {
        return Err(AnalysisError::Labels(format!("{} labels for {} scores", labels.len(), auc.n())));
    }
    Ok(AucFigures { n: auc.n(), auc: auc.area()?, accuracy: auc.accuracy(threshold) })
}

/// Runs a model and another, usually the float one that it was made from, over the same data; neither is given labels.
/// An output that is no rows of scores decides at `threshold`. `progress` is told the rows done after every batch.
///
/// # Errors
/// [`AnalysisError::Incomparable`] when outputs differ in shape, otherwise as [`Runner::run`] and [`Dataset::batches`].
pub fn evaluate_against(
    (graph, runner): (&Graph, &Runner),
    (against, reference): (&Graph, &Runner),
    data: &Dataset,
    threshold: f64,
    options: &EvalOptions,
    mut progress: impl FnMut(usize),
) -> Result<FidelityFigures, AnalysisError> {
    let (index, name) = find_output(graph, options.output.as_deref())?;
    let (reference_index, _) = find_output(against, options.output.as_deref())?;
    let (mut fidelity, mut done) = (Fidelity::new(threshold), 0);
    for batch in data.batches(options.batch) {
        let batch = batch?;
        let (x, y) = (reference.run(&batch.inputs)?, runner.run(&batch.inputs)?);
        let x = batch.trim(nth(&x, reference_index, name)?.clone())?;
        let y = batch.trim(nth(&y, index, name)?.clone())?;
        fidelity.add(name, &x, &y, batch.rows)?;
        done += batch.rows;
        progress(done);
    }
    Ok(fidelity.figures())
}

/// Runs an encoder over both sides of pairs: row `i` of `a` and row `i` of `b` have the gold score `gold[i]`.
/// `progress` is told the rows done, of both sides together, after every batch.
///
/// # Errors
/// [`AnalysisError::Labels`] when there are not as many gold scores as pairs or they have no order, otherwise as
/// [`PairSimilarity::add`], [`Runner::run`] and [`Dataset::batches`].
pub fn evaluate_pairs(
    graph: &Graph,
    runner: &Runner,
    (a, b): (&Dataset, &Dataset),
    gold: &[f64],
    options: &EvalOptions,
    mut progress: impl FnMut(usize),
) -> Result<PairFigures, AnalysisError> {
    if a.rows() != b.rows() {
        return Err(AnalysisError::Labels(format!("{} rows against {} of their pairs", a.rows(), b.rows())));
    }
    let (mut name, mut done) = (String::new(), 0);
    let mut side = |data: &Dataset| {
        let mut parts = Vec::new();
        each_output(graph, runner, data, options, |output, embeddings, rows| {
            name = output.to_owned();
            parts.push(embeddings);
            done += rows;
            progress(done);
            Ok(())
        })?;
        crate::concat_rows(&parts)
    };
    let (x, y) = (side(a)?, side(b)?);
    let mut pairs = PairSimilarity::default();
    pairs.add(&name, &x, &y)?;
    Ok(PairFigures { n: a.rows(), spearman: pairs.correlation(gold)? })
}
