//! Gradients of the operators: one rule an operator, by family.

pub(super) mod elementwise;

mod binary;
mod matmul;
mod reduce;
mod reshape;
mod unary;

use std::borrow::Cow;
use tq_eval::OpError;
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
    use Derivative::{Flows, Nowhere, Refused};
    match op {
        Op::Unary(op) => unary::derivative(*op),
        Op::Binary(op) => binary::derivative(*op),
        Op::MatMul => Flows(Box::new(matmul::MatMul)),
        Op::Reduce { .. } => Flows(Box::new(reduce::Reduce(op))),
        Op::Identity
        | Op::Dropout
        | Op::Flatten { .. }
        | Op::Reshape { .. }
        | Op::Squeeze
        | Op::Unsqueeze => Flows(Box::new(reshape::Reshape)),

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
        Op::QuantizeLinear { .. }
        | Op::DynamicQuantizeLinear { .. }
        | Op::MatMulInteger
        | Op::ConvInteger(_)
        | Op::QLinearMatMul
        | Op::QLinearConv(_) => Refused(ON_CODES),
        // The families that follow have no rule yet.
        Op::Conv(_)
        | Op::ConvTranspose(_)
        | Op::Gemm { .. }
        | Op::Where
        | Op::Variadic(_)
        | Op::Clip
        | Op::BatchNormalization { .. }
        | Op::LayerNormalization { .. }
        | Op::InstanceNormalization { .. }
        | Op::GroupNormalization { .. }
        | Op::Recurrent { .. }
        | Op::Einsum(_)
        | Op::Resize(_)
        | Op::MaxPool { .. }
        | Op::AveragePool { .. }
        | Op::LpPool { .. }
        | Op::GlobalAveragePool
        | Op::GlobalMaxPool
        | Op::GlobalLpPool { .. }
        | Op::MeanVarianceNormalization { .. }
        | Op::Lrn { .. }
        | Op::TopK { .. }
        | Op::CumSum { .. }
        | Op::Transpose { .. }
        | Op::Concat { .. }
        | Op::Slice
        | Op::Split { .. }
        | Op::Pad { .. }
        | Op::Gather { .. }
        | Op::GatherElements { .. }
        | Op::GatherND { .. }
        | Op::ScatterElements { .. }
        | Op::ScatterND { .. }
        | Op::Expand
        | Op::Tile
        | Op::Trilu { .. }
        | Op::DepthToSpace { .. }
        | Op::SpaceToDepth { .. }
        | Op::OneHot { .. }
        | Op::Cast { .. }
        | Op::CastLike { .. }
        | Op::Softmax { .. }
        | Op::LogSoftmax { .. }
        | Op::DequantizeLinear { .. } => Refused("its rule is not written yet"),
    }
}
