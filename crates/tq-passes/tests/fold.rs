//! Constant folding: what goes, what stays.
#![allow(clippy::unwrap_used)]

mod common;

use common::net::{Net, run64};
use tq_graph::op::BinaryOp;
use tq_graph::{Op, Tensor};
use tq_passes::{PassError, fold_constants};

#[test]
fn what_depends_on_constants_only_is_computed_once() {
    let mut n = Net::new(1);
    let x = n.input("x", &[3]);
    let (a, b) = (n.random(&[2, 3]), n.random(&[3]));
    let sum = n.binary("sum", BinaryOp::Add, a, b);
    let t = n.node("t", Op::Transpose { perm: None }, &[sum]);
    let y = n.node("y", Op::MatMul, &[x, t]);
    n.output(y);
    let before = n.graph.clone();
    assert_eq!(fold_constants(&mut n.graph).unwrap(), 2);
    assert_eq!(n.graph.nodes.len(), 1);
    assert_eq!(n.graph.constant(n.graph.find_value("t").unwrap()).unwrap().dims(), [3, 2]);
    let data = [n.tensor(&[4, 3])];
    for (a, b) in run64(&before, &data)[0].iter().zip(&run64(&n.graph, &data)[0]) {
        assert!((a - b).abs() < 1e-6);
    }
    // A second time there is nothing left to do, and a graph output may be a constant.
    assert_eq!(fold_constants(&mut n.graph).unwrap(), 0);
    let (one, other) = (n.scalar(1.0), n.scalar(1.0));
    let two = n.binary("two", BinaryOp::Add, one, other);
    n.output(two);
    assert_eq!(fold_constants(&mut n.graph).unwrap(), 1);
    n.graph.validate().unwrap();
}

#[test]
fn a_model_does_not_grow_and_codes_stay_codes() {
    let mut n = Net::new(2);
    let shape = n.constant(Tensor::vector(vec![1024i64, 1024]));
    let value = Tensor::vector(vec![0.5f32]);
    let big = n.node("big", Op::ConstantOfShape { value: value.clone() }, &[shape]);
    let shape = n.constant(Tensor::vector(vec![2i64, 2]));
    let small = n.node("small", Op::ConstantOfShape { value }, &[shape]);
    let codes = n.constant(Tensor::vector(vec![1i8, 2]));
    let scale = n.scalar(0.5);
    let back = n.node("back", Op::DequantizeLinear { axis: 0, block_size: 0 }, &[codes, scale]);
    for v in [big, small, back] {
        n.output(v);
    }
    assert_eq!(fold_constants(&mut n.graph).unwrap(), 1);
    let left: Vec<&str> = n.graph.nodes.iter().map(|n| n.name.as_str()).collect();
    assert_eq!(left, ["big", "back"]);
    // Twenty nodes that double a constant each would make 4 MiB of 4 bytes, thirty-two 16 GiB: all folded results together
    // have a bound.
    let mut n = Net::new(2);
    let mut v = n.constant(Tensor::vector(vec![1.0f32]));
    for i in 0..32 {
        v = n.node(&format!("twice{i}"), Op::Concat { axis: 0 }, &[v, v]);
    }
    n.output(v);
    let folded = fold_constants(&mut n.graph).unwrap();
    let bytes: usize =
        n.graph.values.iter().filter_map(|v| v.constant.as_ref()).map(Tensor::packed_bytes).sum();
    assert!((16..26).contains(&folded) && bytes < 17 << 20, "{folded} nodes, {bytes} bytes");
    // Sizes that no memory holds are not tried.
    let mut n = Net::new(2);
    let shape = n.constant(Tensor::vector(vec![i64::MAX, i64::MAX]));
    let huge = n.node("huge", Op::ConstantOfShape { value: Tensor::scalar(0u8) }, &[shape]);
    n.output(huge);
    assert!(matches!(fold_constants(&mut n.graph), Ok(0) | Err(PassError::Graph(_))));
}

#[test]
fn what_cannot_be_computed_is_an_error_with_the_name_of_the_node() {
    let mut n = Net::new(3);
    let (a, b) = (n.constant(Tensor::vector(vec![1i64])), n.constant(Tensor::vector(vec![0i64])));
    let y = n.binary("ratio", BinaryOp::Div, a, b);
    n.output(y);
    let text = fold_constants(&mut n.graph).unwrap_err().to_string();
    assert_eq!(text, "node ratio (Div): integer division by zero");
    assert_eq!(n.graph.nodes.len(), 1);
}
