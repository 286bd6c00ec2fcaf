//! Codes for values that do not come.

use super::activations::Activation;
use super::input_range::is_other;
use super::survey::Survey;
use super::suspect::{ONE_BIT, Suspect, short, some};
use super::{Evidence, FindingKind};

/// A sample of rows sees less than calibration did: half of the range may well be empty. A quarter of it, two bits, is not chance.
const QUARTER: u32 = 2;

/// What the default of `PercentileObserver` leaves out: 0.01 % of the values.
const FEW: f64 = 1e-4;

pub(super) fn detect(survey: &Survey<'_>) -> Vec<Suspect> {
    survey.activations.iter().filter(|a| !is_other(survey, a)).filter_map(of).collect()
}

fn of(a: &Activation) -> Option<Suspect> {
    let (seen, (lo, hi)) = (&a.seen, a.seen.data_range()?);
    // Where the data itself is narrow that is the range; else that of nearly all of it.
    let all = seen.holding_all_but(0.0).0 >= QUARTER;
    let (halves, nearly) = seen.holding_all_but(FEW);
    // Others that share the scale may need it.
    let end = seen.range.0.abs().max(seen.range.1.abs());
    let shared = a.group_size > hi.max(-lo) && a.group_size * (1u32 << QUARTER) as f32 > end;
    if halves < QUARTER || shared {
        return None;
    }
    let range = if all { (lo, hi) } else { nearly };
    let after = seen.params_for(range, seen.scheme)?;
    let span = |r: (f32, f32)| f64::from(r.1) - f64::from(r.0);
    let wider = span(seen.range) / span(range);
    let numbers = |r: (f32, f32)| format!("{} to {}", short(f64::from(r.0)), short(f64::from(r.1)));
    let (says, advice) = if all {
        (
            format!(
                "The codes of {} reach from {}, but the data only from {}: {} % of the codes are never used.",
                a.tensor,
                numbers(seen.range),
                numbers((lo, hi)),
                short(seen.dead_codes())
            ),
            format!(
                "Calibrate with rows like these and let an observer find the range: `--observer min-max`, `mse` or `histogram`, \
                 or a rule `[[name]]` for {} in place of a fixed range.",
                some(&a.nodes)
            ),
        )
    } else {
        (
            format!(
                "The codes of {} reach from {} for the sake of few values; nearly all of the data lies within {}, which \
                 would have codes {} times as fine.",
                a.tensor,
                numbers(seen.range),
                numbers(range),
                short(wider)
            ),
            format!(
                "Let the range cut off the few: `--observer mse`, `histogram` or `percentile`, or for this activation alone a rule \
                 `[[name]]` for {} with `activation = {{ observer = \"mse\" }}`.",
                some(&a.nodes)
            ),
        )
    };
    Some(Suspect {
        kind: FindingKind::WideRange,
        nodes: a.nodes.clone(),
        tensor: Some(a.tensor.clone()),
        says,
        evidence: vec![
            Evidence { what: "codes that no value becomes", value: seen.dead_codes(), unit: "%" },
            Evidence { what: "range over the repaired one", value: wider, unit: "x" },
            Evidence { what: "range over the data's", value: span(seen.range) / span((lo, hi)), unit: "x" },
        ],
        advice,
        before: vec![a.as_it_is()],
        after: vec![a.with(after)],
        lessens: ONE_BIT,
    })
}
