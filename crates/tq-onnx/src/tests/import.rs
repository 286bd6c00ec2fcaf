//! Versions, names, inputs, and the list of what is unsupported.

use super::*;
use crate::UnsupportedItem;
use tq_graph::Dim;
use tq_graph::op::{Op, UnaryOp};

fn relu(x: &str, y: &str) -> NodeProto {
    node("Relu", &[x], &[y], vec![])
}

#[test]
fn opsets_outside_the_range_are_named_with_the_range() {
    for opset in [7, 12, 13, 21, 25] {
        assert_eq!(read(&model(opset, vec![relu("x", "y")])).unwrap().nodes.len(), 1);
    }
    for opset in [i64::MIN, -1, 0, 1, 6, 26, i64::MAX] {
        let error = read(&model(opset, vec![relu("x", "y")])).unwrap_err();
        assert_eq!(error, OnnxError::Opset(opset));
        assert_eq!(error.to_string(), format!("opset {opset} is not supported, 7 to 25 are"));
    }
}

#[test]
fn older_models_are_read_where_their_operators_did_not_change() {
    let elu = |opset| model(opset, vec![node("Elu", &["x"], &["y"], vec![])]);
    assert_eq!(read(&elu(6)).unwrap().nodes[0].op, Op::Unary(UnaryOp::Elu { alpha: 1.0 }));
    assert_eq!(read(&elu(5)).unwrap_err(), OnnxError::Opset(5));
}

#[test]
fn versions_and_imports_are_checked() {
    let good = model(13, vec![relu("x", "y")]);
    let with = |change: fn(&mut ModelProto)| {
        let mut m = good.clone();
        change(&mut m);
        error(&m)
    };
    assert_eq!(with(|m| m.ir_version = None), "not an ONNX model: it has no ir_version");
    assert_eq!(with(|m| m.ir_version = Some(2)), "model: ir_version is 2, 3 to 13 are read");
    assert_eq!(with(|m| m.ir_version = Some(99)), "model: ir_version is 99, 3 to 13 are read");
    assert_eq!(with(|m| m.opset_import.clear()), "model: it imports no version of ONNX's operator set");
    assert_eq!(with(|m| m.graph = None), "not an ONNX model: there is no graph in it");
    assert_eq!(with(|m| graph_of(m).output.clear()), "model: the graph has no outputs");
    let two = with(|m| {
        let domain = Some("ai.onnx".to_owned());
        m.opset_import.push(OperatorSetIdProto { domain, version: Some(14) });
    });
    assert_eq!(two, "model: it imports two versions of ONNX's operator set");
}

#[test]
fn everything_unsupported_is_listed_at_once_in_the_order_of_the_nodes() {
    let branch = AttributeProto { g: Some(Box::default()), ..attribute("then_branch", AttributeType::Graph) };
    let mut m = model(
        13,
        vec![
            named("det1", node("Det", &["x"], &["a"], vec![])),
            relu("a", "b"),
            named("text", node("Constant", &[], &["s"], vec![text("value_string", "hi")])),
            named("if", node("If", &["b"], &["c"], vec![branch])),
            node("Det", &["c"], &["d"], vec![]),
            named("drop", node("Dropout", &["d", "", "b"], &["e"], vec![])),
            named(
                "gelu",
                NodeProto { domain: Some("com.microsoft".into()), ..node("Gelu", &["e"], &["f"], vec![]) },
            ),
            named("odd", node("Relu", &["f"], &["y"], vec![int("training", 1)])),
            named("mine", NodeProto { domain: Some("me".into()), ..node("F", &["f"], &["g"], vec![]) }),
            // Broken, but what is unsupported is told first.
            named("broken", node("Concat", &["f"], &["h"], vec![])),
        ],
    );
    m.functions.push(FunctionProto {
        name: Some("F".into()),
        domain: Some("me".into()),
        ..FunctionProto::default()
    });
    graph_of(&mut m).initializer.push(raw("names", DataType::String, &[0], &[]));
    let Err(OnnxError::Unsupported(items)) = read(&m) else { panic!("nothing is unsupported") };
    let item = |name: &str, op: &str, reason: &str| UnsupportedItem {
        name: name.into(),
        op: op.into(),
        reason: reason.into(),
    };
    assert_eq!(
        items,
        [
            item("names", "initializer", "element type STRING"),
            item("det1", "Det", ""),
            item("text", "Constant", "attribute value_string"),
            item("if", "If", "has a sub-graph"),
            item("Det_4", "Det", ""),
            item("drop", "Dropout", "training_mode is not a constant"),
            item("gelu", "com.microsoft::Gelu", ""),
            item("odd", "Relu", "attribute training is unknown at opset 13"),
            item("mine", "me::F", "is a function of the model"),
        ]
    );
    assert_eq!(
        error(&m),
        "unsupported: initializer (element type STRING: names); Det (det1, Det_4); \
         Constant (attribute value_string: text); If (has a sub-graph: if); \
         Dropout (training_mode is not a constant: drop); com.microsoft::Gelu (gelu); \
         Relu (attribute training is unknown at opset 13: odd); me::F (is a function of the model: mine)"
    );
}

/// An attribute that holds a graph of these nodes.
fn subgraph(name: &str, nodes: Vec<NodeProto>) -> AttributeProto {
    let graph = GraphProto { node: nodes, ..GraphProto::default() };
    AttributeProto { g: Some(Box::new(graph)), ..attribute(name, AttributeType::Graph) }
}

#[test]
fn one_error_names_control_flow_and_what_is_inside_it() {
    let gelu = NodeProto { domain: Some("com.microsoft".into()), ..node("Gelu", &["b"], &["d"], vec![]) };
    let body = subgraph("body", vec![named("det", node("Det", &["a"], &["b"], vec![])), named("gelu", gelu)]);
    let inner = named("loop", node("Loop", &[], &["c"], vec![body]));
    // Dropout and Constant are there; that one reads values from outside is no lack.
    let then_branch = subgraph(
        "then_branch",
        vec![
            named("drop", node("Dropout", &["x", "", "on"], &["a"], vec![])),
            node("Constant", &[], &["k"], vec![int("value_int", 1)]),
            inner,
            node("HardSwish", &["c"], &["e"], vec![]),
        ],
    );
    let else_branch = subgraph("else_branch", vec![node("Scan", &["a"], &["b"], vec![])]);
    let m = model(
        13,
        vec![
            relu("x", "a"),
            named("if", node("If", &["a"], &["c"], vec![then_branch, else_branch])),
            named("det", node("Det", &["c"], &["y"], vec![])),
        ],
    );
    assert_eq!(
        error(&m),
        "unsupported: If (has a sub-graph: if); Loop (has a sub-graph: if/then_branch/loop); \
         Det (if/then_branch/loop/body/det, det); com.microsoft::Gelu (if/then_branch/loop/body/gelu); \
         HardSwish (needs opset 14: if/then_branch/HardSwish_3); Scan (if/else_branch/Scan_0)"
    );
}

#[test]
fn nested_control_flow_is_bounded() {
    let nested = |depth: usize| {
        let mut node = named("leaf", node("Det", &["x"], &["y"], vec![]));
        for i in 0..depth {
            node =
                named(&format!("if{i}"), self::node("If", &["x"], &["y"], vec![subgraph("g", vec![node])]));
        }
        model(13, vec![node])
    };
    let Err(OnnxError::Unsupported(items)) = read(&nested(28)) else { panic!("28 levels are too deep") };
    assert_eq!(items.len(), 29);
    assert!(items.iter().all(|i| i.name.len() < 300), "the way to a sub-graph is cut off");
    assert!(error(&nested(40)).contains("nest deeper"), "{}", error(&nested(40)));
    // A long name is not written out for every node below it.
    let leaves = (0..2_000).map(|_| node("Det", &["x"], &["y"], vec![])).collect();
    let outer = named(&"n".repeat(1 << 20), node("If", &["x"], &["y"], vec![subgraph("g", leaves)]));
    let Err(OnnxError::Unsupported(items)) = read(&model(13, vec![outer])) else { panic!("it is supported") };
    assert_eq!(items.len(), 2_001);
    assert!(items[1..].iter().map(|i| i.name.len()).sum::<usize>() < 1 << 20);
}

#[test]
fn types_that_are_no_tensors_are_unsupported() {
    let mut m = model(13, vec![relu("x", "y")]);
    let sequence = type_proto::Value::SequenceType(Box::default());
    let odd = |name: &str, value| ValueInfoProto {
        name: Some(name.into()),
        r#type: Some(TypeProto { value, denotation: None }),
        ..ValueInfoProto::default()
    };
    graph_of(&mut m).input.push(odd("s", Some(sequence)));
    let rankless = type_proto::Tensor { elem_type: Some(1), shape: None };
    graph_of(&mut m).input.push(odd("r", Some(type_proto::Value::TensorType(rankless))));
    graph_of(&mut m).sparse_initializer.push(SparseTensorProto::default());
    m.training_info.push(TrainingInfoProto::default());
    assert_eq!(
        error(&m),
        "unsupported: model (training: training_info); initializer (sparse: ); input (sequence type: s); \
         input (no shape, so its rank is unknown: r)"
    );
}

#[test]
fn names_become_unique_and_stay_where_they_are() {
    let m = model(
        13,
        vec![
            relu("x", "a"),
            named("Relu_2", relu("a", "b")),
            relu("b", "c"),
            named("same", relu("c", "d")),
            named("same", relu("d", "y")),
        ],
    );
    let names: Vec<String> = read(&m).unwrap().nodes.into_iter().map(|n| n.name).collect();
    assert_eq!(names, ["Relu_0", "Relu_2", "Relu_2_1", "same", "same_4"]);
}

#[test]
fn dimensions_without_a_name_are_not_the_same() {
    let mut m = model(13, vec![node("Concat", &["x", "p", "q"], &["y"], vec![int("axis", 0)])]);
    graph_of(&mut m).input = vec![
        info("x", DataType::Float, &["N", "?", "?", "-1"]),
        info("p", DataType::Float, &["N", "", "None", "4"]),
        info("q", DataType::Float, &["M", "x_dim_1", "7", "4"]),
    ];
    // Dimensions that turn out equal are not wrong.
    let g = read(&m).unwrap();
    let shape = |i: usize| g.value(g.inputs[i]).shape.clone().unwrap();
    let s = Dim::symbol;
    assert_eq!(shape(0), [s("N"), s("x_dim_1_1"), s("x_dim_2"), s("x_dim_3")]);
    assert_eq!(shape(1), [s("N"), s("p_dim_1"), s("p_dim_2"), Dim::from(4usize)]);
    assert_eq!(shape(2), [s("M"), s("x_dim_1"), Dim::from(7usize), Dim::from(4usize)]);
}

#[test]
fn an_initializer_that_is_an_input_is_a_constant() {
    let mut m = model(13, vec![node("Add", &["x", "w"], &["y"], vec![])]);
    graph_of(&mut m).input.push(info("w", DataType::Float, &["1"]));
    graph_of(&mut m).initializer.push(zeros("w", &[1]));
    let g = read(&m).unwrap();
    assert_eq!(g.inputs.len(), 1);
    assert!(g.constant(g.find_value("w").unwrap()).is_some());
}

#[test]
fn any_order_of_nodes_is_read_but_no_cycle() {
    let g = read(&model(13, vec![relu("b", "y"), relu("a", "b"), relu("x", "a")])).unwrap();
    let names: Vec<&str> = g.nodes.iter().map(|n| n.name.as_str()).collect();
    assert_eq!(names, ["Relu_2", "Relu_1", "Relu_0"]);
    let cycle = model(13, vec![node("Add", &["x", "b"], &["a"], vec![]), relu("a", "b"), relu("b", "y")]);
    assert_eq!(error(&cycle), "graph: cycle through node Add_0");
}

#[test]
fn broken_structure_is_named() {
    let of = |nodes| error(&model(13, nodes));
    assert_eq!(of(vec![relu("z", "y")]), "node Relu_0 (Relu): reads z, which nothing defines");
    assert_eq!(of(vec![relu("x", "x")]), "model: value x is defined twice");
    assert_eq!(of(vec![relu("x", "a")]), "model: output y: nothing defines it");
    assert_eq!(
        of(vec![node("Relu", &["x", "x"], &["y"], vec![])]),
        "node Relu_0 (Relu): 2 inputs, expected 1 to 1"
    );
    assert_eq!(
        of(vec![node("Relu", &[""], &["y"], vec![])]),
        "node Relu_0 (Relu): 0 inputs, expected 1 to 1"
    );
    assert_eq!(
        of(vec![node("Concat", &["x", ""], &["y"], vec![int("axis", 0)])]),
        "node Concat_0 (Concat): one of its inputs is absent"
    );
    let evil = named("a\nerror: b", relu("z", "y"));
    assert_eq!(of(vec![evil]), "node a\\nerror: b (Relu): reads z, which nothing defines");
}

#[test]
fn hard_swish_is_found_where_nobody_else_reads_the_gate() {
    let gate = |alpha| node("HardSigmoid", &["x"], &["g"], vec![float("alpha", alpha), float("beta", 0.5)]);
    let nodes = |alpha, a, b| vec![gate(alpha), named("act", node("Mul", &[a, b], &["y"], vec![]))];
    for (a, b) in [("x", "g"), ("g", "x")] {
        let g = read(&model(13, nodes(1.0 / 6.0, a, b))).unwrap();
        assert_eq!(g.nodes.len(), 1);
        assert_eq!((g.nodes[0].name.as_str(), &g.nodes[0].op), ("act", &Op::Unary(UnaryOp::HardSwish)));
        assert_eq!(g.nodes[0].inputs, [Some(g.inputs[0])]);
    }
    assert_eq!(read(&model(13, nodes(0.2, "x", "g"))).unwrap().nodes.len(), 2);
    assert_eq!(read(&model(13, nodes(1.0 / 6.0, "g", "g"))).unwrap().nodes.len(), 2);
    let mut shown = model(13, nodes(1.0 / 6.0, "x", "g"));
    graph_of(&mut shown).output.push(info("g", DataType::Float, &[]));
    assert_eq!(read(&shown).unwrap().nodes.len(), 2);
}

#[test]
fn metadata_and_names_come_along() {
    let mut m = model(13, vec![relu("x", "y")]);
    let entry = StringStringEntryProto { key: Some("author".into()), value: Some("me".into()) };
    m.metadata_props.push(entry);
    let g = read(&m).unwrap();
    assert_eq!(g.name, "test");
    assert_eq!(g.metadata["author"], "me");
    assert_eq!(g.value(g.outputs[0]).name, "y");
}

#[test]
fn element_types_newer_than_the_operator_set_are_refused() {
    let quantize = |opset, data_type| {
        let mut m = model(opset, vec![node("QuantizeLinear", &["x", "s", "z"], &["y"], vec![])]);
        graph_of(&mut m).initializer =
            vec![raw("s", DataType::Float, &[], &1.0f32.to_le_bytes()), raw("z", data_type, &[], &[0])];
        read(&m)
    };
    assert!(quantize(21, DataType::Int4).is_ok());
    assert!(quantize(13, DataType::Int8).is_ok());
    assert!(quantize(19, DataType::Float8e5m2).is_ok());
    assert_eq!(
        quantize(20, DataType::Int4).unwrap_err().to_string(),
        "node QuantizeLinear_0 (QuantizeLinear): i4 data needs opset 21, the model is of 20"
    );
    assert!(quantize(18, DataType::Float8e5m2).is_err());
}
