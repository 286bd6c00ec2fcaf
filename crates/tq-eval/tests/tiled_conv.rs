//! Convolutions of f32, which are computed by tiles, against those of f64, which are unrolled. Small integers make all sums
//! exact, so that both must agree to the bit.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use tq_eval::adjoint::conv_weights;
use tq_eval::{Precision, eval_op};
use tq_graph::op::{ConvAttrs, ConvTransposeAttrs, Padding};
use tq_graph::{Op, Tensor};

/// Integers of -4 to 4, in no order that a shape has.
fn numbers(dims: &[usize], seed: u32) -> Vec<f64> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 16 & 0xFFFF) % 9.0 - 4.0
    };
    (0..dims.iter().product()).map(|_| next()).collect()
}

/// The same numbers in f32 and in f64.
fn both(dims: &[usize], seed: u32) -> [Tensor; 2] {
    let wide = numbers(dims, seed);
    let narrow = wide.iter().map(|v| *v as f32).collect::<Vec<f32>>();
    [Tensor::new(dims, narrow).unwrap(), Tensor::new(dims, wide).unwrap()]
}

fn assert_same(narrow: &Tensor, wide: &Tensor) {
    assert_eq!(narrow.dims(), wide.dims());
    let pairs = narrow.as_slice::<f32>().unwrap().iter().zip(wide.as_slice::<f64>().unwrap());
    for (i, (a, b)) in pairs.enumerate() {
        assert!(f64::from(*a) == *b, "element {i} of {:?}: {a} {b}", narrow.dims());
    }
}

/// `op` of the same in both types.
fn evaluated(op: &Op, x: &[Tensor; 2], w: &[Tensor; 2], b: &[Tensor; 2]) -> Option<[Tensor; 2]> {
    let run = |i: usize| {
        let inputs = [Some(&x[i]), Some(&w[i]), Some(&b[i])];
        eval_op(op, &inputs, 1, Precision::F32).ok().map(|mut y| y.swap_remove(0))
    };
    Some([run(0)?, run(1)?])
}

struct Shape {
    batch: usize,
    groups: usize,
    channels: usize,
    filters: usize,
    input: Vec<usize>,
    kernel: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    begin: Vec<usize>,
    end: Vec<usize>,
}

/// Convolution, transposed convolution and gradient of weights. Windows that do not fit are passed over.
fn check(s: &Shape) {
    let padding = Padding::Explicit { begin: s.begin.clone(), end: s.end.clone() };
    let dims = |first: usize, second: usize, rest: &[usize]| [&[first, second][..], rest].concat();
    let x = both(&dims(s.batch, s.groups * s.channels, &s.input), 1);
    let w = both(&dims(s.groups * s.filters, s.channels, &s.kernel), 2);
    let b = both(&[s.groups * s.filters], 3);
    let attrs = ConvAttrs {
        strides: s.strides.clone(),
        dilations: s.dilations.clone(),
        padding: padding.clone(),
        groups: s.groups,
    };
    if let Some([y, wide]) = evaluated(&Op::Conv(attrs.clone()), &x, &w, &b) {
        assert_same(&y, &wide);
        let g = both(y.dims(), 4);
        let [narrow, wide] = [0, 1].map(|i| conv_weights(&x[i], w[i].dims(), &g[i], &attrs).unwrap());
        assert_same(&narrow, &wide);
    }
    let w = both(&dims(s.groups * s.channels, s.filters, &s.kernel), 5);
    let transposed = ConvTransposeAttrs {
        strides: s.strides.clone(),
        dilations: s.dilations.clone(),
        padding,
        output_padding: s.strides.iter().map(|s| s - 1).collect(),
        output_shape: None,
        groups: s.groups,
    };
    if let Some([y, wide]) = evaluated(&Op::ConvTranspose(transposed), &x, &w, &b) {
        assert_same(&y, &wide);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn tiles_give_what_unrolling_gives(
        (batch, groups, channels, filters) in (1usize..4, 1usize..3, 1usize..6, 1usize..10),
        axes in proptest::collection::vec(
            [0usize..27, 1usize..6, 1usize..4, 1usize..4, 0usize..4, 0usize..4], 1..3),
    ) {
        let list = |i: usize| axes.iter().map(|a| a[i]).collect();
        check(&Shape {
            batch, groups, channels, filters,
            input: list(0),
            kernel: list(1),
            strides: list(2),
            dilations: list(3),
            begin: list(4),
            end: list(5),
        });
    }
}

#[test]
fn large_planes_are_cut() {
    let plain = |batch, channels, filters, input: &[usize], kernel: usize, stride: usize| {
        let rank = input.len();
        let pad = vec![kernel / 2; rank];
        let shape = Shape {
            batch,
            groups: 1,
            channels,
            filters,
            input: input.to_vec(),
            kernel: vec![kernel; rank],
            strides: vec![stride; rank],
            dilations: vec![1; rank],
            begin: pad.clone(),
            end: pad,
        };
        check(&shape);
    };
    plain(1, 3, 5, &[150, 131], 5, 1);
    plain(2, 40, 8, &[70, 66], 3, 2);
    plain(1, 20, 4, &[5000], 3, 1);
    plain(1, 9, 4, &[3001], 3, 2);
    plain(1, 33, 6, &[61, 53], 1, 1);
    plain(9, 33, 6, &[13, 13], 1, 1);
    plain(20, 16, 16, &[8, 8], 3, 1);
}
