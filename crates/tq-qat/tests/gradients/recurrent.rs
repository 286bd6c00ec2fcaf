use crate::case::{Case, between, values};
use tq_graph::op::{Activation, Direction, RecurrentAttrs, RecurrentKind};
use tq_graph::{Op, Tensor};

/// Inputs that a recurrent operator may have besides the three it needs.
#[derive(Default, Clone)]
struct With {
    bias: bool,
    lens: Option<Vec<i32>>,
    states: bool,
    peepholes: bool,
    clip: Option<f32>,
    batch_first: bool,
    activations: Option<Vec<Activation>>,
}

const STEPS: usize = 3;
const INPUT: usize = 2;
const HIDDEN: usize = 2;

fn case(name: &str, kind: RecurrentKind, direction: Direction, batch: usize, with: &With) -> Case {
    let (d, rows) = (direction.count(), HIDDEN * kind.gates());
    let states = if with.batch_first { [batch, d, HIDDEN] } else { [d, batch, HIDDEN] };
    let x = if with.batch_first { [batch, STEPS, INPUT] } else { [STEPS, batch, INPUT] };
    let usual = kind.default_activations().repeat(d);
    let mut inputs = vec![
        Some(values(1, &x)),
        Some(between(2, &[d, rows, INPUT], -0.9, 1.0)),
        Some(between(3, &[d, rows, HIDDEN], -0.9, 1.0)),
        with.bias.then(|| between(4, &[d, 2 * rows], -0.4, 0.5)),
        with.lens.clone().map(Tensor::vector),
        with.states.then(|| values(5, &states)),
    ];
    let lstm = matches!(kind, RecurrentKind::Lstm { .. });
    if lstm {
        inputs.push(with.states.then(|| values(6, &states)));
        inputs.push(with.peepholes.then(|| between(7, &[d, 3 * HIDDEN], -0.5, 0.6)));
    }
    let attrs = RecurrentAttrs {
        hidden_size: HIDDEN,
        direction,
        activations: with.activations.clone().unwrap_or(usual),
        clip: with.clip,
        batch_first: with.batch_first,
        dynamic: None,
    };
    Case::some(name, Op::Recurrent { kind, attrs }, inputs).outputs(if lstm { 3 } else { 2 })
}

pub(crate) fn cases() -> Vec<Case> {
    let lstm = RecurrentKind::Lstm { input_forget: false };
    let coupled = RecurrentKind::Lstm { input_forget: true };
    let gru = RecurrentKind::Gru { linear_before_reset: false };
    let late = RecurrentKind::Gru { linear_before_reset: true };
    let rnn = RecurrentKind::Rnn;
    let plain = With::default();
    let full = With {
        bias: true,
        lens: Some(vec![2, 3, 0, 1]),
        states: true,
        peepholes: true,
        clip: Some(0.8),
        ..With::default()
    };
    let first = With { batch_first: true, bias: true, states: true, ..With::default() };
    let mut cases = Vec::new();
    for kind in [lstm, coupled, gru, late, rnn] {
        cases.extend([
            case("plain", kind, Direction::Forward, 2, &plain),
            case("reverse", kind, Direction::Reverse, 2, &With { bias: true, states: true, ..plain.clone() }),
            case("everything", kind, Direction::Bidirectional, 4, &full),
            case("batch first", kind, Direction::Bidirectional, 2, &first),
            // More samples than one task takes.
            case("two blocks", kind, Direction::Forward, 33, &With { bias: true, ..plain.clone() }),
        ]);
    }
    let functions = [
        Activation::Relu,
        Activation::Affine { alpha: 0.7, beta: 0.1 },
        Activation::LeakyRelu { alpha: 0.2 },
        Activation::ThresholdedRelu { alpha: 0.3 },
        Activation::ScaledTanh { alpha: 1.2, beta: 0.6 },
        Activation::HardSigmoid { alpha: 0.3, beta: 0.45 },
        Activation::Elu { alpha: 0.9 },
        Activation::Softsign,
        Activation::Softplus,
        Activation::Sigmoid,
        Activation::Tanh,
    ];
    for (i, function) in functions.into_iter().enumerate() {
        let of = |n: usize| (0..n).map(|k| functions[(i + k * 3) % functions.len()]).collect();
        let with = |activations: Vec<Activation>| With {
            activations: Some(activations),
            bias: true,
            ..plain.clone()
        };
        let name = function.name();
        cases.push(case(name, rnn, Direction::Forward, 3, &with(vec![function])));
        cases.push(case(name, lstm, Direction::Forward, 2, &with(of(3))));
        cases.push(case(name, gru, Direction::Forward, 2, &with(of(2))));
        cases.push(case(name, late, Direction::Forward, 2, &with(of(2))));
    }
    cases
}
