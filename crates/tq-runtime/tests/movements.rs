//! Operators that move codes, against the judge, the reference evaluator, and themselves on other kernels.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use common::*;
use tq_graph::op::PadMode;
use tq_graph::{Op, Tensor, ValueId};
use tq_qtypes::DType;
use tq_runtime::Execution;

#[test]
fn movements_move_codes_and_change_nothing() {
    let xp = u8p(0.013713, 90);
    let i64s = |v: &[i64]| Tensor::vector(v.to_vec());
    let cases: Vec<(Op, Vec<Tensor>)> = vec![
        (Op::Flatten { axis: 1 }, vec![]),
        (Op::Flatten { axis: -1 }, vec![]),
        (Op::Reshape { allow_zero: false }, vec![i64s(&[0, -1, 2])]),
        (Op::Transpose { perm: Some(vec![0, 2, 3, 1]) }, vec![]),
        (Op::Transpose { perm: None }, vec![]),
        (Op::Slice, vec![i64s(&[1, 3]), i64s(&[5, -9]), i64s(&[1, 3]), i64s(&[2, -1])]),
        (Op::Pad { mode: PadMode::Constant }, vec![i64s(&[0, 1, 2, 0, 0, 0, 1, 3])]),
        (Op::Pad { mode: PadMode::Reflect }, vec![i64s(&[0, 0, 1, 2, 0, 0, 1, 1])]),
        (Op::Unsqueeze, vec![i64s(&[0, 3])]),
        (Op::Gather { axis: 1 }, vec![Tensor::new(&[2, 2], vec![4i64, 0, -1, 2]).unwrap()]),
        (Op::Identity, vec![]),
        (Op::Dropout, vec![]),
        (Op::Expand, vec![i64s(&[3, 1, 1, 4, 6])]),
        (Op::Tile, vec![i64s(&[1, 2, 1, 3])]),
        (Op::DepthToSpace { block: 2, channel_first: false }, vec![]),
        (Op::SpaceToDepth { block: 2 }, vec![]),
        (Op::GatherND { batch_dims: 0 }, vec![Tensor::new(&[2, 2], vec![0i64, 4, -1, 2]).unwrap()]),
        (Op::GatherElements { axis: 3 }, vec![Tensor::new(&[1, 1, 2, 2], vec![4i64, 0, -1, 2]).unwrap()]),
    ];
    for (op, others) in cases {
        for last in [false, true] {
            for out in [xp, i8p(0.02, -3)] {
                let mut b = Build::new();
                let x = b.input(&[1, 8, 4, 6]);
                let mut x = b.qdq(x, xp);
                if last {
                    // A pool before and behind it, so that its codes lie channels-last.
                    let attrs = pool_attrs(&[1, 1], &[1, 1], &[0, 0], &[0, 0], false);
                    x = b.node(Op::MaxPool { attrs, column_major: false }, &[x]);
                    x = b.qdq(x, xp);
                }
                let mut inputs = vec![x];
                for t in &others {
                    inputs.push(b.constant(t.clone()));
                }
                let y = b.node(op.clone(), &inputs);
                let y = b.qdq(y, out);
                let g = b.finish(y);
                for batch in [1, 2] {
                    let session = check(&g, &[xp.reals(&[batch, 8, 4, 6], 1)], out.scale, 1.0);
                    assert_integer(&session, op.name());
                }
            }
        }
    }
}

#[test]
fn split_and_squeeze() {
    let xp = u8p(0.013713, 90);
    let mut b = Build::new();
    let x = b.input(&[1, 6, 4, 1]);
    let x = b.qdq(x, xp);
    let axes = b.constant(Tensor::vector(vec![3i64]));
    let x = b.node(Op::Squeeze, &[x, axes]);
    let x = b.qdq(x, xp);
    let sizes = b.constant(Tensor::vector(vec![2i64, 1, 3]));
    let first = b.node(Op::Split { axis: 1 }, &[x, sizes]);
    let (second, third) = (b.g.add_value("second", None, None), b.g.add_value("third", None, None));
    b.g.nodes.last_mut().unwrap().outputs.extend([Some(second), Some(third)]);
    let outs: Vec<ValueId> = [(first, xp), (second, u8p(0.02, 3)), (third, i8p(0.01, 0))]
        .into_iter()
        .map(|(v, p)| b.qdq(v, p))
        .collect();
    b.g.outputs.extend(&outs[..2]);
    let g = b.finish(outs[2]);
    let session = check(&g, &[xp.reals(&[2, 6, 4, 1], 1)], 0.02, 1.0);
    assert_integer(&session, "Split");
    assert_integer(&session, "Squeeze");
}

#[test]
fn indices_that_only_the_run_tells_are_obeyed() {
    let xp = u8p(0.013713, 90);
    let mut b = Build::new();
    let x = b.input(&[3, 6]);
    let i = b.g.add_input("indices", DType::I64, vec![2usize.into()]);
    let x = b.qdq(x, xp);
    let y = b.node(Op::Gather { axis: 1 }, &[x, i]);
    let y = b.qdq(y, xp);
    let g = b.finish(y);
    for indices in [vec![1i64, 5], vec![-1, 0]] {
        let session = check(&g, &[xp.reals(&[3, 6], 1), Tensor::vector(indices)], xp.scale, 0.0);
        assert_eq!(executions(&session, "Gather")[0].0, Execution::Float);
    }
}
