//! Findings in words: which cause an error has, and which setting to change.

mod activations;
mod asymmetric;
mod bias;
mod calibration;
mod clipped;
mod few_bits;
mod finding;
mod input_range;
mod island;
mod not_finite;
mod outlier_channels;
mod readers;
mod remedy;
mod seen;
mod survey;
mod suspect;
mod trial;
mod unexplained;
mod weights;
mod wide_range;

pub use finding::{Advice, Evidence, Finding, FindingKind};
pub use unexplained::Unexplained;

use crate::origin::origin;
use crate::{AnalysisError, Dataset, Runner};
use rayon::prelude::*;
use std::collections::HashSet;
use survey::Survey;
use tq_graph::{Graph, infer};

/// What is looked at.
#[derive(Debug, Clone)]
pub struct AdviceOptions {
    /// Rows of the data that are looked at, at least, where there are so many.
    pub rows: usize,
    /// Rows a batch, where the models leave that free.
    pub batch: Option<usize>,
    /// Name of the output whose error is explained; the first one when not given.
    pub output: Option<String>,
    /// The data that the model was calibrated with, where it is at hand: it tells a range that cuts off too much from data that
    /// calibration has not seen.
    pub calibration: Option<Dataset>,
}

impl Default for AdviceOptions {
    fn default() -> Self {
        Self { rows: 64, batch: Some(8), output: None, calibration: None }
    }
}

/// Looks for the causes of a quantized model's error, and for what costs it time.
///
/// Data goes through the float model; what it makes of each quantized tensor points to causes ([`FindingKind`]). Each of these
/// is then repaired: the float model runs with that tensor quantized as it is, and with the cause taken away and nothing
/// else changed, as with a range that holds the data, or with a scale for each channel. A cause is told where the
/// repair takes away most of what the tensor adds to the output's error, and at least a twentieth of the model's. Names and types of
/// models play no part. Of several causes in one tensor that is told which explains most.
///
/// Activations whose scales come from the data of every run are not looked at.
///
/// # Errors
/// [`AnalysisError::Empty`] without data, [`AnalysisError::Output`] where there is no such output, [`AnalysisError::Pass`] and
/// [`AnalysisError::Graph`] for a broken model, and what running the models says.
///
/// ```
/// # use tq_analysis::{AnalysisError, Dataset};
/// # use tq_graph::Graph;
/// # fn show(model: &Graph, quantized: &Graph, data: &Dataset) -> Result<(), AnalysisError> {
/// use tq_analysis::{AdviceOptions, advise};
/// let advice = advise(model, quantized, data, &AdviceOptions::default())?;
/// for finding in &advice.findings {
///     println!("{:.0} % of the error: {}\n{}", finding.share, finding.says, finding.advice);
/// }
/// # Ok(())
/// # }
/// ```
pub fn advise(
    float: &Graph,
    quantized: &Graph,
    data: &Dataset,
    options: &AdviceOptions,
) -> Result<Advice, AnalysisError> {
    let mut quantized = quantized.clone();
    infer::infer(&mut quantized)?;
    let given = float;
    let float = origin(given, &quantized)?;
    let output = options.output.as_deref();
    let from = (data, options.calibration.as_ref());
    let survey = Survey::new(&float, &quantized, from, output, (options.batch, options.rows.max(1)))?;
    let model = Runner::session(&quantized)?;
    let error = trial::error(&model, &survey.rows)?;
    let total = error.relative_noise();

    let mut suspects = input_range::detect(&survey);
    suspects.extend(clipped::detect(&survey));
    suspects.extend(calibration::detect(&survey));
    suspects.extend(wide_range::detect(&survey));
    suspects.extend(outlier_channels::detect(&survey));
    suspects.extend(asymmetric::detect(&survey));
    suspects.extend(weights::detect(&survey)?);
    suspects.extend(few_bits::detect(&survey)?);
    suspects.extend(bias::detect(&survey));
    let judged = suspects.into_par_iter().map(|s| s.judge(&survey, total));
    let mut findings: Vec<Finding> =
        judged.collect::<Result<Vec<_>, AnalysisError>>()?.into_iter().flatten().collect();
    // The sort is stable: equal ones stay in the order of the detectors, on any number of threads.
    findings.sort_by(|a, b| b.noise.total_cmp(&a.noise));
    // Of other data nothing else can be said.
    findings.sort_by_key(|f| f.kind != FindingKind::InputRange);
    // Without finite values there is no error to explain, so it comes first.
    findings.splice(0..0, not_finite::detect(&survey));
    let mut told = HashSet::new();
    // Weights that several nodes read are a tensor of each.
    let shared = |t: &str| float.find_value(t).is_some_and(|v| float.constant(v).is_some());
    let key = |f: &Finding| f.tensor.clone().map(|t| (f.nodes.first().filter(|_| shared(&t)).cloned(), t));
    findings.retain(|f| key(f).is_none_or(|k| told.insert(k)));
    remedy::told(&survey, &mut findings, &model)?;
    let mut costs = bias::in_float(&survey);
    costs.extend(island::detect(&survey)?);
    costs.sort_by(|a, b| b.time_share.unwrap_or(0.0).total_cmp(&a.time_share.unwrap_or(0.0)));
    findings.extend(costs);
    let (rows, sqnr_db) = (survey.rows.rows, error.sqnr_db());
    let unexplained = match unexplained::is_unexplained(sqnr_db, &findings) {
        true => Some(unexplained::arises(given, &quantized, data, options)?),
        false => None,
    };
    Ok(Advice { rows, sqnr_db, findings, unexplained, skipped: survey.skipped })
}
