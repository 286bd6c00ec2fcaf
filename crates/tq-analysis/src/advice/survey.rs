//! What there is to look at: the quantized tensors, what they were in the float model, and what the data makes of them.

use super::activations::{Activation, activations, share_scales};
use super::seen::Seen;
use crate::accuracy::{find_output, nth};
use crate::constants::{FloatConstants, Operand};
use crate::held::{Placed, held};
use crate::layers::{Tapped, values};
use crate::{AnalysisError, Batch, Dataset};
use tq_graph::qdq::QdqView;
use tq_graph::{Graph, Op, Tensor, ValueId};
use tq_qtypes::{AffineParams, Granularity};

/// Data, and what the float model answers.
pub(super) struct Rows {
    pub(super) batches: Vec<Batch>,
    pub(super) outputs: Vec<Tensor>,
    pub(super) rows: usize,
    /// The output that is looked at.
    pub(super) output: usize,
    pub(super) output_name: String,
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
    pub(super) codes: Vec<i32>,
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

/// Every constant of real numbers that the quantized model has in codes, biases left out.
fn weights(
    float: &Graph,
    quantized: &Graph,
    view: &QdqView,
    skipped: &mut Vec<(String, String)>,
) -> Vec<Weights> {
    let constants = FloatConstants::new(float);
    let all = held(quantized, view);
    let name = |v: ValueId| quantized.value(v).name.clone();
    skipped.extend(all.unknown.into_iter().map(|(v, why)| (name(v), why)));
    let mut found: Vec<Weights> = Vec::new();
    for held in all.weights.iter().filter(|h| h.params.is_some()) {
        let (Some(tensor), node) = (quantized.constant(held.value), quantized.node(held.reader)) else {
            continue;
        };
        let Some(at) = constants.find(node, held.input, &name(held.value), tensor.dims()) else {
            let place = format!("neither as input {} of {} nor by a name", held.input, node.name);
            skipped.push((name(held.value), format!("the float model has no constant like it, {place}")));
            continue;
        };
        if found.iter().any(|w| w.float == at) {
            continue;
        }
        let Some(Placed { codes, dims, params }) = held.placed(quantized, &at) else {
            skipped.push((
                name(held.value),
                "its codes are not laid out as the float model's weights are".into(),
            ));
            continue;
        };
        // Its layout is that of the float model, and so is what reads it.
        let reader = float.node(at.node);
        let depthwise = match &reader.op {
            Op::Conv(attrs) => attrs.groups > 1 && dims.get(1) == Some(&1) && dims[0] == attrs.groups,
            _ => false,
        };
        let channel_axis = match params.granularity {
            Granularity::PerChannel { axis } => axis,
            _ => channel_axis(&reader.op, dims.len()),
        };
        let tensor = float.value(at.value).name.clone();
        let node = node.name.clone();
        found.push(Weights { float: at, tensor, params, node, channel_axis, depthwise, codes, dims });
    }
    found
}

/// The axis of output channels of the weights of an operator.
fn channel_axis(op: &Op, rank: usize) -> usize {
    match op {
        Op::MatMul => rank - 1,
        Op::Gemm { trans_b, .. } => usize::from(!trans_b),
        Op::ConvTranspose(_) => 1,
        // [directions, rows, columns]
        Op::Recurrent { .. } => rank.saturating_sub(2),
        _ => 0,
    }
}
