//! In evaluation a model in training computes what the integer session of the converted one does, to the last bit.

#![allow(clippy::unwrap_used)]

mod shared;

use shared::noise;
use tq_graph::op::{BinaryOp, ConvAttrs, ConvTransposeAttrs, Padding, PoolAttrs, UnaryOp};
use tq_graph::{Dim, Graph, Op, Tensor, ValueId, infer};
use tq_observers::MinMaxObserver;
use tq_passes::{Configuration, QuantConfig, convert, int4_qconfig};
use tq_qat::train::{Imitation, Samples, Targets};
use tq_qat::{FakeQuantize, LearnableFakeQuantize, QatOptions, Tape, prepare_qat_with};
use tq_qtypes::DType;
use tq_runtime::{Execution, Session, SessionOptions};

const SAMPLES: usize = 60;

fn pads(n: usize) -> Padding {
    Padding::Explicit { begin: vec![n; 2], end: vec![n; 2] }
}

fn constant(g: &mut Graph, name: &str, dims: &[usize], seed: u32) -> ValueId {
    let n: usize = dims.iter().product();
    let fan = (n / dims[0]).max(1) as f32;
    let values = noise(n, seed).iter().map(|v| v * (3.0 / fan).sqrt()).collect();
    g.add_constant(name, Tensor::new(dims, values).unwrap())
}

fn conv(g: &mut Graph, name: &str, x: ValueId, dims: [usize; 4], groups: usize, seed: u32) -> ValueId {
    let w = constant(g, &format!("{name}.w"), &dims, seed);
    let b = constant(g, &format!("{name}.b"), &[dims[0]], seed + 1);
    let padding = pads(dims[2] / 2);
    let op = Op::Conv(ConvAttrs { strides: vec![1; 2], dilations: vec![1; 2], padding, groups });
    g.add_node(name, op, &[x, w, b], format!("{name}.y"))
}

/// Every family of operators that runs on codes: convolutions (depthwise and transposed ones too), a residual sum, functions
/// of one code, averages with padding and over all positions, a concatenation, a product of two tensors, a linear layer. The
/// first output is codes, the second codes that are moved, the third real numbers.
fn model() -> Graph {
    let mut g = Graph::new("net");
    let x = g.add_input("x", DType::F32, vec![Dim::symbol("N"), 3usize.into(), 8usize.into(), 8usize.into()]);
    let c = conv(&mut g, "c0", x, [8, 3, 3, 3], 1, 1);
    let r = g.add_node("r0", Op::Unary(UnaryOp::Relu), &[c], "r0.y");
    let d = conv(&mut g, "c1", r, [8, 1, 3, 3], 8, 3);
    let six = g.add_constant("six", Tensor::scalar(6.0f32));
    let nought = g.add_constant("nought", Tensor::scalar(0.0f32));
    let d = g.add_node("clip", Op::Clip, &[d, nought, six], "clip.y");
    let p = conv(&mut g, "c2", d, [8, 8, 1, 1], 1, 5);
    let sum = g.add_node("sum", Op::Binary(BinaryOp::Add), &[p, r], "sum.y");
    let h = g.add_node("h", Op::Unary(UnaryOp::HardSwish), &[sum], "h.y");
    let s = g.add_node("s", Op::Unary(UnaryOp::Sigmoid), &[h], "s.y");
    let pool = PoolAttrs {
        kernel: vec![3; 2],
        strides: vec![2; 2],
        dilations: vec![1; 2],
        padding: pads(1),
        ceil_mode: false,
    };
    let a = g.add_node("a", Op::AveragePool { attrs: pool.clone(), count_include_pad: false }, &[s], "a.y");
    let b = g.add_node("b", Op::AveragePool { attrs: pool.clone(), count_include_pad: true }, &[sum], "b.y");
    // One window more along each axis, which ends beyond the padding.
    let pool = PoolAttrs { ceil_mode: true, ..pool };
    let more = [(s, false), (sum, true)].map(|(x, count_include_pad)| {
        let name = format!("ceil.{count_include_pad}");
        g.add_node(
            &name,
            Op::AveragePool { attrs: pool.clone(), count_include_pad },
            &[x],
            format!("{name}.y"),
        )
    });
    let ceil = g.add_node("ceil", Op::Concat { axis: 1 }, &more, "ceil.y");
    let both = g.add_node("both", Op::Concat { axis: 1 }, &[a, b], "both.y");
    let w = constant(&mut g, "t.w", &[16, 3, 2, 2], 7);
    let bias = constant(&mut g, "t.b", &[6], 8);
    let transposed = Op::ConvTranspose(ConvTransposeAttrs {
        strides: vec![2; 2],
        dilations: vec![1; 2],
        padding: pads(0),
        output_padding: vec![0; 2],
        output_shape: None,
        groups: 2,
    });
    let t = g.add_node("t", transposed, &[both, w, bias], "t.y");
    let dims = g.add_constant("dims", Tensor::vector(vec![0i64, 6, 64]));
    let flat = g.add_node("flat", Op::Reshape { allow_zero: false }, &[t, dims], "flat.y");
    let turned = g.add_node("turned", Op::Transpose { perm: Some(vec![0, 2, 1]) }, &[flat], "turned.y");
    let product = g.add_node("product", Op::MatMul, &[flat, turned], "product.y");
    let mean = g.add_node("mean", Op::GlobalAveragePool, &[both], "mean.y");
    let row = g.add_node("row", Op::Flatten { axis: 1 }, &[mean], "row.y");
    let w = constant(&mut g, "head.w", &[16, 5], 9);
    let b = constant(&mut g, "head.b", &[5], 10);
    let gemm = Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false };
    let head = g.add_node("head", gemm, &[row, w, b], "head.y");
    g.outputs = vec![t, turned, head, product, ceil];
    infer::infer(&mut g).unwrap();
    g
}

fn check(config: Configuration, options: &QatOptions, name: &str) {
    let x = Tensor::new(&[SAMPLES, 3, 8, 8], noise(SAMPLES * 192, 77)).unwrap();
    let qat = prepare_qat_with(model(), config, options).unwrap();
    qat.run(&Tape::without_gradients(), std::slice::from_ref(&x)).unwrap();
    qat.train(false);
    let samples = Samples::new(vec![x], Targets::Teacher).unwrap();
    let imitation = Imitation::of(&qat, &samples, 7).unwrap();
    let graph = convert(&qat).unwrap().graph;
    let session = Session::new(&graph, SessionOptions::default()).unwrap();
    let run = |x: &[Tensor]| Ok::<_, tq_qat::QatError>(session.run(x).unwrap());
    let outputs = samples.outputs(&graph, 7, run).unwrap();
    let compared = imitation.compare(&outputs).unwrap();
    for (o, has_codes) in compared.iter().zip([true, true, false]) {
        assert_eq!(o.codes.is_some(), has_codes, "{name} {o:?}");
    }
    for o in &compared {
        assert_eq!((o.equal, o.largest_difference), (o.elements, 0.0), "{name} {o:?}");
    }
    // In integers indeed: all but what becomes of the input before it is codes.
    let report = session.explain();
    let is_float = |n: &&tq_runtime::NodeReport| n.execution == Execution::Float && n.node != "x_Clip";
    let floats: Vec<_> = report.nodes.iter().filter(is_float).collect();
    assert!(floats.is_empty(), "{name} {floats:?}");
    // Converting has changed nothing.
    assert_eq!(Imitation::of(&qat, &samples, 7).unwrap().outputs(), imitation.outputs());
}

#[test]
fn evaluation_is_what_a_session_computes() {
    let learned = QatOptions {
        activation: LearnableFakeQuantize::default().into(),
        weight: LearnableFakeQuantize::default().into(),
        ..QatOptions::default()
    };
    let eight = QuantConfig::default().activation(FakeQuantize::default()).weight(FakeQuantize::default());
    let four = QuantConfig::default().activation(MinMaxObserver::with_bits(4).unwrap());
    for (name, config) in [
        ("8 bits", eight.into()),
        ("4-bit weights", Configuration::from(int4_qconfig())),
        ("4-bit activations", four.into()),
    ] {
        check(config.clone(), &QatOptions::default(), name);
        check(config, &learned, name);
    }
}
