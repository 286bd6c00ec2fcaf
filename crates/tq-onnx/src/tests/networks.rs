//! Round trips of the operators that networks are made of beside convolutions.

use super::round_trip::{assert_round_trip, push};
use super::*;
use crate::{ExportOptions, MAX_OPSET, MIN_OPSET, export_bytes};
use tq_graph::op::Op;
use tq_graph::{Dim, Tensor, ValueId, infer};
use tq_qtypes::DType;

/// A graph with the input `x`, f32 of `[batch, dims...]`.
fn start(dims: &[usize]) -> (Graph, ValueId) {
    let mut g = Graph::new("g");
    let shape = std::iter::once(Dim::symbol("batch")).chain(dims.iter().map(|d| Dim::from(*d))).collect();
    let x = g.add_input("x", DType::F32, shape);
    (g, x)
}

fn constant(g: &mut Graph, name: &str, dims: &[usize]) -> ValueId {
    let data = (0..dims.iter().product::<usize>()).map(|i| i as f32 * 0.25 - 1.0).collect();
    g.add_constant(name, Tensor::new(dims, data).unwrap())
}

/// Round trips at every operator set from `lowest`; below it the error that names `lowest`.
fn check(mut g: Graph, lowest: i64) {
    infer::infer(&mut g).unwrap();
    for opset in MIN_OPSET..=MAX_OPSET {
        if opset >= lowest {
            assert_round_trip(&g, opset);
        } else {
            let error = export_bytes(&g, &ExportOptions { opset }).unwrap_err().to_string();
            assert!(error.contains(&format!("needs opset {lowest}, not {opset}")), "{error}");
        }
    }
}

#[test]
fn normalizations() {
    let (mut g, x) = start(&[6, 8]);
    let (s, b) = (constant(&mut g, "s", &[8]), constant(&mut g, "b", &[8]));
    let op = Op::LayerNormalization { axis: -1, epsilon: 1e-12, stash: DType::F32 };
    let out = push(&mut g, "ln", op, vec![Some(x), Some(s), Some(b)], &["y", "mean", "inv"]);
    g.outputs.extend(out);
    check(g, 17);

    let (mut g, x) = start(&[6, 8]);
    let (s, b) = (constant(&mut g, "s", &[6]), constant(&mut g, "b", &[6]));
    let y = g.add_node("in", Op::InstanceNormalization { epsilon: 0.5 }, &[x, s, b], "y");
    g.outputs.push(y);
    check(g, MIN_OPSET);

    let (mut g, x) = start(&[6, 8]);
    let (s, b) = (constant(&mut g, "s", &[6]), constant(&mut g, "b", &[6]));
    let y = g.add_node("gn", Op::GroupNormalization { epsilon: 0.5, groups: 2 }, &[x, s, b], "y");
    g.outputs.push(y);
    infer::infer(&mut g).unwrap();
    assert_round_trip(&g, 21);
    let error = export_bytes(&g, &ExportOptions { opset: 18 }).unwrap_err().to_string();
    assert_eq!(
        error,
        "node gn (GroupNormalization) needs opset 21, not 18: scale that is not one number a group"
    );
}

#[test]
fn parameters_of_groups_are_repeated_for_the_channels_of_opset_21() {
    let (mut g, x) = start(&[6, 8]);
    let (s, b) = (constant(&mut g, "s", &[2]), constant(&mut g, "b", &[6]));
    let y = g.add_node("gn", Op::GroupNormalization { epsilon: 0.5, groups: 2 }, &[x, s, b], "y");
    g.outputs.push(y);
    let read = import_bytes(&export_bytes(&g, &ExportOptions { opset: 21 }).unwrap(), None).unwrap();
    let [gather, norm] = read.nodes.as_slice() else { panic!("{read}") };
    assert_eq!((gather.name.as_str(), &gather.op), ("gn_scale", &Op::Gather { axis: 0 }));
    let indices = read.const_input(gather, 1).unwrap().to_i64_vec().unwrap();
    assert_eq!(indices, [0, 0, 0, 1, 1, 1]);
    assert_eq!(norm.input(1), gather.output(0));
    assert_eq!(read.value(norm.input(2).unwrap()).name, "b");
}
