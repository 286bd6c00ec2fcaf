//! Weights of fewer than 8 bits in integer kernels, against the judge and the reference evaluator.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use common::*;
use tq_graph::{Graph, Op, Tensor, ValueId};
use tq_qtypes::DType;
use tq_runtime::Execution;

/// All codes of a type in turn, and their scales and zero points: one a channel.
fn weights(b: &mut Build, dtype: DType, dims: &[usize], channels: usize, axis: i64) -> ValueId {
    let (lo, hi) = dtype.quant_range().unwrap();
    let span = hi - lo + 1;
    let n: usize = dims.iter().product();
    let codes = (0..n as i32).map(|i| lo + (i * 7 + i / 5) % span);
    let codes = if lo < 0 {
        Tensor::with_dtype(dtype, dims, codes.map(|c| c as i8).collect::<Vec<_>>()).unwrap()
    } else {
        Tensor::with_dtype(dtype, dims, codes.map(|c| c as u8).collect::<Vec<_>>()).unwrap()
    };
    // Affine codes have their zero anywhere, and each channel elsewhere.
    let zeros: Vec<i32> = (0..channels as i32).map(|c| lo + c % span).collect();
    let zero = if lo < 0 {
        Tensor::with_dtype(dtype, &[channels], zeros.iter().map(|z| *z as i8).collect::<Vec<_>>()).unwrap()
    } else {
        Tensor::with_dtype(dtype, &[channels], zeros.iter().map(|z| *z as u8).collect::<Vec<_>>()).unwrap()
    };
    let scale = (0..channels).map(|c| 0.4137 / span as f32 * (1.0 + 0.1 * c as f32)).collect();
    let inputs = [b.constant(codes), b.constant(Tensor::vector(scale)), b.constant(zero)];
    b.node(Op::DequantizeLinear { axis, block_size: 0 }, &inputs)
}

const NARROW: [DType; 4] = [DType::I4, DType::U4, DType::I2, DType::U2];

#[test]
fn convolutions() {
    for dtype in NARROW {
        for groups in [1, 6] {
            let mut b = Build::new();
            let xp = u8p(0.02, 117);
            let x = b.input(&[1, 6, 7, 5]);
            let xq = b.qdq(x, xp);
            let w = weights(&mut b, dtype, &[6, 6 / groups, 3, 3], 6, 0);
            let y = b.node(Op::Conv(conv_attrs(&[1, 1], &[1, 1], &[1, 1], &[1, 1], groups)), &[xq, w]);
            let out = b.qdq(y, u8p(0.0817, 130));
            let g = b.finish(out);
            assert_integer(&check(&g, &[xp.reals(&[2, 6, 7, 5], 3)], 0.0817, 1.0), "Conv");
        }
    }
}

#[test]
fn linear_layers() {
    for dtype in NARROW {
        for trans_b in [false, true] {
            let mut b = Build::new();
            let xp = i8p(0.02, -3);
            let x = b.input(&[1, 33]);
            let xq = b.qdq(x, xp);
            let (dims, axis) = if trans_b { ([9, 33], 0) } else { ([33, 9], 1) };
            let w = weights(&mut b, dtype, &dims, 9, axis);
            let bias = b.constant(Tensor::vector((0..9).map(|i| i as f32 * 0.3 - 1.0).collect()));
            let y = b.node(Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b }, &[xq, w, bias]);
            let out = b.qdq(y, u8p(0.05, 128));
            let g = b.finish(out);
            assert_integer(&check(&g, &[xp.reals(&[5, 33], 1)], 0.05, 1.0), "Gemm");
        }
    }
}

/// Weights `[channels][k]`, or `[k][channels]` where channels are not `first`, with a scale and a zero point for every group of
/// `group_size` of K: affine ones elsewhere for every group, or symmetric ones.
fn grouped(
    b: &mut Build,
    dtype: DType,
    (channels, k): (usize, usize),
    first: bool,
    group_size: usize,
    symmetric: bool,
) -> ValueId {
    let (lo, hi) = dtype.quant_range().unwrap();
    let span = hi - lo + 1;
    let of = |dims: &[usize], values: Vec<i32>| {
        if lo < 0 {
            Tensor::with_dtype(dtype, dims, values.iter().map(|c| *c as i8).collect::<Vec<_>>()).unwrap()
        } else {
            Tensor::with_dtype(dtype, dims, values.iter().map(|c| *c as u8).collect::<Vec<_>>()).unwrap()
        }
    };
    let groups = k.div_ceil(group_size);
    let (dims, per_group, axis) = match first {
        true => ([channels, k], [channels, groups], 1),
        false => ([k, channels], [groups, channels], 0),
    };
    let codes = of(&dims, (0..(channels * k) as i32).map(|i| lo + (i * 7 + i / 5) % span).collect());
    let zero = match symmetric {
        true => vec![if lo < 0 { 0 } else { (hi + 1) / 2 }; channels * groups],
        false => (0..(channels * groups) as i32).map(|c| lo + (3 * c) % span).collect(),
    };
    let scale =
        (0..channels * groups).map(|c| 0.4137 / span as f32 * (1.0 + 0.1 * (c % 13) as f32)).collect();
    let scale = Tensor::new(&per_group, scale).unwrap();
    let inputs = [b.constant(codes), b.constant(scale), b.constant(of(&per_group, zero))];
    b.node(Op::DequantizeLinear { axis, block_size: group_size }, &inputs)
}

#[test]
fn linear_layers_in_groups() {
    for (i, dtype) in NARROW.into_iter().enumerate() {
        for (trans_b, k, group_size, symmetric) in [
            (false, 33, 8, false),
            (true, 33, 8, false),
            (true, 64, 32, true),
            (false, 64, 16, true),
            (true, 48, 5, false),
        ] {
            let mut b = Build::new();
            let xp = if i % 2 == 0 { i8p(0.02, -3) } else { u8p(0.02, 130) };
            let x = b.input(&[1, k]);
            let xq = b.qdq(x, xp);
            let w = grouped(&mut b, dtype, (9, k), trans_b, group_size, symmetric);
            let bias = b.constant(Tensor::vector((0..9).map(|i| i as f32 * 0.3 - 1.0).collect()));
            let y = b.node(Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b }, &[xq, w, bias]);
            let y = if symmetric { b.node(Op::Unary(tq_graph::op::UnaryOp::Relu), &[y]) } else { y };
            let out = b.qdq(y, if symmetric { i8p(0.05, -100) } else { u8p(0.09, 128) });
            let g = b.finish(out);
            for rows in [1, 5] {
                let scale = if symmetric { 0.05 } else { 0.09 };
                assert_integer(&check(&g, &[xp.reals(&[rows, k], 1)], scale, 1.0), "Gemm");
            }
        }
    }
}

#[test]
fn products_in_groups_that_stay_real() {
    let mut b = Build::new();
    let xp = u8p(0.02, 100);
    let x = b.input(&[1, 3, 96]);
    let xq = b.qdq(x, xp);
    let w = grouped(&mut b, DType::I4, (21, 96), false, 32, true);
    let out = b.node(Op::MatMul, &[xq, w]);
    let g = b.finish(out);
    assert_integer(&check(&g, &[xp.reals(&[2, 3, 96], 1)], 1e-4, 1.0), "MatMul");
}

/// A Gemm over `k` input and 9 output features with `w` as its weights, and an input of two rows for it.
fn gemm(
    k: usize,
    w: impl FnOnce(&mut Build) -> ValueId,
    bias: Option<Tensor>,
    trans_b: bool,
) -> (Graph, Tensor) {
    let mut b = Build::new();
    let xp = u8p(0.02, 117);
    let x = b.input(&[2, k]);
    let xq = b.qdq(x, xp);
    let w = w(&mut b);
    let bias = bias.map(|bias| b.constant(bias));
    let inputs: Vec<ValueId> = [xq, w].into_iter().chain(bias).collect();
    let y = b.node(Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b }, &inputs);
    let out = b.qdq(y, u8p(0.09, 128));
    (b.finish(out), xp.reals(&[2, k], 5))
}

#[test]
fn groups_of_every_length_and_biases_of_every_shape() {
    let biases = [&[9][..], &[1, 9], &[1], &[]].map(|dims: &[usize]| {
        let n = dims.iter().product();
        Tensor::new(dims, (0..n).map(|i| i as f32 * 0.3 - 1.0).collect::<Vec<f32>>()).unwrap()
    });
    for (i, group_size) in [1, 3, 16, 32, 40, 1000].into_iter().enumerate() {
        for trans_b in [false, true] {
            let w = |b: &mut Build| grouped(b, DType::U4, (9, 40), trans_b, group_size, i % 2 == 0);
            let (g, x) = gemm(40, w, biases.get(i).cloned(), trans_b);
            assert_integer(&check(&g, &[x], 0.09, 1.0), "Gemm");
        }
    }
}

#[test]
fn what_groups_cannot_be_runs_in_float_and_says_why() {
    let reason = |(g, x): (Graph, Tensor)| {
        let session = scalar(&g);
        session.run(&[x]).unwrap();
        match &executions(&session, "Gemm")[..] {
            [(Execution::Float, Some(reason))] => reason.clone(),
            other => panic!("{other:?}"),
        }
    };
    let eight_bits = gemm(40, |b| grouped(b, DType::I8, (9, 40), true, 16, true), None, true);
    assert!(reason(eight_bits).contains("do not suit"));
    // Along the output features.
    let channels = gemm(9, |b| grouped(b, DType::I4, (9, 9), false, 3, true), None, true);
    assert!(reason(channels).contains("do not suit"));
    // One bias a row of the result.
    let column = Tensor::new(&[2, 1], vec![0.5f32, 1.0]).unwrap();
    let by_row = gemm(40, |b| grouped(b, DType::I4, (9, 40), true, 16, true), Some(column), true);
    assert!(reason(by_row).contains("a bias of shape [2, 1]"));
    let scaled = |scale: f32| {
        let w = move |b: &mut Build| {
            let codes = Tensor::with_dtype(DType::I4, &[9, 40], vec![7i8; 360]).unwrap();
            let inputs = [b.constant(codes), b.constant(Tensor::new(&[9, 2], vec![scale; 18]).unwrap())];
            b.node(Op::DequantizeLinear { axis: 1, block_size: 20 }, &inputs)
        };
        reason(gemm(40, w, None, true))
    };
    for scale in [1e36, 1e-39] {
        assert!(scaled(scale).contains("leave f32"), "{}", scaled(scale));
    }
}

#[test]
fn a_warm_run_in_groups_allocates_nothing() {
    let (g, x) = gemm(40, |b| grouped(b, DType::I4, (9, 40), true, 16, true), None, true);
    assert_warm_runs_allocate_nothing(&g, &[x]);
}

#[test]
fn sums_of_groups_take_no_fixed_point_and_say_so() {
    let (mut g, x) = gemm(40, |b| grouped(b, DType::I4, (9, 40), true, 16, true), None, true);
    let by_division = scalar(&g).run(std::slice::from_ref(&x)).unwrap();
    g.requantization = tq_qtypes::Requantization::FixedPoint;
    let session = scalar(&g);
    assert_eq!(session.run(&[x]).unwrap(), by_division);
    match &executions(&session, "Gemm")[..] {
        [(Execution::Integer, Some(reason))] => assert!(reason.contains("one for every group"), "{reason}"),
        other => panic!("{other:?}"),
    }
}
