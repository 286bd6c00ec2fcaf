//! A cause that the data points to, and the repair that shows how much of the error is its doing.

use super::survey::Survey;
use super::trial::{Edit, noise};
use super::{Evidence, Finding, FindingKind};
use crate::AnalysisError;

/// What a detector has found, before it is known how much it matters.
#[derive(Debug)]
pub(super) struct Suspect {
    pub(super) kind: FindingKind,
    pub(super) nodes: Vec<String>,
    pub(super) tensor: Option<String>,
    pub(super) says: String,
    pub(super) evidence: Vec<Evidence>,
    pub(super) advice: String,
    /// The tensors as the quantized model has them.
    pub(super) before: Vec<Edit>,
    /// The same with the cause repaired.
    pub(super) after: Vec<Edit>,
    /// The part of the tensors' noise that a repair has to take away, for the cause to be called by this name.
    pub(super) lessens: f64,
}

/// A repair takes away three quarters of the noise where it makes steps half as large: less than one bit is no cause.
pub(super) const ONE_BIT: f64 = 0.75;

/// Less than a twentieth of the error (0.2 dB) is not worth a change of settings.
const LEAST_SHARE: f64 = 5.0;

/// Nor is an error that 8-bit codes of the output itself would make: 6.02 dB a bit and 1.76 dB, an SQNR of 50 dB in all, for a signal that
/// fills its range.
const LEAST_NOISE: f64 = 1e-5;

impl Suspect {
    /// The finding, if the repair takes away enough of the noise of these tensors and of the model's (`total`).
    pub(super) fn judge(self, survey: &Survey<'_>, total: f64) -> Result<Option<Finding>, AnalysisError> {
        // Data of another kind makes whatever else is measured with it void, however little it errs itself.
        let always = self.kind == FindingKind::InputRange;
        let before = noise(survey.float, &self.before, &survey.rows)?;
        // A model without error has no cause of it.
        if !always && (before < LEAST_NOISE || total == 0.0) {
            return Ok(None);
        }
        let after = noise(survey.float, &self.after, &survey.rows)?;
        let explained = before - after;
        // An output of NaN is an error without end, and what repairs it explains all of it.
        let all = before.is_infinite() && after.is_finite();
        let enough = all || explained >= self.lessens * before;
        let share =
            if total.is_infinite() { if all { 100.0 } else { 0.0 } } else { 100.0 * explained / total };
        let little = !enough || share.is_nan() || share < LEAST_SHARE || explained < LEAST_NOISE;
        if little && !always {
            return Ok(None);
        }
        // One that alone errs more than all errors do together, which cancel in part, is all of it.
        let share = share.min(100.0);
        // A repair that is none, and an error of nothing, explain nothing.
        let (explained, share) = match little {
            true => (0.0, 0.0),
            false => (explained, share),
        };
        let mut evidence = self.evidence;
        evidence.push(Evidence { what: NOISE, value: decibels(before), unit: "dB" });
        evidence.push(Evidence { what: REPAIRED, value: decibels(after), unit: "dB" });
        Ok(Some(Finding {
            kind: self.kind,
            nodes: self.nodes,
            tensor: self.tensor,
            says: self.says,
            evidence,
            // Files have no infinity.
            noise: explained.min(f64::MAX),
            share,
            time_share: None,
            advice: self.advice,
        }))
    }
}

/// Name of the evidence of what the output errs by these tensors alone.
pub(super) const NOISE: &str = "SQNR of the output with this error alone";
/// Name of the evidence of what is left of that.
pub(super) const REPAIRED: &str = "the same with the cause repaired";

/// Noise over signal as SQNR in dB, as everywhere: less is worse. Bounded, for it goes into files.
pub(super) fn decibels(noise: f64) -> f64 {
    -10.0 * libm::log10(noise.clamp(1e-32, 1e32))
}

/// A number with three digits, for sentences.
pub(super) fn short(x: f64) -> String {
    match x.abs() {
        0.0 => "0".into(),
        v if (1e-3..1e6).contains(&v) => {
            let digits = 2 - i32::try_from(libm::floor(libm::log10(v)) as i64).unwrap_or(0);
            format!("{x:.*}", digits.max(0) as usize)
        }
        _ => format!("{x:.2e}"),
    }
}

/// A few names, and how many more there are.
pub(super) fn some(names: &[String]) -> String {
    match names {
        [] => "no node".into(),
        [a] => a.clone(),
        [a, b] => format!("{a} and {b}"),
        [a, b, c] => format!("{a}, {b} and {c}"),
        [a, b, rest @ ..] => format!("{a}, {b} and {} more", rest.len()),
    }
}
