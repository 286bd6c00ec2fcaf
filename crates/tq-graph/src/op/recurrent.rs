//! Recurrent operators.

use tq_qtypes::DynamicFormula;

/// In which order a recurrent operator reads its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the first element to the last.
    Forward,
    /// From the last element to the first.
    Reverse,
    /// Both, with weights of their own; forward comes first.
    Bidirectional,
}

impl Direction {
    /// How many networks there are: 1, or 2 for [`Direction::Bidirectional`].
    #[must_use]
    pub const fn count(self) -> usize {
        match self {
            Direction::Forward | Direction::Reverse => 1,
            Direction::Bidirectional => 2,
        }
    }
}

/// A function within a recurrent operator.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// `max(x, 0)`.
    Relu,
    /// The hyperbolic tangent.
    Tanh,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `alpha * x + beta`.
    Affine {
        /// Slope.
        alpha: f32,
        /// Value at zero.
        beta: f32,
    },
    /// `x` where not negative, else `alpha * x`.
    LeakyRelu {
        /// Slope of the negative part.
        alpha: f32,
    },
    /// `x` where at least `alpha`, else 0.
    ThresholdedRelu {
        /// The threshold.
        alpha: f32,
    },
    /// `alpha * tanh(beta * x)`.
    ScaledTanh {
        /// Factor of the result.
        alpha: f32,
        /// Factor of the argument.
        beta: f32,
    },
    /// `max(0, min(1, alpha * x + beta))`.
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Value at zero.
        beta: f32,
    },
    /// `x` where not negative, else `alpha * (exp(x) - 1)`.
    Elu {
        /// Slope of the negative part at zero.
        alpha: f32,
    },
    /// `x / (1 + |x|)`.
    Softsign,
    /// `log(1 + exp(x))`.
    Softplus,
}

impl Activation {
    /// The name in ONNX's `activations`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Activation::Relu => "Relu",
            Activation::Tanh => "Tanh",
            Activation::Sigmoid => "Sigmoid",
            Activation::Affine { .. } => "Affine",
            Activation::LeakyRelu { .. } => "LeakyRelu",
            Activation::ThresholdedRelu { .. } => "ThresholdedRelu",
            Activation::ScaledTanh { .. } => "ScaledTanh",
            Activation::HardSigmoid { .. } => "HardSigmoid",
            Activation::Elu { .. } => "Elu",
            Activation::Softsign => "Softsign",
            Activation::Softplus => "Softplus",
        }
    }

    /// The parameters, for functions that have them.
    #[must_use]
    pub const fn parameters(self) -> (Option<f32>, Option<f32>) {
        match self {
            Activation::Relu
            | Activation::Tanh
            | Activation::Sigmoid
            | Activation::Softsign
            | Activation::Softplus => (None, None),
            Activation::LeakyRelu { alpha }
            | Activation::ThresholdedRelu { alpha }
            | Activation::Elu { alpha } => (Some(alpha), None),
            Activation::Affine { alpha, beta }
            | Activation::ScaledTanh { alpha, beta }
            | Activation::HardSigmoid { alpha, beta } => (Some(alpha), Some(beta)),
        }
    }
}

/// Attributes of a recurrent operator.
#[derive(Debug, Clone, PartialEq)]
pub struct RecurrentAttrs {
    /// Elements of the hidden state.
    pub hidden_size: usize,
    /// In which order the sequence is read.
    pub direction: Direction,
    /// The functions of one direction after the other, in ONNX's order: `f, g, h` of an LSTM, `f, g` of a GRU,
    /// `f` of an RNN.
    pub activations: Vec<Activation>,
    /// What the arguments of the functions are clipped to, from `-clip` to `clip`.
    pub clip: Option<f32>,
    /// Whether the batch comes first in data and states (`layout` 1) instead of time and direction.
    pub batch_first: bool,
    /// Where set, the operator computes on codes: the data of all sequences with one scale and zero point, and before
    /// every step the states (in a GRU that resets before the product also the reset ones) with theirs, each from the
    /// range that the values have in sequences that go on. The weights are as they come, normally dequantized codes.
    ///
    /// ONNX has no words for this: files keep it beside the graph, and other runtimes compute in float.
    pub dynamic: Option<DynamicFormula>,
}

/// Which recurrent operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecurrentKind {
    /// Long short-term memory: `x, w, r[, b[, lens[, h[, c[, p]]]]] -> y[, y_h[, y_c]]`; gates in the order i, o, f, c.
    Lstm {
        /// Whether the forget gate is one minus the input gate.
        input_forget: bool,
    },
    /// Gated recurrent unit: `x, w, r[, b[, lens[, h]]] -> y[, y_h]`; gates in the order z, r, h.
    Gru {
        /// Whether the reset gate applies after the product with the recurrence weights.
        linear_before_reset: bool,
    },
    /// Elman network: `x, w, r[, b[, lens[, h]]] -> y[, y_h]`.
    Rnn,
}

impl RecurrentKind {
    /// The ONNX name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            RecurrentKind::Lstm { .. } => "LSTM",
            RecurrentKind::Gru { .. } => "GRU",
            RecurrentKind::Rnn => "RNN",
        }
    }

    /// How many rows of weights each element of the hidden state has.
    #[must_use]
    pub const fn gates(self) -> usize {
        match self {
            RecurrentKind::Lstm { .. } => 4,
            RecurrentKind::Gru { .. } => 3,
            RecurrentKind::Rnn => 1,
        }
    }

    /// The functions of one direction where the model names none.
    #[must_use]
    pub const fn default_activations(self) -> &'static [Activation] {
        use Activation::{Sigmoid, Tanh};
        match self {
            RecurrentKind::Lstm { .. } => &[Sigmoid, Tanh, Tanh],
            RecurrentKind::Gru { .. } => &[Sigmoid, Tanh],
            RecurrentKind::Rnn => &[Tanh],
        }
    }
}
