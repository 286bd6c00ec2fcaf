//! What the linter says of each operator for each target.
#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use common::{network, quantized, quantized_for};
use tq_export::{ExportError, Outcome, Target, TargetOptions, export_for, export_quantized_onnx, lint};
use tq_graph::{Graph, Op, Tensor, op::UnaryOp};
use tq_onnx::{ExportOptions, OperatorForm, formed};
use tq_passes::Backend;

fn outcome<'r>(report: &'r tq_export::LintReport, node: &str) -> (Outcome, &'r str) {
    let found = report.nodes.iter().find(|n| n.node == node).unwrap_or_else(|| panic!("no node {node}"));
    (found.outcome, &found.rule)
}

/// Counted in the graph that ONNX Runtime 1.32 makes of this file: 3 QLinearConv, MaxPool, QLinearAdd,
/// QLinearGlobalAveragePool, 2 QGemm.
#[test]
fn the_forecast_for_onnx_runtime() {
    let graph = quantized();
    let report = lint(&graph, &Target::ONNX_RUNTIME).unwrap();
    assert_eq!((report.integer(), report.count(Outcome::Refused)), (8, 0), "{report}");
    assert_eq!(outcome(&report, "flat").0, Outcome::Moved);
    assert_eq!(report.nodes.len(), graph.nodes.len());
    let written =
        formed(&graph, &ExportOptions { form: OperatorForm::QOperator, ..Default::default() }).unwrap().0;
    let report = lint(&written, &Target::ONNX_RUNTIME).unwrap();
    assert_eq!(report.integer(), 8, "{report}");
}

#[test]
fn what_onnx_runtime_leaves_in_float_has_its_reason() {
    // Signed codes whose zero point is not the smallest code: a Relu cuts codes off and keeps its convolution in float.
    let graph = quantized_for(network(), Backend::TensorRt);
    let report = lint(&graph, &Target::ONNX_RUNTIME).unwrap();
    assert_eq!(outcome(&report, "stem"), (Outcome::Float, "ort-clamp"));
    assert_eq!(outcome(&report, "stem_relu"), (Outcome::Float, "part"));
    assert_eq!(outcome(&report, "second").0, Outcome::Integer);
    // A bias at another scale.
    let mut graph = quantized();
    let v = graph.find_value("second_b_scale").unwrap();
    let other: Vec<f32> =
        graph.constant(v).unwrap().as_slice::<f32>().unwrap().iter().map(|s| s * 2.0).collect();
    graph.values[v.0].constant = Some(Tensor::vector(other));
    assert_eq!(
        outcome(&lint(&graph, &Target::ONNX_RUNTIME).unwrap(), "second"),
        (Outcome::Float, "ort-bias-scale")
    );
    // A function without a kernel.
    let mut float = network();
    float.nodes.iter_mut().find(|n| n.name == "first_relu").unwrap().op = Op::Unary(UnaryOp::Tanh);
    let report = lint(&quantized_for(float, Backend::Fbgemm), &Target::ONNX_RUNTIME).unwrap();
    assert_eq!(outcome(&report, "first_relu"), (Outcome::Float, "ort-table"));
    assert!(report.to_string().contains("float first_relu (Tanh): "), "{report}");
}

#[test]
fn other_targets() {
    let graph = quantized();
    let standard = lint(&graph, &Target::Onnx).unwrap();
    assert_eq!(standard.integer(), 8);
    let tract = lint(&graph, &Target::Tract).unwrap();
    assert_eq!((tract.integer(), outcome(&tract, "stem")), (0, (Outcome::Float, "tract-float")));
    let text = serde_json::to_string(&tract).unwrap();
    assert_eq!(serde_json::from_str::<tq_export::LintReport>(&text).unwrap(), tract);
    for (text, target) in
        [("onnxruntime@1.20", "onnxruntime@1.20"), ("tensorrt@11", "tensorrt@11.0"), ("tract", "tract")]
    {
        assert_eq!(text.parse::<Target>().unwrap().to_string(), target);
    }
    for bad in ["", "onnx@1.2", "tensorflow", "tensorrt@x", "onnxruntime@1.2.3"] {
        assert!(matches!(bad.parse::<Target>(), Err(ExportError::Unknown { .. })), "{bad}");
    }
}

#[test]
fn the_operator_set_of_a_file_counts() {
    let graph = quantized();
    let old = "onnxruntime@1.17".parse().unwrap();
    assert_eq!(lint(&graph, &old).unwrap().refused().count(), 0);
    let report = tq_export::lint_at(&graph, &old, 21).unwrap();
    let refused: Vec<_> = report.refused().map(|n| (n.rule.as_str(), n.reason.as_str())).collect();
    assert_eq!(refused.len(), 1, "{report}");
    assert!(refused[0].0 == "opset" && refused[0].1.ends_with("21, at most 20"), "{report}");
}

#[test]
fn weights_as_floats_behind_a_pair_are_weights() {
    let graph = quantized();
    let pairs = ExportOptions {
        weights: Some(tq_onnx::WeightForm::FloatPair),
        bias: Some(tq_onnx::BiasForm::Float),
        ..ExportOptions::default()
    };
    for target in [Target::Onnx, Target::ONNX_RUNTIME] {
        let options = TargetOptions { onnx: pairs.clone(), ..TargetOptions::new(target) };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.onnx");
        let written = export_for(&graph, &path, &options).unwrap();
        // What is told of the file is what the file's own linter says.
        let read = tq_onnx::import(&path).unwrap();
        let again = tq_export::lint_at(&read, &target, written.opset).unwrap();
        assert_eq!(written.lint.integer(), again.integer(), "{}\n{again}", written.lint);
        assert!(again.integer() >= 5, "{again}");
    }
}

#[test]
fn weights_of_two_bits_are_refused_where_onnx_runtime_does_not_load_them() {
    use tq_qtypes::{DType, Granularity, QuantSpec};
    let spec = QuantSpec {
        dtype: DType::I2,
        quant_min: -2,
        quant_max: 1,
        ..QuantSpec::i8_symmetric(Granularity::PerChannel { axis: 0 })
    };
    let two = tq_observers::PerChannelMinMaxObserver::with_spec(spec, f32::EPSILON).unwrap();
    let config = tq_passes::QuantConfig::default().weight(two);
    let prepared = tq_passes::prepare_static(common::network(), config).unwrap();
    prepared.forward(&common::data(2, 1)).unwrap();
    let graph = tq_passes::convert(prepared).unwrap().graph;
    let report = lint(&graph, &Target::ONNX_RUNTIME).unwrap();
    let refused: Vec<&str> = report.refused().map(|n| n.node.as_str()).collect();
    // Convolutions and linear layers, whose results are codes or whose bias is in 32 bits.
    assert!(["stem", "first", "second", "fc1"].iter().all(|n| refused.contains(n)), "{report}");
    assert!(report.refused().all(|n| n.rule == "ort-int2"), "{report}");
    assert_eq!(lint(&graph, &Target::Onnx).unwrap().refused().count(), 0);
}

/// A convolution that reads `x`, quantized for TensorRT, and what `after` puts behind it.
fn signed(after: impl FnOnce(&mut Graph, tq_graph::ValueId) -> tq_graph::ValueId) -> Graph {
    let mut g = Graph::new("net");
    let x = g.add_input(
        "x",
        tq_qtypes::DType::F32,
        vec![1usize.into(), 4usize.into(), 6usize.into(), 6usize.into()],
    );
    let w = g.add_constant("w", common::Numbers(3).tensor(&[4, 4, 3, 3]));
    let c = g.add_node("conv", tq_graph::Op::Conv(common::conv_attrs(1, 1)), &[x, w], "c");
    let y = after(&mut g, c);
    g.outputs.push(y);
    let config = tq_passes::QuantConfig::default().backend(tq_passes::Backend::TensorRt);
    let prepared = tq_passes::prepare_static(g, config).unwrap();
    prepared.forward(&common::Numbers(5).tensor(&[1, 4, 6, 6])).unwrap();
    tq_passes::convert(prepared).unwrap().graph
}

#[test]
fn i8_codes_that_are_read_twice_stay_i8_in_onnx_runtime() {
    use tq_graph::Op;
    use tq_graph::op::BinaryOp;
    let conv = |g: &mut Graph, name: &str, x| {
        let w = g.add_constant(format!("{name}_w"), common::Numbers(9).tensor(&[4, 4, 3, 3]));
        g.add_node(name, Op::Conv(common::conv_attrs(1, 1)), &[x, w], format!("{name}_y"))
    };
    let counts = |graph: &Graph| lint(graph, &Target::ONNX_RUNTIME).unwrap().integer();
    // The numbers are those of ONNX Runtime 1.32's own graphs.
    assert_eq!(counts(&signed(|g, c| conv(g, "next", c))), 2);
    let residual = signed(|g, c| {
        let d = conv(g, "next", c);
        let s = g.add_node("sum", Op::Binary(BinaryOp::Add), &[c, d], "s");
        conv(g, "last", s)
    });
    assert_eq!(counts(&residual), 1, "{}", lint(&residual, &Target::ONNX_RUNTIME).unwrap());
}

#[test]
fn an_operator_set_that_is_too_new_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    let target = "onnxruntime@1.17".parse().unwrap();
    let options = TargetOptions { onnx: ExportOptions::at(21), ..TargetOptions::new(target) };
    let error = export_for(&quantized(), &path, &options).unwrap_err().to_string();
    assert!(error.contains("21, at most 20") && !path.exists(), "{error}");
    assert_eq!(export_for(&quantized(), &path, &TargetOptions::new(target)).unwrap().opset, 13);
}

#[test]
fn the_example_input_is_held_to_the_model() {
    let graph: Graph = quantized();
    let fails = |example: &[Tensor]| export_quantized_onnx(&graph, example, 13).unwrap_err().to_string();
    assert!(export_quantized_onnx(&graph, &[common::data(1, 2)], 13).is_ok());
    assert_eq!(fails(&[]), "example input x: 0 tensors for 1 inputs");
    let two = Tensor::new(&[1, 3, 8, 7], vec![0.0f32; 168]).unwrap();
    assert_eq!(fails(&[two]), "example input x: its shape is [1, 3, 8, 7], the model takes [N, 3, 8, 8]");
    let bytes = Tensor::new(&[1, 3, 8, 8], vec![0u8; 192]).unwrap();
    assert_eq!(fails(&[bytes]), "example input x: it is u8, the model takes f32");
}

#[test]
fn weights_in_groups_are_others_float_work() {
    let prepared = tq_passes::prepare_static(network(), tq_passes::Recipe::W4a8).unwrap();
    let mut r = common::Numbers(3);
    for _ in 0..4 {
        prepared.forward(&[r.tensor(&[2, 3, 8, 8])]).unwrap();
    }
    let graph = tq_passes::convert(prepared).unwrap().graph;
    let report = lint(&graph, &Target::ONNX_RUNTIME).unwrap();
    let of = |node: &str| report.nodes.iter().find(|n| n.node == node).unwrap();
    assert_eq!(of("fc1").outcome, Outcome::Float, "{report}");
    assert!(of("fc1").reason.contains("a scale for every group"), "{report}");
    // With a real result the target has an operator for 4-bit weights, which makes codes of the activations by itself.
    let last = report.nodes.iter().rfind(|n| n.op == "Gemm").unwrap();
    assert_eq!((last.outcome, &*last.rule), (Outcome::Integer, "ort-nbits"), "{report}");
    // There is no operator on codes to write one as.
    let options = ExportOptions { form: OperatorForm::QOperator, ..Default::default() };
    let written = formed(&graph, &options).unwrap().0;
    assert_eq!(written.nodes.iter().filter(|n| matches!(n.op, Op::Gemm { .. })).count(), 2);
}
