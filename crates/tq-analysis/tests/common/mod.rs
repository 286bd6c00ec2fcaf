//! A small network of convolutions and data for it.

#![allow(dead_code)] // each test uses a part

use tq_analysis::Dataset;
use tq_graph::op::{ConvAttrs, Padding, UnaryOp};
use tq_graph::{Dim, Graph, Op, Tensor, infer};
use tq_qtypes::DType;

pub(crate) const CHANNELS: usize = 8;

pub(crate) fn noise(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).max(1);
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(n).collect()
}

/// Four convolutions of 3 with Relu between, then the mean and a linear layer.
pub(crate) fn model() -> Graph {
    let mut g = Graph::new("net");
    let mut x = g.add_input("x", DType::F32, vec![Dim::symbol("N"), CHANNELS.into(), 12usize.into()]);
    let attrs = ConvAttrs {
        strides: vec![1],
        dilations: vec![1],
        padding: Padding::Explicit { begin: vec![1], end: vec![1] },
        groups: 1,
    };
    for i in 0..4u32 {
        let w = Tensor::new(&[CHANNELS, CHANNELS, 3], noise(CHANNELS * CHANNELS * 3, i + 1)).unwrap();
        let w = g.add_constant(format!("w{i}"), w);
        let c = g.add_node(format!("conv{i}"), Op::Conv(attrs.clone()), &[x, w], format!("c{i}"));
        x = g.add_node(format!("relu{i}"), Op::Unary(UnaryOp::Relu), &[c], format!("r{i}"));
    }
    let mean = g.add_node("pool", Op::GlobalAveragePool, &[x], "p");
    let flat = g.add_node("flat", Op::Flatten { axis: 1 }, &[mean], "f");
    let w = g.add_constant("w", Tensor::new(&[CHANNELS, 5], noise(CHANNELS * 5, 9)).unwrap());
    let y = g.add_node("head", Op::MatMul, &[flat, w], "y");
    g.outputs.push(y);
    infer::infer(&mut g).unwrap();
    g
}

pub(crate) fn data(graph: &Graph) -> Dataset {
    let x = Tensor::new(&[24, CHANNELS, 12], noise(24 * CHANNELS * 12, 77)).unwrap();
    Dataset::new(graph, vec![x]).unwrap()
}
