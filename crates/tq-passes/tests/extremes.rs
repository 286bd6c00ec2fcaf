//! Max and Min with a number: the clamps that some exporters write so.
#![allow(clippy::unwrap_used)]

mod common;

use common::net::{Net, run64};
use tq_graph::op::VariadicOp;
use tq_graph::{Graph, Op, Tensor, ValueId};
use tq_passes::{Placement, QuantConfig, fuse, prepare_static};

/// A convolution, then what `build` makes of its result and of a second one.
fn net(build: impl Fn(&mut Net, ValueId, ValueId) -> ValueId) -> (Graph, Tensor) {
    let mut n = Net::new(21);
    let x = n.input("x", &[3, 5, 5]);
    let a = n.conv("a", x, [3, 6], 3, 1);
    let b = n.conv("b", x, [3, 6], 3, 1);
    let y = build(&mut n, a, b);
    let y = n.conv("after", y, [6, 2], 1, 0);
    n.output(y);
    tq_graph::infer::infer(&mut n.graph).unwrap();
    let data = n.tensor(&[2, 3, 5, 5]);
    (n.graph, data)
}

fn extreme(n: &mut Net, op: VariadicOp, name: &str, a: ValueId, b: ValueId) -> ValueId {
    n.node(name, Op::Variadic(op), &[a, b])
}

fn ops(graph: &Graph) -> Vec<&'static str> {
    graph.nodes.iter().map(|n| n.op.name()).filter(|op| *op != "Conv").collect()
}

#[test]
fn extremes_of_a_tensor_and_a_number_are_clamps() {
    // Relu6 in the words of some exporters, bounds of several shapes on either side.
    let (graph, data) = net(|n, a, _| {
        let zero = n.constant(Tensor::new(&[1, 1, 1], vec![0.0f32]).unwrap());
        let y = extreme(n, VariadicOp::Max, "low", zero, a);
        let six = n.scalar(0.6);
        extreme(n, VariadicOp::Min, "high", y, six)
    });
    let mut fused = graph.clone();
    fuse(&mut fused).unwrap();
    assert_eq!(ops(&fused), ["Clip"]);
    assert_eq!(run64(&graph, std::slice::from_ref(&data)), run64(&fused, std::slice::from_ref(&data)));
    let prepared = prepare_static(graph, QuantConfig::default()).unwrap();
    let placement = prepared.placements().into_iter().find(|p| p.node == "high").unwrap().placement;
    assert!(matches!(&placement, Placement::Epilogue { of } if of == "a"), "{placement}");

    let (graph, data) = net(|n, a, _| {
        let low = n.scalar(-0.1);
        extreme(n, VariadicOp::Max, "low", a, low)
    });
    let mut fused = graph.clone();
    fuse(&mut fused).unwrap();
    assert_eq!(ops(&fused), ["Clip"]);
    assert_eq!(run64(&graph, std::slice::from_ref(&data)), run64(&fused, std::slice::from_ref(&data)));
}

#[test]
fn other_extremes_stay() {
    type Build = fn(&mut Net, ValueId, ValueId) -> ValueId;
    let builds: [Build; 4] = [
        |n, a, b| extreme(n, VariadicOp::Max, "m", a, b),
        |n, a, _| {
            let nan = n.scalar(f32::NAN);
            extreme(n, VariadicOp::Max, "m", a, nan)
        },
        |n, a, _| {
            let each = n.random(&[6, 1, 1]);
            extreme(n, VariadicOp::Min, "m", a, each)
        },
        |n, a, b| n.node("m", Op::Variadic(VariadicOp::Min), &[a, b, a]),
    ];
    for build in builds {
        let (graph, _) = net(build);
        let mut fused = graph;
        fuse(&mut fused).unwrap();
        assert!(matches!(ops(&fused)[..], ["Max" | "Min"]), "{:?}", ops(&fused));
    }
    // A number of more axes than the tensor gives the result more axes.
    let mut n = Net::new(2);
    let x = n.input("x", &[3]);
    let c = n.constant(Tensor::new(&[1, 1, 1], vec![0.0f32]).unwrap());
    let y = extreme(&mut n, VariadicOp::Max, "m", x, c);
    n.output(y);
    fuse(&mut n.graph).unwrap();
    assert_eq!(ops(&n.graph), ["Max"]);
}
