//! Mixed precision: the layers that suffer most from 8-bit activations keep float ones.

use super::ladder::Rung;
use super::rung::{Bench, Extent};
use super::{RecommendOptions, Trial, is_faithful};
use crate::AnalysisError;
use crate::sensitivity::alone;
use tq_passes::{Configuration, Placement, prepare_static, w8_qconfig};

/// Batches that the sensitivity of a layer is measured on: it only orders the layers.
const SAMPLED: usize = 1;

/// Tries `base` with the 1, 2, 4, … most sensitive nodes in float on 8-bit weights, until that is faithful or too much
/// of the work has become float.
///
/// The sensitivity of a node is the noise of the output when that node alone runs in integers.
pub(super) fn trials(
    bench: &Bench<'_>,
    base: &Configuration,
    options: &RecommendOptions,
    progress: &mut impl FnMut(&str),
) -> Result<Vec<Trial>, AnalysisError> {
    progress("int8-mixed: sensitivity of each layer");
    let order = by_sensitivity(bench, base)?;
    let mut out = Vec::new();
    let mut count = 1;
    while count < order.len() {
        let dict =
            order[..count].iter().fold(base.dict.clone(), |d, name| d.set_module_name(name, w8_qconfig()));
        let trial = bench.trial(Rung {
            name: format!("int8-mixed/{count}"),
            description: format!(
                "8-bit activations and weights, but float activations for {}",
                listed(&order[..count])
            ),
            configuration: Configuration { dict, ..base.clone() },
        })?;
        progress(&trial.name);
        let mostly_float =
            trial.figures.as_ref().is_some_and(|f| 1.0 - f.integer_share > options.max_float_share);
        let is_done = mostly_float || is_faithful(&trial, options);
        out.push(trial);
        if is_done {
            break;
        }
        count *= 2;
    }
    Ok(out)
}

/// The nodes that run in integers, the one that does most harm first.
fn by_sensitivity(bench: &Bench<'_>, base: &Configuration) -> Result<Vec<String>, AnalysisError> {
    let prepared = prepare_static(bench.graph.clone(), base.clone())?;
    let Some(qconfig) = base.dict.global().cloned() else { return Ok(Vec::new()) };
    let mut noise = Vec::new();
    let placements = prepared.placements();
    for node in &placements {
        if !matches!(node.placement, Placement::Integer { .. }) {
            continue;
        }
        let alone = alone(base, &placements, &node.node, &qconfig);
        // What cannot run in integers alone, as an operator that only passes codes on, does no harm of its own.
        if let Ok(figures) = bench.figures(&alone, Extent::sample(SAMPLED)) {
            let s = figures.fidelity.sqnr_db;
            noise.push((if s.is_nan() { f64::NEG_INFINITY } else { s }, node.node.clone()));
        }
    }
    noise.sort_by(|a, b| a.0.total_cmp(&b.0));
    Ok(noise.into_iter().map(|(_, name)| name).collect())
}

/// The first names of a list.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}
