//! Models for devices compute what their source does, bit for bit.
#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use common::{data, network, quantized, quantized_for, run};
use tq_export::{Provenance, optimize_for_mobile};
use tq_graph::op::UnaryOp;
use tq_graph::qdq::QdqView;
use tq_graph::{Graph, Node, Op, Tensor};
use tq_passes::{Backend, QuantConfig};
use tq_qtypes::DType;

/// Puts an Identity behind a value, for everyone who reads it.
fn with_identity(graph: &mut Graph, value: &str) {
    let v = graph.find_value(value).unwrap();
    let at = graph.nodes.iter().position(|n| n.outputs.contains(&Some(v))).unwrap() + 1;
    let copy = graph.add_value(format!("{value}_copy"), None, None);
    for slot in graph.nodes.iter_mut().flat_map(|n| &mut n.inputs).filter(|s| **s == Some(v)) {
        *slot = Some(copy);
    }
    let name = format!("{value}_identity");
    graph.nodes.insert(at, Node { name, op: Op::Identity, inputs: vec![Some(v)], outputs: vec![Some(copy)] });
}

#[test]
fn a_saved_mobile_model_gives_the_bits_of_its_source() {
    let mut source = quantized_for(network(), Backend::Qnnpack);
    Provenance::default().config(&QuantConfig::default().backend(Backend::Qnnpack)).apply(&mut source);
    source.metadata.insert("tq.doc".into(), "a long text for people".into());
    let model = optimize_for_mobile(&source).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (path, whole) = (folder.path().join("mobile.tq"), folder.path().join("whole.tq"));
    model.save(&path).unwrap();
    let loaded = tq_format::load(&path).unwrap();
    for seed in 2..6 {
        let x = [data(seed, 4)];
        assert_eq!(run(&loaded, &x), run(&source, &x));
    }
    tq_format::save(&source, &whole).unwrap();
    let size = |p: &std::path::Path| std::fs::metadata(p).unwrap().len();
    assert!(size(&path) < size(&whole), "{} {}", size(&path), size(&whole));
    let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
    for gone in ["stem", "fc1", "people", "qnnpack"] {
        assert!(!text.contains(gone), "{gone}");
    }
    // What was made for mobile processors has nothing to tell but what is in float.
    assert!(model.notes.iter().all(|n| n.contains("in float")), "{:?}", model.notes);
}

#[test]
fn idle_nodes_and_copies_of_constants_go() {
    let mut source = quantized();
    let nodes = source.nodes.len();
    for value in ["x_quantized", "y"] {
        if source.find_value(value).is_some() {
            with_identity(&mut source, value);
        }
    }
    // An output that is the copy of another value, and a constant that has to be computed first.
    let y = source.outputs[0];
    let three = source.add_constant("three", Tensor::scalar(-3.0f32));
    let three = source.add_node("abs", Op::Unary(UnaryOp::Abs), &[three], "abs_three");
    let op = Op::Binary(tq_graph::op::BinaryOp::Mul);
    let scaled = source.add_node("times", op, &[y, three], "times_three");
    let out = source.add_node("copy", Op::Identity, &[scaled], "out");
    source.outputs.push(out);
    let model = optimize_for_mobile(&source).unwrap();
    assert_eq!(model.graph.nodes.len(), nodes + 1, "{}", model.graph.nodes.len());
    let names = |g: &Graph| -> Vec<String> { g.outputs.iter().map(|v| g.value(*v).name.clone()).collect() };
    assert_eq!(names(&model.graph), names(&source));
    let constants = |g: &Graph| g.values.iter().filter(|v| v.constant.is_some()).count();
    assert!(constants(&model.graph) + 2 < constants(&source));
    let x = [data(2, 4)];
    assert_eq!(run(&model.graph, &x), run(&source, &x));
}

/// Codes that an Identity keeps from their Dequantize: without it the product would run on codes.
#[test]
fn what_runs_on_codes_does_not_change() {
    let mut g = quantized();
    let weights = QdqView::new(&g).operators.iter().find_map(|o| o.weights.clone()).unwrap();
    let name = g.value(weights.real).name.clone();
    with_identity(&mut g, &name);
    let before = QdqView::new(&g).operators.len();
    let model = optimize_for_mobile(&g).unwrap();
    assert_eq!(QdqView::new(&model.graph).operators.len(), before);
    assert!(model.notes.iter().any(|n| n.contains("stay as they are")), "{:?}", model.notes);
    let x = [data(3, 2)];
    assert_eq!(run(&model.graph, &x), run(&g, &x));
}

#[test]
fn what_was_made_for_others_is_told() {
    let told = |graph: &Graph, words: &str| {
        let notes = optimize_for_mobile(graph).unwrap().notes;
        assert!(notes.iter().any(|n| n.contains(words)), "{words}: {notes:?}");
    };
    let mut server = quantized();
    told(&server, "5 of 5 operators with weights have more than one scale");
    Provenance::default().config(&QuantConfig::default()).apply(&mut server);
    told(&server, "quantized for fbgemm, not for qnnpack");
    told(&quantized_for(network(), Backend::TensorRt), "activations of i8");
    told(&network(), "no operator that runs on codes");
    told(&network(), "stem (Conv) computes in float");
}

#[test]
fn a_graph_that_is_not_valid_is_an_error() {
    let mut g = Graph::new("broken");
    let x = g.add_input("x", DType::F32, vec![2usize.into()]);
    let y = g.add_node("sum", Op::Binary(tq_graph::op::BinaryOp::Add), &[x, x], "y");
    g.nodes[0].inputs.truncate(1);
    g.outputs.push(y);
    assert!(optimize_for_mobile(&g).is_err());
}
