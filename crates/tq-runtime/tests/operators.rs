//! Every quantized operator by itself, against the judge, the reference evaluator, and itself on other kernels.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use common::*;
use tq_graph::op::{BinaryOp, Padding, ReduceKind, UnaryOp};
use tq_graph::{Op, Tensor, ValueId};
use tq_qtypes::DType;
use tq_runtime::{Execution, Session};

/// Weights that give outputs of about unit size for inputs of `x`.
struct Weights {
    dims: Vec<usize>,
    dtype: DType,
    per_channel: bool,
}

struct ConvCase {
    x: Vec<usize>,
    xp: P,
    w: Weights,
    attrs: tq_graph::op::ConvAttrs,
    relu: bool,
    out: P,
    float_out: bool,
}

fn scales(n: usize, per_channel: bool, base: f32) -> Vec<f32> {
    if per_channel { (0..n).map(|i| base * (1.0 + 0.013 * i as f32)).collect() } else { vec![base] }
}

fn weight_codes(dtype: DType, dims: &[usize], seed: u64) -> Tensor {
    let n = dims.iter().product();
    match dtype {
        DType::I8 => Tensor::new(dims, Numbers(seed).i8s(n)).unwrap(),
        _ => Tensor::new(dims, Numbers(seed).u8s(n)).unwrap(),
    }
}

fn zeros(dtype: DType, n: usize) -> Vec<i32> {
    // Unsigned weights have their zero somewhere in the middle; signed ones at zero.
    if dtype == DType::U8 { (0..n).map(|i| 120 + (i % 9) as i32).collect() } else { vec![0; n] }
}

/// Checks `case` with one image and with three; the sessions that did.
fn conv(case: &ConvCase) -> [Session; 2] {
    let mut b = Build::new();
    let x = b.input(&case.x);
    let xq = b.qdq(x, case.xp);
    let (channels, k) = (case.w.dims[0], case.w.dims[1..].iter().product::<usize>());
    let base = 0.013 / (k as f32).sqrt();
    let s = scales(channels, case.w.per_channel, base);
    let z = zeros(case.w.dtype, s.len());
    let w = b.weights(weight_codes(case.w.dtype, &case.w.dims, 7), s.clone(), z, 0);
    let bias: Vec<i32> = (0..channels).map(|i| (i as i32 - 2) * 1000).collect();
    let bias_scale = s.iter().map(|s| case.xp.scale * s).collect();
    let bz = vec![0; s.len()];
    let bias = b.weights(Tensor::vector(bias), bias_scale, bz, 0);
    let mut y = b.node(Op::Conv(case.attrs.clone()), &[xq, w, bias]);
    if case.relu {
        y = b.node(Op::Unary(UnaryOp::Relu), &[y]);
    }
    let out = if case.float_out { y } else { b.qdq(y, case.out) };
    let g = b.finish(out);
    [1, 3].map(|batch| {
        let mut dims = case.x.clone();
        dims[0] = batch;
        let session = check(&g, &[case.xp.reals(&dims, 3)], case.out.scale, 1.0);
        assert_integer(&session, "Conv");
        session
    })
}

#[test]
fn convolutions_of_every_shape() {
    let w = |dims: &[usize]| Weights { dims: dims.to_vec(), dtype: DType::I8, per_channel: true };
    let base = |x: &[usize], w: Weights, attrs| ConvCase {
        x: x.to_vec(),
        xp: u8p(0.021, 117),
        w,
        attrs,
        relu: false,
        out: u8p(0.043, 131),
        float_out: false,
    };
    // Pointwise, odd sizes.
    conv(&base(&[1, 5, 7, 3], w(&[9, 5, 1, 1]), conv_attrs(&[1, 1], &[1, 1], &[0, 0], &[0, 0], 1)));
    // 3x3 with padding.
    conv(&base(&[1, 6, 9, 8], w(&[17, 6, 3, 3]), conv_attrs(&[1, 1], &[1, 1], &[1, 1], &[1, 1], 1)));
    // Stride, asymmetric pads, rectangular kernel.
    conv(&base(&[1, 3, 11, 10], w(&[4, 3, 3, 2]), conv_attrs(&[2, 3], &[1, 1], &[0, 1], &[2, 0], 1)));
    // Dilation.
    conv(&base(&[1, 4, 12, 13], w(&[8, 4, 3, 3]), conv_attrs(&[1, 1], &[2, 3], &[2, 3], &[2, 3], 1)));
    // Pointwise with stride.
    conv(&base(&[1, 8, 9, 9], w(&[16, 8, 1, 1]), conv_attrs(&[2, 2], &[1, 1], &[0, 0], &[0, 0], 1)));
    // Groups, also with one channel each but more than one result.
    conv(&base(&[1, 6, 5, 5], w(&[9, 2, 3, 3]), conv_attrs(&[1, 1], &[1, 1], &[1, 1], &[1, 1], 3)));
    conv(&base(&[1, 6, 5, 5], w(&[12, 1, 3, 3]), conv_attrs(&[1, 1], &[1, 1], &[1, 1], &[1, 1], 6)));
    conv(&base(&[1, 6, 5, 5], w(&[9, 2, 1, 1]), conv_attrs(&[1, 1], &[1, 1], &[0, 0], &[0, 0], 3)));
    // Three images of 272 positions are done as two and one; whole, in groups, and to reals.
    for (groups, float_out) in [(1, false), (2, false), (1, true), (2, true)] {
        let attrs = conv_attrs(&[1, 1], &[1, 1], &[1, 1], &[1, 1], groups);
        conv(&ConvCase { float_out, ..base(&[1, 20, 16, 17], w(&[8, 20 / groups, 3, 3]), attrs) });
    }
    // Depthwise, with stride and dilation.
    conv(&base(&[1, 19, 9, 8], w(&[19, 1, 3, 3]), conv_attrs(&[1, 1], &[1, 1], &[1, 1], &[1, 1], 19)));
    conv(&base(&[1, 4, 9, 8], w(&[4, 1, 5, 3]), conv_attrs(&[2, 1], &[1, 2], &[2, 2], &[1, 2], 4)));
    // One and three spatial axes.
    conv(&base(&[1, 5, 17], w(&[6, 5, 3]), conv_attrs(&[2], &[1], &[1], &[0], 1)));
    conv(&base(&[1, 7, 15], w(&[7, 1, 5]), conv_attrs(&[1], &[2], &[4], &[4], 7)));
    conv(&base(
        &[1, 3, 4, 5, 6],
        w(&[4, 3, 2, 3, 2]),
        conv_attrs(&[1, 2, 1], &[1, 1, 2], &[0, 1, 1], &[1, 1, 1], 1),
    ));
}

#[test]
fn depthwise_convolutions_over_three_axes() {
    for dtype in [DType::I8, DType::U8] {
        // Channels for vectors and for single elements; then more taps than are done from codes to codes.
        for (channels, kernel, attrs) in [
            (4, [2, 3, 2], conv_attrs(&[1, 2, 1], &[1, 1, 2], &[0, 1, 1], &[1, 1, 1], 4)),
            (19, [3, 3, 3], conv_attrs(&[1, 1, 1], &[1, 1, 1], &[1, 1, 1], &[1, 1, 1], 19)),
            (32, [3, 1, 2], conv_attrs(&[2, 1, 2], &[2, 1, 1], &[3, 0, 1], &[1, 0, 0], 32)),
            (17, [4, 1, 1], conv_attrs(&[3, 1, 1], &[1, 1, 1], &[3, 0, 0], &[3, 0, 0], 17)),
            (18, [4, 5, 4], conv_attrs(&[1, 1, 1], &[1, 1, 1], &[2, 2, 2], &[1, 2, 1], 18)),
        ] {
            for relu in [false, true] {
                let case = ConvCase {
                    x: [&[1, channels], &[5, 6, 7][..]].concat(),
                    xp: u8p(0.021, 117),
                    w: Weights { dims: [&[channels, 1], &kernel[..]].concat(), dtype, per_channel: true },
                    attrs: attrs.clone(),
                    relu,
                    out: u8p(0.043, 131),
                    float_out: false,
                };
                for session in conv(&case) {
                    let explanation = session.explain().to_string();
                    assert!(explanation.contains("-depthwise"), "{explanation}");
                }
            }
        }
    }
}

#[test]
fn convolutions_of_every_type() {
    for (xp, out) in [
        (u8p(0.021, 0), u8p(0.031, 0)),
        (u8p(0.021, 255), u8p(0.04, 128)),
        (i8p(0.021, -128), i8p(0.031, -128)),
        (i8p(0.021, 5), u8p(0.04, 101)),
        (u8p(0.021, 99), i8p(0.04, -17)),
    ] {
        for (dtype, per_channel) in
            [(DType::I8, true), (DType::I8, false), (DType::U8, true), (DType::U8, false)]
        {
            for (dims, groups) in [([10usize, 5, 3, 3], 1), ([5, 1, 3, 3], 5)] {
                for relu in [false, true] {
                    conv(&ConvCase {
                        x: vec![1, 5, 6, 7],
                        xp,
                        w: Weights { dims: dims.to_vec(), dtype, per_channel },
                        attrs: conv_attrs(&[1, 1], &[1, 1], &[1, 1], &[1, 1], groups),
                        relu,
                        out,
                        float_out: false,
                    });
                }
            }
        }
    }
}

#[test]
fn same_padding_and_float_results() {
    for padding in [Padding::SameUpper, Padding::SameLower] {
        for float_out in [false, true] {
            let mut attrs = conv_attrs(&[2, 2], &[1, 1], &[0, 0], &[0, 0], 1);
            attrs.padding = padding.clone();
            conv(&ConvCase {
                x: vec![1, 3, 8, 7],
                xp: u8p(0.021, 117),
                w: Weights { dims: vec![6, 3, 3, 4], dtype: DType::I8, per_channel: true },
                attrs,
                relu: false,
                out: u8p(0.043, 131),
                float_out,
            });
        }
    }
}

#[test]
fn matrix_products() {
    let xp = u8p(0.02, 100);
    for (dims, float_out) in
        [(vec![1usize, 33], true), (vec![5, 33], false), (vec![2, 3, 33], false), (vec![2, 3, 4, 33], true)]
    {
        for dtype in [DType::I8, DType::U8] {
            let mut b = Build::new();
            let x = b.input(&dims);
            let xq = b.qdq(x, xp);
            let w =
                b.weights(weight_codes(dtype, &[33, 10], 5), scales(10, true, 0.002), zeros(dtype, 10), 1);
            let y = b.node(Op::MatMul, &[xq, w]);
            let out = if float_out { y } else { b.qdq(y, i8p(0.04, 3)) };
            let g = b.finish(out);
            assert_integer(&check(&g, &[xp.reals(&dims, 1)], 0.04, 1.0), "MatMul");
        }
    }
    for trans_b in [false, true] {
        let mut b = Build::new();
        let x = b.input(&[4, 17]);
        let xq = b.qdq(x, xp);
        let dims = if trans_b { [6, 17] } else { [17, 6] };
        let w = b.weights(
            weight_codes(DType::I8, &dims, 5),
            scales(6, true, 0.002),
            vec![0; 6],
            i64::from(!trans_b),
        );
        let bias = b.constant(Tensor::vector((0..6).map(|i| i as f32 * 0.1 - 0.2).collect::<Vec<f32>>()));
        let y = b.node(Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b }, &[xq, w, bias]);
        let y = b.node(Op::Unary(UnaryOp::Relu), &[y]);
        let out = b.qdq(y, u8p(0.02, 0));
        let g = b.finish(out);
        assert_integer(&check(&g, &[xp.reals(&[4, 17], 1)], 0.02, 1.0), "Gemm");
    }
}

fn two(op: BinaryOp, a: &[usize], b_dims: &[usize], ap: P, bp: P, out: P, clip: bool) -> (Build, ValueId) {
    let _ = op;
    let mut b = Build::new();
    let (x, y) = (b.input(a), b.input(b_dims));
    let (x, y) = (b.qdq(x, ap), b.qdq(y, bp));
    let mut z = b.node(Op::Binary(op), &[x, y]);
    if clip {
        let (lo, hi) = (b.constant(Tensor::scalar(-0.7f32)), b.constant(Tensor::scalar(1.1f32)));
        z = b.node(Op::Clip, &[z, lo, hi]);
    }
    let z = b.qdq(z, out);
    (b, z)
}

#[test]
fn sums_differences_and_products_with_broadcasting() {
    let (ap, bp) = (u8p(0.013713, 90), i8p(0.021937, 11));
    for op in [BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul] {
        for (a, c) in [
            (vec![2usize, 5, 4, 3], vec![2usize, 5, 4, 3]),
            (vec![2, 5, 4, 3], vec![2, 5, 1, 1]),
            (vec![2, 5, 1, 1], vec![2, 5, 4, 3]),
            (vec![2, 5, 4, 3], vec![1, 5, 1, 1]),
            (vec![2, 5, 4, 3], vec![1, 1, 1, 1]),
            (vec![2, 5, 4, 3], vec![5, 1, 1]),
            (vec![2, 5, 4, 3], vec![4, 3]),
            (vec![7, 6], vec![6]),
            (vec![2, 7, 6], vec![2, 7, 6]),
        ] {
            let out = u8p(0.029101, 125);
            let (mut b, z) = two(op, &a, &c, ap, bp, out, true);
            // Declared shapes: the batch of broadcast operands is fixed here.
            for (v, dims) in b.g.inputs.clone().into_iter().zip([&a, &c]) {
                b.g.values[v.0].shape = Some(tq_graph::dim::shape_of(dims));
            }
            let g = b.finish(z);
            let session = check(&g, &[ap.reals(&a, 1), bp.reals(&c, 2)], out.scale, 1.0);
            let name = Op::Binary(op).name();
            let got = executions(&session, name);
            assert_eq!(got[0].0, Execution::Integer, "{a:?} {c:?}: {got:?}");
        }
    }
}

#[test]
fn what_no_kernel_broadcasts_runs_in_float_and_says_why() {
    let (ap, bp) = (u8p(0.013713, 90), u8p(0.021937, 11));
    let (a, c) = (vec![1usize, 5, 4, 1], vec![1usize, 5, 1, 3]);
    let (b, z) = two(BinaryOp::Add, &a, &c, ap, bp, u8p(0.029101, 125), false);
    let g = b.finish(z);
    let session = check(&g, &[ap.reals(&a, 1), bp.reals(&c, 2)], 0.029101, 1.0);
    let got = executions(&session, "Add");
    assert_eq!(got[0].0, Execution::Float);
    assert!(got[0].1.as_deref().unwrap().contains("neither operand"), "{got:?}");
}

#[test]
fn constants_are_operands_too() {
    let ap = u8p(0.013713, 90);
    for dims in [vec![1usize, 5, 1, 1], vec![5, 1, 1], vec![1, 5, 4, 3], vec![1]] {
        let mut b = Build::new();
        let x = b.input(&[1, 5, 4, 3]);
        let x = b.qdq(x, ap);
        let c = b.weights(weight_codes(DType::U8, &dims, 3), vec![0.011], vec![77], 0);
        let y = b.node(Op::Binary(BinaryOp::Sub), &[c, x]);
        let y = b.qdq(y, i8p(0.03, 0));
        let g = b.finish(y);
        let session = check(&g, &[ap.reals(&[1, 5, 4, 3], 1)], 0.03, 1.0);
        assert_integer(&session, "Sub");
    }
}

#[test]
fn pools() {
    let xp = u8p(0.031, 44);
    for out in [xp, u8p(0.027, 60), i8p(0.031, -84), i8p(0.04, 5)] {
        for clip in [false, true] {
            for (dims, kernel, strides, begin, end, ceil) in [
                (
                    vec![1usize, 5, 8, 9],
                    vec![2usize, 2],
                    vec![2usize, 2],
                    vec![0usize, 0],
                    vec![0usize, 0],
                    false,
                ),
                (vec![1, 5, 8, 9], vec![3, 3], vec![2, 2], vec![1, 1], vec![1, 1], false),
                (vec![1, 3, 7, 9], vec![3, 2], vec![2, 2], vec![0, 1], vec![1, 0], true),
                (vec![1, 33, 11], vec![3], vec![2], vec![1], vec![0], true),
            ] {
                let attrs = pool_attrs(&kernel, &strides, &begin, &end, ceil);
                for op in [
                    Op::MaxPool { attrs: attrs.clone(), column_major: false },
                    Op::AveragePool { attrs: attrs.clone(), count_include_pad: false },
                    Op::AveragePool { attrs, count_include_pad: true },
                ] {
                    let mut b = Build::new();
                    let x = b.input(&dims);
                    let x = b.qdq(x, xp);
                    let mut y = b.node(op.clone(), &[x]);
                    if clip {
                        let lo = b.constant(Tensor::scalar(0.3f32));
                        let hi = b.constant(Tensor::scalar(2.2f32));
                        y = b.node(Op::Clip, &[y, lo, hi]);
                    }
                    let y = b.qdq(y, out);
                    let g = b.finish(y);
                    let mut two = dims.clone();
                    two[0] = 2;
                    let session = check(&g, &[xp.reals(&two, 9)], out.scale, 1.0);
                    assert_integer(&session, op.name());
                }
            }
        }
    }
}

#[test]
fn means_over_all_positions() {
    let xp = i8p(0.031, -20);
    for (dims, axes, keep_dims) in [
        (vec![2usize, 5, 8, 9], None, true),
        (vec![2, 5, 7], None, true),
        (vec![2, 5, 3, 4, 5], None, true),
        (vec![2, 5, 8, 9], Some(vec![2i64, 3]), true),
        (vec![2, 5, 8, 9], Some(vec![-1, 2]), false),
    ] {
        let mut b = Build::new();
        let x = b.input(&dims);
        let x = b.qdq(x, xp);
        let y = match axes {
            None => b.node(Op::GlobalAveragePool, &[x]),
            Some(axes) => {
                let axes = b.constant(Tensor::vector(axes));
                b.node(
                    Op::Reduce { kind: ReduceKind::Mean, keep_dims, noop_with_empty_axes: false },
                    &[x, axes],
                )
            }
        };
        let y = b.qdq(y, u8p(0.012, 100));
        let g = b.finish(y);
        let session = check(&g, &[xp.reals(&dims, 9)], 0.012, 1.0);
        assert!(session.explain().floats().next().is_none(), "{}", session.explain());
    }
}

#[test]
fn tables() {
    let xp = u8p(0.05, 120);
    let ops = [
        UnaryOp::Relu,
        UnaryOp::Elu { alpha: 0.7 },
        UnaryOp::Sigmoid,
        UnaryOp::HardSigmoid { alpha: 0.2, beta: 0.5 },
        UnaryOp::HardSwish,
        UnaryOp::LeakyRelu { alpha: 0.3 },
        UnaryOp::ThresholdedRelu { alpha: 0.33 },
        UnaryOp::Celu { alpha: 1.3 },
        UnaryOp::Selu { alpha: 1.6, gamma: 1.1 },
        UnaryOp::Softplus,
        UnaryOp::Softsign,
        UnaryOp::Mish,
        UnaryOp::Gelu { tanh: false },
        UnaryOp::Gelu { tanh: true },
        UnaryOp::Tanh,
        UnaryOp::Erf,
        UnaryOp::Exp,
        UnaryOp::Abs,
        UnaryOp::Neg,
        UnaryOp::Sin,
        UnaryOp::Atan,
        UnaryOp::Asinh,
        // Of numbers outside their domain these make NaN, which quantizes to the largest code.
        UnaryOp::Log,
        UnaryOp::Sqrt,
        UnaryOp::Reciprocal,
        UnaryOp::Acos,
        UnaryOp::Atanh,
        // These jump.
        UnaryOp::Sign,
        UnaryOp::Floor,
        UnaryOp::Ceil,
        UnaryOp::Round,
        UnaryOp::Tan,
    ];
    for op in ops {
        for (xp, out) in [(xp, u8p(0.0221, 9)), (i8p(0.05, 4), i8p(0.013, -60))] {
            let mut b = Build::new();
            let x = b.input(&[2, 3, 50]);
            let x = b.qdq(x, xp);
            let y = b.node(Op::Unary(op), &[x]);
            let y = b.qdq(y, out);
            let g = b.finish(y);
            let session = check(&g, &[xp.reals(&[2, 3, 50], 9)], out.scale, 1.0);
            assert_integer(&session, Op::Unary(op).name());
        }
    }
    // Two operands, one of which is a number, are a function of one code too.
    let number = |b: &mut Build, v: f32| b.constant(Tensor::scalar(v));
    for (op, first, c) in [
        (BinaryOp::Pow, false, 2.0),
        (BinaryOp::Pow, true, 1.7),
        (BinaryOp::Div, true, 0.4),
        (BinaryOp::PRelu, false, 0.2),
        (BinaryOp::Mod { fmod: true }, false, 0.77),
    ] {
        let mut b = Build::new();
        let x = b.input(&[2, 150]);
        let x = b.qdq(x, xp);
        let c = number(&mut b, c);
        let y = b.node(Op::Binary(op), &if first { [c, x] } else { [x, c] });
        let out = u8p(0.0221, 90);
        let y = b.qdq(y, out);
        let g = b.finish(y);
        let session = check(&g, &[xp.reals(&[2, 150], 9)], out.scale, 1.0);
        assert_integer(&session, op.name());
    }
    // A division by a number, a clip, and a bare change of parameters.
    let mut b = Build::new();
    let x = b.input(&[300]);
    let x = b.qdq(x, xp);
    let six = b.constant(Tensor::new(&[1, 1], vec![6.1f32]).unwrap());
    let y = b.node(Op::Binary(BinaryOp::Div), &[x, six]);
    let y = b.qdq(y, u8p(0.009, 121));
    let (lo, hi) = (b.constant(Tensor::scalar(-0.5f32)), b.constant(Tensor::scalar(0.6f32)));
    let y = b.node(Op::Clip, &[y, lo, hi]);
    let y = b.qdq(y, i8p(0.005, 3));
    let y = b.qdq(y, u8p(0.0041, 130));
    let g = b.finish(y);
    let session = check(&g, &[xp.reals(&[300], 9)], 0.009, 3.0);
    assert!(session.explain().floats().next().is_none(), "{}", session.explain());
}

#[test]
fn concatenations() {
    let (ap, bp, out) = (u8p(0.013713, 90), i8p(0.021937, 11), u8p(0.02, 128));
    for (a, c, axis) in [
        (vec![2usize, 5, 4, 3], vec![2usize, 2, 4, 3], 1i64),
        (vec![2, 5, 4, 3], vec![2, 5, 4, 1], -1),
        (vec![2, 5, 4, 3], vec![2, 5, 3, 3], 2),
        (vec![1, 5, 4, 3], vec![1, 5, 4, 3], 0),
        (vec![3, 4], vec![3, 9], 1),
    ] {
        for (ap, bp) in [(ap, bp), (out, out)] {
            let mut b = Build::new();
            let (x, y) = (b.input(&a), b.input(&c));
            let (x, y) = (b.qdq(x, ap), b.qdq(y, bp));
            let z = b.node(Op::Concat { axis }, &[x, y, x]);
            let z = b.qdq(z, out);
            let g = b.finish(z);
            let session = check(&g, &[ap.reals(&a, 1), bp.reals(&c, 2)], out.scale, 1.0);
            assert_integer(&session, "Concat");
        }
    }
}

#[test]
fn a_clamp_after_a_concatenation_or_a_pool_is_not_lost() {
    let (ap, out) = (u8p(0.02, 128), u8p(0.017, 100));
    let dims = [2usize, 3, 4, 4];
    for relu in [true, false] {
        for (op, operands) in [
            (Op::Concat { axis: 1 }, 2),
            (
                Op::MaxPool {
                    attrs: pool_attrs(&[2, 2], &[1, 1], &[0, 0], &[0, 0], false),
                    column_major: false,
                },
                1,
            ),
            (Op::GlobalAveragePool, 1),
        ] {
            for out in [ap, out] {
                let mut b = Build::new();
                let x: Vec<ValueId> = (0..operands).map(|_| b.input(&dims)).collect();
                let x: Vec<ValueId> = x.into_iter().map(|x| b.qdq(x, ap)).collect();
                let name = op.name();
                let y = b.node(op.clone(), &x);
                let y = if relu {
                    b.node(Op::Unary(UnaryOp::Relu), &[y])
                } else {
                    let (lo, hi) = (b.constant(Tensor::scalar(-0.5f32)), b.constant(Tensor::scalar(0.7f32)));
                    b.node(Op::Clip, &[y, lo, hi])
                };
                let y = b.qdq(y, out);
                let g = b.finish(y);
                let inputs: Vec<Tensor> = (0..operands).map(|i| ap.reals(&dims, 5 + i)).collect();
                let session = check(&g, &inputs, out.scale, 1.0);
                assert_integer(&session, name);
            }
        }
    }
}

#[test]
fn codes_are_inputs_and_outputs_of_the_graph() {
    for p in [u8p(0.02, 50), i8p(0.02, -50)] {
        let mut b = Build::new();
        let shape = tq_graph::dim::shape_of(&[1, 3, 5, 5]);
        let x = b.g.add_input("codes", p.dtype, shape);
        let xq = b.dq(x, p);
        let w = b.weights(weight_codes(DType::I8, &[4, 3, 3, 3], 5), vec![0.003], vec![0], 0);
        let y = b.node(Op::Conv(conv_attrs(&[1, 1], &[1, 1], &[1, 1], &[1, 1], 1)), &[xq, w]);
        let y = b.q(y, p);
        let g = b.finish(y);
        let codes = match p.dtype {
            DType::I8 => Tensor::new(&[1, 3, 5, 5], Numbers(4).i8s(75)).unwrap(),
            _ => Tensor::new(&[1, 3, 5, 5], Numbers(4).u8s(75)).unwrap(),
        };
        let session = check(&g, &[codes], 1.0, 1.0);
        assert_integer(&session, "Conv");
    }
}
