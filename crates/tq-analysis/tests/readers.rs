//! An activation that some read as codes and others as it is, or as other codes, is measured where it is codes.

#![allow(clippy::unwrap_used)] // what is not as expected fails the test

mod common;

use common::noise;
use tq_analysis::{Advice, AdviceOptions, Dataset, FindingKind, advise};
use tq_graph::op::{BinaryOp, UnaryOp};
use tq_graph::{Dim, Graph, Op, Tensor, ValueId, infer};
use tq_qtypes::DType;

const WIDTH: usize = 16;

/// `r = relu(x w0)`, and the sum of two products of `r` and of `r` itself.
fn residual() -> Graph {
    let mut g = Graph::new("net");
    let x = g.add_input("x", DType::F32, vec![Dim::symbol("N"), WIDTH.into()]);
    let weights = |g: &mut Graph, i: u32| {
        let values = noise(WIDTH * WIDTH, i + 1).iter().map(|v| v * 0.4).collect();
        g.add_constant(format!("w{i}"), Tensor::new(&[WIDTH, WIDTH], values).unwrap())
    };
    let [w0, w1, w2] = [0, 1, 2].map(|i| weights(&mut g, i));
    let a = g.add_node("first", Op::MatMul, &[x, w0], "a");
    let r = g.add_node("relu", Op::Unary(UnaryOp::Relu), &[a], "r");
    let m = g.add_node("left", Op::MatMul, &[r, w1], "m");
    let n = g.add_node("right", Op::MatMul, &[r, w2], "n");
    let s = g.add_node("products", Op::Binary(BinaryOp::Add), &[m, n], "s");
    let y = g.add_node("residual", Op::Binary(BinaryOp::Add), &[s, r], "y");
    g.outputs.push(y);
    infer::infer(&mut g).unwrap();
    g
}

/// Codes of `r` at this scale, which the node `reader` reads in its place.
fn coded(g: &mut Graph, reader: &str, scale: f32) {
    let r = g.find_value("r").unwrap();
    let name = |what: &str| format!("r_{what}_{reader}");
    let scale = g.add_constant(name("scale"), Tensor::scalar(scale));
    let zero = g.add_constant(name("zero"), Tensor::scalar(0u8));
    let quantize = Op::QuantizeLinear { axis: 1, block_size: 0, output_dtype: None, saturate: true };
    let codes = g.add_node(name("quantize"), quantize, &[r, scale, zero], name("quantized"));
    let dequantize = Op::DequantizeLinear { axis: 1, block_size: 0 };
    let real = g.add_node(name("dequantize"), dequantize, &[codes, scale, zero], name("dequantized"));
    let node = g.nodes.iter_mut().find(|n| n.name == reader).unwrap();
    node.inputs.iter_mut().filter(|v| **v == Some(r)).for_each(|v| *v = Some(real));
    g.sort().unwrap();
    infer::infer(g).unwrap();
}

/// The largest value of `r`, which has 255 codes to itself at this over 255.
fn largest(g: &Graph, rows: &[f32]) -> f32 {
    let mut tapped = g.clone();
    tapped.outputs = vec![g.find_value("r").unwrap()];
    let evaluator = tq_eval::Evaluator::new(&tapped, tq_eval::Precision::F32).unwrap();
    let r = evaluator.run(&[Tensor::new(&[64, WIDTH], rows.to_vec()).unwrap()]).unwrap().remove(0);
    r.to_f32_vec().unwrap().into_iter().fold(0.0, f32::max)
}

/// The only error of the quantized model is that of codes with this fault, so that it is all of it.
fn explains_all(advice: &Advice) {
    let f = advice.findings.first().unwrap_or_else(|| panic!("nothing found: {advice:#?}"));
    assert_eq!((f.kind, f.tensor.as_deref()), (FindingKind::WideRange, Some("r")), "{f:#?}");
    let alone = f.evidence_of("SQNR of the output with this error alone").unwrap();
    assert!((alone - advice.sqnr_db).abs() < 0.05, "{alone} dB alone, {} dB in all", advice.sqnr_db);
    assert!((95.0..100.5).contains(&f.share), "{f:#?}");
}

#[test]
fn a_sum_that_reads_real_numbers_keeps_them_and_two_kinds_of_codes_are_two() {
    let g = residual();
    let rows = noise(64 * WIDTH, 7);
    let fit = largest(&g, &rows) / 255.0;
    let data = Dataset::new(&g, vec![Tensor::new(&[64, WIDTH], rows).unwrap()]).unwrap();
    let told = |q: &Graph| advise(&g, q, &data, &AdviceOptions::default()).unwrap();
    // One product alone has codes.
    let mut one = g.clone();
    coded(&mut one, "left", 16.0 * fit);
    let a = told(&one);
    explains_all(&a);
    let readers: Vec<&str> = a.findings[0].nodes.iter().map(String::as_str).collect();
    assert_eq!(readers, ["relu", "left"]);
    // Both have them, each of its own scale, of which the second one is at fault.
    let mut two = g.clone();
    coded(&mut two, "left", fit);
    coded(&mut two, "right", 16.0 * fit);
    explains_all(&told(&two));
    // The sum alone has them.
    let mut sum = g.clone();
    coded(&mut sum, "residual", 16.0 * fit);
    let a = told(&sum);
    explains_all(&a);
    let is_real = |v: ValueId| sum.value(v).name == "r";
    let left = sum.nodes.iter().find(|n| n.name == "left").unwrap();
    assert!(left.input(0).is_some_and(is_real) && a.findings[0].nodes == ["relu", "residual"], "{a:#?}");
}
