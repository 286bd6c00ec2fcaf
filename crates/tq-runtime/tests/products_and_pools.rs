//! Transposed convolutions, products of two activations, pools over any number of axes, and tables of codes: against the
//! judge, the reference evaluator, and themselves on other kernels.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use common::*;
use tq_graph::op::{BinaryOp, ConvTransposeAttrs, Padding, UnaryOp};
use tq_graph::{Dim, Op, Tensor};
use tq_qtypes::DType;
use tq_runtime::Execution;

fn transpose_attrs(
    strides: &[usize],
    dilations: &[usize],
    cut: (&[usize], &[usize]),
    more: &[usize],
    groups: usize,
) -> ConvTransposeAttrs {
    ConvTransposeAttrs {
        strides: strides.to_vec(),
        dilations: dilations.to_vec(),
        padding: Padding::Explicit { begin: cut.0.to_vec(), end: cut.1.to_vec() },
        output_padding: more.to_vec(),
        output_shape: None,
        groups,
    }
}

/// `x` of these dimensions, weights of those, codes of these parameters on both sides.
fn transposed(
    x: &[usize],
    w: &[usize],
    attrs: &ConvTransposeAttrs,
    xp: P,
    out: P,
    relu: bool,
    unsigned: bool,
) {
    let mut b = Build::new();
    let input = b.input(x);
    let xq = b.qdq(input, xp);
    let k: usize = w[0] / attrs.groups * w[2..].iter().product::<usize>();
    let base = 0.02 / (k as f32).sqrt();
    let scale: Vec<f32> = (0..w[1]).map(|i| base * (1.0 + 0.05 * i as f32)).collect();
    let n = w.iter().product();
    let weights = if unsigned {
        let zero = (0..w[1]).map(|i| 120 + i as i32).collect();
        b.weights(Tensor::new(w, Numbers(5).u8s(n)).unwrap(), scale.clone(), zero, 1)
    } else {
        b.weights(Tensor::new(w, Numbers(5).i8s(n)).unwrap(), scale.clone(), vec![0; w[1]], 1)
    };
    let channels = w[1] * attrs.groups;
    let bias = Tensor::vector((0..channels).map(|i| (i as i32 - 3) * 700).collect());
    let bias_scale: Vec<f32> = scale.iter().cycle().take(channels).map(|s| xp.scale * s).collect();
    let bias = b.weights(bias, bias_scale, vec![0; channels], 0);
    let mut y = b.node(Op::ConvTranspose(attrs.clone()), &[xq, weights, bias]);
    if relu {
        y = b.node(Op::Unary(UnaryOp::Relu), &[y]);
    }
    let y = b.qdq(y, out);
    let g = b.finish(y);
    for batch in [1, 3] {
        let mut dims = x.to_vec();
        dims[0] = batch;
        let session = check(&g, &[xp.reals(&dims, 3)], out.scale, 1.0);
        assert_integer(&session, "ConvTranspose");
    }
}

#[test]
fn transposed_convolutions_of_every_shape() {
    let (xp, out) = (u8p(0.021, 117), u8p(0.043, 131));
    let run = |x: &[usize], w: &[usize], attrs| transposed(x, w, &attrs, xp, out, false, false);
    // One axis: plain, strided with holes, dilated, with a stride longer than the kernel.
    run(&[1, 5, 7], &[5, 4, 3], transpose_attrs(&[1], &[1], (&[0], &[0]), &[0], 1));
    run(&[1, 5, 7], &[5, 4, 3], transpose_attrs(&[2], &[1], (&[1], &[0]), &[1], 1));
    run(&[1, 5, 7], &[5, 4, 3], transpose_attrs(&[2], &[2], (&[1], &[2]), &[0], 1));
    run(&[1, 2, 5], &[2, 9, 2], transpose_attrs(&[5], &[1], (&[1], &[2]), &[0], 1));
    // Two axes: what upsampling networks have, and odd ones.
    run(&[1, 6, 4, 5], &[6, 8, 2, 2], transpose_attrs(&[2, 2], &[1, 1], (&[0, 0], &[0, 0]), &[0, 0], 1));
    run(&[1, 6, 4, 5], &[6, 8, 4, 4], transpose_attrs(&[2, 2], &[1, 1], (&[1, 1], &[1, 1]), &[0, 0], 1));
    run(&[1, 3, 5, 4], &[3, 7, 3, 3], transpose_attrs(&[2, 3], &[1, 2], (&[1, 0], &[0, 2]), &[1, 2], 1));
    // Groups, also with one channel each.
    run(&[1, 6, 4, 4], &[6, 2, 3, 3], transpose_attrs(&[2, 1], &[1, 1], (&[1, 1], &[1, 1]), &[1, 0], 3));
    run(&[1, 4, 4, 3], &[4, 1, 3, 3], transpose_attrs(&[2, 2], &[1, 1], (&[1, 1], &[1, 1]), &[1, 1], 4));
    // Three axes.
    run(
        &[1, 3, 2, 3, 4],
        &[3, 5, 2, 3, 2],
        transpose_attrs(&[2, 1, 2], &[1, 2, 1], (&[0, 1, 0], &[1, 0, 0]), &[0, 0, 1], 1),
    );
}

#[test]
fn transposed_convolutions_of_every_type_and_padding_rule() {
    for (xp, out) in [
        (u8p(0.021, 0), u8p(0.031, 0)),
        (u8p(0.021, 255), i8p(0.04, -17)),
        (i8p(0.021, -128), i8p(0.031, -128)),
        (i8p(0.021, 127), u8p(0.04, 128)),
    ] {
        for (relu, unsigned) in [(false, false), (true, false), (false, true)] {
            let attrs = transpose_attrs(&[2, 2], &[1, 1], (&[1, 0], &[0, 1]), &[0, 1], 2);
            transposed(&[1, 4, 3, 5], &[4, 3, 3, 3], &attrs, xp, out, relu, unsigned);
        }
    }
    let base = transpose_attrs(&[2, 3], &[1, 1], (&[0, 0], &[0, 0]), &[0, 0], 1);
    for attrs in [
        ConvTransposeAttrs { padding: Padding::SameUpper, ..base.clone() },
        ConvTransposeAttrs { padding: Padding::SameLower, ..base.clone() },
        ConvTransposeAttrs { output_shape: Some(vec![8, 11]), ..base.clone() },
        ConvTransposeAttrs { output_shape: Some(vec![7, 12]), padding: Padding::SameUpper, ..base },
    ] {
        transposed(&[1, 4, 4, 4], &[4, 3, 3, 4], &attrs, u8p(0.021, 9), u8p(0.04, 120), false, false);
    }
}

/// Both operands are activations; a zero point on either side.
fn product(a: &[usize], b: &[usize], ap: P, bp: P, out: Option<P>) {
    let mut n = Build::new();
    let shape = |dims: &[usize]| dims.iter().map(|d| Dim::from(*d)).collect();
    let x = n.g.add_input("a", DType::F32, shape(a));
    let y = n.g.add_input("b", DType::F32, shape(b));
    let (xq, yq) = (n.qdq(x, ap), n.qdq(y, bp));
    let z = n.node(Op::MatMul, &[xq, yq]);
    let z = out.map_or(z, |p| n.qdq(z, p));
    let g = n.finish(z);
    let session = check(&g, &[ap.reals(a, 11), bp.reals(b, 12)], out.map_or(0.0, |p| p.scale), 1.0);
    assert_integer(&session, "MatMul");
}

#[test]
fn products_of_activations() {
    let types = [
        (u8p(0.02, 117), u8p(0.03, 9)),
        (u8p(0.02, 0), i8p(0.03, -128)),
        (i8p(0.02, 127), u8p(0.03, 255)),
        (i8p(0.02, -5), i8p(0.03, 14)),
    ];
    for (ap, bp) in types {
        for (a, b) in [
            (vec![5usize, 7], vec![7usize, 3]),
            (vec![1, 1], vec![1, 1]),
            (vec![2, 3, 9, 16], vec![2, 3, 16, 9]),
            (vec![2, 3, 9, 16], vec![16, 5]),
            (vec![9, 16], vec![2, 3, 16, 5]),
            (vec![2, 1, 4, 33], vec![3, 33, 17]),
            (vec![1, 2, 40, 35], vec![2, 2, 35, 40]),
        ] {
            let k = a[a.len() - 1] as f32;
            product(&a, &b, ap, bp, Some(u8p(0.1 * k.sqrt(), 131)));
            product(&a, &b, ap, bp, None);
        }
    }
}

/// Codes at the far end from both zero points: the largest sums there are, at a length where 32 bits do not do.
#[test]
fn long_products_do_not_wrap() {
    let (k, p) = (40_000, u8p(1.0, 0));
    let mut n = Build::new();
    let x = n.g.add_input("a", DType::F32, vec![2usize.into(), k.into()]);
    let y = n.g.add_input("b", DType::F32, vec![k.into(), 3usize.into()]);
    let (xq, yq) = (n.qdq(x, p), n.qdq(y, p));
    let z = n.node(Op::MatMul, &[xq, yq]);
    let z = n.qdq(z, u8p((k * 255) as f32, 0));
    let g = n.finish(z);
    let full = |dims: &[usize]| Tensor::new(dims, vec![255.0f32; dims.iter().product()]).unwrap();
    let out = check(&g, &[full(&[2, k]), full(&[k, 3])], (k * 255) as f32, 1.0);
    let got = out.run(&[full(&[2, k]), full(&[k, 3])]).unwrap();
    assert_eq!(got[0].to_f32_vec().unwrap(), vec![(k * 255) as f32 * 255.0; 6]);
}

#[test]
fn a_constant_stack_of_matrices_is_an_operand() {
    let mut n = Build::new();
    let x = n.input(&[1, 4, 6]);
    let xq = n.qdq(x, u8p(0.02, 100));
    let w = n.weights(Tensor::new(&[2, 6, 5], Numbers(2).i8s(60)).unwrap(), vec![0.01], vec![0], 0);
    let y = n.node(Op::MatMul, &[xq, w]);
    let y = n.qdq(y, u8p(0.05, 128));
    let g = n.finish(y);
    let session = check(&g, &[u8p(0.02, 100).reals(&[2, 4, 6], 4)], 0.05, 1.0);
    assert_integer(&session, "MatMul");
}

fn pooled(x: &[usize], op: &Op, xp: P, out: P) {
    let mut b = Build::new();
    let input = b.input(x);
    let xq = b.qdq(input, xp);
    let y = b.node(op.clone(), &[xq]);
    let y = b.qdq(y, out);
    let g = b.finish(y);
    for batch in [1, 2] {
        let mut dims = x.to_vec();
        dims[0] = batch;
        let session = check(&g, &[xp.reals(&dims, 8)], out.scale, 1.0);
        assert_integer(&session, op.name());
    }
}

#[test]
fn pools_over_one_two_and_three_axes() {
    for (xp, out) in [(u8p(0.02, 30), u8p(0.02, 30)), (i8p(0.02, -128), u8p(0.03, 17))] {
        for n in 1..=3usize {
            let mut x = vec![1, 5];
            x.extend([7, 6, 8].iter().take(n));
            for (kernel, stride, pad, ceil, dilation) in
                [(2, 2, 0, false, 1), (3, 2, 1, true, 1), (3, 1, 1, false, 2), (2, 3, 1, true, 1)]
            {
                let pads = vec![pad; n];
                let mut attrs = pool_attrs(&vec![kernel; n], &vec![stride; n], &pads, &pads, ceil);
                attrs.dilations = vec![dilation; n];
                pooled(&x, &Op::MaxPool { attrs: attrs.clone(), column_major: false }, xp, out);
                for count_include_pad in [false, true] {
                    pooled(&x, &Op::AveragePool { attrs: attrs.clone(), count_include_pad }, xp, out);
                }
            }
            pooled(&x, &Op::GlobalMaxPool, xp, out);
            pooled(&x, &Op::GlobalAveragePool, xp, out);
        }
    }
}

/// Tables of 8- and 4-bit codes, with one scale, one a row, one a group: rows are dequantized as they are picked, and
/// the table never becomes f32.
#[test]
fn rows_of_tables_of_codes() {
    let (rows, width) = (300usize, 48usize);
    for dtype in [DType::I8, DType::U8, DType::I4, DType::U4] {
        for kind in 0..3 {
            let mut b = Build::new();
            let ids = b.g.add_input("ids", DType::I64, vec![Dim::symbol("N"), 4usize.into()]);
            let mut numbers = Numbers(6);
            let (lo, hi) = dtype.quant_range().unwrap();
            let codes: Vec<i32> =
                (0..rows * width).map(|_| lo + numbers.below((hi - lo + 1) as u64) as i32).collect();
            let tensor = |dims: &[usize], codes: &[i32]| match dtype {
                DType::I8 | DType::I4 => {
                    Tensor::with_dtype(dtype, dims, codes.iter().map(|c| *c as i8).collect()).unwrap()
                }
                _ => Tensor::with_dtype(dtype, dims, codes.iter().map(|c| *c as u8).collect()).unwrap(),
            };
            let (shape, axis, block) = match kind {
                0 => (vec![], 1, 0),
                1 => (vec![rows], 0, 0),
                _ => (vec![rows, 3], 1, 16),
            };
            let n = shape.iter().product::<usize>();
            let scale = Tensor::new(&shape, (0..n).map(|_| 0.01 + numbers.real()).collect()).unwrap();
            let middle = vec![(lo + hi) / 2; n];
            let table = b.constant(tensor(&[rows, width], &codes));
            let (s, z) = (b.constant(scale), b.constant(tensor(&shape, &middle)));
            let real = b.node(Op::DequantizeLinear { axis, block_size: block }, &[table, s, z]);
            let picked = b.node(Op::Gather { axis: 0 }, &[real, ids]);
            let g = b.finish(picked);
            let ids = Tensor::new(&[3, 4], (0..12i64).map(|i| i * 25 - 150).collect::<Vec<_>>()).unwrap();
            let session = check(&g, std::slice::from_ref(&ids), 0.0, 0.0);
            let got = executions(&session, "Gather");
            assert!(
                matches!(&got[..], [(Execution::Float, Some(r))] if r.contains("as they are picked")),
                "{got:?}"
            );
            assert!(executions(&session, "DequantizeLinear").is_empty(), "{}", session.explain());
            let outside = Tensor::new(&[1, 4], vec![0i64, 1, 2, 300]).unwrap();
            let error = session.run(&[outside]).unwrap_err().to_string();
            assert!(error.contains("Gather") && error.contains("300"), "{error}");
        }
    }
}

/// A slope a channel, in every shape that means this, on codes of every type; and slopes that mean something else.
#[test]
fn slopes_of_channels() {
    let x = [1usize, 3, 4, 5];
    for (xp, out) in
        [(u8p(0.02, 117), u8p(0.019, 90)), (i8p(0.02, -5), i8p(0.03, 14)), (i8p(0.02, 3), u8p(0.02, 128))]
    {
        for (slopes, integer) in [
            (vec![3usize, 1, 1], true),
            (vec![1, 3, 1, 1], true),
            (vec![3, 4, 5], false),
            (vec![5], false),
            (vec![4, 1], false),
        ] {
            let mut b = Build::new();
            let input = b.input(&x);
            let xq = b.qdq(input, xp);
            let n = slopes.iter().product::<usize>();
            let slope = Tensor::new(&slopes, (0..n).map(|i| 0.3 * i as f32 - 0.4).collect()).unwrap();
            let slope = b.constant(slope);
            let y = b.node(Op::Binary(BinaryOp::PRelu), &[xq, slope]);
            let y = b.qdq(y, out);
            let g = b.finish(y);
            let session = check(&g, &[xp.reals(&[2, 3, 4, 5], 8)], out.scale, 1.0);
            let runs = executions(&session, "PRelu");
            let expected = if integer { Execution::Integer } else { Execution::Float };
            assert!(matches!(&runs[..], [(e, _)] if *e == expected), "{slopes:?}: {runs:?}");
        }
    }
}
