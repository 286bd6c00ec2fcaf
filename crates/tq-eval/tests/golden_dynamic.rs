//! Recurrent layers that quantize at run time, against vectors recorded from PyTorch. They are read from the folder
//! `TQ_GOLDEN_DIR` when that is set, and from `tests/data` otherwise.

#![allow(clippy::unwrap_used)]

use serde_json::Value;
use tq_eval::{Precision, eval_op};
use tq_graph::op::{Direction, RecurrentAttrs, RecurrentKind};
use tq_graph::{Op, Tensor};
use tq_qtypes::affine::{DEFAULT_EPS, choose_qparams, dequantize, quantize};
use tq_qtypes::{AffineParams, DType, DynamicFormula, Granularity, QuantSpec, Rounding};

fn golden_cases() -> Vec<Value> {
    let folder = std::env::var_os("TQ_GOLDEN_DIR")
        .map_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data").into(), std::path::PathBuf::from);
    let path = folder.join("dynamic.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str::<Value>(&text).unwrap()["cases"].as_array().unwrap().clone()
}

fn floats(v: &Value) -> Vec<f32> {
    v["data"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

fn dims(v: &Value) -> Vec<usize> {
    v["shape"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect()
}

/// How weights and data are quantized.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// As PyTorch on x86: weights -128..=127 with one scale, data by FBGEMM's formula with a reduced range.
    PyTorch,
    /// As this project: weights -127..=127 with one scale a row, data by ONNX's formula.
    Native,
}

/// What the codes of rows of weights stand for.
fn rounded(w: &[f32], columns: usize, mode: Mode) -> Vec<f32> {
    let range = |v: &[f32]| v.iter().fold((0f32, 0f32), |(lo, hi), v| (lo.min(*v), hi.max(*v)));
    let (spec, rows, rounding) = match mode {
        Mode::PyTorch => {
            let spec = QuantSpec { quant_min: -128, ..QuantSpec::i8_symmetric(Granularity::PerTensor) };
            (spec, w.len(), Rounding::Reciprocal)
        }
        Mode::Native => (QuantSpec::i8_symmetric(Granularity::PerTensor), columns, Rounding::Divide),
    };
    w.chunks(rows)
        .flat_map(|w| {
            let (lo, hi) = range(w);
            let (scale, zero_point) = choose_qparams(lo, hi, &spec, DEFAULT_EPS).unwrap();
            let params = AffineParams::per_tensor(DType::I8, scale, zero_point).unwrap();
            let codes = quantize(w, &[w.len()], &params, rounding).unwrap();
            dequantize(&codes, &[w.len()], &params).unwrap()
        })
        .collect()
}

/// Blocks of one gate each, from PyTorch's order to ONNX's: i f g o to i o f g, and r z n to z r n.
fn reordered(data: &[f32], gates: usize) -> Vec<f32> {
    let order: &[usize] = if gates == 4 { &[0, 3, 1, 2] } else { &[1, 0, 2] };
    let block = data.len() / gates;
    order.iter().flat_map(|g| data[g * block..][..block].to_vec()).collect()
}

/// Output and final states of all layers, in PyTorch's shapes.
fn run(case: &Value, mode: Option<Mode>, precision: Precision) -> (Vec<f64>, Vec<Vec<f64>>) {
    let lstm = case["op"] == "lstm";
    let (kind, gates) = match lstm {
        true => (RecurrentKind::Lstm { input_forget: false }, 4),
        false => (RecurrentKind::Gru { linear_before_reset: true }, 3),
    };
    let suffixes: &[&str] = if case["bidirectional"] == true { &["", "_reverse"] } else { &[""] };
    let d = suffixes.len();
    let [steps, batch, _] = dims(&case["x"])[..] else { panic!("x has no three axes") };
    let mut x = Tensor::new(&dims(&case["x"]), floats(&case["x"])).unwrap();
    if precision == Precision::F64 {
        x = Tensor::new(x.dims(), x.to_f64_vec().unwrap()).unwrap();
    }
    let mut states = vec![Vec::new(); if lstm { 2 } else { 1 }];
    for layer in 0..case["layers"].as_u64().unwrap() {
        let params = |name: &str| -> (Vec<usize>, Vec<f32>) {
            let mut shape = Vec::new();
            let mut all = Vec::new();
            for suffix in suffixes {
                let v = &case["params"][format!("{name}_l{layer}{suffix}")];
                shape = dims(v);
                let mut data = floats(v);
                if let (Some(mode), 2) = (mode, shape.len()) {
                    data = rounded(&data, shape[1], mode);
                }
                all.extend(reordered(&data, gates));
            }
            shape.insert(0, d);
            (shape, all)
        };
        let tensor = |(dims, data): (Vec<usize>, Vec<f32>)| match precision {
            Precision::F32 => Tensor::new(&dims, data).unwrap(),
            Precision::F64 => Tensor::new(&dims, data.iter().map(|v| f64::from(*v)).collect()).unwrap(),
        };
        let (w, r) = (tensor(params("weight_ih")), tensor(params("weight_hh")));
        let (first, second) = (params("bias_ih").1, params("bias_hh").1);
        let rows = first.len() / d;
        let both = first.chunks(rows).zip(second.chunks(rows)).flat_map(|(a, b)| [a, b].concat()).collect();
        let b = tensor((vec![d, 2 * rows], both));
        let attrs = RecurrentAttrs {
            hidden_size: rows / gates,
            direction: if d == 2 { Direction::Bidirectional } else { Direction::Forward },
            activations: kind.default_activations().repeat(d),
            clip: None,
            batch_first: false,
            dynamic: mode.map(|mode| match mode {
                Mode::PyTorch => DynamicFormula::Fbgemm { reduce_range: true },
                Mode::Native => DynamicFormula::Onnx,
            }),
        };
        let op = Op::Recurrent { kind, attrs };
        let out =
            eval_op(&op, &[Some(&x), Some(&w), Some(&r), Some(&b)], 1 + states.len(), precision).unwrap();
        for (all, state) in states.iter_mut().zip(&out[1..]) {
            all.extend(state.to_f64_vec().unwrap());
        }
        // From [steps, directions, batch, hidden] to [steps, batch, directions * hidden].
        let (y, h) = (out[0].to_f64_vec().unwrap(), rows / gates);
        let mut next: Vec<f64> = Vec::with_capacity(y.len());
        for (t, b) in (0..steps).flat_map(|t| (0..batch).map(move |b| (t, b))) {
            for direction in 0..d {
                next.extend(&y[((t * d + direction) * batch + b) * h..][..h]);
            }
        }
        let shape = [steps, batch, d * h];
        x = match precision {
            Precision::F32 => Tensor::new(&shape, next.iter().map(|v: &f64| *v as f32).collect()).unwrap(),
            Precision::F64 => Tensor::new(&shape, next).unwrap(),
        };
    }
    (x.to_f64_vec().unwrap(), states)
}

fn largest(a: &[f64], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |m, (a, b)| m.max((a - f64::from(*b)).abs()))
}

fn rms(a: impl Iterator<Item = f64>, b: &[f32]) -> f64 {
    (a.zip(b).map(|(a, b)| (a - f64::from(*b)).powi(2)).sum::<f64>() / b.len() as f64).sqrt()
}

#[test]
fn golden_recurrent_layers_are_those_of_pytorch_and_natively_no_worse() {
    let mut checked = 0;
    for (number, case) in golden_cases().iter().enumerate() {
        if !matches!(case["op"].as_str(), Some("lstm" | "gru")) {
            continue;
        }
        let (y, y_float) = (floats(&case["y"]), floats(&case["y_float"]));
        for precision in [Precision::F32, Precision::F64] {
            assert!(largest(&run(case, None, precision).0, &y_float) < 1e-6, "case {number} in float");
            let (ours, states) = run(case, Some(Mode::PyTorch), precision);
            assert!(largest(&ours, &y) < 1e-4, "case {number}: {}", largest(&ours, &y));
            for (i, state) in states.iter().enumerate() {
                assert!(largest(state, &floats(&case["state"][i])) < 1e-4, "case {number}, state {i}");
            }
            let (native, _) = run(case, Some(Mode::Native), precision);
            let (ours, theirs) =
                (rms(native.into_iter(), &y_float), rms(y.iter().map(|v| f64::from(*v)), &y_float));
            println!("case {number}: RMS error {ours:.2e} here, {theirs:.2e} in PyTorch");
            assert!(ours > 0.0 && ours <= theirs, "case {number}: {ours} against {theirs}");
        }
        checked += 1;
    }
    assert!(checked > 0);
}
