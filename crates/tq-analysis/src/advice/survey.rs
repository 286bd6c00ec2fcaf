//! What there is to look at: the quantized tensors, what they were in the float model, and what the data makes of them.

use super::activations::{Activation, activations, share_scales};
use super::seen::Seen;
use crate::accuracy::{find_output, nth};
use crate::constants::{FloatConstants, Operand, reader};
use crate::layers::{Tapped, values};
use crate::{AnalysisError, Batch, Dataset};
use tq_graph::qdq::{QdqView, node_params};
use tq_graph::{Graph, Op, Tensor};
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
