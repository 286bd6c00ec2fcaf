//! What TensorRT's parser and tools ask for, checked fact by fact on what is in the file.
#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use common::{network, quantized, quantized_for, run};
use tq_export::tensorrt::CacheAlgorithm;
use tq_export::{
    CalibrationCache, ExportError, Outcome, Precision, Target, TargetOptions, export_for, export_tensorrt,
    lint,
};
use tq_graph::op::BinaryOp;
use tq_graph::{Graph, Node, Op, Tensor};
use tq_onnx::{BiasForm, ExportOptions, WeightForm, formed};
use tq_passes::{Backend, PassError};
use tq_qtypes::DType;

fn signed() -> Graph {
    quantized_for(network(), Backend::TensorRt)
}

/// The graph that stands in the file.
fn written() -> Graph {
    let model = export_tensorrt(&signed(), Precision::Int8, None).unwrap();
    let options = ExportOptions {
        weights: Some(WeightForm::FloatPair),
        bias: Some(BiasForm::Float),
        ..ExportOptions::default()
    };
    formed(&model.graph, &options).unwrap().0
}

fn producer<'g>(g: &'g Graph, n: &Node, slot: usize) -> Option<&'g Node> {
    g.producers()[n.inputs[slot]?.0].map(|id| g.node(id))
}

fn node<'g>(g: &'g Graph, name: &str) -> &'g Node {
    g.nodes.iter().find(|n| n.name == name).unwrap()
}

fn has_pair(g: &Graph, n: &Node, slot: usize) -> bool {
    producer(g, n, slot).is_some_and(|d| {
        matches!(d.op, Op::DequantizeLinear { .. })
            && producer(g, d, 0).is_some_and(|q| matches!(q.op, Op::QuantizeLinear { .. }))
    })
}

#[test]
fn codes_are_signed_and_symmetric_with_scales_above_zero() {
    let g = written();
    let pairs: Vec<&Node> = g
        .nodes
        .iter()
        .filter(|n| matches!(n.op, Op::QuantizeLinear { .. } | Op::DequantizeLinear { .. }))
        .collect();
    assert!(pairs.len() > 10);
    for n in pairs {
        let scale = g.const_input(n, 1).unwrap();
        assert!(scale.as_slice::<f32>().unwrap().iter().all(|s| *s > 0.0), "{}", n.name);
        let zero = g.const_input(n, 2).unwrap();
        assert!(
            zero.dtype() == DType::I8 && zero.to_i64_vec().unwrap().iter().all(|z| *z == 0),
            "{}",
            n.name
        );
        // Per channel are weights alone.
        let constant = n.input(0).is_some_and(|v| g.constant(v).is_some())
            || producer(&g, n, 0).and_then(|q| q.input(0)).is_some_and(|v| g.constant(v).is_some());
        assert!(scale.len() == 1 || constant, "{}", n.name);
    }
}

#[test]
fn weights_are_floats_behind_pairs_and_biases_are_floats() {
    let g = written();
    for name in ["stem", "first", "second", "fc1", "fc2"] {
        let n = node(&g, name);
        let quantize = producer(&g, producer(&g, n, 1).unwrap(), 0).unwrap();
        assert!(matches!(quantize.op, Op::QuantizeLinear { .. }), "{name}");
        let axis = match quantize.op {
            Op::QuantizeLinear { axis, .. } => axis,
            _ => unreachable!(),
        };
        assert_eq!(axis, if name == "fc2" { 1 } else { 0 });
        assert_eq!(g.const_input(quantize, 0).unwrap().dtype(), DType::F32);
        assert_eq!(g.const_input(n, 2).unwrap().dtype(), DType::F32, "{name}");
        assert!(has_pair(&g, n, 0), "{name}");
    }
}

#[test]
fn of_a_sum_the_skip_connection_alone_is_quantized_and_outputs_are_not() {
    let g = written();
    let sum = node(&g, "sum");
    assert_eq!(sum.op, Op::Binary(BinaryOp::Add));
    assert_eq!(producer(&g, sum, 0).unwrap().name, "second");
    assert!(has_pair(&g, sum, 1));
    // No Quantize reads what a weighted operator gives, and none stands before an output.
    for q in g.nodes.iter().filter(|n| matches!(n.op, Op::QuantizeLinear { .. })) {
        if let Some(from) = producer(&g, q, 0) {
            assert!(!matches!(from.op, Op::Conv(_) | Op::Gemm { .. }), "{} after {}", q.name, from.name);
        }
    }
    assert_eq!(g.value(g.outputs[0]).name, "y");
    // What only moves data or clamps reads floats.
    assert!(!has_pair(&g, node(&g, "flat"), 0));
    // The answer is still that of the float network within the noise of 8 bits.
    let x = common::data(9, 4);
    let (ours, float) = (run(&g, std::slice::from_ref(&x)), common::evaluate(&network(), &[x]));
    let (a, b) = (ours[0].as_slice::<f32>().unwrap(), float[0].as_slice::<f32>().unwrap());
    let noise: f32 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
    let power: f32 = b.iter().map(|b| b.powi(2)).sum();
    assert!(noise < power * 1e-2, "noise {noise}, signal {power}");
}

#[test]
fn what_the_parser_does_not_read_is_refused_with_every_node_named() {
    let error = export_tensorrt(&quantized(), Precision::Int8, None).unwrap_err();
    let ExportError::Refused { nodes, .. } = &error else { panic!("{error}") };
    assert!(nodes.len() > 5 && nodes.iter().all(|n| n.outcome == Outcome::Refused));
    assert!(nodes.iter().any(|n| n.rule == "trt-type" && n.reason.contains("u8")), "{error}");
    // Each rule on a graph that breaks it alone.
    let broken = |change: &dyn Fn(&mut Graph)| -> Vec<String> {
        let mut g = written();
        change(&mut g);
        let report = lint(&g, &Target::TENSORRT).unwrap();
        let mut rules: Vec<String> = report.refused().map(|n| n.rule.clone()).collect();
        rules.dedup();
        rules
    };
    assert_eq!(broken(&|_| ()), Vec::<String>::new());
    let set = |g: &mut Graph, name: &str, t: Tensor| {
        let v = g.find_value(name).unwrap();
        (g.values[v.0].shape, g.values[v.0].constant) = (None, Some(t));
    };
    assert_eq!(broken(&|g| set(g, "x_zero_point", Tensor::scalar(3i8))), ["trt-zero-point"]);
    assert_eq!(broken(&|g| set(g, "x_scale", Tensor::scalar(0.0f32))), ["trt-scale"]);
    let per_channel = |g: &mut Graph| {
        set(g, "x_scale", Tensor::vector(vec![0.5f32; 3]));
        set(g, "x_zero_point", Tensor::vector(vec![0i8; 3]));
    };
    assert_eq!(broken(&per_channel), ["trt-per-channel-activation"]);
    let integer = |g: &mut Graph| {
        let v = g.inputs[0];
        let out = g.add_node("dynamic", Op::DynamicQuantizeLinear { formula: Default::default() }, &[v], "d");
        for name in ["d_scale", "d_zero"] {
            let v = g.add_value(name, None, None);
            g.nodes.last_mut().unwrap().outputs.push(Some(v));
        }
        g.outputs.push(out);
    };
    assert_eq!(broken(&integer), ["trt-qlinear"]);
}

#[test]
fn scales_of_zero_are_replaced() {
    let mut g = signed();
    let v = g.find_value("x_scale").unwrap();
    g.values[v.0].constant = Some(Tensor::scalar(0.0f32));
    let (fixed, notes) = tq_export::for_tensorrt(&g).unwrap();
    let v = fixed.find_value("x_scale").unwrap();
    assert_eq!(fixed.constant(v).unwrap().as_slice::<f32>().unwrap(), [5.960_464_5e-8]);
    assert!(notes.iter().any(|n| n.starts_with("x_scale: 1 scales of zero")), "{notes:?}");
}

#[test]
fn operator_sets_above_the_targets_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    let model = export_tensorrt(&signed(), Precision::Int8, None).unwrap();
    let options = |target: &str, opset| TargetOptions {
        onnx: ExportOptions::at(opset),
        ..TargetOptions::new(target.parse().unwrap())
    };
    let error = export_for(&model.graph, &path, &options("tensorrt@10.0", 21)).unwrap_err().to_string();
    assert!(error.contains("21, at most 20") && !path.exists(), "{error}");
    assert_eq!(export_for(&model.graph, &path, &options("tensorrt@11.0", 21)).unwrap().opset, 21);
    assert_eq!(export_for(&model.graph, &path, &options("tensorrt", 19)).unwrap().opset, 19);
}

#[test]
fn the_calibration_cache_has_every_activation_and_reads_back() {
    let model = export_tensorrt(&signed(), Precision::Int8, None).unwrap();
    let cache = model.cache.header("8601", CacheAlgorithm::MinMaxCalibration);
    assert!(cache.scales.iter().any(|(name, _)| name == "x") && cache.scales.len() >= 6, "{cache}");
    let text = cache.to_string();
    assert!(text.starts_with("TRT-8601-MinMaxCalibration\nx: "));
    assert_eq!(CalibrationCache::parse(&text).unwrap(), cache);
    // Every tensor that was calibrated, also those that no pair is left of.
    let calibrated: Vec<&str> = ["x", "stem_relu_y", "second_y", "sum_relu_y"].into_iter().collect();
    assert!(calibrated.iter().all(|t| cache.amax(t).is_some()), "{cache}");
    // The scale is amax / 127: data from -1 to 1 gives very nearly 1 / 127.
    let amax = cache.amax("x").unwrap();
    assert!((0.99..=1.0).contains(&amax), "{amax}");
    // The separator is the last one, and whatever is wrong is told with its line.
    let odd = CalibrationCache::parse("TRT-100100-EntropyCalibration2\na: b: c: 3f800000\n\n").unwrap();
    assert_eq!(odd.scales, [("a: b: c".to_owned(), 1.0)]);
    for (text, line) in [
        ("", 1),
        ("x: 3f800000", 1),
        ("TRT-1-LegacyCalibration", 1),
        ("TRT-1-MinMaxCalibration\nx 3f800000", 2),
        ("TRT-1-MinMaxCalibration\nx: 3f80000", 2),
        ("TRT-1-MinMaxCalibration\nx: +f800000", 2),
        ("TRT-1-MinMaxCalibration\nx: 3f800000\ny: 7fc00000", 3),
        ("TRT-1-MinMaxCalibration\nx: 80000000", 2),
        ("TRT-1-MinMaxCalibration\nx: 3f800000\nx: 3f800000", 3),
    ] {
        match CalibrationCache::parse(text) {
            Err(PassError::File { message, .. }) => {
                assert!(message.starts_with(&format!("line {line}: ")), "{text:?}: {message}");
            }
            other => panic!("{text:?}: {other:?}"),
        }
    }
}

/// What a precision makes of a model: the rules that refuse, none where it is taken.
fn refusals(graph: &Graph, precision: Precision) -> Vec<String> {
    match export_tensorrt(graph, precision, None) {
        Ok(_) => Vec::new(),
        Err(ExportError::Refused { nodes, .. }) => nodes.into_iter().map(|n| n.reason).collect(),
        Err(e) => panic!("{e}"),
    }
}

fn weight_only(qconfig: tq_passes::QConfig) -> Graph {
    let mut g = Graph::new("linear");
    let x = g.add_input("x", DType::F32, vec![2usize.into(), 64usize.into()]);
    let w = g.add_constant("w", common::Numbers(3).tensor(&[64, 8]));
    let y = g.add_node("linear", Op::MatMul, &[x, w], "y");
    g.outputs.push(y);
    let configuration = tq_passes::Configuration::from(qconfig).on(Backend::TensorRt);
    let prepared = tq_passes::quantize_fx(g, configuration.dict, configuration.backend).unwrap();
    tq_passes::convert(prepared).unwrap().graph
}

/// A linear layer whose data and weights are 8-bit floats.
fn in_fp8() -> Graph {
    let mut g = Graph::new("linear");
    let fp8 = DType::F8E4M3FN;
    let x = g.add_input("x", DType::F32, vec![2usize.into(), 4usize.into()]);
    let scale = g.add_constant("scale", Tensor::scalar(0.5f32));
    let pair = |output_dtype| Op::QuantizeLinear { axis: 1, block_size: 0, output_dtype, saturate: true };
    let dequantize = || Op::DequantizeLinear { axis: 1, block_size: 0 };
    let codes = g.add_node("x_q", pair(Some(fp8)), &[x, scale], "x_codes");
    let real = g.add_node("x_d", dequantize(), &[codes, scale], "x_real");
    let w = (0..12u8).map(|i| 0x30 + i).collect();
    let w = g.add_constant("w", Tensor::with_dtype::<u8>(fp8, &[4, 3], w).unwrap());
    let w = g.add_node("w_d", dequantize(), &[w, scale], "w_real");
    let y = g.add_node("linear", Op::MatMul, &[real, w], "y");
    g.outputs.push(y);
    g
}

#[test]
fn every_precision_takes_its_own_models_and_names_what_is_wrong_with_others() {
    let (int8, fp8) = (signed(), in_fp8());
    let (int4, fp16) = (weight_only(tq_passes::w4_qconfig()), weight_only(tq_passes::fp16_qconfig()));
    for (own, model) in [
        (Precision::Int8, &int8),
        (Precision::Fp8, &fp8),
        (Precision::Int4WeightOnly, &int4),
        (Precision::Fp16, &fp16),
    ] {
        assert_eq!(refusals(model, own), Vec::<String>::new(), "{own}");
        assert_eq!(own.to_string().to_lowercase().parse::<Precision>().unwrap(), own);
    }
    let refused = |graph: &Graph, precision, words: &str| {
        let reasons = refusals(graph, precision);
        assert!(reasons.iter().any(|r| r.contains(words)), "{precision}: {reasons:?}");
    };
    refused(&fp8, Precision::Int8, "codes are i8, these are f8e4m3fn");
    refused(&int4, Precision::Int8, "codes are i8, these are i4");
    let error = export_tensorrt(&network(), Precision::Int8, None).unwrap_err();
    assert!(
        matches!(&error, ExportError::Precision { message, .. } if message.contains("no codes")),
        "{error}"
    );
    refused(&int8, Precision::Fp16, "half precision has no codes, these are i8");
    refused(&int4, Precision::Fp16, "these are i4");
    refused(&network(), Precision::Fp16, "its weights are f32");
    refused(&int8, Precision::Fp8, "codes are f8e4m3fn, these are i8");
    refused(&int8, Precision::Int4WeightOnly, "weights alone are codes");
    refused(&fp8, Precision::Int4WeightOnly, "these are f8e4m3fn");
    let error = "INT2".parse::<Precision>().unwrap_err().to_string();
    assert!(error.contains("INT8, FP16, FP8, INT4"), "{error}");
}

#[test]
fn files_of_every_precision_are_written_for_a_version_that_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    let models = [
        (Precision::Fp8, in_fp8(), "tensorrt@10.1", DType::F8E4M3FN),
        (Precision::Fp16, weight_only(tq_passes::fp16_qconfig()), "tensorrt@10.1", DType::F16),
        (Precision::Int4WeightOnly, weight_only(tq_passes::w4_qconfig()), "tensorrt@11.0", DType::I4),
    ];
    for (precision, graph, target, dtype) in models {
        let model = export_tensorrt(&graph, precision, None).unwrap();
        assert_eq!(model.target.to_string(), target);
        model.save(&path).unwrap();
        let read = tq_onnx::import(&path).unwrap();
        assert!(read.values.iter().any(|v| v.constant.is_some() && v.dtype == Some(dtype)), "{precision}");
        let shape = graph.value(graph.inputs[0]).shape.clone().unwrap();
        let dims: Vec<usize> = shape.iter().map(|d| d.known_usize().unwrap()).collect();
        let x = common::Numbers(5).tensor(&dims);
        assert_eq!(
            common::evaluate(&read, std::slice::from_ref(&x)),
            common::evaluate(&graph, &[x]),
            "{precision}"
        );
        // A cache has scales of 8-bit integers.
        let cache = folder.path().join("c.cache");
        let error = export_tensorrt(&graph, precision, Some(&cache)).unwrap_err();
        assert!(matches!(error, ExportError::Precision { .. }) && !cache.exists(), "{error}");
    }
}
