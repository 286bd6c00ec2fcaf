//! What to do about outlier channels, tried before it is told.
//!
//! A scale for each channel shows that the channels are the cause, but is no setting: kernels take one scale for all that a
//! product sums over. What can be done is to even the channels out, or to leave what gives and what reads them in float: what gives
//! them alone would make codes of them all the same, and the weights that read them are small and have few codes.

use super::activations::Activation;
use super::seen::Seen;
use super::survey::Survey;
use super::suspect::{ONE_BIT, decibels, some};
use super::trial::{Edit, noise};
use super::weights::spec_of;
use super::{Evidence, Finding, FindingKind};
use crate::layers::{Tapped, values};
use crate::{AnalysisError, Runner};
use std::collections::HashSet;
use tq_graph::{Graph, NodeId, Op, ValueId};
use tq_passes::{EqualizationReport, equalize};
use tq_qtypes::AffineParams;

/// Name of the evidence of what the output errs by the tensor and the weights that read it.
const AS_IT_IS: &str = "SQNR of the output with the errors of these layers";
/// Name of the evidence of what is left of that.
const EVEN: &str = "the same with --equalize";
/// Name of the evidence of what leaving layers in float costs.
const COST: &str = "multiplications of the layers to be left in float";

/// Name of the evidence of what the output errs with all codes, simulated in the float model.
const ALL: &str = "SQNR of the output with all codes";
/// Name of the evidence of what is left of that.
const LEFT: &str = "the same with these layers in float";

/// What is left of the noise where leaving layers in float does more than a little: 1 dB.
const HELPS: f64 = 0.8;

/// Tells of each finding of outlier channels what helps.
pub(super) fn told(
    survey: &Survey<'_>,
    findings: &mut [Finding],
    quantized: &Runner,
) -> Result<(), AnalysisError> {
    let is_meant = |f: &&mut Finding| f.kind == FindingKind::OutlierChannels;
    let mut meant = findings.iter_mut().filter(is_meant).peekable();
    if meant.peek().is_none() {
        return Ok(());
    }
    let mut even = survey.float.clone();
    let report = equalize(&mut even)?;
    for finding in meant {
        let Some(a) = survey.activations.iter().find(|a| Some(&a.tensor) == finding.tensor.as_ref()) else {
            continue;
        };
        let about = about(survey.float, a.float);
        let names: Vec<String> = about.iter().map(|id| survey.float.node(*id).name.clone()).collect();
        let cost = share_of_work(quantized, &names);
        let words: Vec<String> = names.iter().map(|name| shell_word(name)).collect();
        let excluded = format!("`--exclude {}`", words.join(" "));
        let price = cost.map_or(String::new(), |c| format!(", {c:.1} % of the multiplications"));
        let float = left_in_float(survey, &about)?;
        let [all, rest] = float.map(decibels);
        finding.evidence.push(Evidence { what: ALL, value: all, unit: "dB" });
        finding.evidence.push(Evidence { what: LEFT, value: rest, unit: "dB" });
        let tried = match float[1] <= HELPS * float[0] {
            true => format!("tried, it gives {rest:.1} dB in place of {all:.1} dB"),
            false => format!("tried, it does little: {rest:.1} dB in place of {all:.1} dB"),
        };
        let helps = equalized(survey, a, &about, (&even, &report))?;
        finding.advice = match helps {
            Some([before, after]) => {
                finding.evidence.push(Evidence { what: AS_IT_IS, value: decibels(before), unit: "dB" });
                finding.evidence.push(Evidence { what: EVEN, value: decibels(after), unit: "dB" });
                format!(
                    "Even the channels out: `tq quantize --equalize`, or `equalize` before `prepare_static`. It scales them where \
                     they are made and, the other way, where they are read, and the float model answers the same. Or leave \
                     the layers before and after in float: {excluded}; {tried}. That costs the integer kernels of {}{price}.",
                    some(&names)
                )
            }
            None => format!(
                "Leave the layers before and after these channels in float: {excluded}, or `QConfigDict::set_module_name(node, None)`; {tried}. It costs the \
                 integer kernels of {}{price}. Scaling the channels (`--equalize`) does not help here, for what lies between the \
                 layers minds the size, or the weights that read them are as large.",
                some(&names)
            ),
        };
        finding.evidence.extend(cost.map(|value| Evidence { what: COST, value, unit: "%" }));
    }
    Ok(())
}

/// The nodes that must not be quantized for `value` to stay real: those that give it and those that read it, in both directions up to
/// the first that do more than pass channels on.
fn about(graph: &Graph, value: ValueId) -> Vec<NodeId> {
    let (producers, consumers) = (graph.producers(), graph.consumers());
    let (mut found, mut seen, mut open) = (Vec::new(), HashSet::new(), vec![value]);
    while let Some(v) = open.pop() {
        for id in &consumers[v.0] {
            if !seen.insert(*id) {
                continue;
            }
            found.push(*id);
            if passes_on(&graph.node(*id).op) {
                open.extend(graph.node(*id).output(0));
            }
        }
    }
    let mut at = Some(value);
    while let Some(id) = at.and_then(|v| producers[v.0]).filter(|id| seen.insert(*id)) {
        found.push(id);
        at = graph.node(id).input(0).filter(|_| passes_on(&graph.node(id).op));
    }
    found.sort();
    found
}

/// Whether the channels of what it gives are those of what it reads.
fn passes_on(op: &Op) -> bool {
    matches!(
        op,
        Op::Unary(_)
            | Op::Clip
            | Op::Identity
            | Op::MaxPool { .. }
            | Op::AveragePool { .. }
            | Op::Flatten { .. }
            | Op::Reshape { .. }
            | Op::Transpose { .. }
    )
}

/// Percent of the model's multiplications.
fn share_of_work(model: &Runner, names: &[String]) -> Option<f64> {
    let Runner::Session(session) = model else { return None };
    let nodes = session.explain().nodes;
    let sum = |of: &mut dyn Iterator<Item = u64>| of.fold(0, u64::saturating_add);
    let all = sum(&mut nodes.iter().map(|n| n.macs));
    let own = sum(&mut nodes.iter().filter(|n| names.contains(&n.node)).map(|n| n.macs));
    (all > 0).then(|| 100.0 * own as f64 / all as f64)
}

/// The error of the output with all codes, and with those of these layers left out: what they read and their weights.
fn left_in_float(survey: &Survey<'_>, about: &[NodeId]) -> Result<[f64; 2], AnalysisError> {
    let (mut all, mut rest) = (Vec::new(), Vec::new());
    for a in &survey.activations {
        all.push(a.as_it_is());
        let readers = a.readers.without(about);
        if !readers.is_empty() {
            rest.push(Edit::Quantize { value: a.float, params: a.params.clone(), readers });
        }
    }
    for w in &survey.weights {
        let Some(values) = w.values(survey) else { continue };
        let edit = Edit::quantized_operand(w.float, &values, &w.dims, &w.params)?;
        if !about.contains(&w.float.node) {
            rest.push(edit.clone());
        }
        all.push(edit);
    }
    Ok([noise(survey.float, &all, &survey.rows)?, noise(survey.float, &rest, &survey.rows)?])
}

/// The error of the output by the activation and the weights of the layers about it, as they are and with channels evened out;
/// none where that takes not enough of it away.
fn equalized(
    survey: &Survey<'_>,
    a: &Activation,
    about: &[NodeId],
    (even, report): (&Graph, &EqualizationReport),
) -> Result<Option<[f64; 2]>, AnalysisError> {
    if !report.links.iter().any(|l| l.between.contains(&a.tensor)) {
        return Ok(None);
    }
    let mut seen = Seen::new(&a.params, a.seen.axis);
    let tapped = Tapped::new(even, values([a.float].into_iter()))?;
    for batch in &survey.rows.batches {
        if let (Some(seen), Some(tensor)) = (&mut seen, tapped.run(batch)?.get(&a.float)) {
            seen.add(tensor);
        }
    }
    let params = seen.and_then(|s| s.params_for(s.data_range()?, a.seen.scheme));
    let Some(params) = params else { return Ok(None) };
    let mut before = vec![a.as_it_is()];
    let mut after = vec![a.with(params)];
    for w in survey.weights.iter().filter(|w| about.contains(&w.float.node)) {
        let new = even.constant(w.float.value).and_then(tq_graph::Tensor::to_f32_vec);
        let (Some(old), Some(new)) = (w.values(survey), new) else { continue };
        let of_new = AffineParams::from_data(&new, &w.dims, &spec_of(&w.params, w.params.granularity))?;
        before.push(Edit::quantized_operand(w.float, &old, &w.dims, &w.params)?);
        after.push(Edit::quantized_operand(w.float, &new, &w.dims, &of_new)?);
    }
    let before = noise(survey.float, &before, &survey.rows)?;
    let after = noise(even, &after, &survey.rows)?;
    Ok((after <= (1.0 - ONE_BIT) * before).then_some([before, after]))
}

/// A name as one word of a shell's command, whatever is in it.
fn shell_word(name: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./:,+@%-".contains(c);
    if !name.is_empty() && !name.starts_with('-') && name.chars().all(is_plain) {
        return name.to_owned();
    }
    format!("'{}'", name.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::shell_word;

    #[test]
    fn names_are_words_that_a_shell_leaves_as_they_are() {
        for (name, word) in [
            ("/layer1/conv.0", "/layer1/conv.0"),
            ("my layer $(x)", "'my layer $(x)'"),
            ("it's", r"'it'\''s'"),
            ("--json", "'--json'"),
            ("", "''"),
        ] {
            assert_eq!(shell_word(name), word);
        }
    }
}
