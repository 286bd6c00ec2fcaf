//! The judge: every quantized operator of a session against the reference evaluator in f64.
//!
//! Each operator is judged on the codes that the session itself gave it, so that differences do not add up along
//! the network: what is compared is one Dequantize, one operator, one Quantize, with nothing rounded between.
//!
//! The judge rounds once, halves to even. Of a model that requantizes in fixed point, which rounds twice, somewhat more codes are
//! the next one: about one in so many as sums that share a code.

use crate::error::{RuntimeError, StepError};
use crate::reference;
use crate::session::Session;
use crate::tap::Tap;
use serde::Serialize;
use std::fmt;
use tq_eval::Precision;
use tq_graph::{NodeId, Tensor};
use tq_qtypes::OperatorKind;

/// Share of codes that have to be those of the judge.
pub const REQUIRED_EQUAL: f64 = 0.999;

/// The most that a code may be off.
pub const ALLOWED_OFF: u32 = 1;

/// Results of a recurrent operator, each step judged from the state that the operator itself had, are compared as codes
/// from minus this to this over their range: within a step a tie may fall the other way.
const RECURRENT_CODES: f64 = 127.0;

/// What the judge found of one operator.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OperatorVerdict {
    /// Name of the node.
    pub node: String,
    /// Family of the operator.
    pub kind: OperatorKind,
    /// Codes compared.
    pub codes: u64,
    /// Codes that are those of the judge.
    pub equal: u64,
    /// The largest difference of two codes.
    pub max_off: u32,
    /// Where the operator leaves real numbers: the largest difference, relative to the largest of them.
    pub real_error: f64,
}

/// What the judge found of a session.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct JudgeReport {
    /// One entry an operator, in order; the codes of several judgements add up.
    pub operators: Vec<OperatorVerdict>,
}

impl JudgeReport {
    /// Codes compared, and how many of them are those of the judge.
    #[must_use]
    pub fn totals(&self) -> (u64, u64) {
        self.operators.iter().fold((0, 0), |(n, e), op| (n + op.codes, e + op.equal))
    }

    /// Share of codes that are those of the judge; 1 where there are none.
    #[must_use]
    pub fn equal_share(&self) -> f64 {
        match self.totals() {
            (0, _) => 1.0,
            (codes, equal) => equal as f64 / codes as f64,
        }
    }

    /// The largest difference of two codes.
    #[must_use]
    pub fn max_off(&self) -> u32 {
        self.operators.iter().map(|op| op.max_off).max().unwrap_or(0)
    }

    /// True where the session holds: of every operator at least [`REQUIRED_EQUAL`] of the codes equal (one tie
    /// is granted to those of less than a thousand), none off by more than [`ALLOWED_OFF`], real results within
    /// f32 rounding.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.operators.iter().all(|op| {
            let ties = ((1.0 - REQUIRED_EQUAL) * op.codes as f64).max(1.0);
            (op.codes - op.equal) as f64 <= ties && op.max_off <= ALLOWED_OFF && op.real_error <= 1e-5
        })
    }

    /// Adds another judgement of the same session.
    pub fn merge(&mut self, other: JudgeReport) {
        for theirs in other.operators {
            match self.operators.iter_mut().find(|op| op.node == theirs.node) {
                Some(ours) => {
                    ours.codes += theirs.codes;
                    ours.equal += theirs.equal;
                    ours.max_off = ours.max_off.max(theirs.max_off);
                    ours.real_error = ours.real_error.max(theirs.real_error);
                }
                None => self.operators.push(theirs),
            }
        }
    }
}

impl fmt::Display for JudgeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for op in self.operators.iter().filter(|op| op.equal < op.codes || op.real_error > 0.0) {
            writeln!(
                f,
                "{} ({}): {} of {} codes equal, off by {} at most, real error {:.1e}",
                op.node, op.kind, op.equal, op.codes, op.max_off, op.real_error
            )?;
        }
        let (codes, equal) = self.totals();
        write!(
            f,
            "{} operators, {equal} of {codes} codes equal ({:.4} %), off by {} at most",
            self.operators.len(),
            100.0 * self.equal_share(),
            self.max_off()
        )
    }
}

/// Runs `session` on `inputs` and judges each of its quantized operators.
///
/// # Errors
/// Those of the run, and of the reference evaluator.
pub fn judge(session: &Session, inputs: &[Tensor]) -> Result<JudgeReport, RuntimeError> {
    let mut report = JudgeReport::default();
    let mut failure = None;
    // All taps of a run show the same graph.
    let mut producers = None;
    session.run_tapped(inputs, &mut |tap| {
        if failure.is_none() {
            let producers = producers.get_or_insert_with(|| tap.graph.producers());
            match verdict(&tap, producers) {
                Ok(v) => report.operators.push(v),
                Err(source) => {
                    let node = tap.graph.node(tap.operator.node);
                    failure =
                        Some(RuntimeError::Node { node: node.name.clone(), op: node.op.name(), source });
                }
            }
        }
    })?;
    match failure {
        Some(e) => Err(e),
        None => Ok(report),
    }
}

/// How far two results are apart: infinitely where only one is a number, or they are different infinities.
fn difference(a: f64, b: f64) -> f64 {
    if a == b || (a.is_nan() && b.is_nan()) {
        return 0.0;
    }
    let d = (a - b).abs();
    if d.is_nan() { f64::INFINITY } else { d }
}

fn verdict(tap: &Tap<'_>, producers: &[Option<NodeId>]) -> Result<OperatorVerdict, StepError> {
    let expected =
        reference::evaluate(tap.graph, producers, tap.operator, &tap.inputs, &tap.outputs, Precision::F64)?;
    let mut verdict = OperatorVerdict {
        node: tap.graph.node(tap.operator.node).name.clone(),
        kind: tap.operator.kind,
        codes: 0,
        equal: 0,
        max_off: 0,
        real_error: 0.0,
    };
    for (got, expected) in tap.outputs.iter().zip(&expected) {
        if got.dims() != expected.dims() {
            return Err(StepError::Shape(format!("shape {:?}, judged {:?}", got.dims(), expected.dims())));
        }
        match (got.to_i64_vec(), expected.to_i64_vec()) {
            (Some(got), Some(expected)) => {
                for (a, b) in got.iter().zip(&expected) {
                    verdict.codes += 1;
                    verdict.equal += u64::from(a == b);
                    verdict.max_off = verdict.max_off.max(u32::try_from(a.abs_diff(*b)).unwrap_or(u32::MAX));
                }
            }
            _ if tap.operator.kind == OperatorKind::Recurrent => {
                let (got, expected) =
                    (got.to_f64_vec().unwrap_or_default(), expected.to_f64_vec().unwrap_or_default());
                let largest = expected.iter().fold(0.0f64, |m, v| m.max(v.abs())).max(f64::MIN_POSITIVE);
                for (a, b) in got.iter().zip(&expected) {
                    let code = |v: f64| (v / largest * RECURRENT_CODES).round_ties_even();
                    let off = difference(code(*a), code(*b));
                    verdict.codes += 1;
                    verdict.equal += u64::from(off == 0.0);
                    verdict.max_off = verdict.max_off.max(off as u32);
                }
            }
            _ => {
                let (got, expected) =
                    (got.to_f64_vec().unwrap_or_default(), expected.to_f64_vec().unwrap_or_default());
                let largest = expected.iter().fold(0.0f64, |m, v| m.max(v.abs())).max(f64::MIN_POSITIVE);
                let error = got.iter().zip(&expected).fold(0.0f64, |m, (a, b)| m.max(difference(*a, *b)));
                verdict.real_error = verdict.real_error.max(error / largest);
            }
        }
    }
    Ok(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_is_far_from_every_number() {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        assert_eq!([difference(1.0, 1.5), difference(nan, nan), difference(inf, inf)], [0.5, 0.0, 0.0]);
        assert_eq!([difference(nan, 1.0), difference(1.0, nan), difference(inf, -inf)], [inf; 3]);
    }
}
