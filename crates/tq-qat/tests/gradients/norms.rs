use crate::case::{Case, between, values};
use tq_graph::Op;
use tq_qtypes::DType;

fn batch(name: &str, dims: &[usize], epsilon: f32) -> Case {
    let c = dims[1];
    let inputs =
        vec![values(1, dims), values(2, &[c]), values(3, &[c]), values(4, &[c]), between(5, &[c], 0.2, 2.0)];
    Case::new(name, Op::BatchNormalization { epsilon }, inputs)
}

fn layer(
    name: &str,
    dims: &[usize],
    axis: i64,
    scale: &[usize],
    bias: Option<&[usize]>,
    outputs: usize,
) -> Case {
    let mut inputs = vec![values(1, dims), values(2, scale)];
    inputs.extend(bias.map(|d| values(3, d)));
    let op = Op::LayerNormalization { axis, epsilon: 1e-3, stash: DType::F32 };
    Case::new(name, op, inputs).outputs(outputs)
}

fn group(name: &str, dims: &[usize], groups: usize, parameters: usize) -> Case {
    let inputs = vec![values(1, dims), values(2, &[parameters]), values(3, &[parameters])];
    Case::new(name, Op::GroupNormalization { epsilon: 1e-3, groups }, inputs)
}

pub(crate) fn cases() -> Vec<Case> {
    let instance = |name: &str, dims: &[usize]| {
        let inputs = vec![values(1, dims), values(2, &dims[1..2]), values(3, &dims[1..2])];
        Case::new(name, Op::InstanceNormalization { epsilon: 1e-3 }, inputs)
    };
    let variance = |name: &str, dims: &[usize], axes: &[i64]| {
        Case::new(name, Op::MeanVarianceNormalization { axes: axes.to_vec() }, vec![values(1, dims)])
    };
    let lrn = |name: &str, size: usize, dims: &[usize]| {
        Case::new(name, Op::Lrn { size, alpha: 0.3, beta: 0.75, bias: 1.2 }, vec![values(1, dims)])
    };
    let softmax = |dims: &[usize], axis| {
        [Op::Softmax { axis }, Op::LogSoftmax { axis }]
            .map(|op| Case::new(&format!("{dims:?}"), op, vec![between(1, dims, -4.0, 4.0)]))
    };
    let mut cases = vec![
        batch("2d", &[2, 3, 4, 5], 1e-5),
        batch("dense", &[4, 3], 1e-2),
        batch("1d", &[2, 2, 19], 1e-5),
        layer("last", &[2, 3, 8], -1, &[8], Some(&[8]), 1),
        layer("two axes", &[2, 3, 4], 1, &[3, 4], Some(&[3, 4]), 1),
        layer("no bias", &[3, 5], 1, &[5], None, 1),
        layer("broadcast", &[2, 3, 4], 1, &[4], Some(&[3, 1]), 1),
        layer("three outputs", &[2, 3, 4], -1, &[4], Some(&[4]), 3),
        instance("2d", &[2, 3, 4, 3]),
        instance("1d", &[1, 2, 11]),
        group("by channel", &[2, 6, 3, 2], 3, 6),
        group("by group", &[2, 6, 3, 2], 3, 3),
        group("one group", &[2, 4, 5], 1, 4),
        variance("usual", &[2, 3, 4, 3], &[0, 2, 3]),
        variance("last", &[3, 7], &[-1]),
        lrn("odd", 3, &[2, 5, 2, 3]),
        lrn("even", 4, &[1, 6, 2]),
        lrn("one", 1, &[2, 3, 2, 2]),
        lrn("wider than the channels", 9, &[2, 3, 2, 2]),
    ];
    cases.extend(softmax(&[3, 7], -1));
    cases.extend(softmax(&[2, 4, 3], 1));
    cases.extend(softmax(&[5, 2], 0));
    cases.extend(softmax(&[2, 3, 1], 2));
    cases
}
