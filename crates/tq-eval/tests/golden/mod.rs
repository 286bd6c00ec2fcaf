//! What PyTorch's quantized operators gave, as graphs in QDQ form with the codes that are expected of them.

use serde_json::Value;
use std::io::{Cursor, Read};
use std::path::Path;
use tq_graph::op::{BinaryOp, ConvAttrs, Padding, PoolAttrs, UnaryOp};
use tq_graph::{Dim, Graph, Op, Tensor, ValueId};
use tq_qtypes::DType;

/// One operator on codes.
pub(crate) struct Case {
    /// Its name among PyTorch's.
    pub(crate) name: String,
    /// From codes to codes. Its second output is the real result before it became codes.
    pub(crate) graph: Graph,
    /// The codes of its inputs.
    pub(crate) inputs: Vec<Tensor>,
    /// The codes that PyTorch gave.
    pub(crate) expected: Vec<u8>,
    /// Scale of the result.
    pub(crate) scale: f64,
    /// Shape of the result.
    pub(crate) dims: Vec<usize>,
    /// For layers with a bias one unit of the accumulator of each channel, in steps of the result.
    pub(crate) units: Vec<f64>,
}

/// A code may be the next one where the real value lies this close to the middle between both.
const TIE: f64 = 1e-4;

impl Case {
    /// Compares codes with PyTorch's; `real` are the exact results, and a result may be `slack(i)` steps away from them.
    /// Gives the number of codes that are off because of that slack.
    pub(crate) fn compare(&self, codes: &Tensor, real: &Tensor, slack: impl Fn(usize) -> f64) -> usize {
        let (codes, real) = (codes.as_slice::<u8>().unwrap(), real.to_f64_vec().unwrap());
        assert_eq!((codes.len(), real.len()), (self.expected.len(), self.expected.len()), "{}", self.name);
        let mut slackened = 0;
        for (i, (got, expected)) in codes.iter().zip(&self.expected).enumerate() {
            let steps = real[i] / self.scale;
            let to_tie = (steps - steps.floor() - 0.5).abs();
            let off = got.abs_diff(*expected);
            slackened += usize::from(off == 1 && to_tie >= TIE);
            assert!(
                off == 0 || (off == 1 && to_tie < TIE + slack(i)),
                "{}: code {i} is {got}, PyTorch has {expected}, the real value is {steps} steps",
                self.name
            );
        }
        slackened
    }
}

/// All cases: from `quantized_ops.json` in the folder `TQ_GOLDEN_DIR` when that is set, else from the project's copy.
pub(crate) fn cases() -> Vec<Case> {
    let mut text = String::new();
    match std::env::var_os("TQ_GOLDEN_DIR") {
        Some(folder) => {
            let path = Path::new(&folder).join("quantized_ops.json");
            text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        }
        None => {
            let archive: &[u8] = include_bytes!("../data/quantized_ops.zip");
            let mut archive = zip::ZipArchive::new(Cursor::new(archive)).unwrap();
            archive.by_name("quantized_ops.json").unwrap().read_to_string(&mut text).unwrap();
        }
    }
    let json: Value = serde_json::from_str(&text).unwrap();
    let cases: Vec<Case> = json["cases"].as_array().unwrap().iter().map(case).collect();
    assert!(!cases.is_empty());
    cases
}

fn dims(v: &Value) -> Vec<usize> {
    v["shape"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect()
}

fn numbers<T>(v: &Value, of: impl Fn(&Value) -> T) -> Vec<T> {
    v["data"].as_array().unwrap().iter().map(of).collect()
}

fn floats(v: &Value) -> Vec<f32> {
    numbers(v, |x| x.as_f64().unwrap() as f32)
}

fn number(v: &Value) -> usize {
    v.as_u64().unwrap() as usize
}

struct Build {
    g: Graph,
    inputs: Vec<Tensor>,
}

impl Build {
    fn constant(&mut self, t: Tensor) -> ValueId {
        let name = format!("c{}", self.g.values.len());
        self.g.add_constant(name, t)
    }

    fn node(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let n = self.g.nodes.len();
        self.g.add_node(format!("n{n}"), op, inputs, format!("v{n}"))
    }

    /// Scale and zero point of an activation.
    fn params(&mut self, v: &Value) -> [ValueId; 2] {
        let scale = self.constant(Tensor::scalar(v["scale"].as_f64().unwrap() as f32));
        [scale, self.constant(Tensor::scalar(number(&v["zero_point"]) as u8))]
    }

    /// An input of codes, as the real numbers they stand for.
    fn input(&mut self, v: &Value) -> ValueId {
        let dims = dims(&v["q"]);
        let shape = dims.iter().map(|d| Dim::from(*d)).collect();
        let codes = self.g.add_input(format!("x{}", self.inputs.len()), DType::U8, shape);
        self.inputs.push(Tensor::new(&dims, numbers(&v["q"], |x| number(x) as u8)).unwrap());
        let [scale, zero] = self.params(v);
        self.node(Op::DequantizeLinear { axis: 1, block_size: 0 }, &[codes, scale, zero])
    }

    /// Weights of one scale a channel and the bias as it is: what a layer of `case` reads.
    fn layer(&mut self, case: &Value) -> [ValueId; 3] {
        let x = self.input(&case["x"]);
        let w = &case["w"];
        assert_eq!(w["axis"], 0);
        let scale = floats(&w["scale"]);
        let codes = numbers(&w["q"], |q| i8::try_from(q.as_i64().unwrap()).unwrap());
        let codes = self.constant(Tensor::new(&dims(&w["q"]), codes).unwrap());
        let zero = self.constant(Tensor::vector(vec![0i8; scale.len()]));
        let scale = self.constant(Tensor::vector(scale));
        let weights = self.node(Op::DequantizeLinear { axis: 0, block_size: 0 }, &[codes, scale, zero]);
        [x, weights, self.constant(Tensor::vector(floats(&case["bias"])))]
    }

    fn relu_if(&mut self, case: &Value, x: ValueId) -> ValueId {
        if case["relu"] == true { self.node(Op::Unary(UnaryOp::Relu), &[x]) } else { x }
    }
}

fn window(kernel: usize, stride: usize, pad: usize) -> PoolAttrs {
    PoolAttrs {
        kernel: vec![kernel; 2],
        strides: vec![stride; 2],
        dilations: vec![1; 2],
        padding: Padding::Explicit { begin: vec![pad; 2], end: vec![pad; 2] },
        ceil_mode: false,
    }
}

fn case(case: &Value) -> Case {
    let name = case["op"].as_str().unwrap().to_owned();
    let mut b = Build { g: Graph::new("golden"), inputs: Vec::new() };
    let unary = |op| Op::Unary(op);
    let average = |attrs, count_include_pad| Op::AveragePool { attrs, count_include_pad };
    let real = match name.as_str() {
        "linear" => {
            let [x, w, bias] = b.layer(case);
            let y = b.node(Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true }, &[x, w, bias]);
            b.relu_if(case, y)
        }
        "conv2d" => {
            let layer = b.layer(case);
            let pad = vec![number(&case["padding"]); 2];
            let attrs = ConvAttrs {
                strides: vec![number(&case["stride"]); 2],
                dilations: vec![number(&case["dilation"]); 2],
                padding: Padding::Explicit { begin: pad.clone(), end: pad },
                groups: number(&case["groups"]),
            };
            let y = b.node(Op::Conv(attrs), &layer);
            b.relu_if(case, y)
        }
        "add" | "mul" | "add_relu" => {
            let (x, y) = (b.input(&case["x"]), b.input(&case["x2"]));
            let op = if name == "mul" { BinaryOp::Mul } else { BinaryOp::Add };
            let z = b.node(Op::Binary(op), &[x, y]);
            if name == "add_relu" { b.node(unary(UnaryOp::Relu), &[z]) } else { z }
        }
        "relu6" => {
            let x = b.input(&case["x"]);
            let (lo, hi) = (b.constant(Tensor::scalar(0.0f32)), b.constant(Tensor::scalar(6.0f32)));
            b.node(Op::Clip, &[x, lo, hi])
        }
        _ => {
            let x = b.input(&case["x"]);
            let op = match name.as_str() {
                "relu" => unary(UnaryOp::Relu),
                "max_pool2d_k3s2p1" => Op::MaxPool { attrs: window(3, 2, 1), column_major: false },
                "avg_pool2d_k3s2p1" => average(window(3, 2, 1), true),
                "avg_pool2d_k3s2p1_exclude_pad" => average(window(3, 2, 1), false),
                "adaptive_avg_pool2d_1" => Op::GlobalAveragePool,
                // Four windows over nine elements: of three each, two apart.
                "adaptive_avg_pool2d_4" => average(window(3, 2, 0), false),
                "hardswish" => unary(UnaryOp::HardSwish),
                "elu" => unary(UnaryOp::Elu { alpha: 1.0 }),
                "leaky_relu" => unary(UnaryOp::LeakyRelu { alpha: 0.1 }),
                "sigmoid" => unary(UnaryOp::Sigmoid),
                "tanh" => unary(UnaryOp::Tanh),
                other => panic!("unknown operator {other}"),
            };
            b.node(op, &[x])
        }
    };
    let [scale, zero] = b.params(&case["y"]);
    let quantize = Op::QuantizeLinear { axis: 1, block_size: 0, output_dtype: None, saturate: true };
    let codes = b.node(quantize, &[real, scale, zero]);
    b.g.outputs = vec![codes, real];
    tq_graph::infer::infer(&mut b.g).unwrap();
    let ratio = case["x"]["scale"].as_f64().unwrap() / case["y"]["scale"].as_f64().unwrap();
    let units = match case.get("w") {
        Some(w) => numbers(&w["scale"], |s| s.as_f64().unwrap() * ratio),
        None => Vec::new(),
    };
    Case {
        name,
        dims: dims(&case["y"]["q"]),
        units,
        inputs: b.inputs,
        expected: numbers(&case["y"]["q"], |x| number(x) as u8),
        scale: case["y"]["scale"].as_f64().unwrap(),
        graph: b.g,
    }
}
