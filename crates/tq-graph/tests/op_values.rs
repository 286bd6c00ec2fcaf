//! Integer arithmetic that disappears, against the values that ONNX Runtime 1.32 computes, for the lines of
//! `data/op_values.txt`.

#![allow(clippy::unwrap_used)]

mod cases;

use cases::{graph_of, parse};
use tq_graph::infer::simplify_shapes;
use tq_graph::{Dim, Graph, Tensor};

fn outputs_of(graph: &Graph) -> Option<String> {
    let text = |t: &Tensor| {
        let join = |v: Vec<String>| v.join(",");
        let dims = join(t.dims().iter().map(usize::to_string).collect());
        let elements = join(t.to_i64_vec()?.iter().map(i64::to_string).collect());
        Some(format!("{}:{dims}={elements}", t.dtype()))
    };
    let outputs: Option<Vec<String>> =
        graph.outputs.iter().map(|v| graph.constant(*v).and_then(text)).collect();
    Some(outputs?.join(" "))
}

#[test]
fn known_values_are_those_of_onnx_runtime() {
    let mut wrong = Vec::new();
    for line in include_str!("data/op_values.txt").lines() {
        let case = parse(line);
        let mut graph = graph_of(&case, Dim::from);
        let got = simplify_shapes(&mut graph).map(|_| outputs_of(&graph));
        if got != Ok(case.want) {
            wrong.push(format!("{line}\n    got {got:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}
