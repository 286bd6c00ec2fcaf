//! A small residual network with random weights, quantized.
#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test file uses its own part of this, and all of them may panic"
)]

use tq_eval::{Evaluator, Precision};
use tq_graph::op::{BinaryOp, ConvAttrs, Padding, PoolAttrs, UnaryOp};
use tq_graph::{Dim, Graph, Op, Tensor, ValueId};
use tq_passes::{Backend, QuantConfig, convert, prepare_static};
use tq_qtypes::DType;
use tq_runtime::{Session, SessionOptions};

/// Numbers from -1 to 1 that look random and are the same every time.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
    pub(crate) fn tensor(&mut self, dims: &[usize]) -> Tensor {
        Tensor::new(dims, (0..dims.iter().product()).map(|_| self.next()).collect()).unwrap()
    }
}

pub(crate) fn conv_attrs(pad: usize, stride: usize) -> ConvAttrs {
    ConvAttrs {
        strides: vec![stride; 2],
        dilations: vec![1; 2],
        padding: Padding::Explicit { begin: vec![pad; 2], end: vec![pad; 2] },
        groups: 1,
    }
}

fn conv(
    g: &mut Graph,
    r: &mut Numbers,
    name: &str,
    x: ValueId,
    channels: [usize; 2],
    kernel: usize,
) -> ValueId {
    let w = g.add_constant(format!("{name}_w"), r.tensor(&[channels[1], channels[0], kernel, kernel]));
    let b = g.add_constant(format!("{name}_b"), r.tensor(&[channels[1]]));
    g.add_node(name, Op::Conv(conv_attrs(kernel / 2, 1)), &[x, w, b], format!("{name}_y"))
}

fn relu(g: &mut Graph, name: &str, x: ValueId) -> ValueId {
    g.add_node(name, Op::Unary(UnaryOp::Relu), &[x], format!("{name}_y"))
}

/// conv, Relu, pool; a block with a skip connection over a convolution; means over space; two linear layers.
pub(crate) fn network() -> Graph {
    let (mut g, mut r) = (Graph::new("net"), Numbers(7));
    let x = g.add_input("x", DType::F32, vec![Dim::symbol("N"), 3usize.into(), 8usize.into(), 8usize.into()]);
    let c = conv(&mut g, &mut r, "stem", x, [3, 8], 3);
    let c = relu(&mut g, "stem_relu", c);
    let pool = PoolAttrs {
        kernel: vec![2, 2],
        strides: vec![2, 2],
        dilations: vec![1, 1],
        padding: Padding::Explicit { begin: vec![0, 0], end: vec![0, 0] },
        ceil_mode: false,
    };
    let p = g.add_node("pool", Op::MaxPool { attrs: pool, column_major: false }, &[c], "pool_y");
    let a = conv(&mut g, &mut r, "first", p, [8, 8], 3);
    let a = relu(&mut g, "first_relu", a);
    let a = conv(&mut g, &mut r, "second", a, [8, 8], 3);
    let s = g.add_node("sum", Op::Binary(BinaryOp::Add), &[a, p], "sum_y");
    let s = relu(&mut g, "sum_relu", s);
    let m = g.add_node("mean", Op::GlobalAveragePool, &[s], "mean_y");
    let f = g.add_node("flat", Op::Flatten { axis: 1 }, &[m], "flat_y");
    let w = g.add_constant("fc1_w", r.tensor(&[8, 8]));
    let b = g.add_constant("fc1_b", r.tensor(&[8]));
    let gemm = |trans_b| Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b };
    let h = g.add_node("fc1", gemm(true), &[f, w, b], "fc1_y");
    let h = relu(&mut g, "fc1_relu", h);
    let w = g.add_constant("fc2_w", r.tensor(&[8, 5]));
    let b = g.add_constant("fc2_b", r.tensor(&[5]));
    let y = g.add_node("fc2", gemm(false), &[h, w, b], "y");
    g.outputs.push(y);
    g
}

pub(crate) fn data(seed: u64, batch: usize) -> Tensor {
    Numbers(seed).tensor(&[batch, 3, 8, 8])
}

/// The network, quantized for a family of machines.
pub(crate) fn quantized_for(graph: Graph, backend: Backend) -> Graph {
    let prepared = prepare_static(graph, QuantConfig::default().backend(backend)).unwrap();
    prepared.forward(&[data(1, 16)]).unwrap();
    convert(prepared).unwrap().graph
}

pub(crate) fn quantized() -> Graph {
    quantized_for(network(), Backend::Fbgemm)
}

pub(crate) fn run(graph: &Graph, inputs: &[Tensor]) -> Vec<Tensor> {
    Session::new(graph, SessionOptions::default()).unwrap().run(inputs).unwrap()
}

pub(crate) fn evaluate(graph: &Graph, inputs: &[Tensor]) -> Vec<Tensor> {
    Evaluator::new(graph, Precision::F32).unwrap().run(inputs).unwrap()
}
