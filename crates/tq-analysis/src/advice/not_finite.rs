//! Values of the float model that are NaN or infinite.

use super::survey::Survey;
use super::suspect::short;
use super::{Evidence, Finding, FindingKind};

/// The first such tensor, in the order in which they are computed: what comes after it has them from there.
///
/// It has no part of the error by itself, for there is no error to be had part of: codes of a NaN are those of the smallest value.
pub(super) fn detect(survey: &Survey<'_>) -> Option<Finding> {
    let producers = survey.float.producers();
    let bad = survey.activations.iter().filter(|a| a.seen.not_finite > 0);
    let a = bad.min_by_key(|a| producers[a.float.0].map_or(0, |n| n.0 + 1))?;
    let (count, all) = (a.seen.not_finite, a.seen.not_finite + a.seen.values);
    let part = 100.0 * count as f64 / all as f64;
    Some(Finding {
        kind: FindingKind::NotFinite,
        nodes: a.nodes.clone(),
        tensor: Some(a.tensor.clone()),
        says: format!(
            "{count} of {all} values of {} ({} %) are NaN or infinite in the float model itself, and no codes say that: figures of \
             errors mean nothing from there on.",
            a.tensor,
            short(part)
        ),
        evidence: vec![Evidence { what: "values that are not finite", value: part, unit: "%" }],
        noise: 0.0,
        share: 0.0,
        time_share: None,
        advice: format!(
            "Look at {} in the float model: a division by zero, a logarithm of what is not positive, or a sum that leaves f32. \
             `tq run FLOAT --reference` gives its answers; quantize when they are finite.",
            a.nodes.first().map_or("what gives it", String::as_str)
        ),
    })
}
