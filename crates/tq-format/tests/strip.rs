//! Graphs for devices compute the same.
#![allow(clippy::unwrap_used)]

mod common;

use common::{from_bytes, to_bytes};
use tq_eval::{Evaluator, Precision};
use tq_format::strip;
use tq_graph::op::UnaryOp;
use tq_graph::{Dim, Graph, Op, Tensor};
use tq_qtypes::DType;

#[test]
fn only_what_inference_needs_is_left() {
    let mut g = Graph::new("network");
    g.metadata.insert("author".into(), "somebody".into());
    let x = g.add_input("0", DType::F32, vec![Dim::symbol("N"), 2usize.into()]);
    let w = g.add_constant("layer.weight", Tensor::new(&[2, 2], vec![1.0f32, -2.0, 0.5, 3.0]).unwrap());
    let h = g.add_node("layer", Op::MatMul, &[x, w], "layer.out");
    g.add_node("unused", Op::Unary(UnaryOp::Exp), &[h], "nobody reads it");
    let y = g.add_node("relu", Op::Unary(UnaryOp::Relu), &[h], "y");
    g.outputs.push(y);
    tq_graph::infer::infer(&mut g).unwrap();

    let bytes = to_bytes(&strip(&g));
    let text = String::from_utf8_lossy(&bytes);
    for gone in ["network", "author", "layer", "relu", "nobody"] {
        assert!(!text.contains(gone), "{gone} is in {text}");
    }
    assert!(bytes.len() < to_bytes(&g).len());
    let small = from_bytes(&bytes).unwrap();
    assert_eq!(small.values[small.inputs[0].0], g.values[x.0]);
    assert_eq!(small.values[small.outputs[0].0], g.values[y.0]);
    let data = [Tensor::new(&[2, 2], vec![1.0f32, 2.0, -0.3, 7.0]).unwrap()];
    let run = |g: &Graph| Evaluator::new(g, Precision::F32).unwrap().run(&data).unwrap();
    assert_eq!(run(&small), run(&g));
    // A second time nothing changes.
    assert_eq!(strip(&small), small);
}
