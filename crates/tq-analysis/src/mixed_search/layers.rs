//! What each layer costs and errs with each candidate.

use super::bench::Bench;
use super::{Budget, SearchOptions};
use crate::sensitivity::{LayerNoise, Noises, few_rows};
use crate::{AnalysisError, LatencyOptions, Runner, measure};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tq_graph::Graph;
use tq_passes::{Configuration, NodeReport, Placement, QConfigDict, fuse, prepare_static};

/// A candidate for one layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Choice {
    /// Its place among the candidates.
    pub(super) candidate: usize,
    /// Bytes of the layer's constants, or nanoseconds of a run.
    pub(super) cost: f64,
    /// Energy of the error that it puts into the output, relative to that of the output.
    pub(super) noise: f64,
}

/// A layer with weights.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) node: String,
    /// The clamps in its epilogue, which go with it.
    clamps: Vec<String>,
    pub(super) choices: Vec<Choice>,
}

/// All layers that can be chosen for.
#[derive(Debug)]
pub(super) struct Layers {
    pub(super) layers: Vec<Layer>,
    pub(super) skipped: Vec<(String, String)>,
    /// What all other layers get.
    base: usize,
}

impl Layers {
    /// Quantizes the model once with each candidate and looks at every layer of it alone.
    pub(super) fn new(bench: &Bench<'_>, budget: Budget) -> Result<Self, AnalysisError> {
        let candidates = &bench.options.candidates;
        let base = candidates.iter().position(|c| c.qconfig.is_some()).ok_or_else(|| {
            AnalysisError::Search("of the candidates none quantizes: there is nothing to choose".into())
        })?;
        let mut float = bench.model.clone();
        fuse(&mut float)?;
        let all = bench.batches();
        let mut found: BTreeMap<usize, Layer> = BTreeMap::new();
        let mut skipped = Vec::new();
        for (i, candidate) in candidates.iter().enumerate() {
            if candidate.qconfig.is_none() {
                continue;
            }
            let configuration = uniform(bench.options, i);
            let placements = prepare_static(bench.model.clone(), configuration.clone())?.placements();
            let quantized = bench.quantized(&configuration, &all)?;
            let noises =
                Noises::measure(&float, &quantized, bench.options.output.as_deref(), few_rows(&all)?, false)?;
            if i == base {
                skipped.extend(noises.unmatched.into_iter().map(|u| (u.node, u.reason)));
            }
            let order: HashMap<&str, usize> =
                placements.iter().enumerate().map(|(at, p)| (p.node.as_str(), at)).collect();
            for noise in noises.layers {
                let Some(at) = order.get(noise.node.as_str()) else { continue };
                if !has_weights(&noise) {
                    continue;
                }
                let layer = found.entry(*at).or_insert_with(|| Layer {
                    node: noise.node.clone(),
                    clamps: clamps(&placements, &noise.node),
                    choices: float_choice(bench.options, &noise, budget),
                });
                let relative = 10f64.powf(-noise.output.sqnr_db() / 10.0);
                layer.choices.push(Choice {
                    candidate: i,
                    cost: cost(&noise, 0, budget)?,
                    noise: if relative.is_nan() { f64::INFINITY } else { relative },
                });
            }
        }
        let layers: Vec<Layer> = found.into_values().collect();
        if layers.is_empty() {
            return Err(AnalysisError::Search("no candidate quantizes the weights of any layer".into()));
        }
        Ok(Self { layers, skipped, base })
    }

    /// The configuration that gives each layer the candidate at its place.
    pub(super) fn configuration(&self, options: &SearchOptions, candidates: &[usize]) -> Configuration {
        let mut configuration = uniform(options, self.base);
        for (layer, candidate) in self.layers.iter().zip(candidates) {
            if *candidate != self.base && !options.exclude.contains(&layer.node) {
                let qconfig = options.candidates[*candidate].qconfig.clone();
                for name in layer.clamps.iter().chain([&layer.node]) {
                    configuration.dict = configuration.dict.set_module_name(name, qconfig.clone());
                }
            }
        }
        configuration
    }
}

/// One candidate for everything but what is excluded.
pub(super) fn uniform(options: &SearchOptions, candidate: usize) -> Configuration {
    let dict = QConfigDict::new().set_global(options.candidates[candidate].qconfig.clone());
    let dict = options.exclude.iter().fold(dict, |d, name| d.set_module_name(name, None));
    Configuration { backend: options.backend.clone(), dict }
}

/// Whether the layer has real constants of two axes or more, which are less as codes.
fn has_weights(noise: &LayerNoise) -> bool {
    let of_floats = noise.parts[1].values.iter().filter_map(|v| v.constant.as_ref());
    noise.bytes[0] < noise.bytes[1] && of_floats.into_iter().any(|t| t.dtype().is_float() && t.rank() >= 2)
}

/// The clamps that run within `node`.
fn clamps(placements: &[NodeReport], node: &str) -> Vec<String> {
    let of_node =
        placements.iter().filter(|n| matches!(&n.placement, Placement::Epilogue { of } if of == node));
    of_node.map(|n| n.node.clone()).collect()
}

/// The layer in float, where that is a candidate: it errs not at all.
fn float_choice(options: &SearchOptions, noise: &LayerNoise, budget: Budget) -> Vec<Choice> {
    let candidate = options.candidates.iter().position(|c| c.qconfig.is_none());
    let cost = candidate.and_then(|c| cost(noise, 1, budget).ok().map(|cost| (c, cost)));
    cost.map(|(candidate, cost)| Choice { candidate, cost, noise: 0.0 }).into_iter().collect()
}

/// Bytes, or the time of the quantized (0) or float (1) layer by itself.
fn cost(noise: &LayerNoise, which: usize, budget: Budget) -> Result<f64, AnalysisError> {
    match budget {
        Budget::Drop(_) | Budget::Bytes(_) => Ok(noise.bytes[which] as f64),
        Budget::Latency(_) => time(&noise.parts[which], &noise.reads),
    }
}

/// Milliseconds of a run, by the median of few.
fn time(part: &Graph, reads: &[tq_graph::Tensor]) -> Result<f64, AnalysisError> {
    let options = LatencyOptions { warmup: 1, min_runs: 3, max_runs: 50, budget: Duration::from_millis(20) };
    let runner = Runner::session(part)?;
    Ok(measure(&options, || runner.run(reads).map(drop))?.median_ms)
}
