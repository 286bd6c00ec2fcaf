//! What dynamic quantization makes of a model, and what it says of what it leaves alone.
#![allow(clippy::unwrap_used)]

use tq_graph::op::{ConvAttrs, Direction, Padding, RecurrentAttrs, RecurrentKind, UnaryOp};
use tq_graph::{Dim, Graph, Node, Op, Tensor};
use tq_observers::{ObserverConfig, PlaceholderObserver};
use tq_passes::module_type::{LSTM, Linear};
use tq_passes::{
    BackendConfig, Configuration, DynamicSpec, PassError, Placement, QConfig, QConfigDict, Quantized, Recipe,
    convert, default_dynamic_qconfig, int8_qconfig, pytorch_dynamic_qconfig, quantize_dynamic, quantize_fx,
    w4_qconfig, w8_qconfig,
};
use tq_qtypes::{DType, DynamicFormula};

fn ramp(dims: &[usize]) -> Tensor {
    let n: usize = dims.iter().product();
    Tensor::new(dims, (0..n).map(|i| (i * 7 % 19) as f32 / 10.0 - 0.9).collect()).unwrap()
}

/// A convolution, its activation, a bidirectional LSTM on what it gives, and a linear layer on that.
fn net() -> Graph {
    let mut g = Graph::new("net");
    let x = g.add_input("x", DType::F32, vec![Dim::from(2usize), 3usize.into(), 5usize.into()]);
    let w = g.add_constant("conv.w", ramp(&[4, 3, 1]));
    let attrs = ConvAttrs {
        strides: vec![1],
        dilations: vec![1],
        padding: Padding::Explicit { begin: vec![0], end: vec![0] },
        groups: 1,
    };
    let c = g.add_node("conv", Op::Conv(attrs), &[x, w], "c");
    let c = g.add_node("relu", Op::Unary(UnaryOp::Relu), &[c], "r");
    let c = g.add_node("turn", Op::Transpose { perm: Some(vec![2, 0, 1]) }, &[c], "t");
    let (w, r) = (g.add_constant("lstm.w", ramp(&[2, 12, 4])), g.add_constant("lstm.r", ramp(&[2, 12, 3])));
    let y = g.add_value("sequence", None, None);
    let kind = RecurrentKind::Lstm { input_forget: false };
    let attrs = RecurrentAttrs {
        hidden_size: 3,
        direction: Direction::Bidirectional,
        activations: kind.default_activations().repeat(2),
        clip: None,
        batch_first: false,
        dynamic: None,
    };
    g.nodes.push(Node {
        name: "lstm".into(),
        op: Op::Recurrent { kind, attrs },
        inputs: [c, w, r].map(Some).to_vec(),
        outputs: vec![Some(y)],
    });
    let w = g.add_constant("linear.w", ramp(&[3, 4]));
    let out = g.add_node("linear", Op::MatMul, &[y, w], "out");
    g.outputs.push(out);
    g
}

fn placement<'q>(q: &'q Quantized, node: &str) -> &'q Placement {
    &q.report.nodes.iter().find(|n| n.node == node).unwrap().placement
}

fn reason(q: &Quantized, node: &str) -> String {
    placement(q, node).float_reason().unwrap().to_owned()
}

#[test]
fn nothing_stays_in_float_without_its_reason() {
    let q = convert(quantize_fx(net(), Recipe::Int8Dynamic, BackendConfig::default()).unwrap()).unwrap();
    for node in ["lstm", "linear"] {
        assert!(matches!(placement(&q, node), Placement::Integer { float_output: true, .. }), "{node}");
    }
    for node in ["conv", "relu"] {
        assert!(reason(&q, node).contains("linear and recurrent layers"), "{}", reason(&q, node));
    }
    // The other way round: calibration has nothing for an LSTM, and says what has.
    let mut prepared = quantize_fx(net(), int8_qconfig(), BackendConfig::default()).unwrap();
    prepared.forward(&[ramp(&[2, 3, 5])]).unwrap();
    let q = convert(prepared).unwrap();
    assert!(reason(&q, "lstm").contains("int8-dynamic"), "{}", reason(&q, "lstm"));
    prepared = quantize_fx(net(), w4_qconfig(), BackendConfig::default()).unwrap();
    let q = convert(prepared).unwrap();
    assert!(reason(&q, "lstm").contains("groups"), "{}", reason(&q, "lstm"));
}

#[test]
fn one_model_may_have_layers_of_both_kinds() {
    let rules = QConfigDict::new()
        .set_global(int8_qconfig())
        .set_module_type::<LSTM>(default_dynamic_qconfig())
        .set_module_name("linear", pytorch_dynamic_qconfig());
    let prepared = quantize_fx(net(), rules, BackendConfig::default()).unwrap();
    prepared.forward(&[ramp(&[2, 3, 5])]).unwrap();
    let q = convert(prepared).unwrap();
    for node in ["conv", "lstm", "linear"] {
        assert!(placement(&q, node).is_quantized(), "{node}: {}", placement(&q, node));
    }
    let formulas: Vec<_> = q
        .graph
        .nodes
        .iter()
        .filter_map(|n| match &n.op {
            Op::Recurrent { attrs, .. } => attrs.dynamic,
            Op::DynamicQuantizeLinear { formula } => Some(*formula),
            _ => None,
        })
        .collect();
    assert_eq!(formulas, [DynamicFormula::Onnx, DynamicFormula::Fbgemm { reduce_range: true }]);
    // The weights of two directions are codes in two axes, one scale a row.
    let scale = q.graph.find_value("lstm.w_scale").and_then(|v| q.graph.constant(v)).unwrap();
    assert_eq!(scale.dims(), [24]);
}

#[test]
fn specs_name_types_or_rules_and_wrong_ones_are_errors() {
    let q = quantize_dynamic(net(), (Linear,), DType::I8).unwrap();
    assert!(reason(&q, "lstm").contains("global rule"), "{}", reason(&q, "lstm"));
    let q = quantize_dynamic(net(), DynamicSpec::default(), DType::F16).unwrap();
    assert!(reason(&q, "lstm").contains("f16") && reason(&q, "linear").contains("f16"));
    let q = quantize_dynamic(net(), w8_qconfig(), DType::I8).unwrap();
    assert!(reason(&q, "lstm").contains("activations stay float"), "{}", reason(&q, "lstm"));
    let error = quantize_dynamic(net(), (Linear,), DType::U4).unwrap_err();
    assert_eq!(error, PassError::DynamicType(DType::U4));
    assert_eq!(quantize_dynamic(net(), int8_qconfig(), DType::I8).unwrap_err(), PassError::NoCalibrationData);

    let narrow = QConfig { activation: default_dynamic_qconfig().activation, ..tq_passes::int4_qconfig() };
    let q = quantize_dynamic(net(), narrow, DType::I8).unwrap();
    assert!(reason(&q, "linear").contains("8-bit weights, not i4"), "{}", reason(&q, "linear"));
    let on_weights = QConfig::new().weight(PlaceholderObserver::at_run_time(DynamicFormula::Onnx));
    assert!(matches!(quantize_dynamic(net(), on_weights, DType::I8), Err(PassError::Config { .. })));
    let signed = QConfig::new()
        .activation(ObserverConfig::Placeholder { dtype: DType::I8, formula: DynamicFormula::Onnx });
    assert!(matches!(quantize_dynamic(net(), signed, DType::I8), Err(PassError::Config { .. })));

    let again = quantize_dynamic(net(), (LSTM,), DType::I8).unwrap();
    let error = quantize_dynamic(again.graph, (LSTM,), DType::I8).unwrap_err();
    assert!(matches!(error, PassError::AlreadyQuantized { .. }), "{error}");
}

#[test]
fn files_name_the_presets() {
    let text = "global = \"int8-dynamic\"\n[[name]]\nname = \"lstm\"\nqconfig = \"int8-dynamic-pytorch\"\n";
    let read = Configuration::from_toml(text).unwrap();
    assert_eq!(read.dict.global(), Some(&default_dynamic_qconfig()));
    assert_eq!(Configuration::from_toml(&read.to_toml().unwrap()).unwrap(), read);
}
