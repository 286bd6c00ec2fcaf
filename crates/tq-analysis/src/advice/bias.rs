//! Biases that are too large for the scale of their accumulator.

use super::survey::Survey;
use super::suspect::{ONE_BIT, Suspect, short};
use super::trial::Edit;
use super::{Evidence, Finding, FindingKind};
use crate::constants::{FloatConstants, Operand};
use tq_graph::qdq::{FloatReason, QOperator, node_params};
use tq_graph::{Node, Op};

/// Largest bias of 32 bits.
const MOST: f64 = i32::MAX as f64;

/// Biases whose codes end where 32 bits do, and whose real values go on.
pub(super) fn detect(survey: &Survey<'_>) -> Vec<Suspect> {
    let with_bias = survey.view.operators.iter().filter_map(|op| Some((op, op.bias.as_ref()?)));
    with_bias.filter_map(|(op, bias)| cut_off(survey, op, bias)).collect()
}

/// Operators that run in float for their bias's sake. They err not at all, and cost time.
pub(super) fn in_float(survey: &Survey<'_>) -> Vec<Finding> {
    let overflow = |reason: &FloatReason| match reason {
        FloatReason::BiasOverflow { channel } => Some(*channel),
        _ => None,
    };
    let floats =
        survey.view.floats.iter().filter_map(|f| Some((survey.quantized.node(f.node), overflow(&f.reason)?)));
    floats
        .map(|(node, channel)| {
            let units = units(survey, node, channel);
            let number = units.map_or(String::new(), |u| format!(" ({} units, 32 bits hold {})", short(u), short(MOST)));
            let mut evidence = vec![Evidence { what: "channel", value: channel as f64, unit: "" }];
            evidence.extend(units.map(|value| Evidence { what: BIAS, value, unit: "" }));
            Finding {
                kind: FindingKind::BiasOverflow,
                nodes: vec![node.name.clone()],
                tensor: None,
                says: format!(
                    "The bias of channel {channel} of {} does not fit 32 bits at the scale of its accumulator{number}, so that the \
                     layer computes in float.",
                    node.name
                ),
                evidence,
                noise: 0.0,
                share: 0.0,
                time_share: None,
                advice: format!(
                    "Quantize the model with `tq quantize`, which makes the weights of such a channel coarser until the bias fits, or \
                     keep {} in float on purpose (`--exclude`).",
                    node.name
                ),
            }
        })
        .collect()
}

const BIAS: &str = "largest bias in units of the accumulator";

/// A bias in units of the accumulator of its layer.
fn units(survey: &Survey<'_>, node: &Node, channel: usize) -> Option<f64> {
    let graph = survey.quantized;
    let producers = graph.producers();
    let params = |i: usize| node_params(graph, graph.node(producers[node.input(i)?.0]?));
    let (x, w) = (params(0)?.uniform()?.0, params(1)?);
    let scale = if w.scale.len() == 1 { w.scale[0] } else { *w.scale.get(channel)? };
    let bias = graph.const_input(node, 2)?.to_f32_vec()?;
    let own = if bias.len() == 1 { bias[0] } else { *bias.get(channel)? };
    Some((f64::from(own) / (f64::from(x) * f64::from(scale))).abs())
}

fn cut_off(survey: &Survey<'_>, op: &QOperator, bias: &[i32]) -> Option<Suspect> {
    let at_end: Vec<usize> =
        (0..bias.len()).filter(|c| bias[*c] == i32::MAX || bias[*c] <= -i32::MAX).collect();
    let (channel, node) = (at_end.first()?, survey.quantized.node(op.node));
    let (at, scales) = (float_bias(survey, node, bias.len())?, scales(op, bias.len())?);
    let real = survey.float.constant(at.value)?.to_f32_vec().filter(|r| r.len() == bias.len())?;
    let units = |c: usize| (f64::from(real[c]) / scales[c]).abs();
    if !at_end.iter().any(|c| units(*c) > MOST + 1.0) {
        return None;
    }
    let held = bias.iter().zip(&scales).map(|(b, s)| (f64::from(*b) * s) as f32).collect();
    let largest = at_end.iter().map(|c| units(*c)).fold(0.0, f64::max);
    Some(Suspect {
        kind: FindingKind::BiasOverflow,
        nodes: vec![node.name.clone()],
        tensor: Some(survey.float.value(at.value).name.clone()),
        says: format!(
            "The bias of {} is cut off in {} channels, channel {channel} first: {} units of the accumulator, and 32 bits hold {}.",
            node.name,
            at_end.len(),
            short(largest),
            short(MOST)
        ),
        evidence: vec![
            Evidence { what: BIAS, value: largest, unit: "" },
            Evidence { what: "channels that are cut off", value: at_end.len() as f64, unit: "" },
        ],
        advice: advice(&node.name),
        before: vec![Edit::Operand(at, held)],
        after: Vec::new(),
        lessens: ONE_BIT,
    })
}

fn advice(node: &str) -> String {
    format!(
        "Let {node} compute on float activations and 8-bit weights, where the bias stays in float: a rule `[[name]]` with `qconfig = \
         \"w8\"`, `QConfigDict::set_module_name(node, w8_qconfig())`, or `--exclude`. Look at what it reads, too: so small a scale \
         means data that is nearly zero beside the bias."
    )
}

/// The bias in the float model.
fn float_bias(survey: &Survey<'_>, node: &Node, channels: usize) -> Option<Operand> {
    let graph = survey.quantized;
    let v = node.input(2)?;
    let producer = graph.producers()[v.0].map(|id| graph.node(id));
    let codes = match producer {
        Some(Node { op: Op::DequantizeLinear { .. }, inputs, .. }) => inputs.first().copied().flatten()?,
        _ => v,
    };
    FloatConstants::new(survey.float).find(node, 2, &graph.value(codes).name, &[channels])
}

/// Scale of the accumulator of each channel.
fn scales(op: &QOperator, channels: usize) -> Option<Vec<f64>> {
    let (x, w) = (op.inputs.first()?.params.uniform()?.0, &op.weights.as_ref()?.params.scale);
    Some((0..channels).map(|c| f64::from(x) * f64::from(w[c % w.len()])).collect())
}
