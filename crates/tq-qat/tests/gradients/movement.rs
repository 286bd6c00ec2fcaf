use crate::case::{Case, between, list, values};
use tq_graph::op::{PadMode, ScatterReduction};
use tq_graph::{Op, Tensor};

fn indices(dims: &[usize], values: &[i64]) -> Tensor {
    Tensor::new(dims, values.to_vec()).unwrap()
}

fn shapes() -> Vec<Case> {
    let x = || values(1, &[2, 3, 4]);
    vec![
        Case::new("", Op::Flatten { axis: 1 }, vec![x()]),
        Case::new("end", Op::Flatten { axis: -1 }, vec![x()]),
        Case::new("", Op::Reshape { allow_zero: false }, vec![x(), list(&[0, -1])]),
        Case::new("", Op::Squeeze, vec![values(1, &[1, 3, 1]), list(&[0])]),
        Case::new("all", Op::Squeeze, vec![values(1, &[1, 3, 1])]),
        Case::new("", Op::Unsqueeze, vec![x(), list(&[0, -1])]),
        Case::new("reversed", Op::Transpose { perm: None }, vec![x()]),
        Case::new("cycle", Op::Transpose { perm: Some(vec![2, 0, 1]) }, vec![x()]),
        Case::new("middle", Op::Concat { axis: 1 }, vec![x(), values(2, &[2, 1, 4]), values(3, &[2, 2, 4])]),
        Case::new("last", Op::Concat { axis: -1 }, vec![x(), values(2, &[2, 3, 1])]),
        Case::new("equal", Op::Split { axis: 2 }, vec![x()]).outputs(2),
        Case::new("sizes", Op::Split { axis: -2 }, vec![values(1, &[2, 6, 2]), list(&[1, 3, 2])]).outputs(3),
        Case::new("", Op::Expand, vec![values(1, &[3, 1]), list(&[2, 1, 4])]),
        Case::new("larger than the shape", Op::Expand, vec![x(), list(&[4])]),
        Case::new("", Op::Tile, vec![values(1, &[2, 3]), list(&[2, 3])]),
        Case::new("upper", Op::Trilu { upper: true }, vec![values(1, &[2, 3, 4]), Tensor::scalar(1i64)]),
        Case::new("lower", Op::Trilu { upper: false }, vec![values(1, &[4, 3])]),
        Case::new("", Op::DepthToSpace { block: 2, channel_first: false }, vec![values(1, &[1, 8, 2, 3])]),
        Case::new("CRD", Op::DepthToSpace { block: 2, channel_first: true }, vec![values(1, &[2, 4, 1, 3])]),
        Case::new("", Op::SpaceToDepth { block: 2 }, vec![values(1, &[1, 2, 4, 6])]),
    ]
}

fn slices() -> Vec<Case> {
    let slice = |name: &str, dims: &[usize], lists: [&[i64]; 4]| {
        let inputs = std::iter::once(values(1, dims)).chain(lists.map(list)).collect();
        Case::new(name, Op::Slice, inputs)
    };
    let pad = |mode, dims: &[usize], pads: &[i64]| {
        let value = matches!(mode, PadMode::Constant).then(|| between(2, &[], 0.5, 1.0));
        Case::some(
            &format!("{pads:?}"),
            Op::Pad { mode },
            vec![Some(values(1, dims)), Some(list(pads)), value],
        )
    };
    let mut cases = vec![
        slice("steps", &[5, 7], [&[1, 0], &[5, 7], &[0, 1], &[2, 3]]),
        slice("backwards", &[2, 6], [&[-1], &[-7], &[1], &[-2]]),
        slice("nothing is left out", &[2, 3], [&[0], &[9], &[-1], &[1]]),
    ];
    for mode in [PadMode::Constant, PadMode::Reflect, PadMode::Edge, PadMode::Wrap] {
        cases.push(pad(mode, &[3, 4], &[1, 2, 2, 1]));
        cases.push(pad(mode, &[2, 5], &[0, 3, 0, 0]));
    }
    cases.push(pad(PadMode::Constant, &[4, 4], &[-1, 1, 2, -2]));
    cases
}

fn gathers() -> Vec<Case> {
    let picks = indices(&[2, 3], &[3, 0, 3, -1, 2, 0]);
    let of_elements = indices(&[2, 2, 3], &[0, 1, -1, 1, 1, 0, 2, 0, 0, 1, 2, 2]);
    let nd = indices(&[2, 2, 2], &[0, 1, 1, -1, 0, 1, 1, 0]);
    let batched = indices(&[2, 1], &[2, 0]);
    vec![
        // An embedding.
        Case::new("rows", Op::Gather { axis: 0 }, vec![values(1, &[5, 3]), picks.clone()]),
        Case::new("columns", Op::Gather { axis: -1 }, vec![values(1, &[2, 3, 4]), picks.clone()]),
        Case::new("one", Op::Gather { axis: 1 }, vec![values(1, &[2, 4, 2]), Tensor::scalar(-2i64)]),
        Case::new("", Op::GatherElements { axis: 1 }, vec![values(1, &[2, 3, 3]), of_elements.clone()]),
        Case::new("", Op::GatherND { batch_dims: 0 }, vec![values(1, &[2, 3, 2]), nd.clone()]),
        Case::new("batch", Op::GatherND { batch_dims: 1 }, vec![values(1, &[2, 3, 2]), batched]),
        Case::new(
            "largest",
            Op::TopK { axis: 1, largest: true, sorted: true },
            vec![values(1, &[3, 7]), list(&[3])],
        )
        .outputs(2),
        Case::new(
            "smallest",
            Op::TopK { axis: 0, largest: false, sorted: true },
            vec![values(1, &[5, 2]), list(&[2])],
        )
        .outputs(2),
        Case::new(
            "",
            Op::OneHot { axis: -1 },
            vec![indices(&[2, 2], &[0, 3, -1, 7]), list(&[4]), values(1, &[2])],
        ),
        Case::new(
            "first",
            Op::OneHot { axis: 0 },
            vec![indices(&[3], &[1, 1, 0]), list(&[2]), values(1, &[2])],
        ),
    ]
}

fn scatters() -> Vec<Case> {
    let elements = |reduction| Op::ScatterElements { axis: 1, reduction };
    let nd = |reduction| Op::ScatterND { reduction };
    let at = || indices(&[2, 2], &[1, 3, 0, -1]);
    // The last of two updates of one element stays, or both are added.
    let twice = || indices(&[2, 3], &[1, 1, 3, 0, 2, 0]);
    let rows = || indices(&[2, 1], &[2, 0]);
    let same_row = || indices(&[3, 1], &[1, 1, 0]);
    let x = || values(1, &[2, 4]);
    vec![
        Case::new("", elements(ScatterReduction::None), vec![x(), at(), values(2, &[2, 2])]),
        Case::new("twice", elements(ScatterReduction::None), vec![x(), twice(), values(2, &[2, 3])]),
        Case::new("twice", elements(ScatterReduction::Add), vec![x(), twice(), values(2, &[2, 3])]),
        Case::new("", nd(ScatterReduction::None), vec![values(1, &[3, 2]), rows(), values(2, &[2, 2])]),
        Case::new(
            "twice",
            nd(ScatterReduction::None),
            vec![values(1, &[3, 2]), same_row(), values(2, &[3, 2])],
        ),
        Case::new(
            "twice",
            nd(ScatterReduction::Add),
            vec![values(1, &[3, 2]), same_row(), values(2, &[3, 2])],
        ),
    ]
}

/// Scales of codes.
fn codes() -> Vec<Case> {
    let codes = |dims: &[usize]| {
        let n: usize = dims.iter().product();
        Tensor::new(dims, (0..n).map(|i| (i * 37 % 251) as i8).collect()).unwrap()
    };
    let case = |name: &str, dims: &[usize], scale: &[usize], axis, block_size| {
        let n: usize = scale.iter().product();
        let zeros = Tensor::new(scale, (0..n).map(|i| i as i8 - 2).collect()).unwrap();
        let inputs = vec![codes(dims), between(1, scale, 0.01, 0.1), zeros];
        Case::new(name, Op::DequantizeLinear { axis, block_size }, inputs)
    };
    vec![
        case("per tensor", &[3, 4], &[], 1, 0),
        case("per channel", &[2, 3, 4], &[3], 1, 0),
        case("last axis", &[2, 3, 4], &[4], -1, 0),
        case("blocks", &[3, 8], &[3, 2], 1, 4),
        case("blocks, first axis, a short one", &[5, 2], &[3, 2], 0, 2),
    ]
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = shapes();
    cases.extend(slices());
    cases.extend(gathers());
    cases.extend(scatters());
    cases.extend(codes());
    cases
}
