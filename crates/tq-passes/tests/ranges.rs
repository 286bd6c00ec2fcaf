//! Ranges from the calibration files of other tools.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use tq_graph::op::UnaryOp;
use tq_graph::{Dim, Graph, Op, Tensor};
use tq_passes::{
    CalibrationRanges, IgnoredRange, PassError, QuantConfig, RangesFormat, convert, prepare_static,
};
use tq_qtypes::DType;

fn parse(text: &str) -> Result<CalibrationRanges, PassError> {
    CalibrationRanges::parse(text, None)
}

fn ranges(text: &str) -> Vec<(String, f32, f32)> {
    parse(text).unwrap().ranges().map(|(n, lo, hi)| (n.to_owned(), lo, hi)).collect()
}

fn of(list: &[(&str, f32, f32)]) -> Vec<(String, f32, f32)> {
    list.iter().map(|(n, lo, hi)| ((*n).to_owned(), *lo, *hi)).collect()
}

#[test]
fn the_forms_of_onnx_runtime() {
    let number = r#"{"data": [-2.5], "dtype": "float32", "CLS": "numpy.array"}"#;
    let text = format!(
        r#"{{"CLS": "TensorsData", "data": {{"a: b": {{"lowest": {number}, "highest": {{"data": 1.5}},
           "CLS": "TensorData"}}, "c": {{"lowest": -1, "highest": {{"data": [0.5, 2]}}}}}},
           "calibration_method": {{"CLS": "CalibrationMethod", "value": "CalibrationMethod.MinMax"}}}}"#
    );
    let want = of(&[("a: b", -2.5, 1.5), ("c", -1.0, 2.0)]);
    assert_eq!(ranges(&text), want);
    assert_eq!(ranges(r#"{"a: b": [-2.5, 1.5], "c": [-1, 2]}"#), want);
}

#[test]
fn the_cache_of_tensorrt() {
    // Scales of 1/127 and 0.5; a name may hold the separator.
    let text = "TRT-100300-MinMaxCalibration\nconv: 1: 3c010204\n\nx: 3f000000\nzero: 0\n";
    let found = ranges(text);
    let want = of(&[("conv: 1", -1.0, 1.0), ("x", -63.5, 63.5), ("zero", -0.0, 0.0)]);
    for ((name, lo, hi), (want_name, want_lo, want_hi)) in found.iter().zip(&want) {
        assert_eq!(name, want_name);
        assert!((lo - want_lo).abs() < 1e-6 && (hi - want_hi).abs() < 1e-6, "{name}: {lo} {hi}");
    }
    assert_eq!(found.len(), want.len());
}

#[test]
fn the_encodings_of_aimet() {
    let old = r#"{"version": "0.6.1", "activation_encodings": {
        "x": [{"bitwidth": 8, "dtype": "int", "is_symmetric": "False", "min": -1.0, "max": 3.0, "offset": -64, "scale": 0.015}],
        "y": [{"bitwidth": 8, "dtype": "int", "offset": -64, "scale": 0.25}],
        "h": [{"bitwidth": 16, "dtype": "float"}]},
        "param_encodings": {"w": [{"bitwidth": 8, "min": -1, "max": 1}]}}"#;
    assert_eq!(ranges(old), of(&[("x", -1.0, 3.0), ("y", -16.0, 47.75)]));
    let new = r#"{"version": "1.0.0", "activation_encodings": [
        {"name": "x", "dtype": "INT", "bw": 8, "enc_type": "PER_TENSOR", "is_sym": false, "offset": [-64], "scale": [0.25]},
        {"name": "h", "dtype": "FLOAT", "bw": 16, "enc_type": "PER_TENSOR"}],
        "param_encodings": [{"name": "w", "dtype": "INT", "bw": 8, "offset": [-128], "scale": [0.1]}]}"#;
    assert_eq!(ranges(new), of(&[("x", -16.0, 47.75)]));
    assert_eq!(parse(new).unwrap().format(), RangesFormat::Aimet);
}

#[test]
fn what_is_wrong_is_named() {
    for (text, words) in [
        ("", "neither JSON nor"),
        ("conv 1.5\n", "neither JSON nor"),
        ("{", "calibration ranges: EOF"),
        (r#"{"x": [1, "a"]}"#, "tensor x: there is no lowest and highest value"),
        (r#"{"x": [1]}"#, "tensor x: there is no lowest and highest value"),
        (r#"{"data": {"x": {"lowest": 1}}}"#, "tensor x: there is no lowest"),
        (r#"{"x": [NaN, 1]}"#, "tensor x: from NaN to 1 is no range"),
        (r#"{"x": [-Infinity, 1]}"#, "tensor x: from -inf to 1 is no range"),
        (r#"{"x": [2, 1]}"#, "tensor x: from 2 to 1 is no range"),
        (r#"{"x": [1, 1e300]}"#, "tensor x: from 1 to inf is no range"),
        ("TRT-1-A\nx: 3c010204\n", "line 1: \"TRT-1-A\" is not TRT-VERSION-ALGORITHM"),
        ("TRT-1-MinMaxCalibration\nx 3c010204\n", "line 2: \"x 3c010204\" has no separator"),
        ("TRT-1-MinMaxCalibration\nx: 3c01020g\n", "line 2: \"3c01020g\" are not eight hexadecimal digits"),
        ("TRT-1-MinMaxCalibration\nx: +3c01020\n", "line 2: \"+3c01020\" are not eight"),
        ("TRT-1-MinMaxCalibration\nx: 13c010204\n", "line 2: \"13c010204\" are not eight"),
        ("TRT-1-MinMaxCalibration\nx: 7fc00000\n", "line 2: the scale of x is NaN"),
        ("TRT-1-MinMaxCalibration\nx: bc010204\n", "line 2: the scale of x is -0.00787"),
        ("TRT-1-MinMaxCalibration\nx: 80000000\n", "line 2: the scale of x is -0"),
        ("TRT-1-MinMaxCalibration\nx: 0\nx: 0\n", "line 3: x stands there a second time"),
        (r#"{"activation_encodings": 3}"#, "neither an object nor a list"),
        (r#"{"activation_encodings": [{}]}"#, "an encoding has no name"),
        (r#"{"activation_encodings": {"x": []}}"#, "tensor x: it has no encoding"),
        (r#"{"activation_encodings": {"x": [{"scale": 1}]}}"#, "tensor x: neither min and max"),
        (r#"{"activation_encodings": {"x": [{"min": NaN, "max": 1}]}}"#, "tensor x: from NaN"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
        // A text cut off anywhere is an error or a shorter file, and nothing else.
        for n in (0..text.len()).filter(|n| text.is_char_boundary(*n)) {
            for format in RangesFormat::ALL {
                let _ = CalibrationRanges::parse(&text[..n], Some(format));
            }
        }
    }
    assert!("trt".parse::<RangesFormat>().unwrap_err().contains("tensorrt"));
}

fn model() -> Graph {
    let mut model = Graph::new("net");
    let x = model.add_input("x", DType::F32, vec![Dim::symbol("N"), 2usize.into()]);
    let w = model.add_constant("w", Tensor::new(&[2, 2], vec![1.0f32, 2.0, -3.0, 4.0]).unwrap());
    let y = model.add_node("first", Op::MatMul, &[x, w], "y");
    let z = model.add_node("relu", Op::Unary(UnaryOp::Relu), &[y], "z");
    let v = model.add_constant("v", Tensor::new(&[2, 2], vec![0.5f32, -1.0, 2.0, 0.25]).unwrap());
    let out = model.add_node("second", Op::MatMul, &[z, v], "out");
    model.outputs.push(out);
    model
}

#[test]
fn a_model_with_ranges_is_that_of_data_with_these_ranges() {
    let config = || QuantConfig::default();
    let prepared = prepare_static(model(), config()).unwrap();
    let text = r#"{"x": [-1, 3], "z": [0, 22], "gone": [0, 1], "out": [0, 1], "w": [0, 1]}"#;
    let report = prepared.load_ranges(&parse(text).unwrap()).unwrap();
    assert_eq!(report.taken, ["x", "z"]);
    assert_eq!(report.missing, Vec::<String>::new());
    let reasons: Vec<(&str, bool)> = report
        .ignored
        .iter()
        .map(|IgnoredRange { tensor, reason }| (tensor.as_str(), reason.contains("no tensor")))
        .collect();
    assert_eq!(reasons, [("gone", true), ("out", false), ("w", false)]);
    // Data does not move what came from the file.
    prepared.forward(&[Tensor::new(&[1, 2], vec![100.0f32, -100.0]).unwrap()]).unwrap();
    let from_file = convert(prepared).unwrap().graph;

    let prepared = prepare_static(model(), config()).unwrap();
    // Two rows whose ranges are those of the file.
    prepared.forward(&[Tensor::new(&[2, 2], vec![-1.0f32, 3.0, 3.0, 3.0]).unwrap()]).unwrap();
    let seen = |name: &str| prepared.observers()[name].range().unwrap();
    let (x, z) = (seen("x"), seen("z"));
    let text = format!(r#"{{"x": [{}, {}], "z": [{}, {}]}}"#, x.min, x.max, z.min, z.max);
    let from_data = convert(prepared).unwrap().graph;
    let again = prepare_static(model(), config()).unwrap();
    again.load_ranges(&parse(&text).unwrap()).unwrap();
    let again = convert(again).unwrap().graph;
    assert_eq!(again, from_data);
    assert_eq!((x.min, x.max), (-1.0, 3.0));
    let scale =
        |g: &Graph, name: &str| g.constant(g.find_value(name).unwrap()).unwrap().to_f32_vec().unwrap();
    assert_eq!(scale(&from_file, "x_scale"), scale(&from_data, "x_scale"));
    assert_eq!(scale(&from_file, "z_scale"), [22.0f32 / 255.0]);
}

#[test]
fn what_the_file_does_not_have_is_told_and_calibrated() {
    let prepared = prepare_static(model(), QuantConfig::default()).unwrap();
    let report = prepared.load_ranges(&parse(r#"{"x": [-1, 3]}"#).unwrap()).unwrap();
    assert_eq!(report.missing, ["z"]);
    assert_eq!(convert(prepared).unwrap_err(), PassError::NoCalibrationData);
    let prepared = prepare_static(model(), QuantConfig::default()).unwrap();
    prepared.load_ranges(&parse(r#"{"x": [-1, 3]}"#).unwrap()).unwrap();
    prepared.forward(&[Tensor::new(&[1, 2], vec![1.0f32, 2.0]).unwrap()]).unwrap();
    convert(prepared).unwrap();
}
