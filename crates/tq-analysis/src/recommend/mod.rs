//! Which configuration to quantize a model with, found on calibration data alone.

mod judged;
mod ladder;
mod mixed;
mod rung;

use crate::{AnalysisError, Dataset, FidelityFigures};
use rung::Bench;
use serde::Serialize;
use std::fmt;
use tq_graph::Graph;
use tq_passes::{BackendConfig, Configuration, PassError};

/// What is asked of the configuration that [`recommend()`] looks for.
#[derive(Debug, Clone, PartialEq)]
pub struct RecommendOptions {
    /// Least signal to quantization noise of the output, in dB. The default of 20 dB is a convention, stated before any
    /// figure: the error has a tenth of the signal's amplitude, a hundredth of its energy.
    pub min_sqnr_db: f64,
    /// Share of multiplications in float at which the search for mixed precision gives up.
    pub max_float_share: f64,
    /// Rows a batch, where the model leaves that free.
    pub batch: Option<usize>,
    /// Name of the output that is looked at; all of them when not given, and the worst counts.
    pub output: Option<String>,
    /// Decision threshold of outputs that are no rows of classes, for the agreement that is told.
    pub threshold: f64,
    /// Which operators take which types.
    pub backend: BackendConfig,
    /// Nodes and modules that stay in float whatever is tried.
    pub exclude: Vec<String>,
}

impl Default for RecommendOptions {
    fn default() -> Self {
        Self {
            min_sqnr_db: 20.0,
            max_float_share: 0.5,
            batch: Some(8),
            output: None,
            threshold: 0.5,
            backend: BackendConfig::default(),
            exclude: Vec::new(),
        }
    }
}

/// What one configuration came to, on data that it was not calibrated with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrialFigures {
    /// Of the tensors that it is judged by the worst one, against the float model's.
    #[serde(flatten)]
    pub fidelity: FidelityFigures,
    /// Name of that tensor: a float output, or what an output of integers or of unknown shape is decided by.
    pub judged_by: String,
    /// Percent of elements that are the same in outputs of integers and booleans, where there are any.
    pub decisions: Option<f64>,
    /// Share of multiplications that run in integers.
    pub integer_share: f64,
    /// Bytes of all constants.
    pub parameter_bytes: u64,
    /// Estimated work of a batch: a multiplication in integers counts 1, one in float 4; where ranges are looked for at run
    /// time a quarter of those layers' work comes on top.
    pub work: u64,
    /// Whether activation ranges are found anew in every run.
    pub at_run_time: bool,
}

/// What came of a trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "why", rename_all = "snake_case")]
pub enum Verdict {
    /// The configuration that is recommended, and why this one.
    Chosen(String),
    /// Faithful enough, but another one is better.
    Surpassed(String),
    /// Not faithful enough, or not possible.
    Rejected(String),
}

impl Verdict {
    /// The reason.
    #[must_use]
    pub fn why(&self) -> &str {
        match self {
            Verdict::Chosen(why) | Verdict::Surpassed(why) | Verdict::Rejected(why) => why,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Chosen(why) => write!(f, "chosen: {why}"),
            Verdict::Surpassed(why) => write!(f, "good, but {why}"),
            Verdict::Rejected(why) => write!(f, "rejected: {why}"),
        }
    }
}

/// One configuration that was tried.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trial {
    /// A short name: the recipe, and what varies.
    pub name: String,
    /// What it does, in a sentence.
    pub description: String,
    /// The figures; none where it could not be made or run.
    #[serde(flatten)]
    pub figures: Option<TrialFigures>,
    /// What came of it.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The configuration itself.
    #[serde(skip)]
    pub configuration: Configuration,
}

/// The answer of [`recommend()`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recommendation {
    /// Name of the trial that is recommended.
    pub chosen: String,
    /// Whether it is as faithful as was asked for. Where nothing is, the most faithful trial is recommended.
    pub met: bool,
    /// What was asked for, in dB.
    pub min_sqnr_db: f64,
    /// Rows that every trial was judged on.
    pub rows: usize,
    /// Names of the tensors that every trial was judged by.
    pub judged_by: Vec<String>,
    /// True where there was but one batch, so that trials were judged on what they were calibrated with.
    pub same_rows: bool,
    /// Everything that was tried, in order.
    pub trials: Vec<Trial>,
}

impl Recommendation {
    /// The trial that is recommended.
    #[must_use]
    pub fn trial(&self) -> Option<&Trial> {
        self.trials.iter().find(|t| matches!(t.verdict, Verdict::Chosen(_)))
    }

    /// The configuration that is recommended: to be calibrated with all the data.
    #[must_use]
    pub fn configuration(&self) -> Configuration {
        self.trial().map(|t| t.configuration.clone()).unwrap_or_default()
    }
}

/// Tries a ladder of configurations on a float model and tells which one to take.
///
/// Every trial is calibrated with every other batch of `data` and judged on the rest, then the other way round: each row
/// judges, and none judges what it has calibrated. No label and no other data is looked at. A trial is as good as the
/// worst of the model's outputs; one of integers or of unknown shape, as the indices that a detector keeps, is judged by
/// the float tensors that it is decided by. Tried are 8-bit
/// activations and weights under several observers; where none of these is faithful, mixed precision (the layers that
/// suffer most keep float activations); in models of convolutions and other layers calibrated convolutions with linear
/// and recurrent layers quantized at run time; linear and recurrent layers quantized at run time, without and with
/// convolutions; 8-bit and half-precision weights alone. Of the trials that keep `min_sqnr_db` the one of least estimated work is
/// taken; of those within 2 % of it the smallest; of those within 2 % of that the most faithful, calibrated ranges
/// before those of every run.
///
/// The answer depends on the model, the data and the options alone. `progress` is told the name of each trial before
/// it is made.
///
/// # Errors
/// [`AnalysisError::Pass`] when the model is quantized already or broken, or calibration data is not finite; otherwise
/// those of running the float model on the data.
pub fn recommend(
    graph: &Graph,
    data: &Dataset,
    options: &RecommendOptions,
    mut progress: impl FnMut(&str),
) -> Result<Recommendation, AnalysisError> {
    let bench = Bench::new(graph, data, options)?;
    let mut trials: Vec<Trial> = Vec::new();
    for rung in ladder::static_rungs(options) {
        progress(&rung.name);
        trials.push(bench.trial(rung)?);
    }
    let passes = |t: &Trial| is_faithful(t, options);
    let best = most_faithful(&trials).and_then(|i| trials.get(i)).map(|t| t.configuration.clone());
    if !trials.iter().any(passes)
        && let Some(best) = &best
    {
        trials.extend(mixed::trials(&bench, best, options, &mut progress)?);
    }
    let hybrid = best.as_ref().and_then(|best| ladder::hybrid_rung(graph, best));
    for rung in hybrid.into_iter().chain(ladder::other_rungs(graph, options)) {
        progress(&rung.name);
        trials.push(bench.trial(rung)?);
    }
    let (chosen, met) = match cheapest(&trials, options) {
        Some(i) => (Some(i), true),
        None => (most_faithful(&trials), false),
    };
    let chosen = chosen.ok_or_else(|| {
        let why: Vec<String> = trials.iter().map(|t| format!("{}: {}", t.name, t.verdict.why())).collect();
        AnalysisError::Recommend(why.join("; "))
    })?;
    judge(&mut trials, chosen, met, options, crate::parameter_bytes(graph));
    Ok(Recommendation {
        chosen: trials[chosen].name.clone(),
        met,
        min_sqnr_db: options.min_sqnr_db,
        rows: bench.rows(),
        judged_by: bench.judged_by(),
        same_rows: bench.same_rows(),
        trials,
    })
}

fn sqnr(trial: &Trial) -> Option<f64> {
    trial.figures.as_ref().map(|f| f.fidelity.sqnr_db).filter(|s| !s.is_nan())
}

fn is_faithful(trial: &Trial, options: &RecommendOptions) -> bool {
    sqnr(trial).is_some_and(|s| s >= options.min_sqnr_db)
}

/// The first trial of the largest signal to noise.
fn most_faithful(trials: &[Trial]) -> Option<usize> {
    let mut best: Option<(usize, f64)> = None;
    for (i, trial) in trials.iter().enumerate() {
        if let Some(s) = sqnr(trial)
            && best.is_none_or(|(_, b)| s > b)
        {
            best = Some((i, s));
        }
    }
    best.map(|(i, _)| i)
}

/// How much more is as good as the same.
const NEAR: f64 = 1.02;

/// Of the faithful trials that of least work, then the smallest, then one of calibrated ranges, then the most faithful.
fn cheapest(trials: &[Trial], options: &RecommendOptions) -> Option<usize> {
    let figures = |i: &usize| trials[*i].figures.as_ref();
    let mut left: Vec<usize> = (0..trials.len()).filter(|i| is_faithful(&trials[*i], options)).collect();
    for cost in [|f: &TrialFigures| f.work, |f: &TrialFigures| f.parameter_bytes] {
        let least = left.iter().filter_map(figures).map(cost).min()?;
        left.retain(|i| figures(i).is_some_and(|f| cost(f) as f64 <= least as f64 * NEAR));
    }
    // Ranges that are known beforehand cost nothing at run time.
    let calibrated = |i: &usize| figures(i).is_some_and(|f| !f.at_run_time);
    if left.iter().any(calibrated) {
        left.retain(calibrated);
    }
    left.into_iter().reduce(|a, b| if sqnr(&trials[b]) > sqnr(&trials[a]) { b } else { a })
}

/// Says of every trial what came of it.
fn judge(trials: &mut [Trial], chosen: usize, met: bool, options: &RecommendOptions, float_bytes: u64) {
    let Some(best) = trials[chosen].figures.clone() else { return };
    let name = trials[chosen].name.clone();
    let floor = options.min_sqnr_db;
    for (i, trial) in trials.iter_mut().enumerate() {
        let Some(f) = &trial.figures else { continue };
        let s = f.fidelity.sqnr_db;
        if s.is_nan() {
            continue;
        }
        let percent = 100.0 * f.integer_share;
        trial.verdict = if i == chosen && f.integer_share == 0.0 && f.parameter_bytes >= float_bytes {
            Verdict::Chosen("no recipe that is as faithful finds anything to quantize in this model".into())
        } else if i == chosen && met {
            Verdict::Chosen(format!(
                "{s:.1} dB at {percent:.1} % of the multiplications in integers, none cheaper keeps {floor:.1} dB"
            ))
        } else if i == chosen {
            Verdict::Chosen(format!(
                "the most faithful of all, though {s:.1} dB is below the {floor:.1} dB asked for"
            ))
        } else if s < floor {
            Verdict::Rejected(format!(
                "{s:.1} dB in {} is below {floor:.1} dB, the same decision on {:.1} %",
                f.judged_by,
                f.decisions.unwrap_or(f.fidelity.agreement)
            ))
        } else if f.work as f64 > best.work as f64 * NEAR {
            Verdict::Surpassed(format!("{name} does more in integers"))
        } else if f.parameter_bytes as f64 > best.parameter_bytes as f64 * NEAR {
            Verdict::Surpassed(format!("{name} is smaller"))
        } else if f.at_run_time && !best.at_run_time {
            Verdict::Surpassed(format!("{name} is as cheap and looks for no ranges at run time"))
        } else {
            Verdict::Surpassed(format!("{name} is as cheap and has {:.1} dB", best.fidelity.sqnr_db))
        };
    }
}

/// Errors that no other configuration cures.
fn is_fatal(error: &PassError) -> bool {
    matches!(error, PassError::AlreadyQuantized { .. } | PassError::Graph(_) | PassError::NonFinite { .. })
}
