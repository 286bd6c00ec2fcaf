//! Models that take bytes, and models that take and give codes.
#![allow(clippy::unwrap_used, reason = "what cannot be set up fails the test")]

mod common;

use common::{data, evaluate, quantized, run};
use tq_export::{InputScaling, Provenance, fold_preprocess, strip_borders};
use tq_graph::qdq::QdqView;
use tq_graph::{Dim, Graph, Op, Tensor};
use tq_qtypes::{DType, Rounding, affine};

fn bytes() -> Tensor {
    let stored = (0..2 * 3 * 64).map(|i| (i * 37 % 256) as u8).collect();
    Tensor::new(&[2, 3, 8, 8], stored).unwrap()
}

#[test]
fn preprocessing_in_the_model_is_preprocessing_before_it() {
    let graph = quantized();
    let scaling =
        InputScaling { scale: 1.0 / 255.0, mean: vec![0.5, 0.4, 0.3], std: vec![0.25], channel_axis: 1 };
    let stored = bytes();
    let real: Vec<f32> = stored
        .as_slice::<u8>()
        .unwrap()
        .iter()
        .enumerate()
        .map(|(i, b)| (f32::from(*b) * scaling.scale - scaling.mean[i / 64 % 3]) / scaling.std[0])
        .collect();
    let expected = run(&graph, &[Tensor::new(&[2, 3, 8, 8], real).unwrap()]);
    let mut folded = graph.clone();
    assert!(!fold_preprocess(&mut folded, "x", &scaling).unwrap());
    let input = folded.value(folded.inputs[0]);
    assert_eq!((input.name.as_str(), input.dtype), ("x", Some(DType::U8)));
    assert_eq!(run(&folded, std::slice::from_ref(&stored)), expected);
    assert_eq!(QdqView::new(&folded).operators.len(), QdqView::new(&graph).operators.len());
    let error = fold_preprocess(&mut graph.clone(), "z", &scaling).unwrap_err().to_string();
    assert_eq!(error, "input z: the model has no such input");
    let wrong = InputScaling { mean: vec![0.0; 4], ..scaling };
    let error = fold_preprocess(&mut graph.clone(), "x", &wrong).unwrap_err().to_string();
    assert_eq!(error, "input x: 4 mean values for 3 channels on axis 1");
}

#[test]
fn bytes_that_are_the_codes_already_go_in_as_they_are() {
    // Bytes over 255 quantized with scale 1/255 are the bytes again.
    let mut g = Graph::new("g");
    let x = g.add_input("x", DType::F32, vec![Dim::symbol("N"), 2usize.into()]);
    let s = g.add_constant("s", Tensor::scalar(1.0f32 / 255.0));
    let z = g.add_constant("z", Tensor::scalar(0u8));
    let op = Op::QuantizeLinear { axis: 1, block_size: 0, output_dtype: None, saturate: true };
    let q = g.add_node("q", op, &[x, s, z], "x_quantized");
    let y = g.add_node("d", Op::DequantizeLinear { axis: 1, block_size: 0 }, &[q, s, z], "y");
    g.outputs.push(y);
    let unit = InputScaling { scale: 1.0 / 255.0, mean: vec![], std: vec![], channel_axis: 1 };
    let mut folded = g.clone();
    assert!(fold_preprocess(&mut folded, "x", &unit).unwrap());
    assert_eq!(folded.nodes.len(), 1);
    let stored = Tensor::new(&[1, 2], vec![3u8, 255]).unwrap();
    let real = Tensor::new(&[1, 2], vec![3.0 * (1.0f32 / 255.0), 255.0 * (1.0f32 / 255.0)]).unwrap();
    assert_eq!(evaluate(&folded, &[stored]), evaluate(&g, &[real]));
    let other = InputScaling { scale: 1.0 / 254.0, ..unit };
    assert!(!fold_preprocess(&mut g.clone(), "x", &other).unwrap());
}

#[test]
fn models_take_and_give_codes() {
    let mut float = common::network();
    // Means are codes, unlike what the last linear layer gives.
    float.outputs = vec![float.find_value("mean_y").unwrap()];
    let graph = common::quantized_for(float, tq_passes::Backend::Fbgemm);
    let mut codes = graph.clone();
    assert_eq!(strip_borders(&mut codes).unwrap(), []);
    let (input, output) = (codes.value(codes.inputs[0]), codes.value(codes.outputs[0]));
    assert_eq!([&input.name, &output.name], ["x", "mean_y"]);
    assert_eq!([input.dtype, output.dtype], [Some(DType::U8); 2]);
    let params = |key: &str| -> (f32, i32) {
        let words: Vec<&str> = codes.metadata[key].split(' ').collect();
        assert_eq!(words[0], "u8");
        (words[1].parse().unwrap(), words[2].parse().unwrap())
    };
    let ((sx, zx), (sy, zy)) = (params("tq.io/x"), params("tq.io/mean_y"));
    let x = data(5, 3);
    let stored = x.as_slice::<f32>().unwrap().iter();
    let stored = stored.map(|x| affine::quantize_f32(*x, sx, zx, 0, 255, Rounding::Divide) as u8).collect();
    let got = run(&codes, &[Tensor::new(x.dims(), stored).unwrap()]);
    let real: Vec<f32> = got[0]
        .as_slice::<u8>()
        .unwrap()
        .iter()
        .map(|q| affine::dequantize_f32(i32::from(*q), sy, zy))
        .collect();
    assert_eq!(run(&graph, &[x])[0].as_slice::<f32>().unwrap(), real);
    // What is float at the end stays so, with the reason.
    let kept = strip_borders(&mut quantized()).unwrap();
    assert_eq!(kept, [("y".to_owned(), "fc2 gives it in float".to_owned())]);
}

#[test]
fn files_say_how_they_were_made() {
    let mut graph = quantized();
    let made = Provenance { calibration: Some("00ff".into()), ..Provenance::default() };
    made.config(&tq_passes::Configuration::default()).apply(&mut graph);
    let bytes = tq_onnx::export_bytes(&graph, &tq_onnx::ExportOptions::default()).unwrap();
    let read = tq_onnx::import_bytes(&bytes, None).unwrap();
    assert_eq!(read.metadata["tq.calibration.sha256"], "00ff");
    assert_eq!(read.metadata["tq.version"], env!("CARGO_PKG_VERSION"));
    let config: tq_passes::Configuration =
        tq_passes::Configuration::from_json(&read.metadata["tq.config"]).unwrap();
    assert_eq!(config, tq_passes::Configuration::default());
}
