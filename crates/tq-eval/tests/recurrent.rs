//! LSTM, GRU and RNN against the formulas of ONNX, element by element.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use tq_eval::{OpError, Precision, eval_op};
use tq_graph::op::{Activation, Direction, RecurrentAttrs, RecurrentKind};
use tq_graph::{Op, Tensor};

/// Reproducible numbers between -1 and 1.
struct Source(u64);

impl Source {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1u64 << 30) as f64 - 1.0
    }

    fn below(&mut self, n: usize) -> usize {
        ((self.next() + 1.0) * 0.5 * n as f64) as usize % n
    }

    fn values(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| self.next()).collect()
    }
}

#[derive(Debug, Clone, Copy)]
struct Sizes {
    steps: usize,
    batch: usize,
    input: usize,
    hidden: usize,
    directions: usize,
    batch_first: bool,
}

/// All inputs as lists of numbers.
#[derive(Debug)]
struct Data {
    x: Vec<f64>,
    w: Vec<f64>,
    r: Vec<f64>,
    b: Option<Vec<f64>>,
    lens: Option<Vec<i32>>,
    h: Option<Vec<f64>>,
    c: Option<Vec<f64>>,
    p: Option<Vec<f64>>,
}

fn apply(f: Activation, v: f64) -> f64 {
    let wide = f64::from;
    match f {
        Activation::Relu => v.max(0.0),
        Activation::Tanh => v.tanh(),
        Activation::Sigmoid => 1.0 / (1.0 + (-v).exp()),
        Activation::Affine { alpha, beta } => wide(alpha) * v + wide(beta),
        Activation::LeakyRelu { alpha } => {
            if v >= 0.0 {
                v
            } else {
                wide(alpha) * v
            }
        }
        Activation::ThresholdedRelu { alpha } => {
            if v >= wide(alpha) {
                v
            } else {
                0.0
            }
        }
        Activation::ScaledTanh { alpha, beta } => wide(alpha) * (wide(beta) * v).tanh(),
        Activation::HardSigmoid { alpha, beta } => (wide(alpha) * v + wide(beta)).clamp(0.0, 1.0),
        Activation::Elu { alpha } => {
            if v >= 0.0 {
                v
            } else {
                wide(alpha) * v.exp_m1()
            }
        }
        Activation::Softsign => v / (1.0 + v.abs()),
        Activation::Softplus => v.max(0.0) + (-v.abs()).exp().ln_1p(),
    }
}

/// `y, y_h, y_c` by the formulas.
fn twin(kind: RecurrentKind, attrs: &RecurrentAttrs, s: Sizes, d: &Data) -> [Vec<f64>; 3] {
    let Sizes { steps, batch, input, hidden, directions, batch_first } = s;
    let gates = kind.gates();
    let mut y = vec![0.0; steps * batch * directions * hidden];
    let mut last = [vec![0.0; directions * batch * hidden], vec![0.0; directions * batch * hidden]];
    let clip = |v: f64| attrs.clip.map_or(v, |c| v.clamp(-f64::from(c), f64::from(c)));
    let functions = attrs.activations.len() / directions;
    for dir in 0..directions {
        let f = |i: usize, v: f64| apply(attrs.activations[dir * functions + i], clip(v));
        let reverse = dir == 1 || attrs.direction == Direction::Reverse;
        for n in 0..batch {
            let state_at = if batch_first { n * directions + dir } else { dir * batch + n } * hidden;
            let initial = |s: &Option<Vec<f64>>| -> Vec<f64> {
                s.as_ref().map_or(vec![0.0; hidden], |s| s[state_at..][..hidden].to_vec())
            };
            let (mut h, mut c) = (initial(&d.h), initial(&d.c));
            let len = d.lens.as_ref().map_or(steps, |l| usize::try_from(l[n]).unwrap());
            for step in 0..len {
                let t = if reverse { len - 1 - step } else { step };
                let x_at = if batch_first { n * steps + t } else { t * batch + n } * input;
                let bias = |k: usize| d.b.as_ref().map_or(0.0, |b| b[dir * 2 * gates * hidden + k]);
                // W * x + Wb and R * v + Rb of one row of gate `g`.
                let project = |g: usize, j: usize| {
                    let row = dir * gates * hidden + g * hidden + j;
                    let sum: f64 = (0..input).map(|i| d.w[row * input + i] * d.x[x_at + i]).sum();
                    sum + bias(g * hidden + j)
                };
                let recur = |g: usize, j: usize, v: &[f64]| {
                    let row = dir * gates * hidden + g * hidden + j;
                    let sum: f64 = (0..hidden).map(|i| d.r[row * hidden + i] * v[i]).sum();
                    sum + bias((gates + g) * hidden + j)
                };
                let peep = |g: usize, j: usize, c: &[f64]| {
                    d.p.as_ref().map_or(0.0, |p| p[(dir * 3 + g) * hidden + j] * c[j])
                };
                let before = h.clone();
                match kind {
                    RecurrentKind::Rnn => {
                        for (j, h) in h.iter_mut().enumerate() {
                            *h = f(0, project(0, j) + recur(0, j, &before));
                        }
                    }
                    RecurrentKind::Gru { linear_before_reset } => {
                        let gate = |g: usize, j: usize| f(0, project(g, j) + recur(g, j, &before));
                        let reset: Vec<f64> = (0..hidden).map(|j| gate(1, j) * before[j]).collect();
                        for j in 0..hidden {
                            let candidate = if linear_before_reset {
                                f(1, project(2, j) + gate(1, j) * recur(2, j, &before))
                            } else {
                                f(1, project(2, j) + recur(2, j, &reset))
                            };
                            let z = gate(0, j);
                            h[j] = (1.0 - z) * candidate + z * before[j];
                        }
                    }
                    RecurrentKind::Lstm { input_forget } => {
                        let old = c.clone();
                        for j in 0..hidden {
                            let sum = |g: usize| project(g, j) + recur(g, j, &before);
                            let i = f(0, sum(0) + peep(0, j, &old));
                            let forget = if input_forget { 1.0 - i } else { f(0, sum(2) + peep(2, j, &old)) };
                            c[j] = forget * old[j] + i * f(1, sum(3));
                            let o = f(0, sum(1) + peep(1, j, &c));
                            h[j] = o * apply(attrs.activations[dir * functions + 2], c[j]);
                        }
                    }
                }
                let y_at = if batch_first {
                    (n * steps + t) * directions + dir
                } else {
                    (t * directions + dir) * batch + n
                };
                y[y_at * hidden..][..hidden].copy_from_slice(&h);
            }
            if len > 0 {
                last[0][state_at..][..hidden].copy_from_slice(&h);
                last[1][state_at..][..hidden].copy_from_slice(&c);
            }
        }
    }
    let [h, c] = last;
    [y, h, c]
}

const FUNCTIONS: [Activation; 11] = [
    Activation::Relu,
    Activation::Tanh,
    Activation::Sigmoid,
    Activation::Affine { alpha: 0.5, beta: 0.1 },
    Activation::LeakyRelu { alpha: 0.01 },
    Activation::ThresholdedRelu { alpha: 0.2 },
    Activation::ScaledTanh { alpha: 1.5, beta: 0.5 },
    Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
    Activation::Elu { alpha: 0.7 },
    Activation::Softsign,
    Activation::Softplus,
];

/// A network; with `long` one of more steps than are projected at a time.
fn random(seed: u64, long: bool) -> (RecurrentKind, RecurrentAttrs, Sizes, Data) {
    let mut source = Source(seed);
    let flag = |s: &mut Source| s.below(2) == 0;
    let kind = match source.below(5) {
        0 => RecurrentKind::Rnn,
        1 | 2 => RecurrentKind::Gru { linear_before_reset: flag(&mut source) },
        _ => RecurrentKind::Lstm { input_forget: source.below(4) == 0 },
    };
    let direction = [Direction::Forward, Direction::Reverse, Direction::Bidirectional][source.below(3)];
    let directions = direction.count();
    let s = Sizes {
        steps: if long { 140 } else { source.below(5) },
        // More than one block of samples now and then.
        batch: if long {
            12
        } else if source.below(8) == 0 {
            40
        } else {
            source.below(4)
        },
        input: source.below(4),
        hidden: if long { 80 } else { 1 + source.below(9) },
        directions,
        batch_first: flag(&mut source),
    };
    let count = directions * kind.default_activations().len();
    let activations = if long || flag(&mut source) {
        kind.default_activations().repeat(directions)
    } else {
        (0..count).map(|_| FUNCTIONS[source.below(FUNCTIONS.len())]).collect()
    };
    let attrs = RecurrentAttrs {
        hidden_size: s.hidden,
        direction,
        activations,
        clip: flag(&mut source).then_some(0.4),
        batch_first: s.batch_first,
        dynamic: None,
    };
    let (rows, state) = (directions * kind.gates() * s.hidden, directions * s.batch * s.hidden);
    let lens: Vec<i32> = (0..s.batch).map(|_| i32::try_from(source.below(s.steps + 1)).unwrap()).collect();
    let mut some = |n: usize, is_lstm: bool| {
        let take = flag(&mut source) && (!is_lstm || matches!(kind, RecurrentKind::Lstm { .. }));
        take.then(|| source.values(n))
    };
    let (b, h) = (some(2 * rows, false), some(state, false));
    let (c, p) = (some(state, true), some(directions * 3 * s.hidden, true));
    let data = Data {
        x: source.values(s.steps * s.batch * s.input),
        w: source.values(rows * s.input),
        // Small, so that functions without bounds do not blow the state up.
        r: source.values(rows * s.hidden).into_iter().map(|v| v * if long { 0.1 } else { 0.25 }).collect(),
        b,
        lens: flag(&mut source).then_some(lens),
        h,
        c,
        p,
    };
    (kind, attrs, s, data)
}

fn tensors(kind: RecurrentKind, s: Sizes, d: &Data) -> Vec<Option<Tensor>> {
    let Sizes { steps, batch, input, hidden, directions, batch_first } = s;
    let rows = kind.gates() * hidden;
    let tensor = |dims: &[usize], v: &[f64]| Some(Tensor::new(dims, v.to_vec()).unwrap());
    let x = if batch_first { [batch, steps, input] } else { [steps, batch, input] };
    let state = if batch_first { [batch, directions, hidden] } else { [directions, batch, hidden] };
    let mut all = vec![
        tensor(&x, &d.x),
        tensor(&[directions, rows, input], &d.w),
        tensor(&[directions, rows, hidden], &d.r),
        d.b.as_ref().and_then(|b| tensor(&[directions, 2 * rows], b)),
        d.lens.as_ref().map(|l| Tensor::vector(l.clone())),
        d.h.as_ref().and_then(|h| tensor(&state, h)),
    ];
    if matches!(kind, RecurrentKind::Lstm { .. }) {
        all.push(d.c.as_ref().and_then(|c| tensor(&state, c)));
        all.push(d.p.as_ref().and_then(|p| tensor(&[directions, 3 * hidden], p)));
    }
    all
}

fn outputs(kind: RecurrentKind) -> usize {
    if matches!(kind, RecurrentKind::Lstm { .. }) { 3 } else { 2 }
}

/// Holds what the operator gives to the formulas.
fn check((kind, attrs, sizes, data): (RecurrentKind, RecurrentAttrs, Sizes, Data)) {
    let want = twin(kind, &attrs, sizes, &data);
    let inputs = tensors(kind, sizes, &data);
    let inputs: Vec<Option<&Tensor>> = inputs.iter().map(Option::as_ref).collect();
    let op = Op::Recurrent { kind, attrs };
    let got = eval_op(&op, &inputs, outputs(kind), Precision::F64).unwrap();
    for (got, want) in got.iter().zip(&want) {
        let got = got.as_slice::<f64>().unwrap();
        assert_eq!(got.len(), want.len());
        for (g, w) in got.iter().zip(want) {
            assert!((g - w).abs() <= 1e-9 * w.abs().max(1.0), "{g} instead of {w}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_network_follows_the_formulas(seed: u64) {
        check(random(seed, false));
    }
}

#[test]
fn networks_of_many_steps_follow_the_formulas() {
    for seed in 0..16 {
        check(random(seed, true));
    }
}

/// An LSTM of one direction with hidden size 2 on `x` of shape `[3, 2, 1]`.
fn lstm(change: impl FnOnce(&mut RecurrentAttrs, &mut Vec<Option<Tensor>>)) -> Result<Vec<Tensor>, OpError> {
    let kind = RecurrentKind::Lstm { input_forget: false };
    let mut attrs = RecurrentAttrs {
        hidden_size: 2,
        direction: Direction::Forward,
        activations: kind.default_activations().to_vec(),
        clip: None,
        batch_first: false,
        dynamic: None,
    };
    let filled = |dims: &[usize]| Some(Tensor::new(dims, vec![0.5f32; dims.iter().product()]).unwrap());
    let mut inputs =
        vec![filled(&[3, 2, 1]), filled(&[1, 8, 1]), filled(&[1, 8, 2]), None, None, None, None, None];
    change(&mut attrs, &mut inputs);
    let inputs: Vec<Option<&Tensor>> = inputs.iter().map(Option::as_ref).collect();
    eval_op(&Op::Recurrent { kind, attrs }, &inputs, 3, Precision::F32)
}

#[test]
fn inputs_that_do_not_fit_are_refused_by_name() {
    assert!(lstm(|_, _| {}).is_ok());
    let message = |change: &dyn Fn(&mut RecurrentAttrs, &mut Vec<Option<Tensor>>)| {
        lstm(|a, i| change(a, i)).unwrap_err().to_string()
    };
    assert_eq!(message(&|a, _| a.hidden_size = 3), "w has shape [1, 8, 1], expected [1, 12, 1]");
    assert_eq!(message(&|a, _| a.hidden_size = usize::MAX), format!("hidden_size is {}", usize::MAX));
    assert_eq!(message(&|a, _| a.hidden_size = 0), "hidden_size is 0");
    assert_eq!(message(&|a, _| a.direction = Direction::Bidirectional), "3 activations, expected 6");
    assert_eq!(message(&|a, _| a.activations.clear()), "0 activations, expected 3");
    let lens = |v: Vec<i32>| Some(Tensor::vector(v));
    assert_eq!(message(&|_, i| i[4] = lens(vec![3])), "sequence_lens has shape [1], expected [2]");
    assert_eq!(message(&|_, i| i[4] = lens(vec![3, 4])), "a sequence length is 4, of at most 3 steps");
    assert_eq!(message(&|_, i| i[4] = lens(vec![-1, 0])), "a sequence length is -1, of at most 3 steps");
    let wide = || Some(Tensor::vector(vec![1i64, 2]));
    assert_eq!(message(&|_, i| i[4] = wide()), "sequence_lens is i64, expected i32");
    assert_eq!(message(&|_, i| i[0] = lens(vec![1])), "input of shape [1], expected rank 3");
    let state = || Some(Tensor::new(&[2, 1, 2], vec![0.0f32; 4]).unwrap());
    assert_eq!(message(&|_, i| i[6] = state()), "initial_c has shape [2, 1, 2], expected [1, 2, 2]");
}

#[test]
fn half_precision_is_computed_in_f32_and_rounded_once() {
    let half = |i: &mut Vec<Option<Tensor>>| {
        for t in i.iter_mut().flatten() {
            let data = t.to_f32_vec().unwrap().into_iter().map(half::f16::from_f32).collect();
            *t = Tensor::new(t.dims(), data).unwrap();
        }
    };
    let (wide, narrow) = (lstm(|_, _| {}).unwrap(), lstm(|_, i| half(i)).unwrap());
    for (wide, narrow) in wide.iter().zip(&narrow) {
        let rounded: Vec<half::f16> =
            wide.as_slice::<f32>().unwrap().iter().map(|v| half::f16::from_f32(*v)).collect();
        assert_eq!(narrow.as_slice::<half::f16>().unwrap(), rounded);
    }
}
