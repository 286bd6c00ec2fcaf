//! Symmetric codes for data on one side of zero.

use super::activations::Activation;
use super::survey::Survey;
use super::suspect::{Suspect, short, some};
use super::trial::Edit;
use super::{Evidence, FindingKind};
use tq_qtypes::QScheme;

/// The smaller side of the data reaches at most an eighth as far as the larger one: 7 of 16 codes are for nothing.
const ONE_SIDE: f32 = 8.0;

/// Affine codes for data on one side have half the step, and an eighth on the other side costs a part of that: a half of the noise at
/// least goes.
const HALF: f64 = 0.5;

/// All activations of this kind are one finding: the scheme is a setting of the model.
pub(super) fn detect(survey: &Survey<'_>) -> Vec<Suspect> {
    let found: Vec<(&Activation, Edit)> =
        survey.activations.iter().filter_map(|a| Some((a, repair(a)?))).collect();
    let Some((first, _)) = found.first() else { return Vec::new() };
    let (lo, hi) = first.seen.data_range().unwrap_or_default();
    let mut nodes: Vec<String> = Vec::new();
    for name in found.iter().flat_map(|(a, _)| a.nodes.first()) {
        if !nodes.contains(name) {
            nodes.push(name.clone());
        }
    }
    let more =
        if found.len() > 1 { format!(" So it is with {} activations.", found.len()) } else { String::new() };
    vec![Suspect {
        kind: FindingKind::AsymmetricData,
        says: format!(
            "{} lies on one side of zero ({} to {}), but its codes are symmetric: {} % of them are never used.{more}",
            first.tensor,
            short(f64::from(lo)),
            short(f64::from(hi)),
            short(first.seen.dead_codes()),
        ),
        tensor: Some(first.tensor.clone()),
        evidence: vec![
            Evidence { what: "codes that no value becomes", value: first.seen.dead_codes(), unit: "%" },
            Evidence { what: "activations", value: found.len() as f64, unit: "" },
        ],
        advice: format!(
            "Use affine codes for the activations of {}: `activation(MinMaxObserver::asymmetric())`, `scheme = \"affine\"` in \
             files, or the default of `--backend fbgemm` and `qnnpack`. A target that takes symmetric codes alone, such as \
             TensorRT, leaves no choice.",
            some(&nodes)
        ),
        nodes,
        before: found.iter().map(|(a, _)| a.as_it_is()).collect(),
        after: found.into_iter().map(|(_, edit)| edit).collect(),
        lessens: HALF,
    }]
}

/// Affine codes for the range that there is, without its empty side.
fn repair(a: &Activation) -> Option<Edit> {
    let (seen, (lo, hi)) = (&a.seen, a.seen.data_range()?);
    let (small, large) = (hi.min(-lo), hi.max(-lo));
    if seen.scheme != QScheme::Symmetric || large <= 0.0 || small * ONE_SIDE > large {
        return None;
    }
    let range =
        if hi > -lo { (lo.max(seen.range.0), seen.range.1) } else { (seen.range.0, hi.min(seen.range.1)) };
    Some(a.with(seen.params_for(range, QScheme::Affine)?))
}
