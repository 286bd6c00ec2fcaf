//! Random small quantized networks: the same bits on all kernels and for all numbers of threads, held to the judge.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use common::*;
use proptest::prelude::*;
use tq_graph::op::{BinaryOp, ConvTransposeAttrs, Padding, UnaryOp};
use tq_graph::{Dim, Graph, Op, Tensor, ValueId};
use tq_qtypes::DType;
use tq_runtime::{JudgeReport, Session, SessionOptions};

/// One layer of a random network; numbers are taken modulo what fits.
#[derive(Debug, Clone)]
enum Layer {
    Conv {
        channels: usize,
        kernel: usize,
        stride: usize,
        dilation: usize,
        pad: usize,
        grouped: bool,
        relu: bool,
    },
    Depthwise {
        kernel: usize,
        stride: usize,
        pad: usize,
        unsigned: bool,
    },
    Transposed {
        channels: usize,
        kernel: usize,
        stride: usize,
        dilation: usize,
        cut: usize,
        grouped: bool,
    },
    /// Of each plane with another one transposed.
    MatMul {
        back: usize,
    },
    GlobalMaxPool,
    MaxPool {
        kernel: usize,
        stride: usize,
    },
    AveragePool {
        kernel: usize,
        pad: bool,
    },
    Table {
        which: usize,
    },
    /// With the value of some layers before.
    Add {
        back: usize,
        op: usize,
    },
    Concat {
        back: usize,
    },
    Scale,
    Requantize,
    Transpose,
    Pad,
}

fn layer() -> impl Strategy<Value = Layer> {
    prop_oneof![
        (1usize..20, 1usize..4, 1usize..3, 1usize..3, 0usize..3, any::<bool>(), any::<bool>()).prop_map(
            |(channels, kernel, stride, dilation, pad, grouped, relu)| Layer::Conv {
                channels,
                kernel,
                stride,
                dilation,
                pad,
                grouped,
                relu
            }
        ),
        (1usize..4, 1usize..3, 0usize..3, any::<bool>())
            .prop_map(|(kernel, stride, pad, unsigned)| Layer::Depthwise { kernel, stride, pad, unsigned }),
        (1usize..9, 1usize..4, 1usize..4, 1usize..3, 0usize..2, any::<bool>()).prop_map(
            |(channels, kernel, stride, dilation, cut, grouped)| Layer::Transposed {
                channels,
                kernel,
                stride,
                dilation,
                cut,
                grouped
            }
        ),
        (0usize..4).prop_map(|back| Layer::MatMul { back }),
        Just(Layer::GlobalMaxPool),
        (1usize..4, 1usize..3).prop_map(|(kernel, stride)| Layer::MaxPool { kernel, stride }),
        (1usize..4, any::<bool>()).prop_map(|(kernel, pad)| Layer::AveragePool { kernel, pad }),
        (0usize..4).prop_map(|which| Layer::Table { which }),
        (0usize..4, 0usize..3).prop_map(|(back, op)| Layer::Add { back, op }),
        (0usize..4).prop_map(|back| Layer::Concat { back }),
        Just(Layer::Scale),
        Just(Layer::Requantize),
        Just(Layer::Transpose),
        Just(Layer::Pad),
    ]
}

struct Net {
    b: Build,
    numbers: Numbers,
    /// Values so far, with channels, height and width.
    values: Vec<(ValueId, [usize; 3])>,
}

impl Net {
    fn params(&mut self) -> P {
        let scale = 0.01 + 0.02 * self.numbers.real();
        match self.numbers.below(3) {
            0 => i8p(scale, self.numbers.below(256) as i32 - 128),
            1 => u8p(scale, 0),
            _ => u8p(scale, self.numbers.below(256) as i32),
        }
    }

    fn close(&mut self, y: ValueId, dims: [usize; 3]) {
        let p = self.params();
        let y = self.b.qdq(y, p);
        self.values.push((y, dims));
    }

    fn weights(&mut self, dims: &[usize], unsigned: bool) -> ValueId {
        let n = dims.iter().product();
        let k = dims[1..].iter().product::<usize>() as f32;
        let scale = (0..dims[0]).map(|_| (0.005 + 0.01 * self.numbers.real()) / k.sqrt()).collect();
        if unsigned {
            let zero = (0..dims[0]).map(|_| self.numbers.below(256) as i32).collect();
            let codes = Tensor::new(dims, self.numbers.u8s(n)).unwrap();
            self.b.weights(codes, scale, zero, 0)
        } else {
            let codes = Tensor::new(dims, self.numbers.i8s(n)).unwrap();
            self.b.weights(codes, scale, vec![0; dims[0]], 0)
        }
    }

    fn add(&mut self, layer: &Layer) {
        let (x, [c, h, w]) = *self.values.last().unwrap();
        match *layer {
            Layer::Conv { channels, kernel, stride, dilation, pad, grouped, relu } => {
                let extent = (kernel - 1) * dilation + 1;
                if h + 2 * pad < extent || w + 2 * pad < extent {
                    return;
                }
                let groups = if grouped && c % 2 == 0 { 2 } else { 1 };
                let channels = channels * groups;
                let weights = self.weights(&[channels, c / groups, kernel, kernel], false);
                let attrs = conv_attrs(&[stride; 2], &[dilation; 2], &[pad; 2], &[pad; 2], groups);
                let mut y = self.b.node(Op::Conv(attrs), &[x, weights]);
                if relu {
                    y = self.b.node(Op::Unary(UnaryOp::Relu), &[y]);
                }
                let out = |n: usize| (n + 2 * pad - extent) / stride + 1;
                self.close(y, [channels, out(h), out(w)]);
            }
            Layer::Depthwise { kernel, stride, pad, unsigned } => {
                if h + 2 * pad < kernel || w + 2 * pad < kernel {
                    return;
                }
                let weights = self.weights(&[c, 1, kernel, kernel], unsigned);
                let attrs = conv_attrs(&[stride; 2], &[1; 2], &[pad; 2], &[pad; 2], c);
                let y = self.b.node(Op::Conv(attrs), &[x, weights]);
                let out = |n: usize| (n + 2 * pad - kernel) / stride + 1;
                self.close(y, [c, out(h), out(w)]);
            }
            Layer::Transposed { channels, kernel, stride, dilation, cut, grouped } => {
                let out = |n: usize| ((n - 1) * stride + (kernel - 1) * dilation + 1).checked_sub(2 * cut);
                let (Some(oh @ 1..30), Some(ow @ 1..30)) = (out(h), out(w)) else { return };
                let groups = if grouped && c % 2 == 0 { 2 } else { 1 };
                let (s, z) = (0.01 / ((c * kernel) as f32).sqrt(), vec![0; channels]);
                let scale = (0..channels).map(|_| s * (0.5 + self.numbers.real())).collect();
                let dims = [c, channels, kernel, kernel];
                let codes = Tensor::new(&dims, self.numbers.i8s(dims.iter().product())).unwrap();
                let weights = self.b.weights(codes, scale, z, 1);
                let attrs = ConvTransposeAttrs {
                    strides: vec![stride; 2],
                    dilations: vec![dilation; 2],
                    padding: Padding::Explicit { begin: vec![cut; 2], end: vec![cut; 2] },
                    output_padding: vec![0; 2],
                    output_shape: None,
                    groups,
                };
                let y = self.b.node(Op::ConvTranspose(attrs), &[x, weights]);
                self.close(y, [channels * groups, oh, ow]);
            }
            Layer::MatMul { back } => {
                let at = self.values.len() - 1 - back.min(self.values.len() - 1);
                let (other, dims) = self.values[at];
                if dims[0] == c && dims[2] == w {
                    let turned = self.b.node(Op::Transpose { perm: Some(vec![0, 1, 3, 2]) }, &[other]);
                    let p = self.params();
                    let turned = self.b.qdq(turned, p);
                    let y = self.b.node(Op::MatMul, &[x, turned]);
                    self.close(y, [c, h, dims[1]]);
                }
            }
            Layer::GlobalMaxPool => {
                let y = self.b.node(Op::GlobalMaxPool, &[x]);
                self.close(y, [c, 1, 1]);
            }
            Layer::MaxPool { kernel, stride } => {
                if h < kernel || w < kernel {
                    return;
                }
                let attrs = pool_attrs(&[kernel; 2], &[stride; 2], &[0; 2], &[0; 2], false);
                let y = self.b.node(Op::MaxPool { attrs, column_major: false }, &[x]);
                let out = |n: usize| (n - kernel) / stride + 1;
                self.close(y, [c, out(h), out(w)]);
            }
            Layer::AveragePool { kernel, pad } => {
                if h < kernel || w < kernel {
                    return;
                }
                let p = usize::from(pad && kernel > 1);
                let attrs = pool_attrs(&[kernel; 2], &[1; 2], &[p; 2], &[p; 2], false);
                let y = self.b.node(Op::AveragePool { attrs, count_include_pad: pad }, &[x]);
                let out = |n: usize| n + 2 * p - kernel + 1;
                self.close(y, [c, out(h), out(w)]);
            }
            Layer::Table { which } => {
                let ops = [
                    UnaryOp::HardSwish,
                    UnaryOp::Sigmoid,
                    UnaryOp::Relu,
                    UnaryOp::HardSigmoid { alpha: 0.2, beta: 0.5 },
                ];
                let y = self.b.node(Op::Unary(ops[which]), &[x]);
                self.close(y, [c, h, w]);
            }
            Layer::Add { back, op } => {
                let at = self.values.len() - 1 - back.min(self.values.len() - 1);
                let (other, dims) = self.values[at];
                let op = [BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul][op];
                if dims == [c, h, w] {
                    let y = self.b.node(Op::Binary(op), &[other, x]);
                    self.close(y, [c, h, w]);
                }
            }
            Layer::Concat { back } => {
                let at = self.values.len() - 1 - back.min(self.values.len() - 1);
                let (other, dims) = self.values[at];
                if dims[1..] == [h, w] && dims[0] + c < 64 {
                    let y = self.b.node(Op::Concat { axis: 1 }, &[other, x]);
                    self.close(y, [dims[0] + c, h, w]);
                }
            }
            Layer::Scale => {
                // Squeeze and excite: each channel of each image times a number.
                let mean = self.b.node(Op::GlobalAveragePool, &[x]);
                let p = self.params();
                let mean = self.b.qdq(mean, p);
                let y = self.b.node(Op::Binary(BinaryOp::Mul), &[x, mean]);
                self.close(y, [c, h, w]);
            }
            Layer::Requantize => {
                let p = self.params();
                let y = self.b.qdq(x, p);
                self.values.push((y, [c, h, w]));
            }
            Layer::Transpose => {
                let y = self.b.node(Op::Transpose { perm: Some(vec![0, 1, 3, 2]) }, &[x]);
                self.close(y, [c, w, h]);
            }
            Layer::Pad => {
                let pads = self.b.constant(Tensor::vector(vec![0i64, 1, 0, 1, 0, 0, 1, 0]));
                let y = self.b.node(Op::Pad { mode: tq_graph::op::PadMode::Constant }, &[x, pads]);
                self.close(y, [c + 1, h + 1, w + 1]);
            }
        }
    }
}

fn network(layers: &[Layer], dims: [usize; 3], seed: u64) -> Graph {
    let mut net = Net { b: Build::new(), numbers: Numbers(seed), values: Vec::new() };
    let shape = vec![Dim::symbol("N"), dims[0].into(), dims[1].into(), dims[2].into()];
    let x = net.b.g.add_input("x", DType::F32, shape);
    let p = net.params();
    let x = net.b.qdq(x, p);
    net.values.push((x, dims));
    for layer in layers {
        net.add(layer);
    }
    let (last, [c, h, w]) = *net.values.last().unwrap();
    let flat = net.b.node(Op::Flatten { axis: 1 }, &[last]);
    let p = net.params();
    let flat = net.b.qdq(flat, p);
    let weights = net.weights(&[7, c * h * w], false);
    let out = net.b.node(Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true }, &[flat, weights]);
    net.b.g.outputs.push(last);
    net.b.finish(out)
}

fn image(dims: &[usize], seed: u64) -> Tensor {
    let mut numbers = Numbers(seed);
    Tensor::new(dims, (0..dims.iter().product()).map(|_| numbers.real() * 6.0 - 3.0).collect::<Vec<f32>>())
        .unwrap()
}

/// Codes of all networks, so that the share of equal ones is one over many.
#[test]
fn random_networks_hold() {
    let total = std::cell::RefCell::new(JudgeReport::default());
    let config = ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let case = (prop::collection::vec(layer(), 1..9), 1usize..9, 2usize..12, 2usize..12, any::<u32>());
    runner
        .run(&case, |(layers, c, h, w, seed)| {
            let graph = network(&layers, [c, h, w], u64::from(seed));
            let mut all = sessions(&graph);
            // Read from a native file, whole and without what inference does not need, it gives the same bits.
            for graph in [&graph, &tq_format::strip(&graph)] {
                let mut file = Vec::new();
                tq_format::write(graph, &mut file).unwrap();
                let read = tq_format::read(&file).unwrap();
                prop_assert!(read == *graph);
                all.push(Session::new(&read, SessionOptions::default()).unwrap());
            }
            for batch in [1, 3] {
                let x = [image(&[batch, c, h, w], u64::from(seed) + 1)];
                let expected = all[0].run(&x).unwrap();
                for session in &all {
                    for threads in [1, 3] {
                        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                        prop_assert!(pool.install(|| session.run(&x)).unwrap() == expected);
                    }
                }
                let report = tq_runtime::judge(&all[0], &x).unwrap();
                prop_assert!(report.max_off() <= 1, "{report}");
                let explanation = all[0].explain();
                prop_assert!(explanation.floats().next().is_none(), "{explanation}");
                let mut total = total.borrow_mut();
                for mut op in report.operators {
                    op.node = op.kind.name().to_owned();
                    total.merge(JudgeReport { operators: vec![op] });
                }
            }
            Ok(())
        })
        .unwrap();
    let total = total.into_inner();
    assert!(total.holds(), "{total}");
}

/// The network with its activations in float: readers of what a Dequantize node makes of the codes of a Quantize node
/// read what that one quantized.
fn in_float(graph: &Graph) -> Graph {
    let mut g = graph.clone();
    let producers = g.producers();
    let source = |v: ValueId| {
        let node = g.node(producers[v.0]?);
        let before = matches!(node.op, Op::DequantizeLinear { .. }).then_some(node.input(0)?)?;
        let quantize = g.node(producers[before.0]?);
        matches!(quantize.op, Op::QuantizeLinear { .. }).then_some(quantize.input(0)?)
    };
    let real: Vec<Option<ValueId>> = (0..g.values.len()).map(|i| source(ValueId(i))).collect();
    let follow = |mut v: ValueId| {
        while let Some(before) = real[v.0] {
            v = before;
        }
        v
    };
    for node in &mut g.nodes {
        node.inputs.iter_mut().flatten().for_each(|v| *v = follow(*v));
    }
    g.outputs.iter_mut().for_each(|v| *v = follow(*v));
    g.compact();
    tq_graph::infer::infer(&mut g).unwrap();
    g
}

/// What a file of a network says stays the same however often it is read and written, and computes the same bits.
#[test]
fn files_of_random_networks_are_stable() {
    let config = ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let case = (prop::collection::vec(layer(), 1..9), 1usize..9, 2usize..12, 2usize..12, any::<u32>());
    runner
        .run(&case, |(layers, c, h, w, seed)| {
            let quantized = network(&layers, [c, h, w], u64::from(seed));
            let x = [image(&[2, c, h, w], u64::from(seed) + 1)];
            for graph in [in_float(&quantized), quantized] {
                let run = |g: &Graph| {
                    let session = tq_runtime::Session::new(g, tq_runtime::SessionOptions::default());
                    session.unwrap().run(&x).unwrap()
                };
                let want = run(&graph);
                for opset in [tq_onnx::MIN_OPSET, 17, tq_onnx::MAX_OPSET] {
                    let options = tq_onnx::ExportOptions::at(opset);
                    let write = |g: &Graph| tq_onnx::export_bytes(g, &options).unwrap();
                    let first = tq_onnx::import_bytes(&write(&graph), None).unwrap();
                    let second = tq_onnx::import_bytes(&write(&first), None).unwrap();
                    prop_assert!(first == second, "at {opset}:\n{first}\n{second}");
                    prop_assert!(write(&first) == write(&second));
                    prop_assert!(run(&first) == want, "at {opset}:\n{first}");
                }
            }
            Ok(())
        })
        .unwrap();
}
