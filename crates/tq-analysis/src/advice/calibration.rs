//! Data that goes beyond what calibration has seen.

use super::activations::Activation;
use super::clipped::{edits, evidence, is_clipped};
use super::survey::Survey;
use super::suspect::{Suspect, short};
use super::{Evidence, FindingKind};

/// A repair has to take half of the noise away, as for one clipped activation.
const HALF: f64 = 0.5;

/// All activations whose codes suit the calibration data and cut off the data, as one finding: the data of calibration is one setting.
///
/// Where the calibration data is not known this cannot be told from an observer that cuts off too much.
pub(super) fn detect(survey: &Survey<'_>) -> Vec<Suspect> {
    let mut found: Vec<&Activation> = survey.activations.iter().filter(|a| is_too_narrow(a)).collect();
    found.sort_by(|a, b| clipping(b).total_cmp(&clipping(a)));
    let Some(first) = found.first() else { return Vec::new() };
    let pairs: Vec<_> = found.iter().filter_map(|a| edits(a)).collect();
    let ((lo, hi), seen) = (first.seen.data_range().unwrap_or_default(), first.calibration.as_ref());
    let (from, to) = seen.and_then(|s| s.data_range()).unwrap_or_default();
    let mut nodes: Vec<String> = Vec::new();
    for name in found.iter().flat_map(|a| a.nodes.first()) {
        if !nodes.contains(name) {
            nodes.push(name.clone());
        }
    }
    let mut numbers = vec![
        Evidence { what: "activations beyond what calibration saw", value: found.len() as f64, unit: "" },
        Evidence { what: "activations in all", value: survey.activations.len() as f64, unit: "" },
    ];
    numbers.extend(evidence(first));
    vec![Suspect {
        kind: FindingKind::NarrowCalibration,
        nodes,
        tensor: Some(first.tensor.clone()),
        says: format!(
            "The data goes beyond what calibration saw in {} of {} activations, most of all in {}: {} to {} against {} to {}; {} % of \
             its values are cut off.",
            found.len(),
            survey.activations.len(),
            first.tensor,
            short(f64::from(lo)),
            short(f64::from(hi)),
            short(f64::from(from)),
            short(f64::from(to)),
            short(first.seen.saturated()),
        ),
        evidence: numbers,
        advice: "Calibrate with data like this: more rows, all kinds of input, and the same preprocessing (`--preset`, `--scale`, \
                 `--mean`, `--std`); `tq calibrate` with `--shard` and `tq merge-calib` join the ranges of several parts."
            .into(),
        before: pairs.iter().map(|[before, _]| before.clone()).collect(),
        after: pairs.into_iter().map(|[_, after]| after).collect(),
        lessens: HALF,
    }]
}

/// Whether the codes hold the calibration data but not the data.
pub(super) fn is_too_narrow(a: &Activation) -> bool {
    let suits = |s: &super::seen::Seen| s.clipped <= s.rounding;
    is_clipped(a) && a.calibration.as_ref().is_some_and(|s| s.values > 0 && suits(s))
}

/// Energy that is cut off, in units of the step.
fn clipping(a: &Activation) -> f64 {
    a.seen.clipped / a.seen.rounding.max(f64::MIN_POSITIVE)
}
