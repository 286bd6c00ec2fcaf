//! Values that the codes of an activation cut off.

use super::activations::Activation;
use super::calibration::is_too_narrow;
use super::input_range::is_other;
use super::survey::Survey;
use super::suspect::{Suspect, short, some};
use super::trial::Edit;
use super::{Evidence, FindingKind};

/// Where a range is chosen by squared error what it cuts off costs less than rounding does: widening a range has to cost as much as it
/// saves there, and rounding grows by its square. Three times as much as rounding is clipping that no such choice explains.
const OVER_ROUNDING: f64 = 3.0;

/// A repair has to take half of the noise away: what is cut off was at least three quarters of it, and wider steps cost a part.
const HALF: f64 = 0.5;

pub(super) fn detect(survey: &Survey<'_>) -> Vec<Suspect> {
    // What suits the calibration data is the fault of that data.
    let told = |a: &&Activation| is_clipped(a) && !is_too_narrow(a) && !is_other(survey, a);
    survey.activations.iter().filter(told).filter_map(of).collect()
}

/// Whether what is cut off makes most of the error of this activation.
pub(super) fn is_clipped(a: &Activation) -> bool {
    a.seen.beyond > 0 && a.seen.clipped >= OVER_ROUNDING * a.seen.rounding
}

/// The activation as it is, and with a range that holds the data.
pub(super) fn edits(a: &Activation) -> Option<[Edit; 2]> {
    let (lo, hi) = a.seen.data_range()?;
    let wide = (lo.min(a.seen.range.0), hi.max(a.seen.range.1));
    let after = a.seen.params_for(wide, a.seen.scheme)?;
    Some([a.as_it_is(), a.with(after)])
}

fn of(a: &Activation) -> Option<Suspect> {
    let ([before, after], (lo, hi)) = (edits(a)?, a.seen.data_range()?);
    let range = a.seen.range;
    Some(Suspect {
        kind: FindingKind::ClippedActivations,
        nodes: a.nodes.clone(),
        tensor: Some(a.tensor.clone()),
        says: format!(
            "{} % of the values of {} lie beyond its codes, which reach from {} to {}; the data reaches from {} to {}.",
            short(a.seen.saturated()),
            a.tensor,
            short(f64::from(range.0)),
            short(f64::from(range.1)),
            short(f64::from(lo)),
            short(f64::from(hi)),
        ),
        evidence: evidence(a),
        advice: format!(
            "Give the activation a range that holds the data: calibrate with rows like these, and with `--observer min-max`, or \
             `mse`, `histogram` or a larger `percentile` (a rule `[[name]]` for {} with `activation = {{ observer = \
             \"percentile\", percentile = 99.999 }}`).",
            some(&a.nodes)
        ),
        before: vec![before],
        after: vec![after],
        lessens: HALF,
    })
}

/// The numbers of what is cut off.
pub(super) fn evidence(a: &Activation) -> Vec<Evidence> {
    let seen = &a.seen;
    let (lo, hi) = seen.data_range().unwrap_or_default();
    // How much further than its end the data goes on the worse side.
    let over = |data: f32, end: f32| if end == 0.0 { 1.0 } else { f64::from(data) / f64::from(end) };
    let beyond = over(lo, seen.range.0).max(over(hi, seen.range.1));
    let part = seen.clipped / (seen.clipped + seen.rounding).max(f64::MIN_POSITIVE);
    vec![
        Evidence { what: "values beyond the codes", value: seen.saturated(), unit: "%" },
        Evidence { what: "data over the range", value: beyond, unit: "x" },
        Evidence { what: "clipping in the tensor's error", value: 100.0 * part, unit: "%" },
    ]
}
