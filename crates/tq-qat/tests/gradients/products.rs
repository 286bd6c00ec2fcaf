use crate::case::{Case, values};
use tq_graph::Op;
use tq_graph::op::{ConvAttrs, ConvTransposeAttrs, EinsumEquation, Padding};

fn explicit(begin: &[usize], end: &[usize]) -> Padding {
    Padding::Explicit { begin: begin.to_vec(), end: end.to_vec() }
}

fn conv(
    name: &str,
    x: &[usize],
    w: &[usize],
    (strides, dilations): (&[usize], &[usize]),
    padding: Padding,
    groups: usize,
) -> Case {
    let attrs = ConvAttrs { strides: strides.to_vec(), dilations: dilations.to_vec(), padding, groups };
    Case::new(name, Op::Conv(attrs), vec![values(1, x), values(2, w), values(3, &w[..1])])
}

fn transposed(
    name: &str,
    x: &[usize],
    w: &[usize],
    (strides, dilations): (&[usize], &[usize]),
    padding: Padding,
    (output_padding, output_shape): (&[usize], Option<&[usize]>),
    groups: usize,
) -> Case {
    let attrs = ConvTransposeAttrs {
        strides: strides.to_vec(),
        dilations: dilations.to_vec(),
        padding,
        output_padding: output_padding.to_vec(),
        output_shape: output_shape.map(<[usize]>::to_vec),
        groups,
    };
    let bias = values(3, &[w[1] * groups]);
    Case::new(name, Op::ConvTranspose(attrs), vec![values(1, x), values(2, w), bias])
}

fn convolutions() -> Vec<Case> {
    let no1 = || explicit(&[0], &[0]);
    let no2 = || explicit(&[0, 0], &[0, 0]);
    let one = || explicit(&[1, 1], &[1, 1]);
    let unit: (&[usize], &[usize]) = (&[1, 1], &[1, 1]);
    vec![
        conv("1d", &[2, 3, 7], &[4, 3, 3], (&[1], &[1]), no1(), 1),
        conv("1d stride dilation", &[2, 2, 11], &[3, 2, 3], (&[2], &[2]), explicit(&[2], &[1]), 1),
        conv("2d", &[2, 3, 5, 6], &[4, 3, 3, 3], unit, one(), 1),
        conv("2d nothing left over", &[1, 2, 6, 6], &[4, 2, 3, 3], (&[2, 2], &[1, 1]), one(), 1),
        conv("2d odd", &[1, 2, 7, 5], &[3, 2, 2, 3], (&[3, 2], &[2, 1]), explicit(&[0, 2], &[3, 1]), 1),
        conv("2d pointwise", &[3, 4, 3, 3], &[5, 4, 1, 1], unit, no2(), 1),
        conv("2d pointwise stride", &[2, 3, 5, 5], &[4, 3, 1, 1], (&[2, 2], &[1, 1]), no2(), 1),
        conv("2d groups", &[2, 4, 5, 5], &[6, 2, 3, 3], unit, one(), 2),
        conv("2d depthwise", &[2, 3, 6, 5], &[3, 1, 3, 3], unit, one(), 3),
        conv("2d depthwise stride", &[2, 3, 9, 10], &[6, 1, 3, 3], (&[2, 3], &[1, 2]), one(), 3),
        conv("2d few filters", &[2, 3, 12, 19], &[2, 3, 3, 3], unit, one(), 1),
        conv("2d same upper", &[1, 2, 5, 6], &[3, 2, 2, 4], (&[2, 1], &[1, 1]), Padding::SameUpper, 1),
        conv("2d same lower", &[1, 2, 5, 6], &[3, 2, 2, 4], (&[2, 1], &[1, 1]), Padding::SameLower, 1),
        conv("2d window in the padding", &[1, 1, 2, 2], &[3, 1, 3, 3], unit, explicit(&[3, 2], &[2, 4]), 1),
        conv("2d rows not read", &[1, 1, 6, 7], &[3, 1, 1, 1], (&[4, 3], &[1, 1]), no2(), 1),
        conv("batch in several parts", &[19, 2, 3, 3], &[3, 2, 2, 2], unit, no2(), 1),
        conv(
            "3d",
            &[2, 2, 3, 4, 5],
            &[4, 2, 2, 3, 2],
            (&[1, 2, 1], &[1, 1, 2]),
            explicit(&[1, 0, 1], &[0, 1, 1]),
            1,
        ),
        conv(
            "3d groups",
            &[1, 2, 3, 3, 3],
            &[2, 1, 2, 2, 2],
            (&[1, 1, 1], &[1, 1, 1]),
            explicit(&[0, 0, 0], &[1, 1, 1]),
            2,
        ),
    ]
}

fn transposed_convolutions() -> Vec<Case> {
    let no = || explicit(&[0, 0], &[0, 0]);
    let unit: (&[usize], &[usize]) = (&[1, 1], &[1, 1]);
    let none: (&[usize], Option<&[usize]>) = (&[0, 0], None);
    vec![
        transposed("1d", &[2, 3, 4], &[3, 2, 3], (&[2], &[1]), explicit(&[1], &[0]), (&[1], None), 1),
        transposed("2d", &[2, 3, 3, 4], &[3, 4, 3, 3], unit, no(), none, 1),
        transposed("2d stride", &[1, 2, 3, 3], &[2, 3, 3, 2], (&[2, 3], &[1, 1]), no(), (&[1, 2], None), 1),
        transposed(
            "2d cut",
            &[1, 2, 4, 4],
            &[2, 3, 3, 3],
            (&[2, 2], &[1, 2]),
            explicit(&[1, 0], &[2, 1]),
            none,
            1,
        ),
        transposed("2d groups", &[2, 4, 3, 3], &[4, 3, 2, 2], (&[2, 1], &[1, 1]), no(), none, 2),
        transposed("2d depthwise", &[1, 3, 3, 3], &[3, 1, 3, 3], unit, explicit(&[1, 1], &[1, 1]), none, 3),
        transposed(
            "2d shape",
            &[1, 2, 3, 3],
            &[2, 2, 3, 3],
            (&[3, 2], &[1, 1]),
            no(),
            (&[0, 0], Some(&[10, 8])),
            1,
        ),
        transposed(
            "2d shape cut",
            &[1, 2, 3, 3],
            &[2, 2, 3, 3],
            (&[2, 2], &[1, 1]),
            no(),
            (&[0, 0], Some(&[5, 6])),
            1,
        ),
        transposed("2d same", &[1, 2, 3, 4], &[2, 3, 3, 3], (&[2, 2], &[1, 1]), Padding::SameUpper, none, 1),
        transposed("gaps", &[1, 2, 3, 3], &[2, 3, 2, 1], (&[3, 3], &[1, 1]), no(), none, 1),
        transposed(
            "3d",
            &[1, 2, 2, 3, 2],
            &[2, 3, 2, 2, 3],
            (&[2, 1, 1], &[1, 2, 1]),
            explicit(&[0, 1, 0], &[1, 0, 1]),
            (&[1, 0, 0], None),
            1,
        ),
    ]
}

fn gemm(
    name: &str,
    (alpha, beta): (f32, f32),
    (trans_a, trans_b): (bool, bool),
    c: Option<&[usize]>,
) -> Case {
    let a: &[usize] = if trans_a { &[4, 3] } else { &[3, 4] };
    let b: &[usize] = if trans_b { &[5, 4] } else { &[4, 5] };
    let mut inputs = vec![values(1, a), values(2, b)];
    inputs.extend(c.map(|dims| values(3, dims)));
    Case::new(name, Op::Gemm { alpha, beta, trans_a, trans_b }, inputs)
}

fn einsum(equation: &str, dims: &[&[usize]]) -> Case {
    let inputs = dims.iter().enumerate().map(|(i, d)| values(i as u64 + 1, d)).collect();
    Case::new(equation, Op::Einsum(equation.parse::<EinsumEquation>().unwrap()), inputs)
}

pub(crate) fn cases() -> Vec<Case> {
    let matmul =
        |name: &str, a: &[usize], b: &[usize]| Case::new(name, Op::MatMul, vec![values(1, a), values(2, b)]);
    let mut cases = convolutions();
    cases.extend(transposed_convolutions());
    cases.extend([
        gemm("plain", (1.0, 1.0), (false, false), Some(&[5])),
        gemm("a transposed", (0.5, 2.0), (true, false), Some(&[3, 1])),
        gemm("b transposed", (1.0, 1.0), (false, true), Some(&[3, 5])),
        gemm("both transposed", (-1.5, 0.25), (true, true), Some(&[1])),
        gemm("no bias", (2.0, 1.0), (false, true), None),
        matmul("matrices", &[3, 4], &[4, 5]),
        matmul("batches", &[2, 3, 4], &[2, 4, 5]),
        matmul("one right-hand side", &[2, 3, 2, 4], &[4, 5]),
        matmul("one left-hand side", &[3, 4], &[2, 4, 5]),
        matmul("broadcast batches", &[2, 1, 3, 4], &[3, 4, 2]),
        matmul("vector by matrix", &[4], &[4, 5]),
        matmul("matrix by vector", &[3, 4], &[4]),
        matmul("vectors", &[6], &[6]),
        matmul("vector by batches", &[4], &[2, 4, 3]),
        matmul("batches by vector", &[2, 3, 4], &[4]),
        einsum("ij,jk->ik", &[&[3, 4], &[4, 5]]),
        // The bilinear form.
        einsum("bi,oij,bj->bo", &[&[2, 3], &[4, 3, 2], &[2, 2]]),
        einsum("bhqd,bhkd->bhqk", &[&[1, 2, 3, 2], &[1, 2, 4, 2]]),
        einsum("ij->j", &[&[3, 4]]),
        einsum("ij->", &[&[3, 4]]),
        einsum("ii->i", &[&[3, 3]]),
        einsum("ii->", &[&[4, 4]]),
        einsum("iij,jk->ki", &[&[2, 2, 3], &[3, 2]]),
        einsum("...ij,...jk->...ik", &[&[2, 3, 4], &[2, 4, 2]]),
        einsum("...ij,jk->...ik", &[&[2, 3, 4], &[4, 2]]),
        einsum("...i,...i->...", &[&[2, 3, 4], &[2, 3, 4]]),
        einsum("...i,i->...i", &[&[2, 3, 4], &[4]]),
        einsum("ij,ij->i", &[&[3, 4], &[3, 1]]),
        einsum("i,j->ij", &[&[3], &[4]]),
        einsum("ij,kl->", &[&[2, 3], &[3, 2]]),
    ]);
    cases
}
