//! Dynamically quantized layers of PyTorch, from the float model to the session. The vectors are read from the folder
//! `TQ_GOLDEN_DIR` when that is set, and from the evaluator's own copy otherwise.

use serde_json::Value;
use tq_eval::{Evaluator, Precision};
use tq_graph::dim::shape_of;
use tq_graph::op::{Direction, RecurrentAttrs, RecurrentKind};
use tq_graph::{Graph, Node, Op, Tensor, ValueId};
use tq_passes::{QConfig, default_dynamic_qconfig, pytorch_dynamic_qconfig, quantize_dynamic};
use tq_qtypes::DType;
use tq_runtime::{Execution, Session, SessionOptions, judge};

fn golden_cases() -> Vec<Value> {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/../tq-eval/tests/data");
    let folder = std::env::var_os("TQ_GOLDEN_DIR").map_or_else(|| own.into(), std::path::PathBuf::from);
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

/// Blocks of one gate each, from PyTorch's order to ONNX's: i f g o to i o f g, and r z n to z r n.
fn reordered(data: &[f32], gates: usize) -> Vec<f32> {
    let order: &[usize] = if gates == 4 { &[0, 3, 1, 2] } else { &[1, 0, 2] };
    let block = data.len() / gates;
    order.iter().flat_map(|g| data[g * block..][..block].to_vec()).collect()
}

/// The float model of a case.
fn model(case: &Value) -> Graph {
    let mut g = Graph::new("net");
    let mut x = g.add_input("x", DType::F32, shape_of(&dims(&case["x"])));
    if case["op"] == "dynamic_linear" {
        let w = g.add_constant("w", Tensor::new(&dims(&case["weight"]), floats(&case["weight"])).unwrap());
        let b = g.add_constant("b", Tensor::vector(floats(&case["bias"])));
        let gemm = Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
        let y = g.add_node("linear", gemm, &[x, w, b], "y");
        g.outputs.push(y);
        return g;
    }
    let (kind, gates) = match case["op"] == "lstm" {
        true => (RecurrentKind::Lstm { input_forget: false }, 4),
        false => (RecurrentKind::Gru { linear_before_reset: true }, 3),
    };
    let suffixes: &[&str] = if case["bidirectional"] == true { &["", "_reverse"] } else { &[""] };
    let d = suffixes.len();
    for layer in 0..case["layers"].as_u64().unwrap() {
        let part = |name: &str| {
            let values = suffixes.iter().map(|s| &case["params"][format!("{name}_l{layer}{s}")]);
            values.map(|v| (dims(v), reordered(&floats(v), gates))).collect::<Vec<_>>()
        };
        let mut weights = |name: &str| -> ValueId {
            let parts = part(name);
            let shape = [&[d], parts[0].0.as_slice()].concat();
            let data = parts.into_iter().flat_map(|(_, data)| data).collect();
            g.add_constant(format!("{name}_{layer}"), Tensor::new(&shape, data).unwrap())
        };
        let (w, r) = (weights("weight_ih"), weights("weight_hh"));
        let (first, second) = (part("bias_ih"), part("bias_hh"));
        let rows = first[0].1.len();
        let both = first.iter().zip(&second).flat_map(|(a, b)| [a.1.as_slice(), &b.1].concat()).collect();
        let b = g.add_constant(format!("bias_{layer}"), Tensor::new(&[d, 2 * rows], both).unwrap());
        let attrs = RecurrentAttrs {
            hidden_size: rows / gates,
            direction: if d == 2 { Direction::Bidirectional } else { Direction::Forward },
            activations: kind.default_activations().repeat(d),
            clip: None,
            batch_first: false,
            dynamic: None,
        };
        let y = g.add_value(format!("y{layer}"), None, None);
        g.nodes.push(Node {
            name: format!("layer{layer}"),
            op: Op::Recurrent { kind, attrs },
            inputs: [x, w, r, b].map(Some).to_vec(),
            outputs: vec![Some(y)],
        });
        let perm = Some(vec![0, 2, 1, 3]);
        let turned = g.add_node(format!("turn{layer}"), Op::Transpose { perm }, &[y], format!("t{layer}"));
        let shape = g.add_constant(format!("shape{layer}"), Tensor::vector(vec![0i64, 0, -1]));
        let reshape = Op::Reshape { allow_zero: false };
        x = g.add_node(format!("join{layer}"), reshape, &[turned, shape], format!("x{layer}"));
    }
    g.outputs.push(x);
    g
}

fn largest(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |m, (a, b)| m.max((a - b).abs()))
}

fn rms(a: &[f32], b: &[f32]) -> f64 {
    (a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>() / b.len() as f64).sqrt()
}

/// What the session gives, in integers, and held to the judge and the evaluator.
fn session(case: &Value, qconfig: QConfig) -> Vec<f32> {
    let quantized = quantize_dynamic(model(case), qconfig, DType::I8).unwrap();
    let x = [Tensor::new(&dims(&case["x"]), floats(&case["x"])).unwrap()];
    let session = Session::new(&quantized.graph, SessionOptions::default()).unwrap();
    let y = session.run(&x).unwrap()[0].to_f32_vec().unwrap();
    let products =
        session.explain().nodes.into_iter().filter(|n| matches!(n.op, "LSTM" | "GRU" | "MatMulInteger"));
    let products: Vec<_> = products.collect();
    assert!(!products.is_empty());
    assert!(products.iter().all(|n| n.execution == Execution::Integer && n.kernel.is_some() && n.macs > 0));
    let verdict = judge(&session, &x).unwrap();
    assert!(verdict.holds() && verdict.operators.len() == products.len(), "{verdict}");
    let reference = Evaluator::new(&quantized.graph, Precision::F32).unwrap().run(&x).unwrap();
    let reference = reference[0].to_f32_vec().unwrap();
    assert!(largest(&y, &reference) < if case["op"] == "dynamic_linear" { f32::MIN_POSITIVE } else { 1e-4 });
    y
}

#[test]
fn golden_layers_are_those_of_pytorch_and_natively_no_worse() {
    let mut checked = 0;
    for (number, case) in golden_cases().iter().enumerate() {
        let (y, y_float) = (floats(&case["y"]), floats(&case["y_float"]));
        let off = largest(&session(case, pytorch_dynamic_qconfig()), &y);
        assert!(off < 1e-4, "case {number}: off by {off}");
        let (ours, theirs) = (rms(&session(case, default_dynamic_qconfig()), &y_float), rms(&y, &y_float));
        println!("case {number}: off by {off:.1e}; RMS error {ours:.2e} here, {theirs:.2e} in PyTorch");
        assert!(ours > 0.0 && ours <= theirs, "case {number}: {ours} against {theirs}");
        checked += 1;
    }
    assert!(checked > 0);
}
