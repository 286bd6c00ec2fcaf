//! Gradients of the operators: one rule an operator, by family.

pub(super) mod elementwise;

mod binary;
mod cast;
mod choose;
mod conv;
mod einsum;
mod index;
mod matmul;
pub(super) mod norm;
mod picks;
mod pool;
mod quant;
mod recurrent;
mod reduce;
mod reshape;
mod resize;
mod softmax;
mod standardise;
mod unary;

use picks::Picks;
use pool::{Kind, Pool};
use standardise::Standardise;
use std::borrow::Cow;
use tq_eval::OpError;
use tq_graph::op::ScatterReduction;
use tq_graph::{Op, Tensor};

/// Gradients of all inputs, `None` for zero.
pub(super) type Gradients = Result<Vec<Option<Tensor>>, OpError>;

/// A backward step of one node.
pub(super) struct Call<'a> {
    /// What the rule asked to be kept.
    pub(super) inputs: Vec<Option<Tensor>>,
    /// What the rule asked to be kept.
    pub(super) outputs: Vec<Option<Tensor>>,
    pub(super) input_dims: &'a [Vec<usize>],
    pub(super) output_dims: &'a [Vec<usize>],
    /// Which inputs need a gradient.
    pub(super) needs: &'a [bool],
    /// Gradients of the outputs, at least one of them there.
    pub(super) gradients: Vec<Option<Tensor>>,
}

impl Call<'_> {
    /// The gradient of the only output.
    fn gradient(&mut self) -> Result<Tensor, OpError> {
        let gradient = self.gradients.first_mut().and_then(Option::take);
        gradient.ok_or(OpError::OutputCount { min: 1, max: 1, got: 0 })
    }

    /// A kept input.
    fn input(&self, i: usize) -> Result<&Tensor, OpError> {
        self.inputs.get(i).and_then(Option::as_ref).ok_or(OpError::MissingInput { index: i })
    }

    /// The elements of a kept float input as f32.
    fn f32s(&self, i: usize) -> Result<Cow<'_, [f32]>, OpError> {
        f32s(self.input(i)?)
    }

    /// The elements of a kept float output as f32.
    fn output_f32s(&self, i: usize) -> Result<Cow<'_, [f32]>, OpError> {
        let output = self.outputs.get(i).and_then(Option::as_ref);
        f32s(output.ok_or(OpError::OutputCount { min: i + 1, max: i + 1, got: i })?)
    }

    /// Whether input `i` needs a gradient.
    fn needs(&self, i: usize) -> bool {
        self.needs.get(i).copied().unwrap_or(false)
    }

    /// No gradient for any input, to be filled.
    fn nothing(&self) -> Vec<Option<Tensor>> {
        vec![None; self.needs.len()]
    }

    /// A gradient for the first input alone.
    fn first(&self, gradient: Tensor) -> Gradients {
        let mut out = self.nothing();
        if let Some(first) = out.first_mut() {
            *first = Some(gradient);
        }
        Ok(out)
    }
}

/// The elements of a float tensor as f32.
fn f32s(t: &Tensor) -> Result<Cow<'_, [f32]>, OpError> {
    match t.as_slice::<f32>() {
        Ok(slice) => Ok(Cow::Borrowed(slice)),
        Err(error) => t.to_f32_vec().map(Cow::Owned).ok_or(OpError::Graph(error)),
    }
}

/// The rule of one operator.
pub(super) trait Gradient {
    /// Whether the backward step reads input `i`, when the inputs in `needs` need a gradient.
    fn keeps_input(&self, i: usize, needs: &[bool]) -> bool {
        let _ = (i, needs);
        false
    }

    /// Whether it reads output `i`.
    fn keeps_output(&self, i: usize) -> bool {
        let _ = i;
        false
    }

    /// Gradients of the inputs.
    fn backward(&self, call: Call<'_>) -> Gradients;
}

/// What the derivative of an operator is.
pub(super) enum Derivative<'a> {
    /// Zero wherever it is defined, or not defined since the results are no real numbers: results count as constants.
    Nowhere,
    /// There is none that training could use, for this reason: an error once a gradient comes this way.
    Refused(&'static str),
    /// This rule tells it.
    Flows(Box<dyn Gradient + 'a>),
}

const ON_CODES: &str =
    "it works on codes; prepare the model for training instead, which puts FakeQuantize in";

/// The rule of an operator.
pub(super) fn derivative(op: &Op) -> Derivative<'_> {
    use Derivative::{Nowhere, Refused};
    fn flows<'a>(gradient: impl Gradient + 'a) -> Derivative<'a> {
        Derivative::Flows(Box::new(gradient))
    }
    let picks = |from: &[usize]| flows(Picks { op, from: from.to_vec() });
    match op {
        Op::Conv(attrs) => flows(conv::Conv(attrs)),
        Op::ConvTranspose(attrs) => flows(conv::ConvTranspose(attrs)),
        Op::Gemm { alpha, beta, trans_a, trans_b } => {
            flows(matmul::Gemm { alpha: *alpha, beta: *beta, trans: (*trans_a, *trans_b) })
        }
        Op::MatMul => flows(matmul::MatMul),
        Op::Einsum(equation) => flows(einsum::Einsum(equation)),

        Op::Unary(op) => unary::derivative(*op),
        Op::Binary(op) => flows(binary::Binary(*op)),
        Op::Where => flows(choose::Where),
        Op::Variadic(op) => flows(choose::Variadic(*op)),
        Op::Clip => flows(choose::Clip),
        Op::Cast { .. } | Op::CastLike { .. } => flows(cast::Cast),

        Op::BatchNormalization { epsilon } => flows(norm::BatchNormalization { epsilon: *epsilon }),
        Op::Lrn { size, alpha, beta, bias } => {
            flows(norm::Lrn { size: *size, alpha: *alpha, beta: *beta, bias: *bias })
        }
        Op::LayerNormalization { axis, epsilon, .. } => {
            flows(Standardise::Layer { axis: *axis, epsilon: *epsilon })
        }
        Op::InstanceNormalization { epsilon } => {
            flows(Standardise::Group { groups: None, epsilon: *epsilon })
        }
        Op::GroupNormalization { epsilon, groups } => {
            flows(Standardise::Group { groups: Some(*groups), epsilon: *epsilon })
        }
        Op::MeanVarianceNormalization { axes } => flows(Standardise::MeanVariance { axes }),
        Op::Softmax { axis } => flows(softmax::Softmax { axis: *axis, log: false }),
        Op::LogSoftmax { axis } => flows(softmax::Softmax { axis: *axis, log: true }),

        Op::MaxPool { attrs, .. } => flows(Pool { kind: Kind::Max, attrs: Some(attrs) }),
        Op::AveragePool { attrs, count_include_pad } => {
            flows(Pool { kind: Kind::Average { count_include_pad: *count_include_pad }, attrs: Some(attrs) })
        }
        Op::LpPool { attrs, p } => flows(Pool { kind: Kind::Norm { p: *p }, attrs: Some(attrs) }),
        Op::GlobalAveragePool => {
            flows(Pool { kind: Kind::Average { count_include_pad: false }, attrs: None })
        }
        Op::GlobalMaxPool => flows(Pool { kind: Kind::Max, attrs: None }),
        Op::GlobalLpPool { p } => flows(Pool { kind: Kind::Norm { p: *p }, attrs: None }),
        Op::Resize(attrs) => flows(resize::Resize(attrs)),

        Op::Reduce { .. } => flows(reduce::Reduce(op)),
        Op::CumSum { exclusive, reverse } => {
            flows(index::CumSum { exclusive: *exclusive, reverse: *reverse })
        }

        Op::Identity
        | Op::Dropout
        | Op::Flatten { .. }
        | Op::Reshape { .. }
        | Op::Squeeze
        | Op::Unsqueeze => flows(reshape::Reshape),
        Op::Transpose { perm } => flows(picks::Transpose(perm.as_deref())),
        Op::Concat { axis } => flows(picks::Concat(*axis)),
        Op::Split { axis } => flows(picks::Split(*axis)),
        Op::Expand => flows(picks::Expand),
        Op::Slice
        | Op::GatherND { .. }
        | Op::Tile
        | Op::Trilu { .. }
        | Op::DepthToSpace { .. }
        | Op::SpaceToDepth { .. } => picks(&[0]),
        // Pads are filled with an element of the third input.
        Op::Pad { .. } => picks(&[0, 2]),
        Op::OneHot { .. } => picks(&[2]),
        Op::Gather { axis } => flows(index::Gather(*axis)),
        Op::GatherElements { axis } => flows(index::GatherElements(*axis)),
        Op::TopK { axis, .. } => flows(index::TopK(*axis)),
        Op::ScatterElements { reduction: ScatterReduction::None, .. }
        | Op::ScatterND { reduction: ScatterReduction::None } => picks(&[0, 2]),
        Op::ScatterElements { axis, reduction: ScatterReduction::Add } => {
            flows(index::ScatterAdd { gather: Op::GatherElements { axis: *axis } })
        }
        Op::ScatterND { reduction: ScatterReduction::Add } => {
            flows(index::ScatterAdd { gather: Op::GatherND { batch_dims: 0 } })
        }
        Op::ScatterElements { reduction, .. } | Op::ScatterND { reduction } => match reduction {
            ScatterReduction::Mul | ScatterReduction::Max | ScatterReduction::Min => Refused(
                "an element into which several updates are multiplied, or of which one wins, has no rule; scatter by addition",
            ),
            ScatterReduction::None | ScatterReduction::Add => Nowhere,
        },

        Op::Recurrent { attrs, .. } if attrs.dynamic.is_some() => {
            Refused("it quantizes its states at run time; train the float operator")
        }
        Op::Recurrent { kind, attrs } => flows(recurrent::Recurrent { kind: *kind, attrs }),

        Op::Compare(_)
        | Op::Logic(_)
        | Op::Not
        | Op::Bitwise(_)
        | Op::BitwiseNot
        | Op::IsNaN
        | Op::IsInf { .. }
        | Op::NonMaxSuppression { .. }
        | Op::ArgMax(_)
        | Op::ArgMin(_)
        | Op::Shape { .. }
        | Op::Size
        | Op::NonZero
        | Op::EyeLike { .. }
        | Op::ConstantOfShape { .. }
        | Op::Hardmax { .. } => Nowhere,

        Op::Range => Refused("how many numbers it gives depends on its inputs"),
        Op::DequantizeLinear { axis, block_size } => {
            flows(quant::Dequantize { op, axis: *axis, block_size: *block_size })
        }
        Op::QuantizeLinear { .. }
        | Op::DynamicQuantizeLinear { .. }
        | Op::MatMulInteger
        | Op::ConvInteger(_)
        | Op::QLinearMatMul
        | Op::QLinearConv(_) => Refused(ON_CODES),
    }
}
