//! Attributes of LSTM, GRU and RNN.

use super::around::Surroundings;
use crate::attributes::Attributes;
use crate::tensor::Problem;
use tq_graph::op::{Activation, Direction, Op, RecurrentAttrs, RecurrentKind};

type Result<T> = std::result::Result<T, Problem>;

fn malformed<T>(message: String) -> Result<T> {
    Err(Problem::Malformed(message))
}

/// The recurrent operator of this name.
pub(super) fn recurrent(attributes: &Attributes, name: &str, around: &Surroundings) -> Result<Op> {
    let kind = match name {
        "LSTM" => RecurrentKind::Lstm { input_forget: attributes.flag("input_forget", false)? },
        "GRU" => RecurrentKind::Gru { linear_before_reset: attributes.int("linear_before_reset", 0)? != 0 },
        _ => RecurrentKind::Rnn,
    };
    let direction = match attributes.text("direction")?.unwrap_or("forward") {
        "forward" => Direction::Forward,
        "reverse" => Direction::Reverse,
        "bidirectional" => Direction::Bidirectional,
        other => return malformed(format!("direction is {other:?}")),
    };
    let clip = attributes.float_opt("clip")?;
    if let Some(c) = clip.filter(|c| c.is_nan() || *c <= 0.0) {
        return malformed(format!("clip is {c}, expected a number above 0"));
    }
    let attrs = RecurrentAttrs {
        hidden_size: hidden_size(attributes, around)?,
        activations: activations(attributes, kind, direction)?,
        direction,
        clip,
        batch_first: around.opset >= 14 && attributes.flag("layout", false)?,
        dynamic: None,
    };
    Ok(Op::Recurrent { kind, attrs })
}

/// What the attribute says, or else the last dimension of the recurrence weights.
fn hidden_size(attributes: &Attributes, around: &Surroundings) -> Result<usize> {
    let of_weights = around.constant(2).and_then(|r| r.dims().last().copied());
    let Some(n) = attributes.int_opt("hidden_size")? else {
        return match of_weights {
            Some(n) => Ok(n),
            None => malformed("hidden_size is missing".into()),
        };
    };
    match usize::try_from(n) {
        Ok(n) if n > 0 => Ok(n),
        _ => malformed(format!("hidden_size is {n}")),
    }
}

/// The functions of all directions. Each takes its parameters from the front of the two lists.
fn activations(
    attributes: &Attributes,
    kind: RecurrentKind,
    direction: Direction,
) -> Result<Vec<Activation>> {
    let defaults = kind.default_activations();
    let count = direction.count() * defaults.len();
    let names = attributes.texts("activations")?;
    let mut alpha = attributes.floats("activation_alpha")?.unwrap_or_default().iter().copied();
    let mut beta = attributes.floats("activation_beta")?.unwrap_or_default().iter().copied();
    let Some(mut names) = names.filter(|n| !n.is_empty()) else {
        return Ok(defaults.repeat(direction.count()));
    };
    // ONNX's default for an RNN of one direction has two functions.
    if kind == RecurrentKind::Rnn {
        names.truncate(count);
    }
    if names.len() != count {
        return malformed(format!("activations {names:?}, expected {count}"));
    }
    names.iter().map(|name| activation(name, &mut alpha, &mut beta)).collect()
}

fn activation(
    name: &str,
    alphas: &mut impl Iterator<Item = f32>,
    betas: &mut impl Iterator<Item = f32>,
) -> Result<Activation> {
    let mut alpha = |default: f32| alphas.next().unwrap_or(default);
    let mut beta = |default: f32| betas.next().unwrap_or(default);
    Ok(match name.to_ascii_lowercase().as_str() {
        "relu" => Activation::Relu,
        "tanh" => Activation::Tanh,
        "sigmoid" => Activation::Sigmoid,
        "affine" => Activation::Affine { alpha: alpha(1.0), beta: beta(0.0) },
        "leakyrelu" => Activation::LeakyRelu { alpha: alpha(0.01) },
        "thresholdedrelu" => Activation::ThresholdedRelu { alpha: alpha(1.0) },
        "scaledtanh" => Activation::ScaledTanh { alpha: alpha(1.0), beta: beta(1.0) },
        "hardsigmoid" => Activation::HardSigmoid { alpha: alpha(0.2), beta: beta(0.5) },
        "elu" => Activation::Elu { alpha: alpha(1.0) },
        "softsign" => Activation::Softsign,
        "softplus" => Activation::Softplus,
        _ => return malformed(format!("activation {name:?} is unknown")),
    })
}
