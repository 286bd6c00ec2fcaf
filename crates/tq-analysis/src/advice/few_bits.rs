//! Codes of less than 8 bits.

use super::activations::Activation;
use super::survey::{Survey, Weights};
use super::suspect::{ONE_BIT, Suspect, some};
use super::trial::Edit;
use super::{Evidence, FindingKind};
use crate::AnalysisError;
use tq_qtypes::{AffineParams, DType};

pub(super) fn detect(survey: &Survey<'_>) -> Result<Vec<Suspect>, AnalysisError> {
    let mut found: Vec<Suspect> = survey.activations.iter().filter_map(of_activation).collect();
    for w in &survey.weights {
        found.extend(of_weights(survey, w)?);
    }
    Ok(found)
}

fn of_activation(a: &Activation) -> Option<Suspect> {
    let bits = a.seen.bits();
    let after = eight_bits(&a.params, bits)?;
    Some(Suspect {
        kind: FindingKind::FewBits,
        says: format!("The values of {} have codes of {bits} bits.", a.tensor),
        evidence: vec![Evidence { what: "bits", value: f64::from(bits), unit: "bits" }],
        advice: advice(&a.nodes, "activations"),
        nodes: a.nodes.clone(),
        tensor: Some(a.tensor.clone()),
        before: vec![a.as_it_is()],
        after: vec![a.with(after)],
        lessens: ONE_BIT,
    })
}

fn of_weights(survey: &Survey<'_>, w: &Weights) -> Result<Option<Suspect>, AnalysisError> {
    let bits = used_bits(w);
    let (Some(values), Some(after)) = (w.values(survey), eight_bits(&w.params, bits)) else {
        return Ok(None);
    };
    let nodes = vec![w.node.clone()];
    Ok(Some(Suspect {
        kind: FindingKind::FewBits,
        says: format!("The weights of {} have codes of {bits} bits.", w.node),
        evidence: vec![Evidence { what: "bits", value: f64::from(bits), unit: "bits" }],
        advice: advice(&nodes, "weights"),
        nodes,
        tensor: Some(w.tensor.clone()),
        before: vec![Edit::quantized_operand(w.float, &values, &w.dims, &w.params)?],
        after: vec![Edit::quantized_operand(w.float, &values, &w.dims, &after)?],
        lessens: ONE_BIT,
    }))
}

/// Bits that the codes of weights need: those of their type, or less where a narrower range was asked for, as -7..=7 in i8.
fn used_bits(w: &Weights) -> u32 {
    let (lo, hi) = w.codes.iter().fold((0, 0), |(lo, hi), q| (lo.min(*q), hi.max(*q)));
    let whole = w.params.dtype.bits() as u32;
    if lo >= 0 && w.params.quant_min == 0 {
        return (i32::BITS - hi.leading_zeros()).clamp(1, whole);
    }
    // A code `q` needs the bits of its value and one for the sign.
    let of = |q: i32| i32::BITS - (if q < 0 { !q } else { q }).leading_zeros() + 1;
    of(lo).max(of(hi)).clamp(2, whole)
}

/// The same range, or more of it by less than a step, in as many steps as 8 bits have; `None` for 8 bits and more.
fn eight_bits(params: &AffineParams, bits: u32) -> Option<AffineParams> {
    let finer = 1i32 << 8u32.checked_sub(bits).filter(|b| *b > 0)?;
    let signed = params.quant_min < 0;
    let (dtype, lo, hi) = if signed { (DType::I8, -128, 127) } else { (DType::U8, 0, 255) };
    Some(AffineParams {
        dtype,
        quant_min: lo,
        quant_max: hi,
        granularity: params.granularity,
        scale: params.scale.iter().map(|s| s / finer as f32).collect(),
        zero_point: params.zero_point.iter().map(|z| (z * finer).clamp(lo, hi)).collect(),
    })
}

fn advice(nodes: &[String], what: &str) -> String {
    let nodes = some(nodes);
    format!(
        "Give {nodes} 8-bit {what}: a rule `[[name]]` with `qconfig = \"int8\"` or `QConfigDict::set_module_name(node, \
         int8_qconfig())`. `tq quantize --max-drop` chooses bits layer by layer, groups of weights (`--recipe w4`) make few bits \
         finer, and `tq qat` trains with them."
    )
}
