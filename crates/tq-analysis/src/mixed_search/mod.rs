//! Bits layer by layer: the smallest model that keeps its answers, the best one of a size, or one that is fast enough.

mod bench;
mod front;
mod layers;

use crate::{AnalysisError, Dataset};
use bench::Bench;
use front::Front;
use layers::Layers;
use serde::Serialize;
use tq_graph::Graph;
use tq_passes::{BackendConfig, Configuration, QConfig, int4_qconfig, int8_qconfig};

/// What a layer can be quantized with.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// A short name.
    pub name: String,
    /// The rule; `None` leaves the layer in float.
    pub qconfig: Option<QConfig>,
}

impl Candidate {
    /// A name and its rule.
    #[must_use]
    pub fn new(name: impl Into<String>, qconfig: impl Into<Option<QConfig>>) -> Self {
        Self { name: name.into(), qconfig: qconfig.into() }
    }
}

/// What a model is asked to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Budget {
    /// As small as it can be while it loses at most so many right answers, in percent points. Without labels the float
    /// model's decisions are the right answers.
    Drop(f64),
    /// As faithful as it can be with constants of at most so many bytes.
    Bytes(u64),
    /// As faithful as it can be with a run of one row in at most so many milliseconds, by the median, on this machine.
    Latency(f64),
}

/// How the search goes.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchOptions {
    /// What each layer can become. The first one that quantizes is also what layers without weights get.
    pub candidates: Vec<Candidate>,
    /// Models that are made and measured, at most; those of one candidate for all layers come first.
    pub measurements: usize,
    /// Rows a batch, where the model leaves that free.
    pub batch: Option<usize>,
    /// Name of the output that is looked at; the first one when not given.
    pub output: Option<String>,
    /// Decision threshold of outputs that are no rows of classes.
    pub threshold: f64,
    /// Which operators take which types.
    pub backend: BackendConfig,
    /// Nodes and modules that stay in float.
    pub exclude: Vec<String>,
}

impl Default for SearchOptions {
    /// Float, [`int8_qconfig`] and [`int4_qconfig`] for each layer, 16 measurements.
    fn default() -> Self {
        Self {
            candidates: vec![
                Candidate::new("float", None),
                Candidate::new("int8", int8_qconfig()),
                Candidate::new("int4", int4_qconfig()),
            ],
            measurements: 16,
            batch: Some(8),
            output: None,
            threshold: 0.5,
            backend: BackendConfig::default(),
            exclude: Vec::new(),
        }
    }
}

/// One model that was made and measured, on data that it was not calibrated with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SearchPoint {
    /// `all NAME` for one candidate everywhere, else how many layers have which.
    pub name: String,
    /// The layers with weights, each with the name of its candidate.
    pub layers: Vec<(String, String)>,
    /// Bytes of all constants.
    pub bytes: u64,
    /// Right answers that are lost, in percent points; negative where some are gained.
    pub drop: f64,
    /// The standard error of that.
    pub drop_error: f64,
    /// Signal to quantization noise of the output in dB.
    pub sqnr_db: f64,
    /// Percent of decisions that are those of the float model.
    pub agreement: f64,
    /// Median run time of one row, where the budget is one of time.
    pub latency_ms: Option<f64>,
    /// Whether no other point is both smaller and more faithful (for a budget of time: faster and more faithful).
    pub pareto: bool,
    /// The configuration itself, to be calibrated with all the data.
    #[serde(skip)]
    pub configuration: Configuration,
}

/// The answer of [`mixed_precision_search`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MixedSearch {
    /// The place of the point that is recommended in `points`.
    pub chosen: usize,
    /// Whether it keeps the budget. Where none does, the point that comes nearest is recommended.
    pub met: bool,
    /// Rows that each point was measured on.
    pub rows: usize,
    /// True where there was but one batch, so that points were measured on what they were calibrated with.
    pub same_rows: bool,
    /// All that was measured, the smallest first.
    pub points: Vec<SearchPoint>,
    /// Quantized layers that could not be looked at by themselves and go with the first candidate, each with the reason.
    pub skipped: Vec<(String, String)>,
}

impl MixedSearch {
    /// The point that is recommended.
    #[must_use]
    pub fn point(&self) -> Option<&SearchPoint> {
        self.points.get(self.chosen)
    }

    /// The points that no other one beats, the smallest first.
    pub fn pareto(&self) -> impl Iterator<Item = &SearchPoint> {
        self.points.iter().filter(|p| p.pareto)
    }
}

/// Chooses what each layer with weights is quantized with.
///
/// The noise that a candidate puts into the output through a layer is estimated as
/// [`estimate_sensitivity`](crate::estimate_sensitivity) does, and is taken to add up. Of all assignments of candidates to layers
/// those on the lower convex hull of (cost, noise) are then known: each step makes that layer cheaper which costs the least
/// noise for what it saves (the greedy solution of the multiple-choice knapsack's relaxation, which is optimal on the hull).
/// Cost is the size of constants, or the measured time of the layer where the budget is one of time. Assignments along the hull
/// are made and measured as whole models, those next to the budget by halving; nothing is recommended that was not measured.
///
/// Every measurement is calibrated with every other batch of `data` and judged on the rest, then the other way round.
/// `labels` are the classes of the rows of `data`. `progress` is told the name of each model before it is made.
///
/// # Errors
/// [`AnalysisError::Search`] when no candidate quantizes anything; [`AnalysisError::Pass`] when the model is quantized
/// already or broken; [`AnalysisError::Labels`] when labels do not fit; and what running the float model says.
pub fn mixed_precision_search(
    model: &Graph,
    data: &Dataset,
    labels: Option<&[i64]>,
    budget: Budget,
    options: &SearchOptions,
    mut progress: impl FnMut(&str),
) -> Result<MixedSearch, AnalysisError> {
    let bench = Bench::new(model, data, labels, options)?;
    progress("what each layer costs and errs");
    let layers = Layers::new(&bench, budget)?;
    let mut front = Front::new(&bench, &layers, budget);
    for candidate in 0..options.candidates.len() {
        if options.candidates[candidate].qconfig.is_some() {
            front.measure_uniform(candidate, &mut progress)?;
        }
    }
    front.approach_budget(&mut progress)?;
    front.fill(&mut progress)?;
    let (mut points, skipped) = (front.into_points(), layers.skipped);
    points.sort_by(|a, b| a.bytes.cmp(&b.bytes).then(b.sqnr_db.total_cmp(&a.sqnr_db)));
    mark_pareto(&mut points, budget);
    let (chosen, met) = choose(&points, budget).ok_or_else(|| {
        AnalysisError::Search("no assignment of the candidates could be made and measured".into())
    })?;
    Ok(MixedSearch { chosen, met, rows: bench.rows(), same_rows: bench.same_rows(), points, skipped })
}

/// What a point costs: bytes, or microseconds where the budget is one of time.
fn cost(point: &SearchPoint, budget: Budget) -> f64 {
    match (budget, point.latency_ms) {
        (Budget::Latency(_), Some(ms)) => ms,
        _ => point.bytes as f64,
    }
}

/// A number that is larger for a more faithful point, and the smallest of all for one that gives NaN.
fn faith(point: &SearchPoint) -> f64 {
    if point.sqnr_db.is_nan() { f64::NEG_INFINITY } else { point.sqnr_db }
}

fn mark_pareto(points: &mut [SearchPoint], budget: Budget) {
    let figures: Vec<(f64, f64)> = points.iter().map(|p| (cost(p, budget), faith(p))).collect();
    for (i, point) in points.iter_mut().enumerate() {
        let (c, f) = figures[i];
        let beats = |(j, (oc, of)): (usize, &(f64, f64))| {
            (*oc <= c && *of > f) || (*oc < c && *of >= f) || (j < i && *oc == c && *of == f)
        };
        point.pareto = !figures.iter().enumerate().any(beats);
    }
}

/// Within the budget the cheapest (of a drop) or most faithful (of a cost); without one that keeps it the nearest.
fn choose(points: &[SearchPoint], budget: Budget) -> Option<(usize, bool)> {
    let order: Vec<(bool, f64, f64)> = points
        .iter()
        .map(|p| match budget {
            // NaN is never below a budget.
            Budget::Drop(most) => (p.drop <= most && !p.sqnr_db.is_nan(), p.bytes as f64, p.drop),
            Budget::Bytes(most) => (p.bytes <= most, -faith(p), p.bytes as f64),
            Budget::Latency(most) => {
                let ms = p.latency_ms.unwrap_or(f64::INFINITY);
                (ms <= most, -faith(p), ms)
            }
        })
        .collect();
    let least = |key: &dyn Fn(usize) -> f64, of: &dyn Fn(usize) -> bool| {
        (0..order.len()).filter(|i| of(*i)).min_by(|a, b| key(*a).total_cmp(&key(*b)))
    };
    match least(&|i| order[i].1, &|i| order[i].0) {
        Some(i) => Some((i, true)),
        None => least(&|i| order[i].2, &|_| true).map(|i| (i, false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(bytes: u64, drop: f64, sqnr_db: f64) -> SearchPoint {
        SearchPoint {
            name: String::new(),
            layers: Vec::new(),
            bytes,
            drop,
            drop_error: 0.0,
            sqnr_db,
            agreement: 100.0,
            latency_ms: None,
            pareto: false,
            configuration: Configuration::default(),
        }
    }

    #[test]
    fn the_front_is_what_nothing_beats() {
        let mut points = [point(10, 3.0, 5.0), point(20, 1.0, 4.0), point(30, 0.5, 9.0), point(30, 0.5, 9.0)];
        mark_pareto(&mut points, Budget::Drop(0.5));
        assert_eq!(points.map(|p| p.pareto), [true, false, true, false]);
    }

    #[test]
    fn the_budget_decides_and_what_misses_it_is_told() {
        let points =
            [point(10, 3.0, 5.0), point(20, 1.0, 8.0), point(30, 0.5, 9.0), point(40, -0.5, f64::NAN)];
        assert_eq!(choose(&points, Budget::Drop(1.0)), Some((1, true)));
        assert_eq!(choose(&points, Budget::Drop(0.0)), Some((3, false)));
        assert_eq!(choose(&points, Budget::Bytes(25)), Some((1, true)));
        assert_eq!(choose(&points, Budget::Bytes(5)), Some((0, false)));
        assert_eq!(choose(&[], Budget::Bytes(5)), None);
    }
}
