//! Channels are brought to the same reach, and the model answers the same to the last bit.

#![allow(clippy::unwrap_used)] // what is not as expected fails the test

use tq_eval::{Evaluator, Precision};
use tq_graph::op::{BinaryOp, ConvAttrs, Padding, PoolAttrs, UnaryOp};
use tq_graph::{Dim, Graph, Op, Tensor, ValueId, infer};
use tq_passes::equalize;
use tq_qtypes::DType;

fn noise(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761).max(1);
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(n).collect()
}

const C: usize = 6;

fn conv(g: &mut Graph, name: &str, x: ValueId, dims: [usize; 3], groups: usize) -> ValueId {
    let seed = name.bytes().map(u32::from).sum();
    let w = Tensor::new(&dims, noise(dims.iter().product(), seed)).unwrap();
    let w = g.add_constant(format!("{name}_w"), w);
    let b = g.add_constant(format!("{name}_b"), Tensor::vector(noise(dims[0], seed + 1)));
    let pad = dims[2] / 2;
    let padding = Padding::Explicit { begin: vec![pad], end: vec![pad] };
    let attrs = ConvAttrs { strides: vec![1], dilations: vec![1], padding, groups };
    g.add_node(name, Op::Conv(attrs), &[x, w, b], format!("{name}_y"))
}

fn relu(g: &mut Graph, x: ValueId) -> ValueId {
    let name = g.value(x).name.clone();
    g.add_node(format!("{name}_relu"), Op::Unary(UnaryOp::Relu), &[x], format!("{name}_r"))
}

fn begin() -> (Graph, ValueId) {
    let mut g = Graph::new("net");
    let x = g.add_input("x", DType::F32, vec![Dim::symbol("N"), C.into(), 8usize.into()]);
    (g, x)
}

fn values(g: &Graph, name: &str) -> Vec<f32> {
    g.constant(g.find_value(name).unwrap()).unwrap().as_slice::<f32>().unwrap().to_vec()
}

fn scaled(g: &mut Graph, name: &str, by: impl Fn(usize) -> f32) {
    let id = g.find_value(name).unwrap();
    let all = g.values[id.0].constant.as_mut().unwrap().as_mut_slice::<f32>().unwrap();
    all.iter_mut().enumerate().for_each(|(i, v)| *v *= by(i));
}

/// All operators that channels go through, and all that read them.
fn chain() -> Graph {
    let (mut g, x) = begin();
    let a = conv(&mut g, "first", x, [C, C, 3], 1);
    let a = relu(&mut g, a);
    let a = conv(&mut g, "depthwise", a, [C, 1, 3], C);
    let zero = g.add_constant("zero", Tensor::scalar(0.0f32));
    let a = g.add_node("clip", Op::Clip, &[a, zero], "clipped");
    let attrs = PoolAttrs {
        kernel: vec![2],
        strides: vec![2],
        dilations: vec![1],
        padding: Padding::Explicit { begin: vec![0], end: vec![0] },
        ceil_mode: false,
    };
    let a = g.add_node("pool", Op::MaxPool { attrs, column_major: false }, &[a], "pooled");
    let a = conv(&mut g, "grouped", a, [2 * C, C / 2, 3], 2);
    let a = g.add_node("leaky", Op::Unary(UnaryOp::LeakyRelu { alpha: 0.1 }), &[a], "leaked");
    let a = g.add_node("flat", Op::Flatten { axis: 1 }, &[a], "flattened");
    let w = g.add_constant("gemm_w", Tensor::new(&[5, 8 * C], noise(40 * C, 71)).unwrap());
    let b = g.add_constant("gemm_b", Tensor::vector(noise(5, 72)));
    let gemm = Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
    let a = g.add_node("gemm", gemm, &[a, w, b], "g");
    let a = relu(&mut g, a);
    let w = g.add_constant("head_w", Tensor::new(&[5, 3], noise(15, 73)).unwrap());
    let y = g.add_node("head", Op::MatMul, &[a, w], "y");
    g.outputs.push(y);
    infer::infer(&mut g).unwrap();
    g
}

fn answers(g: &Graph, precision: Precision) -> Vec<u64> {
    let x = Tensor::new(&[4, C, 8], noise(32 * C, 5)).unwrap();
    let y = Evaluator::new(g, precision).unwrap().run(&[x]).unwrap().remove(0);
    y.to_f64_vec().unwrap().iter().map(|v| v.to_bits()).collect()
}

fn same_function(before: &Graph, after: &Graph) {
    for precision in [Precision::F32, Precision::F64] {
        assert_eq!(answers(before, precision), answers(after, precision));
    }
}

#[test]
fn a_chain_is_equalized_and_stays_the_same_function() {
    let mut g = chain();
    // Channel 1 fifty times as large where it is made, channel 4 a thousandth: by factors that are no powers of two.
    scaled(&mut g, "first_w", |i| [1.0, 50.0, 1.0, 1.0, 0.001, 1.0][i / (3 * C)]);
    scaled(&mut g, "first_b", |i| [1.0, 50.0, 1.0, 1.0, 0.001, 1.0][i]);
    scaled(&mut g, "depthwise_w", |i| [1.0, 0.02, 1.0, 1.0, 1000.0, 1.0][i / 3]);
    scaled(&mut g, "gemm_w", |i| if i / 4 % (2 * C) == 7 { 300.0 } else { 1.0 });
    scaled(&mut g, "head_w", |i| if i / 3 == 2 { 1.0 / 90.0 } else { 1.0 });
    let mut even = g.clone();
    let report = equalize(&mut even).unwrap();
    same_function(&g, &even);
    let from: Vec<&str> = report.links.iter().map(|l| l.from.as_str()).collect();
    for name in ["first", "grouped", "gemm"] {
        assert!(from.contains(&name), "{report:#?}");
    }
    let first = &report.links[0];
    assert_eq!((first.from.as_str(), &first.to[..]), ("first", &["depthwise".to_owned()][..]));
    assert!(first.between.contains(&"first_y_r".to_owned()) && first.largest >= 16.0, "{first:?}");
    // What each channel reaches on both sides is within a factor of 2.
    let reach = |name: &str, of: &dyn Fn(usize) -> usize, n: usize| {
        let mut max = vec![0.0f32; n];
        values(&even, name).iter().enumerate().for_each(|(i, v)| max[of(i)] = max[of(i)].max(v.abs()));
        max
    };
    let close = |a: Vec<f32>, b: Vec<f32>| {
        for (a, b) in a.iter().zip(&b) {
            assert!((0.5..=2.0).contains(&(a / b)), "{a} {b}");
        }
    };
    close(reach("first_w", &|i| i / (3 * C), C), reach("depthwise_w", &|i| i / 3, C));
    // Two groups of three inputs, each read by six outputs.
    close(reach("depthwise_w", &|i| i / 3, C), reach("grouped_w", &|i| i / (3 * 3) / C * 3 + i / 3 % 3, C));
    // Four elements of a channel in a row, 48 a row of weights.
    close(reach("grouped_w", &|i| i / 9, 2 * C), reach("gemm_w", &|i| i % (8 * C) / 4, 2 * C));
    close(reach("gemm_w", &|i| i / (8 * C), 5), reach("head_w", &|i| i / 3, 5));
    // Once is enough.
    let again = equalize(&mut even.clone()).unwrap();
    assert!(again.links.is_empty(), "{again:#?}");
}

/// Two convolutions with something between, the first with a channel that wants to be scaled.
fn two(between: impl FnOnce(&mut Graph, ValueId) -> ValueId) -> Graph {
    let (mut g, x) = begin();
    let a = conv(&mut g, "a", x, [C, C, 3], 1);
    let b = between(&mut g, a);
    let y = conv(&mut g, "b", b, [C, C, 3], 1);
    g.outputs.push(y);
    scaled(&mut g, "a_w", |i| if i / (3 * C) == 2 { 64.0 } else { 1.0 });
    infer::infer(&mut g).unwrap();
    g
}

#[test]
fn what_minds_the_size_of_channels_is_left_alone() {
    let untouched = |mut g: Graph| {
        let before = g.clone();
        let report = equalize(&mut g).unwrap();
        assert!(report.links.is_empty(), "{report:#?}");
        assert_eq!(values(&g, "a_w"), values(&before, "a_w"));
    };
    let mut scaled_one = two(relu);
    assert_eq!(equalize(&mut scaled_one).unwrap().links[0].channels, 1);
    // An end that is not zero.
    untouched(two(|g, a| {
        let (lo, hi) = (Tensor::scalar(0.0f32), Tensor::scalar(6.0f32));
        let (lo, hi) = (g.add_constant("lo", lo), g.add_constant("hi", hi));
        g.add_node("relu6", Op::Clip, &[a, lo, hi], "r6")
    }));
    untouched(two(|g, a| g.add_node("sigmoid", Op::Unary(UnaryOp::Sigmoid), &[a], "s")));
    // A sum with what is not scaled.
    untouched(two(|g, a| {
        let x = g.find_value("x").unwrap();
        g.add_node("sum", Op::Binary(BinaryOp::Add), &[a, x], "s")
    }));
    // An output of the model.
    untouched({
        let mut g = two(relu);
        let out = g.find_value("a_y_r").unwrap();
        g.outputs.push(out);
        g
    });
    // Weights that both layers read.
    untouched({
        let mut g = two(relu);
        let w = g.find_value("a_w");
        g.nodes.iter_mut().find(|n| n.name == "b").unwrap().inputs[1] = w;
        g
    });
    // A channel whose weights would leave f32's normal numbers.
    untouched({
        let mut g = two(relu);
        scaled(&mut g, "a_w", |i| match i / (3 * C) {
            2 if i % 2 == 0 => 1e-44,
            _ => 1.0,
        });
        g
    });
}

#[test]
fn several_readers_share_the_factor() {
    let (mut g, x) = begin();
    let a = conv(&mut g, "a", x, [C, C, 3], 1);
    let r = relu(&mut g, a);
    let (b, c) = (conv(&mut g, "b", r, [C, C, 3], 1), conv(&mut g, "c", r, [C, C, 1], 1));
    let y = g.add_node("sum", Op::Binary(BinaryOp::Add), &[b, c], "y");
    g.outputs.push(y);
    scaled(&mut g, "a_w", |i| if i / (3 * C) == 2 { 256.0 } else { 1.0 });
    scaled(&mut g, "a_b", |i| if i == 2 { 256.0 } else { 1.0 });
    infer::infer(&mut g).unwrap();
    let before = g.clone();
    let report = equalize(&mut g).unwrap();
    same_function(&before, &g);
    assert_eq!(report.links.len(), 1, "{report:#?}");
    assert_eq!(
        (&report.links[0].to[..], report.links[0].channels),
        (&["b".to_owned(), "c".to_owned()][..], 1)
    );
    assert_eq!(report.links[0].largest, 16.0);
}
