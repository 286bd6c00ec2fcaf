//! The one view of a QDQ graph as quantized operators.
//!
//! In a QDQ graph every operator computes in float, between `DequantizeLinear` nodes that give its inputs and
//! `QuantizeLinear` nodes that take its output. [`QdqView::new`] finds the operators that can therefore run on
//! codes alone, and says of every other node why it cannot. The runtime, the exporters and the analysis all read
//! this view, so that they agree on what is an integer operator.

mod in_use;
mod matching;
mod params;
mod product;
mod run_time;

pub use in_use::codes_in_use;
pub use matching::is_along_channels;

use crate::{Graph, Node, NodeId, ValueId};
use std::fmt;
use tq_qtypes::{AffineParams, DType, DynamicFormula, OperatorKind};

/// A graph as quantized operators and float nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct QdqView {
    /// Operators that can run on codes, in topological order.
    pub operators: Vec<QOperator>,
    /// All other nodes, except the Quantize and Dequantize nodes between the two worlds.
    pub floats: Vec<FloatNode>,
}

/// Codes with their parameters: what a Dequantize node reads, or what a Quantize node gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Codes {
    /// The value that holds the codes.
    pub value: ValueId,
    /// The real value that the codes stand for, on the float side.
    pub real: ValueId,
    /// Scale, zero point, type.
    pub params: AffineParams,
}

/// Where a quantized operator leaves its result.
#[derive(Debug, Clone, PartialEq)]
pub enum QOutput {
    /// As codes.
    Codes(Codes),
    /// As float: the product of a Gemm, MatMul or Conv that nobody quantizes.
    Float(ValueId),
}

/// Activations that get their parameters from the data of every run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunTime {
    /// The real value that becomes codes.
    pub real: ValueId,
    /// How its parameters follow from its range.
    pub formula: DynamicFormula,
    /// The values that the operator reads: codes, scale and zero point of a product; data, and where they are not
    /// constant biases, lengths and states, of a recurrent operator, which makes the codes itself.
    pub reads: Vec<ValueId>,
}

/// One operator that can run on codes.
#[derive(Debug, Clone, PartialEq)]
pub struct QOperator {
    /// The node at its heart. For a bare requantization (Dequantize straight into Quantize) the Quantize node.
    pub node: NodeId,
    /// Its family.
    pub kind: OperatorKind,
    /// Activations, in the node's order; constants of elementwise operators are among them.
    pub inputs: Vec<Codes>,
    /// Constant weights of Conv, ConvTranspose, Linear and GroupWiseLinear; the input weights of Recurrent.
    pub weights: Option<Codes>,
    /// Constant weights that a Recurrent multiplies its states with.
    pub recurrence: Option<Codes>,
    /// Bias in units of the accumulator, `input scale * weight scale`, one a channel.
    pub bias: Option<Vec<i32>>,
    /// Bias in real numbers, one a channel, of products whose activations are quantized at run time, and of those whose
    /// weights have a scale for every group: their accumulators have no one unit.
    pub real_bias: Option<Vec<f32>>,
    /// Set where activations are quantized at run time; `inputs` is empty then.
    pub run_time: Option<RunTime>,
    /// Bounds in real numbers that an absorbed Relu or Clip puts on the result.
    pub bounds: Option<(f32, f32)>,
    /// Results, in the node's order.
    pub outputs: Vec<QOutput>,
    /// The nodes that this operator stands for: the core, the activation after it, the Quantize nodes.
    pub absorbed: Vec<NodeId>,
}

impl QOperator {
    /// An operator of which nothing else is known yet.
    fn new(node: NodeId, kind: OperatorKind) -> Self {
        Self {
            node,
            kind,
            inputs: Vec::new(),
            weights: None,
            recurrence: None,
            bias: None,
            real_bias: None,
            run_time: None,
            bounds: None,
            outputs: Vec::new(),
            absorbed: Vec::new(),
        }
    }

    /// The values that the operator reads, weights and constants of its own left out.
    pub fn reads(&self) -> impl Iterator<Item = ValueId> + '_ {
        let of_run = self.run_time.iter().flat_map(|r| r.reads.iter().copied());
        self.inputs.iter().map(|c| c.value).chain(of_run)
    }

    /// The codes of output `i`, if it leaves as codes.
    #[must_use]
    pub fn output_codes(&self, i: usize) -> Option<&Codes> {
        match self.outputs.get(i) {
            Some(QOutput::Codes(c)) => Some(c),
            _ => None,
        }
    }
}

/// A node that runs in float.
#[derive(Debug, Clone, PartialEq)]
pub struct FloatNode {
    /// The node.
    pub node: NodeId,
    /// Why it is not a quantized operator.
    pub reason: FloatReason,
}

/// Why a node cannot run on codes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum FloatReason {
    /// The operator has no integer form.
    NoIntegerForm(&'static str),
    /// It works on shapes or other integers, not on real numbers.
    NotReal,
    /// An input is not the result of a Dequantize node with constant parameters.
    InputNotQuantized(String),
    /// The output is not quantized, or its float value is also read by others.
    OutputNotQuantized(String),
    /// The weights are not constant codes.
    WeightsNotQuantized,
    /// Codes of a type that no integer form takes.
    Type {
        /// The value.
        value: String,
        /// Its type.
        dtype: DType,
    },
    /// Scales that do not suit the operator: per channel on activations, or along the wrong axis of weights.
    Granularity(String),
    /// An attribute or parameter that the integer form does not have.
    Attribute(String),
    /// It picks rows of a table of codes and dequantizes what it has picked.
    Table,
    /// A bias that does not fit 32 bits at the scale of the accumulator.
    BiasOverflow {
        /// First channel that overflows.
        channel: usize,
    },
}

impl fmt::Display for FloatReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FloatReason::NoIntegerForm(op) => write!(f, "{op} has no integer form"),
            FloatReason::NotReal => write!(f, "works on integers, not on real numbers"),
            FloatReason::InputNotQuantized(v) => write!(f, "input {v} is not quantized"),
            FloatReason::OutputNotQuantized(v) => write!(f, "output {v} is not quantized"),
            FloatReason::WeightsNotQuantized => write!(f, "weights are not constant codes"),
            FloatReason::Type { value, dtype } => {
                write!(f, "no integer form takes the {dtype} codes of {value}")
            }
            FloatReason::Granularity(v) => write!(f, "the scales of {v} do not suit the operator"),
            FloatReason::Attribute(what) => write!(f, "{what}"),
            FloatReason::Table => write!(f, "rows of a table of codes are dequantized as they are picked"),
            FloatReason::BiasOverflow { channel } => {
                write!(f, "the bias of channel {channel} does not fit 32 bits")
            }
        }
    }
}

impl QdqView {
    /// The view of `graph`, whose types and shapes must have been inferred.
    #[must_use]
    pub fn new(graph: &Graph) -> Self {
        matching::Matcher::new(graph).view()
    }

    /// For every node of the graph the operator (index into [`QdqView::operators`]) that stands for it.
    #[must_use]
    pub fn operator_of(&self, graph: &Graph) -> Vec<Option<usize>> {
        let mut out = vec![None; graph.nodes.len()];
        for (i, op) in self.operators.iter().enumerate() {
            for n in &op.absorbed {
                out[n.0] = Some(i);
            }
        }
        out
    }
}

/// Parameters of a Quantize or Dequantize node, if scale and zero point are constant and valid; `None` for other nodes.
///
/// The type of the codes is that of the zero point, else of the codes themselves, else u8.
#[must_use]
pub fn node_params(graph: &Graph, node: &Node) -> Option<AffineParams> {
    params::of_node(graph, node)
}
