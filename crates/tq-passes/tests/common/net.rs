//! Small graphs with made-up weights.

use tq_eval::{Evaluator, Precision};
use tq_graph::op::{BinaryOp, ConvAttrs, Padding, PoolAttrs, UnaryOp};
use tq_graph::{Dim, Graph, Op, Tensor, ValueId};
use tq_qtypes::DType;

/// A graph being written, with a source of numbers that are the same in every run.
pub(crate) struct Net {
    pub(crate) graph: Graph,
    state: u64,
    count: usize,
}

impl Net {
    pub(crate) fn new(seed: u64) -> Self {
        Self { graph: Graph::new("net"), state: seed.wrapping_mul(2).wrapping_add(1), count: 0 }
    }

    /// A number in -1..1 (SplitMix64).
    pub(crate) fn number(&mut self) -> f32 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / 8_388_608.0 - 1.0
    }

    pub(crate) fn numbers(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.number()).collect()
    }

    pub(crate) fn tensor(&mut self, dims: &[usize]) -> Tensor {
        let data = self.numbers(dims.iter().product());
        Tensor::new(dims, data).unwrap()
    }

    /// A graph input whose first dimension is the batch.
    pub(crate) fn input(&mut self, name: &str, dims: &[usize]) -> ValueId {
        let mut shape = vec![Dim::symbol("N")];
        shape.extend(dims.iter().map(|d| Dim::from(*d)));
        self.graph.add_input(name, DType::F32, shape)
    }

    pub(crate) fn constant(&mut self, tensor: Tensor) -> ValueId {
        self.count += 1;
        self.graph.add_constant(format!("c{}", self.count), tensor)
    }

    pub(crate) fn random(&mut self, dims: &[usize]) -> ValueId {
        let t = self.tensor(dims);
        self.constant(t)
    }

    pub(crate) fn scalar(&mut self, v: f32) -> ValueId {
        self.constant(Tensor::scalar(v))
    }

    /// A node named `name` that gives a value of the same name.
    pub(crate) fn node(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> ValueId {
        self.graph.add_node(name, op, inputs, name)
    }

    pub(crate) fn output(&mut self, v: ValueId) {
        self.graph.outputs.push(v);
    }

    pub(crate) fn binary(&mut self, name: &str, op: BinaryOp, a: ValueId, b: ValueId) -> ValueId {
        self.node(name, Op::Binary(op), &[a, b])
    }

    pub(crate) fn relu(&mut self, name: &str, x: ValueId) -> ValueId {
        self.node(name, Op::Unary(UnaryOp::Relu), &[x])
    }

    pub(crate) fn clip(&mut self, name: &str, x: ValueId, lo: f32, hi: f32) -> ValueId {
        let (lo, hi) = (self.scalar(lo), self.scalar(hi));
        self.node(name, Op::Clip, &[x, lo, hi])
    }

    /// A 2-D convolution from `cin` to `cout` channels.
    pub(crate) fn conv(&mut self, name: &str, x: ValueId, io: [usize; 2], k: usize, pad: usize) -> ValueId {
        self.grouped(name, x, io, 1, k, pad)
    }

    pub(crate) fn grouped(
        &mut self,
        name: &str,
        x: ValueId,
        [cin, cout]: [usize; 2],
        groups: usize,
        k: usize,
        pad: usize,
    ) -> ValueId {
        let w = self.random(&[cout, cin / groups, k, k]);
        let b = self.random(&[cout]);
        let padding = Padding::Explicit { begin: vec![pad; 2], end: vec![pad; 2] };
        let attrs = ConvAttrs { strides: vec![1; 2], dilations: vec![1; 2], padding, groups };
        self.node(name, Op::Conv(attrs), &[x, w, b])
    }

    pub(crate) fn gemm(&mut self, name: &str, x: ValueId, [k, n]: [usize; 2], trans_b: bool) -> ValueId {
        let dims = if trans_b { [n, k] } else { [k, n] };
        let w = self.random(&dims);
        let b = self.random(&[n]);
        self.node(name, Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b }, &[x, w, b])
    }

    pub(crate) fn batch_norm(&mut self, name: &str, x: ValueId, c: usize) -> ValueId {
        let (scale, bias, mean) = (self.random(&[c]), self.random(&[c]), self.random(&[c]));
        let var: Vec<f32> = self.numbers(c).iter().map(|v| v.abs() + 0.1).collect();
        let var = self.constant(Tensor::vector(var));
        self.node(name, Op::BatchNormalization { epsilon: 1e-3 }, &[x, scale, bias, mean, var])
    }

    pub(crate) fn pad(&mut self, name: &str, x: ValueId, pads: &[i64]) -> ValueId {
        let pads = self.constant(Tensor::vector(pads.to_vec()));
        self.node(name, Op::Pad { mode: tq_graph::op::PadMode::Constant }, &[x, pads])
    }

    pub(crate) fn max_pool(&mut self, name: &str, x: ValueId) -> ValueId {
        self.node(name, Op::MaxPool { attrs: window(2, 0), column_major: false }, &[x])
    }

    pub(crate) fn average_pool(&mut self, name: &str, x: ValueId, pad: usize, counts: bool) -> ValueId {
        self.node(name, Op::AveragePool { attrs: window(3, pad), count_include_pad: counts }, &[x])
    }
}

/// A square window that moves by its own extent minus one.
pub(crate) fn window(k: usize, pad: usize) -> PoolAttrs {
    PoolAttrs {
        kernel: vec![k; 2],
        strides: vec![k - 1; 2],
        dilations: vec![1; 2],
        padding: Padding::Explicit { begin: vec![pad; 2], end: vec![pad; 2] },
        ceil_mode: false,
    }
}

/// All outputs in f64.
pub(crate) fn run64(graph: &Graph, inputs: &[Tensor]) -> Vec<Vec<f64>> {
    let out = Evaluator::new(graph, Precision::F64).unwrap().run(inputs).unwrap();
    out.iter().map(|t| t.to_f64_vec().unwrap()).collect()
}

/// Largest magnitude of any value that the graph computes.
pub(crate) fn magnitude(graph: &Graph, inputs: &[Tensor]) -> f64 {
    let mut largest = 1e-30f64;
    let evaluator = Evaluator::new(graph, Precision::F64).unwrap();
    evaluator
        .run_tapped(inputs, &mut |_, t: &Tensor| {
            let values = t.to_f64_vec().unwrap_or_default();
            largest = values.iter().fold(largest, |m, v| m.max(v.abs()));
            Ok::<(), tq_eval::EvalError>(())
        })
        .unwrap();
    largest
}

/// Largest difference, relative to the largest value of `a`.
pub(crate) fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let norm = a.iter().fold(1e-30f64, |m, v| m.max(v.abs()));
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max) / norm
}
