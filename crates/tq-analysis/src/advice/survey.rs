//! What there is to look at: the quantized tensors, what they were in the float model, and what the data makes of them.

use super::seen::Seen;
use crate::accuracy::{find_output, nth};
use crate::constants::{FloatConstants, Operand, reader};
use crate::layers::{Tapped, stems, values};
use crate::{AnalysisError, Batch, Dataset};
use std::collections::HashMap;
use tq_graph::qdq::{QOutput, QdqView, codes_in_use, node_params};
use tq_graph::{Graph, Op, Tensor, ValueId};
use tq_qtypes::{AffineParams, DType, Granularity, OperatorKind};

/// Data, and what the float model answers.
pub(super) struct Rows {
    pub(super) batches: Vec<Batch>,
    pub(super) outputs: Vec<Tensor>,
    pub(super) rows: usize,
    /// The output that is looked at.
    pub(super) output: usize,
    pub(super) output_name: String,
}

/// An activation in codes of one scale.
pub(super) struct Activation {
    /// It in the float model.
    pub(super) float: ValueId,
    /// Its name there.
    pub(super) tensor: String,
    pub(super) params: AffineParams,
    /// The node that gives it and those that read it, in the float model.
    pub(super) nodes: Vec<String>,
    /// What the data makes of it.
    pub(super) seen: Seen,
    /// The same for the calibration data, where there is some.
    pub(super) calibration: Option<Seen>,
    /// Its codes in the quantized model.
    codes: ValueId,
    /// The largest magnitude of the data in all activations that have to share its scale: what moves or pools codes keeps it.
    pub(super) group_size: f32,
}

/// Weights in codes.
pub(super) struct Weights {
    /// They in the float model.
    pub(super) float: Operand,
    /// Their name there.
    pub(super) tensor: String,
    pub(super) params: AffineParams,
    /// The node that reads them.
    pub(super) node: String,
    /// Axis of output channels.
    pub(super) channel_axis: usize,
    pub(super) depthwise: bool,
    /// The codes.
    pub(super) codes: Vec<i64>,
    /// Their shape, of as many elements as the float model's.
    pub(super) dims: Vec<usize>,
}

impl Weights {
    /// They in the float model.
    pub(super) fn values(&self, survey: &Survey<'_>) -> Option<Vec<f32>> {
        survey.float.constant(self.float.value)?.to_f32_vec()
    }
}

/// The two models and what is known of their tensors.
pub(super) struct Survey<'g> {
    /// The float model, fused as conversion fuses it.
    pub(super) float: &'g Graph,
    pub(super) quantized: &'g Graph,
    pub(super) view: QdqView,
    pub(super) rows: Rows,
    pub(super) activations: Vec<Activation>,
    pub(super) weights: Vec<Weights>,
    pub(super) skipped: Vec<(String, String)>,
}

impl<'g> Survey<'g> {
    /// Runs the float model over at least `rows` rows of the data, where there are so many.
    pub(super) fn new(
        float: &'g Graph,
        quantized: &'g Graph,
        (data, calibration): (&Dataset, Option<&Dataset>),
        output: Option<&str>,
        (batch, rows): (Option<usize>, usize),
    ) -> Result<Self, AnalysisError> {
        let (output, name) = find_output(float, output)?;
        let view = QdqView::new(quantized);
        let mut skipped = Vec::new();
        let mut activations = activations(float, quantized, &view, &mut skipped);
        let weights = weights(float, quantized, &view, &mut skipped);
        let read = activations.iter().map(|a| a.float).chain([float.outputs[output]]);
        let tapped = Tapped::new(float, values(read))?;
        let batches = first(data, batch, rows)?;
        let mut outputs = Vec::new();
        for batch in &batches {
            let found = tapped.run(batch)?;
            let answer = found.get(&float.outputs[output]).cloned();
            outputs.push(batch.trim(nth(&answer.into_iter().collect::<Vec<_>>(), 0, name)?.clone())?);
            for a in &mut activations {
                if let Some(tensor) = found.get(&a.float) {
                    a.seen.add(tensor);
                }
            }
        }
        share_scales(&mut activations, &view);
        if let Some(calibration) = calibration {
            for a in &mut activations {
                a.calibration = Seen::new(&a.params, a.seen.axis);
            }
            // All of it: what it has not seen is the question.
            for batch in calibration.finite_batches(batch) {
                let found = tapped.run(&batch?)?;
                for a in &mut activations {
                    if let (Some(tensor), Some(seen)) = (found.get(&a.float), &mut a.calibration) {
                        seen.add(tensor);
                    }
                }
            }
        }
        let rows = batches.iter().map(|b| b.rows).sum();
        let rows = Rows { batches, outputs, rows, output, output_name: name.to_owned() };
        Ok(Self { float, quantized, view, rows, activations, weights, skipped })
    }
}

/// The first batches that have so many rows together.
fn first(data: &Dataset, batch: Option<usize>, rows: usize) -> Result<Vec<Batch>, AnalysisError> {
    let (mut batches, mut count) = (Vec::new(), 0);
    for batch in data.finite_batches(batch) {
        let batch = batch?;
        count += batch.rows;
        batches.push(batch);
        if count >= rows {
            break;
        }
    }
    if count == 0 { Err(AnalysisError::Empty) } else { Ok(batches) }
}

/// Every tensor that a Quantize node with constant parameters makes codes of, once.
fn activations(
    float: &Graph,
    quantized: &Graph,
    view: &QdqView,
    skipped: &mut Vec<(String, String)>,
) -> Vec<Activation> {
    let in_use = codes_in_use(quantized, view);
    let computed = |(_, v): &(usize, &tq_graph::Value)| v.constant.is_none();
    let names: HashMap<&str, ValueId> = float
        .values
        .iter()
        .enumerate()
        .filter(computed)
        .map(|(i, v)| (v.name.as_str(), ValueId(i)))
        .collect();
    let (producers, consumers) = (float.producers(), float.consumers());
    let mut found: Vec<Activation> = Vec::new();
    for node in &quantized.nodes {
        let (Op::QuantizeLinear { .. }, Some(real), Some(codes)) = (&node.op, node.input(0), node.output(0))
        else {
            continue;
        };
        let name = quantized.value(codes).name.clone();
        let Some(params) = in_use.get(&codes).cloned() else {
            skipped.push((name, "its scale is not constant, or of a form that is not looked at".into()));
            continue;
        };
        let mut tried = stems(&name);
        for stem in stems(&quantized.value(real).name) {
            if !tried.contains(&stem) {
                tried.push(stem);
            }
        }
        let Some(id) = tried.iter().find_map(|n| names.get(n.as_str()).copied()) else {
            skipped.push((name, format!("the float model has no tensor {}", tried.join(" or "))));
            continue;
        };
        if found.iter().any(|a| a.float == id) {
            continue;
        }
        let readers: Vec<&tq_graph::Node> = consumers[id.0].iter().map(|n| float.node(*n)).collect();
        let rank = float.value(id).shape.as_ref().map(Vec::len);
        // Features of products lie on the last axis, channels of everything else on axis 1.
        let product = readers.iter().any(|n| matches!(n.op, Op::MatMul | Op::Gemm { .. }));
        let axis = rank.filter(|r| *r >= 2).map(|r| if product { r - 1 } else { 1 });
        let Some(seen) = Seen::new(&params, axis) else {
            skipped.push((name, "it has more than one scale, or codes of more than 16 bits".into()));
            continue;
        };
        let producer = producers[id.0].map(|n| float.node(n).name.clone());
        let nodes = producer.into_iter().chain(readers.iter().map(|n| n.name.clone())).collect();
        let tensor = float.value(id).name.clone();
        let (calibration, group_size) = (None, 0.0);
        found.push(Activation { float: id, tensor, params, nodes, seen, calibration, codes, group_size });
    }
    found
}

/// Tells each activation how far the data reaches in all that have its scale for the sake of operators between them.
fn share_scales(activations: &mut [Activation], view: &QdqView) {
    let size = |a: &Activation| a.seen.data_range().map_or(0.0, |(lo, hi)| hi.max(-lo));
    let mut sizes: HashMap<ValueId, f32> = activations.iter().map(|a| (a.codes, size(a))).collect();
    let keeps = |k: OperatorKind| {
        use OperatorKind as K;
        matches!(k, K::Movement | K::MaxPool | K::AveragePool | K::Concat)
    };
    let borders: Vec<(ValueId, ValueId)> = view
        .operators
        .iter()
        .filter(|o| keeps(o.kind))
        .flat_map(|o| o.inputs.iter().flat_map(move |i| o.outputs.iter().map(move |out| (i, out))))
        .filter_map(|(input, output)| match output {
            QOutput::Codes(out) if out.params == input.params => Some((input.value, out.value)),
            _ => None,
        })
        .collect();
    // The largest spreads over the group, whatever way it has to go.
    let mut spreads = true;
    while spreads {
        spreads = false;
        for (a, b) in &borders {
            let [x, y] = [a, b].map(|v| sizes.get(v).copied().unwrap_or(0.0));
            for (v, own) in [(a, x), (b, y)] {
                if own < x.max(y) {
                    sizes.insert(*v, x.max(y));
                    spreads = true;
                }
            }
        }
    }
    for a in activations {
        a.group_size = sizes.get(&a.codes).copied().unwrap_or(0.0);
    }
}

/// Every constant of real numbers that a Dequantize node has in codes, biases left out.
fn weights(
    float: &Graph,
    quantized: &Graph,
    view: &QdqView,
    skipped: &mut Vec<(String, String)>,
) -> Vec<Weights> {
    let constants = FloatConstants::new(float);
    let consumers = quantized.consumers();
    let mut found: Vec<Weights> = Vec::new();
    for node in &quantized.nodes {
        let (Op::DequantizeLinear { .. }, Some(codes), Some(real)) =
            (&node.op, node.input(0), node.output(0))
        else {
            continue;
        };
        let Some(tensor) = quantized.constant(codes).filter(|t| t.dtype() != DType::I32 && t.rank() >= 2)
        else {
            continue;
        };
        let Some(reader) = reader(quantized, &consumers, real) else { continue };
        let name = quantized.value(codes).name.clone();
        let Some(at) = constants.find(reader.1, reader.2, &name, tensor.len()) else {
            let place = format!("neither as input {} of {} nor by a name", reader.2, reader.1.name);
            skipped.push((name, format!("the float model has no constant like it, {place}")));
            continue;
        };
        let (Some(params), Some(codes)) = (node_params(quantized, node), tensor.to_i64_vec()) else {
            skipped.push((name, "its scale is not constant".into()));
            continue;
        };
        if found.iter().any(|w| w.float == at) {
            continue;
        }
        let kind = view.operators.iter().find(|o| o.node == reader.0).map(|o| o.kind);
        let dims = tensor.dims().to_vec();
        let depthwise = match &reader.1.op {
            Op::Conv(attrs) => attrs.groups > 1 && dims.get(1) == Some(&1) && dims[0] == attrs.groups,
            _ => kind == Some(OperatorKind::DepthwiseConv),
        };
        let channel_axis = match params.granularity {
            Granularity::PerChannel { axis } => axis,
            _ => channel_axis(&reader.1.op, dims.len()),
        };
        let tensor = float.value(at.value).name.clone();
        found.push(Weights {
            float: at,
            tensor,
            params,
            node: reader.1.name.clone(),
            channel_axis,
            depthwise,
            codes,
            dims,
        });
    }
    found
}

/// The axis of output channels of the weights of an operator.
fn channel_axis(op: &Op, rank: usize) -> usize {
    match op {
        Op::MatMul => rank - 1,
        Op::Gemm { trans_b, .. } => usize::from(!trans_b),
        Op::ConvTranspose(_) => 1,
        _ => 0,
    }
}
