//! The range of every channel of quantized weights, beside what its codes can say.

use crate::AnalysisError;
use crate::plot::weight_sheet;
use serde::Serialize;
use std::collections::HashSet;
use std::io::Write as _;
use std::path::Path;
use tq_graph::qdq::{Codes, QdqView, node_params};
use tq_graph::save::replace_file;
use tq_graph::{Graph, NodeId, Op, ValueId};
use tq_qtypes::{AffineParams, DType, Granularity, affine};

/// The weights of one channel, as their codes say them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ChannelRange {
    /// Smallest weight.
    pub min: f32,
    /// Largest weight.
    pub max: f32,
    /// The smallest number that the channel's codes stand for.
    pub low: f32,
    /// The largest one.
    pub high: f32,
}

impl ChannelRange {
    /// Percent of what its codes can say that the channel uses: its largest magnitude over that of its codes.
    #[must_use]
    pub fn used(&self) -> f64 {
        let reach = |a: f32, b: f32| f64::from(a.abs().max(b.abs()));
        let all = reach(self.low, self.high);
        if all > 0.0 { 100.0 * reach(self.min, self.max) / all } else { 0.0 }
    }
}

/// The weights of one layer, channel by channel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WeightRanges {
    /// Name of the node.
    pub node: String,
    /// Its operator, as ONNX names it.
    pub op: String,
    /// Name of the tensor of codes.
    pub tensor: String,
    /// Type of the codes.
    pub dtype: String,
    /// What shares a scale: `per_tensor`, `per_channel (axis 0)` and their like.
    pub granularity: String,
    /// One entry an output channel.
    pub channels: Vec<ChannelRange>,
}

/// The ranges of all constant weights that a quantized model has in codes, in the order of its nodes.
///
/// A weight is a tensor of codes of rank 2 or more; biases are none. Where one scale serves all channels, a channel that
/// is small beside the largest has few codes to itself: [`ChannelRange::used`] says how many percent.
#[must_use]
pub fn weight_ranges(quantized: &Graph) -> Vec<WeightRanges> {
    let view = QdqView::new(quantized);
    let mut found: Vec<(NodeId, Codes)> = Vec::new();
    for op in &view.operators {
        found.extend(op.weights.iter().chain(&op.recurrence).map(|codes| (op.node, codes.clone())));
    }
    let producers = quantized.producers();
    for float in &view.floats {
        for v in quantized.node(float.node).inputs.iter().flatten() {
            found.extend(dequantized(quantized, &producers, *v).map(|codes| (float.node, codes)));
        }
    }
    found.sort_by_key(|(node, _)| *node);
    let mut seen = HashSet::new();
    let once = found.into_iter().filter(|(_, codes)| seen.insert(codes.value));
    once.filter_map(|(node, codes)| ranges(quantized, node, &codes)).collect()
}

/// The constant codes that `v` is the real value of.
fn dequantized(graph: &Graph, producers: &[Option<NodeId>], v: ValueId) -> Option<Codes> {
    let node = graph.node(producers[v.0]?);
    let value = node.input(0).filter(|c| graph.constant(*c).is_some())?;
    let params = matches!(node.op, Op::DequantizeLinear { .. }).then(|| node_params(graph, node))??;
    Some(Codes { value, real: v, params })
}

fn ranges(graph: &Graph, node: NodeId, codes: &Codes) -> Option<WeightRanges> {
    let tensor = graph.constant(codes.value).filter(|t| t.rank() >= 2 && t.dtype() != DType::I32)?;
    let (dims, params) = (tensor.dims(), &codes.params);
    let given: Vec<i32> = tensor.to_i64_vec()?.into_iter().map(|c| c as i32).collect();
    let real = |codes: &[i32]| affine::dequantize(codes, dims, params).ok();
    let weights = real(&given)?;
    let lows = real(&vec![params.quant_min; given.len()])?;
    let highs = real(&vec![params.quant_max; given.len()])?;
    let axis = channel_axis(&graph.node(node).op, dims.len(), params);
    let (count, inner) = (*dims.get(axis)?, dims[axis + 1..].iter().product::<usize>());
    let empty = ChannelRange { min: f32::INFINITY, max: f32::NEG_INFINITY, low: 0.0, high: 0.0 };
    let mut channels = vec![empty; count];
    for (i, w) in weights.iter().enumerate() {
        let channel = &mut channels[i / inner % count];
        channel.min = channel.min.min(*w);
        channel.max = channel.max.max(*w);
        channel.low = channel.low.min(lows[i]);
        channel.high = channel.high.max(highs[i]);
    }
    let node = graph.node(node);
    (!weights.is_empty()).then(|| WeightRanges {
        node: node.name.clone(),
        op: node.op.name().to_owned(),
        tensor: graph.value(codes.value).name.clone(),
        dtype: params.dtype.to_string(),
        granularity: params.granularity.to_string(),
        channels,
    })
}

/// The axis of the output channels: that of the scales where they have one, else as the operator lays its weights out.
fn channel_axis(op: &Op, rank: usize, params: &AffineParams) -> usize {
    match (params.granularity, op) {
        (Granularity::PerChannel { axis }, _) => axis,
        (_, Op::Conv(_) | Op::ConvInteger(_) | Op::Gemm { trans_b: true, .. } | Op::Gather { .. }) => 0,
        (_, Op::ConvTranspose(_) | Op::Recurrent { .. }) => 1,
        _ => rank - 1,
    }
}

/// Writes the ranges as a picture: a PNG file with a plot a layer and a bar a channel, between the ends of its codes. The
/// file is written whole or not at all.
///
/// # Errors
/// [`AnalysisError::Write`] when the file cannot be written, [`AnalysisError::Plot`] when there are too many.
pub fn plot_weight_ranges(weights: &[WeightRanges], path: impl AsRef<Path>) -> Result<(), AnalysisError> {
    let (png, path) = (weight_sheet(weights)?, path.as_ref());
    replace_file(path, |file| file.write_all(&png))
        .map_err(|source| AnalysisError::Write { path: path.display().to_string(), source })
}
