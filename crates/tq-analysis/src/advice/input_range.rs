//! Data at the model's inputs that is not of the kind that calibration saw: most of all, another preprocessing.

use super::activations::Activation;
use super::calibration::is_too_narrow;
use super::clipped::evidence;
use super::survey::Survey;
use super::suspect::{Suspect, short};
use super::{Evidence, FindingKind};

/// Data that reaches this many times as far as the codes is no sample that calibration happened to miss: bytes that nobody has
/// divided by 255, or by a standard deviation, do.
const BEYOND: f32 = 16.0;
/// Nor is data that uses less than one code in this many: fractions where bytes were expected.
const WITHIN: f32 = 1.0 / 32.0;

/// Nor is data of which more than half lies beyond the codes, however near: calibration has seen next to nothing of it. Percent.
const MOSTLY_BEYOND: f64 = 50.0;

/// A repair has to take half of the noise away, as for other ranges.
const HALF: f64 = 0.5;

/// Whether the data at an input is of another kind than its codes are for.
pub(super) fn is_other(survey: &Survey<'_>, a: &Activation) -> bool {
    let Some((lo, hi)) = a.seen.data_range() else { return false };
    let end = a.seen.range.0.abs().max(a.seen.range.1.abs());
    let (data, input) = (hi.max(-lo), survey.float.inputs.contains(&a.float));
    let far = data >= BEYOND * end || data <= WITHIN * end;
    // Where the calibration data is at hand, and the codes hold it, it is known that there was too little of it.
    let mostly = a.seen.saturated() > MOSTLY_BEYOND && !is_too_narrow(a);
    input && data > 0.0 && (far || mostly)
}

pub(super) fn detect(survey: &Survey<'_>) -> Vec<Suspect> {
    survey.activations.iter().filter(|a| is_other(survey, a)).filter_map(of).collect()
}

fn of(a: &Activation) -> Option<Suspect> {
    let (seen, (lo, hi)) = (&a.seen, a.seen.data_range()?);
    let ends = |(lo, hi): (f32, f32)| format!("{} to {}", short(f64::from(lo)), short(f64::from(hi)));
    let after = seen.params_for((lo, hi), seen.scheme)?;
    let beyond = match seen.saturated() {
        part if part > MOSTLY_BEYOND => format!("; {} % of its values lie beyond them", short(part)),
        _ => String::new(),
    };
    let mut numbers =
        vec![Evidence { what: "codes that no value becomes", value: seen.dead_codes(), unit: "%" }];
    numbers.extend(evidence(a));
    Some(Suspect {
        kind: FindingKind::InputRange,
        nodes: a.nodes.clone(),
        tensor: Some(a.tensor.clone()),
        says: format!(
            "The data at the input {} reaches from {}, and its codes from {}{}: this is not the kind of data that the model was \
             calibrated with. What follows here, the float model's answers too, is about such data.",
            a.tensor,
            ends((lo, hi)),
            ends(seen.range),
            beyond
        ),
        evidence: numbers,
        advice: "Give this data the preprocessing that calibration had: `--preset`, or `--scale`, `--mean` and `--std`. If this is \
                 what the model will get, it is the calibration that had another one: quantize again with data like this."
            .into(),
        before: vec![a.as_it_is()],
        after: vec![a.with(after)],
        lessens: HALF,
    })
}
