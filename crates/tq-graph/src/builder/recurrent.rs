//! Recurrent layers.

use super::layer::Parameter;
use super::{Builder, Init, Layer, Scope};
use crate::op::{Activation, Direction, RecurrentAttrs, RecurrentKind};
use crate::{GraphError, Op, Tensor, ValueId};

/// The settings that all recurrent layers have.
#[derive(Debug, Clone, PartialEq)]
pub struct Recurrent {
    kind: RecurrentKind,
    relu: bool,
    input_size: usize,
    hidden_size: usize,
    num_layers: usize,
    bias: bool,
    batch_first: bool,
    bidirectional: bool,
}

/// A recurrent layer. Parameters of layer `k`: `weight_ih_lk` `[gates * hidden, input]`, `weight_hh_lk`
/// `[gates * hidden, hidden]`, `bias_ih_lk` and `bias_hh_lk` `[gates * hidden]`, and the same with `_reverse` for the
/// other direction, gates in PyTorch's order.
///
/// As a [`Layer`] it starts from zeros and gives the sequence of outputs; [`Builder::recurrent`] takes initial states
/// and gives the last ones too.
pub trait RecurrentLayer: Layer {
    /// Its settings.
    fn settings(&self) -> &Recurrent;
}

/// What a recurrent layer gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecurrentOutput {
    /// The outputs of the last layer at every step: `[steps, batch, directions * hidden]`, or batch first.
    pub output: ValueId,
    /// The last hidden states: `[layers * directions, batch, hidden]`.
    pub hidden: ValueId,
    /// The last cell states of an LSTM, of the same shape.
    pub cell: Option<ValueId>,
}

macro_rules! recurrent_layers {
    ($($(#[doc = $doc:literal])+ $name:ident = $kind:expr;)*) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name(Recurrent);

        impl $name {
            /// One layer, one direction, time first, with biases.
            #[must_use]
            pub fn new(input_size: usize, hidden_size: usize) -> Self {
                Self(Recurrent {
                    kind: $kind,
                    relu: false,
                    input_size,
                    hidden_size,
                    num_layers: 1,
                    bias: true,
                    batch_first: false,
                    bidirectional: false,
                })
            }

            /// How many layers, each of which reads the outputs of the one before.
            #[must_use]
            pub fn num_layers(mut self, layers: usize) -> Self {
                self.0.num_layers = layers;
                self
            }

            /// Whether there are biases.
            #[must_use]
            pub fn bias(mut self, bias: bool) -> Self {
                self.0.bias = bias;
                self
            }

            /// Whether the sequences' first axis is the batch instead of time. States are not affected.
            #[must_use]
            pub fn batch_first(mut self, batch_first: bool) -> Self {
                self.0.batch_first = batch_first;
                self
            }

            /// Whether each layer reads the sequence from both ends.
            #[must_use]
            pub fn bidirectional(mut self, bidirectional: bool) -> Self {
                self.0.bidirectional = bidirectional;
                self
            }
        }

        impl Layer for $name {
            fn type_name(&self) -> &'static str {
                stringify!($name)
            }

            fn apply(&self, scope: &mut Scope<'_>, x: ValueId) -> Result<ValueId, GraphError> {
                Ok(self.0.apply(scope, x, None, None)?.output)
            }
        }

        impl RecurrentLayer for $name {
            fn settings(&self) -> &Recurrent {
                &self.0
            }
        }
    )*};
}

recurrent_layers! {
    /// Long short-term memory.
    LSTM = RecurrentKind::Lstm { input_forget: false };
    /// Gated recurrent units; the reset gate applies after the product with the recurrence weights.
    GRU = RecurrentKind::Gru { linear_before_reset: true };
    /// A plain recurrent network with the hyperbolic tangent, or ReLU.
    RNN = RecurrentKind::Rnn;
}

impl RNN {
    /// With `max(x, 0)` instead of the hyperbolic tangent.
    #[must_use]
    pub fn relu(mut self) -> Self {
        self.0.relu = true;
        self
    }
}

impl Builder {
    /// Applies a recurrent layer under a dotted name, from initial states `[layers * directions, batch, hidden]`
    /// where they are given (zeros elsewhere); `cell` is for an LSTM only.
    ///
    /// # Errors
    /// As [`Builder::layer`].
    pub fn recurrent(
        &mut self,
        name: impl Into<String>,
        x: ValueId,
        layer: impl RecurrentLayer,
        hidden: Option<ValueId>,
        cell: Option<ValueId>,
    ) -> Result<RecurrentOutput, GraphError> {
        let mut scope = self.scope(name.into(), layer.type_name())?;
        layer.settings().apply(&mut scope, x, hidden, cell)
    }
}

/// For each gate in ONNX's order its place in PyTorch's: `i, o, f, c` of `i, f, g, o`, and `z, r, h` of `r, z, n`.
const fn gate_order(kind: RecurrentKind) -> &'static [usize] {
    match kind {
        RecurrentKind::Lstm { .. } => &[0, 3, 1, 2],
        RecurrentKind::Gru { .. } => &[1, 0, 2],
        RecurrentKind::Rnn => &[0],
    }
}

/// Tensors whose first axis is the gates, those in ONNX's order, one after the other.
fn reordered(tensors: &[Tensor], order: &[usize], dims: &[usize]) -> Result<Tensor, GraphError> {
    let mut data = Vec::new();
    for t in tensors {
        let all = t.as_slice::<f32>()?;
        let gate = all.len() / order.len();
        for g in order {
            data.extend_from_slice(&all[g * gate..(g + 1) * gate]);
        }
    }
    Tensor::new(dims, data)
}

impl Recurrent {
    fn apply(
        &self,
        scope: &mut Scope<'_>,
        x: ValueId,
        hidden: Option<ValueId>,
        cell: Option<ValueId>,
    ) -> Result<RecurrentOutput, GraphError> {
        let (input, width, layers) = (self.input_size, self.hidden_size, self.num_layers);
        scope.expect_positive(&[("input_size", input), ("hidden_size", width), ("num_layers", layers)])?;
        let shape = scope.shape_of_rank(x, &[3])?;
        scope.expect_dim("features", &shape[2], input)?;
        let directions = if self.bidirectional { 2 } else { 1 };
        let lstm = matches!(self.kind, RecurrentKind::Lstm { .. });
        if cell.is_some() && !lstm {
            return scope.fail("only an LSTM has a cell state");
        }
        for (what, state) in [("hidden", hidden), ("cell", cell)] {
            let Some(state) = state else { continue };
            let shape = scope.shape_of_rank(state, &[3])?;
            scope.expect_dim(
                &format!("layers of {what} state"),
                &shape[0],
                layers.saturating_mul(directions),
            )?;
            scope.expect_dim(&format!("elements of {what} state"), &shape[2], width)?;
        }
        let swap = || Op::Transpose { perm: Some(vec![1, 0, 2]) };
        let mut x = if self.batch_first { scope.node("time_first", swap(), &[x])? } else { x };
        let (mut hs, mut cs) = (Vec::new(), Vec::new());
        for k in 0..layers {
            let features = if k == 0 { input } else { width.saturating_mul(directions) };
            let part = if layers == 1 { String::new() } else { format!("l{k}") };
            let at = |name: &str| if layers == 1 { name.to_owned() } else { format!("{name}_l{k}") };
            let mut inputs = vec![Some(x)];
            inputs.extend(self.weights(scope, k, features)?);
            if hidden.is_some() || cell.is_some() {
                inputs.resize(5, None);
                for (state, name) in [(hidden, "h0"), (cell, "c0")] {
                    inputs.push(match state {
                        Some(s) => Some(self.layer_state(scope, s, k, &at(name))?),
                        None => None,
                    });
                }
                if !lstm {
                    inputs.truncate(6);
                }
            }
            let op = Op::Recurrent { kind: self.kind, attrs: self.attrs() };
            let outputs = scope.nodes(&part, op, &inputs, if lstm { 3 } else { 2 })?;
            hs.push(outputs[1]);
            cs.extend(outputs.get(2));
            // [steps, directions, batch, hidden] -> [steps, batch, directions * hidden]
            x = if directions == 1 {
                let axis = scope.constant("direction_axis", Tensor::vector(vec![1i64]));
                scope.node(&at("squeeze"), Op::Squeeze, &[outputs[0], axis])?
            } else {
                let perm = Op::Transpose { perm: Some(vec![0, 2, 1, 3]) };
                let y = scope.node(&at("transpose"), perm, &[outputs[0]])?;
                let dims = scope.constant("joined", Tensor::vector(vec![0i64, 0, -1]));
                scope.node(&at("reshape"), Op::Reshape { allow_zero: false }, &[y, dims])?
            };
        }
        let output = if self.batch_first { scope.node("batch_first", swap(), &[x])? } else { x };
        let mut stacked = |name: &str, states: &[ValueId]| match states {
            [one] => Ok(*one),
            _ => scope.node(name, Op::Concat { axis: 0 }, states),
        };
        let hidden = stacked("hidden", &hs)?;
        let cell = if lstm { Some(stacked("cell", &cs)?) } else { None };
        Ok(RecurrentOutput { output, hidden, cell })
    }

    fn attrs(&self) -> RecurrentAttrs {
        let direction = if self.bidirectional { Direction::Bidirectional } else { Direction::Forward };
        let one = if self.relu { &[Activation::Relu][..] } else { self.kind.default_activations() };
        RecurrentAttrs {
            hidden_size: self.hidden_size,
            direction,
            activations: one.repeat(direction.count()),
            clip: None,
            batch_first: false,
            dynamic: None,
        }
    }

    /// The inputs `w`, `r` and `b` of layer `k`.
    fn weights(
        &self,
        scope: &mut Scope<'_>,
        k: usize,
        features: usize,
    ) -> Result<Vec<Option<ValueId>>, GraphError> {
        let order = gate_order(self.kind);
        let Some(rows) = self.hidden_size.checked_mul(order.len()) else {
            return scope.fail(format!("hidden_size {} is too large", self.hidden_size));
        };
        let init = Init::fan_in(self.hidden_size);
        let ends = if self.bidirectional { &["", "_reverse"][..] } else { &[""] };
        let mut all = |name: &str, dims: &[usize]| -> Result<Vec<Parameter>, GraphError> {
            ends.iter().map(|end| scope.parameter(&format!("{name}_l{k}{end}"), dims, init.clone())).collect()
        };
        let w = all("weight_ih", &[rows, features])?;
        let r = all("weight_hh", &[rows, self.hidden_size])?;
        let biases = if self.bias {
            let (ih, hh) = (all("bias_ih", &[rows])?, all("bias_hh", &[rows])?);
            // One direction after the other, its input bias before its recurrence bias.
            ih.into_iter().zip(hh).flat_map(|(a, b)| [a, b]).collect()
        } else {
            Vec::new()
        };
        let mut derived = |name: &str, from: &[Parameter], dims: Vec<usize>| {
            let from: Vec<&Parameter> = from.iter().collect();
            let target = dims.clone();
            scope
                .derived(&format!("{name}_l{k}"), &from, &dims, move |t| reordered(t, order, &target))
                .map(Some)
        };
        let mut inputs = vec![
            derived("w", &w, vec![ends.len(), rows, features])?,
            derived("r", &r, vec![ends.len(), rows, self.hidden_size])?,
        ];
        if self.bias {
            inputs.push(derived("b", &biases, vec![ends.len(), rows.saturating_mul(2)])?);
        }
        Ok(inputs)
    }

    /// The rows of a state that belong to layer `k`.
    fn layer_state(
        &self,
        scope: &mut Scope<'_>,
        state: ValueId,
        k: usize,
        name: &str,
    ) -> Result<ValueId, GraphError> {
        if self.num_layers == 1 {
            return Ok(state);
        }
        let directions = if self.bidirectional { 2 } else { 1 };
        let mut at = |what: &str, n: usize| scope.constant(what, Tensor::vector(vec![n as i64]));
        let (start, end) = (at("start", k * directions), at("end", (k + 1) * directions));
        let axis = at("axis", 0);
        scope.node(name, Op::Slice, &[state, start, end, axis])
    }
}
