//! A large error without a cause that is known: at least the layer where it arises.

use super::{AdviceOptions, Finding, FindingKind};
use crate::{AnalysisError, Dataset, LayerError, QuantizationDebugger};
use serde::Serialize;
use std::fmt;
use tq_graph::Graph;

/// An error of more than a tenth of the signal's amplitude is large, in dB of signal over noise.
const LARGE: f64 = 20.0;

/// Findings of less than half of the error leave most of it open, in percent.
const MOST: f64 = 50.0;

/// Where an error arises that no finding explains.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Unexplained {
    /// The layer that errs most by itself, which need not be much; none where no layer can be held against the float model.
    pub layer: Option<LayerError>,
    /// Layers that could not be held against the float model, among which it may be.
    pub unmatched: usize,
}

impl fmt::Display for Unexplained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let few = |n: usize| if n == 1 { "1 layer was".to_owned() } else { format!("{n} layers were") };
        match &self.layer {
            // Its own error is not large: that of the output is made of many.
            Some(l) if l.introduced_db >= LARGE => write!(
                f,
                "no cause is known of most of the error, and no layer stands out: {} ({}) adds most, {:.1} dB of its own; the errors \
                 of many layers come together",
                l.node, l.op, l.introduced_db
            )?,
            Some(l) => write!(
                f,
                "no cause is known of most of the error; {} ({}) errs most by itself: {:.1} dB of its own, {:.1} dB inherited, {:.1} dB \
                 in all",
                l.node, l.op, l.introduced_db, l.inherited_db, l.total_db
            )?,
            None => write!(f, "no cause is known of most of the error, and no layer could be measured")?,
        }
        if self.unmatched > 0 {
            write!(f, "; {} not measured", few(self.unmatched))?;
        }
        Ok(())
    }
}

/// Whether the output errs much, and no one finding tells why.
pub(super) fn is_unexplained(sqnr_db: f64, findings: &[Finding]) -> bool {
    let tells =
        |f: &Finding| f.share >= MOST || matches!(f.kind, FindingKind::InputRange | FindingKind::NotFinite);
    (sqnr_db.is_nan() || sqnr_db < LARGE) && !findings.iter().any(tells)
}

/// The layer where the error arises, measured on as many rows as findings are.
pub(super) fn arises(
    float: &Graph,
    quantized: &Graph,
    data: &Dataset,
    options: &AdviceOptions,
) -> Result<Unexplained, AnalysisError> {
    let mut debugger = QuantizationDebugger::new(float, quantized, data)?.rows(options.rows);
    if let Some(rows) = options.batch {
        debugger = debugger.batch(rows);
    }
    let errors = debugger.calculate_layer_errors()?;
    let layer = errors.worst_first().first().map(|l| (*l).clone());
    Ok(Unexplained { layer, unmatched: errors.unmatched.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_is_blamed_for_a_large_error_alone() {
        let said = |introduced_db: f64| {
            let layer = LayerError {
                node: "fc".into(),
                op: "Gemm".into(),
                tensor: "y".into(),
                introduced_db,
                inherited_db: 25.9,
                total_db: 25.8,
                saturated: None,
                underflow: None,
                dead_codes: None,
            };
            Unexplained { layer: Some(layer), unmatched: 0 }.to_string()
        };
        assert!(said(3.0).contains("fc (Gemm) errs most by itself"), "{}", said(3.0));
        assert!(said(28.7).contains("no layer stands out"), "{}", said(28.7));
    }
}
