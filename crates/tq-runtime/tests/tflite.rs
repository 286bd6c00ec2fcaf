//! Sessions that requantize in fixed point give the codes of TensorFlow Lite's reference kernels, on every kernel.
//!
//! `data/make_tflite.py` makes the cases.
#![allow(clippy::unwrap_used, reason = "a test that cannot read its data has failed")]

mod common;

use common::{Build, P, assert_integer, conv_attrs, executions, i8p, sessions};
use serde::Deserialize;
use tq_graph::op::{ConvTransposeAttrs, Padding};
use tq_graph::{Graph, Op, Tensor, ValueId};
use tq_qtypes::Requantization;
use tq_runtime::Execution;

#[derive(Deserialize)]
struct Array {
    dims: Vec<usize>,
    data: Vec<i8>,
}

#[derive(Deserialize)]
struct Case {
    op: String,
    x: Array,
    w: Array,
    bias: Option<Vec<i32>>,
    x_scale_bits: u32,
    w_scale_bits: Vec<u32>,
    y_scale_bits: u32,
    x_zero: i32,
    w_zero: i32,
    y_zero: i32,
    y: Array,
    #[serde(default)]
    stride: usize,
    #[serde(default)]
    groups: usize,
    #[serde(default)]
    relu6: bool,
}

#[derive(Deserialize)]
struct File {
    cases: Vec<Case>,
}

fn cases() -> Vec<Case> {
    serde_json::from_str::<File>(include_str!("data/tflite.json")).unwrap().cases
}

impl Case {
    fn x_params(&self) -> P {
        i8p(f32::from_bits(self.x_scale_bits), self.x_zero)
    }

    fn y_params(&self) -> P {
        i8p(f32::from_bits(self.y_scale_bits), self.y_zero)
    }

    /// The case as a graph whose result are codes, and its inputs.
    fn graph(&self) -> (Graph, Vec<Tensor>) {
        let mut b = Build::new();
        let p = self.x_params();
        let x = b.input(&self.x.dims);
        let x = b.qdq(x, p);
        let mut inputs = vec![reals(&self.x, p)];
        let scales: Vec<f32> = self.w_scale_bits.iter().map(|bits| f32::from_bits(*bits)).collect();
        let y = match self.op.as_str() {
            "product" => {
                let p = i8p(scales[0], self.w_zero);
                let w = b.input(&self.w.dims);
                let w = b.qdq(w, p);
                inputs.push(reals(&self.w, p));
                b.node(self.operator(), &[x, w])
            }
            op => {
                let axis = i64::from(op == "transposed");
                let codes = Tensor::new(&self.w.dims, self.w.data.clone()).unwrap();
                let w = b.weights(codes, scales.clone(), vec![0; scales.len()], axis);
                let bias = self.bias(&mut b, &scales);
                b.node(self.operator(), &[x, w, bias])
            }
        };
        let y = if self.relu6 {
            let (low, high) = (b.constant(Tensor::scalar(0f32)), b.constant(Tensor::scalar(6f32)));
            b.node(Op::Clip, &[y, low, high])
        } else {
            y
        };
        let y = b.q(y, self.y_params());
        let mut graph = b.finish(y);
        graph.requantization = Requantization::FixedPoint;
        (graph, inputs)
    }

    fn bias(&self, b: &mut Build, scales: &[f32]) -> ValueId {
        let bias = self.bias.clone().unwrap();
        let scales: Vec<f32> = scales.iter().map(|s| f32::from_bits(self.x_scale_bits) * s).collect();
        let zeros = vec![0; scales.len()];
        b.weights(Tensor::vector(bias), scales, zeros, 0)
    }

    fn operator(&self) -> Op {
        let strides = [self.stride; 2];
        match self.op.as_str() {
            "conv" => Op::Conv(conv_attrs(&strides, &[1, 1], &[0, 0], &[0, 0], self.groups)),
            "transposed" => Op::ConvTranspose(ConvTransposeAttrs {
                strides: strides.to_vec(),
                dilations: vec![1, 1],
                padding: Padding::Explicit { begin: vec![0, 0], end: vec![0, 0] },
                output_padding: vec![0, 0],
                output_shape: None,
                groups: 1,
            }),
            "product" => Op::MatMul,
            _ => Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true },
        }
    }
}

/// Reals that have exactly these codes.
fn reals(codes: &Array, p: P) -> Tensor {
    let data = codes.data.iter().map(|q| (i32::from(*q) - p.zero) as f32 * p.scale).collect();
    Tensor::new(&codes.dims, data).unwrap()
}

#[test]
fn fixed_point_is_that_of_tensorflow_lite() {
    let (mut codes, mut differ) = (0, 0);
    for case in cases() {
        let (mut graph, inputs) = case.graph();
        let expected = Tensor::new(&case.y.dims, case.y.data.clone()).unwrap();
        for session in sessions(&graph) {
            let got = session.run(&inputs).unwrap().remove(0);
            assert!(got == expected, "{}: {session:?}", case.op);
            assert_integer(&session, case.operator().name());
        }
        // In float some of them are others, else nothing is shown.
        graph.requantization = Requantization::Float;
        let float = common::scalar(&graph).run(&inputs).unwrap().remove(0);
        let float = float.as_slice::<i8>().unwrap().iter().zip(&case.y.data);
        assert!(float.clone().all(|(a, b)| a.abs_diff(*b) <= 1), "{}", case.op);
        codes += case.y.data.len();
        differ += float.filter(|(a, b)| a != b).count();
    }
    println!("{differ} of {codes} codes are others in float");
    assert!(differ > 0);
}

#[test]
fn what_is_no_product_says_that_it_is_in_float() {
    let mut b = Build::new();
    let p = i8p(0.1, 3);
    let (x, y) = (b.input(&[1, 4, 6, 6]), b.input(&[1, 4, 6, 6]));
    let (x, y) = (b.qdq(x, p), b.qdq(y, p));
    let sum = b.node(Op::Binary(tq_graph::op::BinaryOp::Add), &[x, y]);
    let sum = b.qdq(sum, i8p(0.2, -5));
    let mean = b.node(Op::GlobalAveragePool, &[sum]);
    let mean = b.q(mean, p);
    let mut graph = b.finish(mean);
    let inputs = [p.reals(&[1, 4, 6, 6], 1), p.reals(&[1, 4, 6, 6], 2)];
    let float = common::scalar(&graph).run(&inputs).unwrap();
    graph.requantization = Requantization::FixedPoint;
    let session = common::scalar(&graph);
    assert_eq!(session.run(&inputs).unwrap(), float);
    for op in ["Add", "GlobalAveragePool"] {
        let (execution, reason) = executions(&session, op).remove(0);
        assert_eq!(execution, Execution::Integer, "{op}");
        assert!(reason.is_some_and(|r| r.contains("fixed point is for products")), "{op}");
    }
}
