//! A small network, and pictures for it.
// Each test file uses its own part; what cannot be set up may panic.
#![allow(dead_code, clippy::unwrap_used)]

use tq_graph::op::{ConvAttrs, Padding, UnaryOp};
use tq_graph::{Dim, Graph, Op, Tensor, infer};
use tq_qtypes::DType;

pub(crate) const CLASSES: usize = 4;
pub(crate) const SIZE: usize = 10;

pub(crate) fn noise(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).max(1);
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(n).collect()
}

/// Stripes of four directions under noise, with their classes.
pub(crate) fn samples(n: usize, seed: u32) -> (Tensor, Vec<i64>) {
    let mut data = Vec::new();
    let labels: Vec<i64> = (0..n).map(|i| (i % CLASSES) as i64).collect();
    let random = noise(n * (SIZE * SIZE + 1), seed);
    for (i, own) in random.chunks_exact(SIZE * SIZE + 1).enumerate() {
        let phase = own[0] * 3.0;
        for y in 0..SIZE {
            for x in 0..SIZE {
                let (x, y) = (x as f32, y as f32);
                let along = [x, y, (x + y) * 0.7, (x - y) * 0.7][i % CLASSES];
                let index = 1 + y as usize * SIZE + x as usize;
                data.push((along * 1.4 + phase).sin() + own[index] * 1.5);
            }
        }
    }
    (Tensor::new(&[n, 1, SIZE, SIZE], data).unwrap(), labels)
}

fn conv(strides: usize, groups: usize) -> Op {
    Op::Conv(ConvAttrs {
        strides: vec![strides; 2],
        dilations: vec![1; 2],
        padding: Padding::Explicit { begin: vec![1; 2], end: vec![1; 2] },
        groups,
    })
}

/// A convolution, a depthwise one, a third, each with Relu; the mean; a linear layer.
pub(crate) fn model() -> Graph {
    let mut g = Graph::new("net");
    let dims = vec![Dim::symbol("N"), 1usize.into(), SIZE.into(), SIZE.into()];
    let mut x = g.add_input("x", DType::F32, dims);
    let layers = [([8, 1, 3, 3], 1, 1), ([8, 1, 3, 3], 1, 8), ([12, 8, 3, 3], 2, 1)];
    for (i, (dims, stride, groups)) in layers.into_iter().enumerate() {
        let n: usize = dims.iter().product();
        let fan = (dims[1] * 9) as f32;
        let w = noise(n, i as u32 + 1).iter().map(|v| v * (3.0 / fan).sqrt()).collect();
        let w = g.add_constant(format!("w{i}"), Tensor::new(&dims, w).unwrap());
        let b = g.add_constant(format!("b{i}"), Tensor::vector(vec![0.05f32; dims[0]]));
        let c = g.add_node(format!("conv{i}"), conv(stride, groups), &[x, w, b], format!("c{i}"));
        x = g.add_node(format!("relu{i}"), Op::Unary(UnaryOp::Relu), &[c], format!("r{i}"));
    }
    let mean = g.add_node("pool", Op::GlobalAveragePool, &[x], "p");
    let flat = g.add_node("flat", Op::Flatten { axis: 1 }, &[mean], "f");
    let w = g.add_constant("w", Tensor::new(&[12, CLASSES], noise(12 * CLASSES, 9)).unwrap());
    let b = g.add_constant("b", Tensor::vector(vec![0.0f32; CLASSES]));
    let op = Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false };
    let y = g.add_node("head", op, &[flat, w, b], "y");
    g.outputs.push(y);
    infer::infer(&mut g).unwrap();
    g
}
