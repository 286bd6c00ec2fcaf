//! What is found wrong with a quantized model, and what to do about it.

use super::Unexplained;
use serde::Serialize;
use std::fmt;

/// The cause of an error, or of a cost, that quantization has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FindingKind {
    /// Few channels of an activation are far larger than the others, and all share one scale.
    OutlierChannels,
    /// Few channels of weights are far larger than the others, and all share one scale.
    OutlierWeights,
    /// The weights of a depthwise convolution share one scale although its channels differ.
    DepthwisePerTensor,
    /// Values of the data lie beyond what the codes of an activation can say.
    ClippedActivations,
    /// The codes of an activation reach far further than the data, or than nearly all of it.
    WideRange,
    /// Codes of less than 8 bits.
    FewBits,
    /// A bias that does not fit 32 bits at the scale of the accumulator.
    BiasOverflow,
    /// Nodes in float between operators in integers.
    FloatIsland,
    /// Symmetric codes for data that lies on one side of zero.
    AsymmetricData,
    /// Calibration has seen less than what the data holds.
    NarrowCalibration,
    /// The float model itself computes NaN or infinities.
    NotFinite,
    /// The data at an input is of another kind than its codes are for.
    InputRange,
}

impl FindingKind {
    /// A few words, for tables and headings.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            FindingKind::OutlierChannels => "outlier channels",
            FindingKind::OutlierWeights => "outlier channels of weights",
            FindingKind::DepthwisePerTensor => "depthwise weights with one scale",
            FindingKind::ClippedActivations => "clipped activations",
            FindingKind::WideRange => "range too wide",
            FindingKind::FewBits => "too few bits",
            FindingKind::BiasOverflow => "bias overflow",
            FindingKind::FloatIsland => "float island",
            FindingKind::AsymmetricData => "one-sided data in symmetric codes",
            FindingKind::NarrowCalibration => "calibration saw too little",
            FindingKind::NotFinite => "values that are not finite",
            FindingKind::InputRange => "other data than calibrated with",
        }
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.title())
    }
}

/// One number that a finding rests on.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evidence {
    /// What was measured.
    pub what: &'static str,
    /// The number.
    pub value: f64,
    /// Its unit: `%`, `dB` (of signal over noise, more being better), `bits`, `x` (a factor), `ms`, or empty for plain numbers.
    pub unit: &'static str,
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = match self.value.abs() {
            v if self.unit == "dB" && v >= crate::EXACT_DB => return write!(f, "{}: exact", self.what),
            v if v == v.trunc() && v < 1e7 => format!("{:.0}", self.value),
            v if (0.01..1e5).contains(&v) => {
                // Four digits say enough.
                let decimals = if v >= 100.0 {
                    1
                } else if v >= 1.0 {
                    2
                } else {
                    4
                };
                format!("{:.decimals$}", self.value)
            }
            _ => format!("{:.3e}", self.value),
        };
        let space = if self.unit.is_empty() || self.unit == "x" { "" } else { " " };
        write!(f, "{}: {value}{space}{}", self.what, self.unit)
    }
}

/// One thing that is wrong, with its evidence and what to change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The cause.
    pub kind: FindingKind,
    /// Names of the nodes that it concerns, the one that matters most first.
    pub nodes: Vec<String>,
    /// Name of the tensor in the float model, where it is one tensor that matters (or matters most).
    pub tensor: Option<String>,
    /// What was found, in a sentence.
    pub says: String,
    /// The numbers behind it.
    pub evidence: Vec<Evidence>,
    /// Energy of the error at the model's output that goes away when the cause is repaired, over the energy of the float
    /// model's output. Zero for what costs time alone.
    pub noise: f64,
    /// Percent of the quantized model's error at its output that this is, 100 at most. Causes interact, so that shares need not add
    /// up to 100.
    pub share: f64,
    /// Percent of the quantized model's run time, where the cause costs time.
    pub time_share: Option<f64>,
    /// What to change, in terms of `QConfig` and of the options of `tq quantize`.
    pub advice: String,
}

impl Finding {
    /// The number that is called so.
    #[must_use]
    pub fn evidence_of(&self, what: &str) -> Option<f64> {
        self.evidence.iter().find(|e| e.what == what).map(|e| e.value)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}", self.kind, self.says, self.advice)
    }
}

/// Findings about a quantized model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Advice {
    /// Rows of data that were looked at.
    pub rows: usize,
    /// Signal to quantization noise of the model's output on them, in dB.
    pub sqnr_db: f64,
    /// What was found: first what explains most of the error, then what costs time, by its share.
    pub findings: Vec<Finding>,
    /// Where the error arises, where it is large and no finding explains most of it.
    pub unexplained: Option<Unexplained>,
    /// Quantized tensors that could not be looked at, each with the reason.
    pub skipped: Vec<(String, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let show = |value: f64, unit| Evidence { what: "n", value, unit }.to_string();
        assert_eq!(show(12.0, "%"), "n: 12 %");
        assert_eq!(show(50.123_456, "x"), "n: 50.12x");
        assert_eq!(show(0.012_345, ""), "n: 0.0123");
        assert_eq!(show(-123.456, "dB"), "n: -123.5 dB");
        assert_eq!(show(1.5e-7, ""), "n: 1.500e-7");
        assert_eq!(show(2_147_483_648.0, ""), "n: 2.147e9");
    }
}
