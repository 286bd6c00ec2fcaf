//! Types and shapes of every operator against those that ONNX Runtime 1.32 computes, for the lines of
//! `data/op_shapes.txt`.

#![allow(clippy::unwrap_used)]

mod cases;

use cases::{Case, graph_of, numbers, parse};
use std::collections::BTreeMap;
use tq_graph::infer::infer;
use tq_graph::{Dim, Graph, GraphError};

/// The outputs as the lines write them.
fn outputs_of(graph: &Graph, dim: impl Fn(&Dim) -> String) -> String {
    let outputs = graph.outputs.iter().map(|v| {
        let value = graph.value(*v);
        let dims: Vec<String> = value.shape.as_ref().unwrap().iter().map(&dim).collect();
        format!("{}:{}", value.dtype.unwrap(), dims.join(","))
    });
    outputs.collect::<Vec<_>>().join(" ")
}

fn cases() -> Vec<(&'static str, Case)> {
    include_str!("data/op_shapes.txt").lines().map(|line| (line, parse(line))).collect()
}

#[test]
fn concrete_shapes_are_those_of_onnx_runtime() {
    let mut wrong = Vec::new();
    for (line, case) in cases() {
        let mut graph = graph_of(&case, Dim::from);
        let got = match infer(&mut graph) {
            Ok(()) => Ok(outputs_of(&graph, Dim::to_string)),
            Err(e @ GraphError::Node { .. }) => Err(e.to_string()),
            Err(e) => panic!("{line}: {e}"),
        };
        match (&case.want, &got) {
            (Some(want), Ok(got)) if want == got => {}
            (None, Err(_)) => {}
            _ => wrong.push(format!("{line}\n    got {got:?}")),
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Every dimension but 0 and 1 becomes a symbol, equal ones the same; what is inferred of these has to give the
/// concrete shapes when the symbols get their values, but where it leaves a dimension to the data.
#[test]
fn symbolic_shapes_bind_to_the_concrete_ones() {
    let symbol = |d: usize| if d < 2 { Dim::from(d) } else { Dim::symbol(format!("d{d}")) };
    let values: BTreeMap<String, i64> = (2..100).map(|d| (format!("d{d}"), d)).collect();
    let (mut told, mut all) = (0, 0);
    for (line, case) in cases() {
        let Some(want) = &case.want else { continue };
        let mut graph = graph_of(&case, symbol);
        if let Err(e) = infer(&mut graph) {
            panic!("{line}: {e}");
        }
        for (v, want) in graph.outputs.iter().zip(want.split(' ')) {
            let value = graph.value(*v);
            let (kind, dims) = want.split_once(':').unwrap();
            assert_eq!(value.dtype.unwrap().name(), kind, "{line}");
            let dims: Vec<i64> = numbers(dims);
            all += dims.len();
            // Squeeze without axes cannot tell the rank of a symbolic input.
            let Some(shape) = &value.shape else { continue };
            assert_eq!(shape.len(), dims.len(), "{line}");
            for (d, want) in shape.iter().zip(dims) {
                let bound = d.bind(&values).unwrap_or_else(|| panic!("{line}: {d}"));
                if d.to_string().contains('?') {
                    continue;
                }
                told += 1;
                assert_eq!(bound.known(), Some(want), "{line}: {d}");
            }
        }
    }
    assert!(told * 10 > all * 9, "only {told} of {all} dimensions are told");
}
