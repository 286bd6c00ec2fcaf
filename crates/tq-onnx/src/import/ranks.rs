//! How many axes a value has, as far as a convolution's attributes need it before shapes are inferred.

use crate::proto::{GraphProto, NodeProto, ValueInfoProto, type_proto};
use std::collections::HashMap;
use tq_graph::Tensor;

/// Operators whose first output has as many axes as their first input.
const KEEPS_RANK: &[&str] = &[
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "Cast",
    "Identity",
    "Relu",
    "LeakyRelu",
    "ThresholdedRelu",
    "Elu",
    "Celu",
    "Selu",
    "Sigmoid",
    "HardSigmoid",
    "HardSwish",
    "Softplus",
    "Softsign",
    "Mish",
    "Gelu",
    "Tanh",
    "Erf",
    "Exp",
    "Log",
    "Sqrt",
    "Reciprocal",
    "Abs",
    "Neg",
    "Sign",
    "Floor",
    "Ceil",
    "Round",
    "Sin",
    "Cos",
    "PRelu",
    "Clip",
    "Conv",
    "ConvTranspose",
    "ConvInteger",
    "QLinearConv",
    "BatchNormalization",
    "LayerNormalization",
    "InstanceNormalization",
    "GroupNormalization",
    "MaxPool",
    "Resize",
    "AveragePool",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GlobalLpPool",
    "LpPool",
    "LRN",
    "MeanVarianceNormalization",
    "Transpose",
    "Concat",
    "Slice",
    "Split",
    "Pad",
    "Dropout",
    "Softmax",
    "LogSoftmax",
    "CumSum",
    "Tile",
    "DepthToSpace",
    "SpaceToDepth",
];

/// A value is followed through at most this many nodes.
const MAX_STEPS: usize = 256;

pub(super) struct Ranks<'a> {
    declared: HashMap<&'a str, usize>,
    producers: HashMap<&'a str, &'a NodeProto>,
}

fn declared_rank(info: &ValueInfoProto) -> Option<usize> {
    match info.r#type.as_ref()?.value.as_ref()? {
        type_proto::Value::TensorType(t) => t.shape.as_ref().map(|s| s.dim.len()),
        _ => None,
    }
}

impl<'a> Ranks<'a> {
    pub(super) fn new(graph: &'a GraphProto) -> Self {
        let infos = graph.value_info.iter().chain(&graph.output).chain(&graph.input);
        let declared = infos.filter_map(|i| Some((i.name(), declared_rank(i)?))).collect();
        let outputs = |node: &'a NodeProto| node.output.iter().map(move |o| (o.as_str(), node));
        Self { declared, producers: graph.node.iter().flat_map(outputs).collect() }
    }

    /// The number of axes of the value `name`, if it is known.
    pub(super) fn of(&self, name: &'a str, constants: &HashMap<&str, Tensor>) -> Option<usize> {
        let mut name = name;
        for _ in 0..MAX_STEPS {
            if let Some(t) = constants.get(name) {
                return Some(t.rank());
            }
            if let Some(rank) = self.declared.get(name) {
                return Some(*rank);
            }
            let node = self.producers.get(name)?;
            if !KEEPS_RANK.contains(&node.op_type()) {
                return None;
            }
            name = node.input.first()?;
        }
        None
    }
}
