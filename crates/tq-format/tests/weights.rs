//! Weights out to safetensors files and in from them, by name.
#![allow(clippy::unwrap_used)]

mod common;

use common::Source;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::path::PathBuf;
use tempfile::TempDir;
use tq_eval::{Evaluator, Precision};
use tq_format::FormatError;
use tq_format::weights::{Form, load, read, save, write};
use tq_graph::builder::LoadOptions;
use tq_graph::{Graph, Op, Tensor, ValueId};
use tq_qtypes::DType;

/// Dequantizes codes of this type and shape, each with its own kind of parameters.
fn dequantized(
    g: &mut Graph,
    name: &str,
    codes: Tensor,
    params: &[usize],
    axis: i64,
    block_size: usize,
) -> ValueId {
    let mut s = Source(9);
    let n: usize = params.iter().product();
    let zero = match codes.dtype() {
        DType::U8 => Some(Tensor::new(params, (0..n).map(|_| s.next() as u8).collect()).unwrap()),
        DType::U4 => Some(Tensor::with_dtype(DType::U4, params, vec![7u8; n]).unwrap()),
        _ => None,
    };
    let scale = Tensor::new(params, (0..n).map(|i| 0.01 + i as f32 / 7.0).collect()).unwrap();
    let codes = g.add_constant(format!("{name}_quantized"), codes);
    let scale = g.add_constant(format!("{name}_scale"), scale);
    let mut inputs = vec![codes, scale];
    inputs.extend(zero.map(|z| g.add_constant(format!("{name}_zero_point"), z)));
    let op = Op::DequantizeLinear { axis, block_size };
    let y = g.add_node(format!("{name}.dq"), op, &inputs, format!("{name}_dequantized"));
    g.outputs.push(y);
    y
}

fn model() -> Graph {
    let (mut s, mut g) = (Source(3), Graph::new("g"));
    dequantized(&mut g, "tensor", s.tensor(DType::U8, &[4, 6]), &[], 0, 0);
    dequantized(&mut g, "channel", s.tensor(DType::I8, &[4, 6]), &[4], 0, 0);
    dequantized(&mut g, "last", s.tensor(DType::I8, &[4, 6]), &[6], -1, 0);
    dequantized(&mut g, "block", s.tensor(DType::I4, &[4, 6]), &[4, 3], 1, 2);
    dequantized(&mut g, "four", s.tensor(DType::U4, &[5]), &[], 0, 0);
    let bias = g.add_constant("bias", Tensor::vector(vec![1.0f32, -2.0]));
    let shape = g.add_constant("shape", Tensor::vector(vec![1i64, 2]));
    let y = g.add_node("reshape", Op::Reshape { allow_zero: false }, &[bias, shape], "y");
    g.outputs.push(y);
    tq_graph::infer::infer(&mut g).unwrap();
    g
}

fn bytes(g: &Graph, form: Form) -> Vec<u8> {
    let mut out = Vec::new();
    write(g, form, &mut out).unwrap();
    out
}

#[test]
fn stored_weights_are_those_of_the_graph() {
    let g = model();
    let file = bytes(&g, Form::Stored);
    let others = SafeTensors::deserialize(&file).unwrap();
    assert_eq!(others.len(), g.values.iter().filter(|v| v.constant.is_some()).count());
    for value in g.values.iter().filter(|v| v.constant.is_some()) {
        let (view, tensor) = (others.tensor(&value.name).unwrap(), value.constant.as_ref().unwrap());
        assert_eq!(view.shape(), tensor.dims(), "{}", value.name);
        assert_eq!(view.data(), &*tensor.le_bytes(), "{}", value.name);
    }
    assert_eq!(others.tensor("block_quantized").unwrap().dtype(), Dtype::I8);
    assert_eq!(others.tensor("four_quantized").unwrap().dtype(), Dtype::U8);
    // In again: the same graph.
    let (_folder, path) = file_of(&file);
    let mut empty = g.clone();
    for value in &mut empty.values {
        if let Some(t) = &mut value.constant {
            *t = zeros(t);
        }
    }
    let report = load(&mut empty, &path, LoadOptions::default()).unwrap();
    assert_eq!((report.missing.len(), report.unexpected.len()), (0, 0));
    assert_eq!(empty, g);
}

fn zeros(t: &Tensor) -> Tensor {
    let buffer = tq_graph::tensor::ByteBuffer::zeroed(t.le_bytes().len()).unwrap();
    Tensor::in_buffer(t.dtype(), t.dims(), &std::sync::Arc::new(buffer), 0).unwrap()
}

fn file_of(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

#[test]
fn dequantized_weights_are_what_the_nodes_make() {
    let g = model();
    let file = bytes(&g, Form::Dequantized);
    let tensors = read(&file).unwrap();
    let names: Vec<&str> = tensors.keys().map(String::as_str).collect();
    assert_eq!(names, ["bias", "block", "channel", "four", "last", "shape", "tensor"]);
    let made = Evaluator::new(&g, Precision::F32).unwrap().run(&[]).unwrap();
    for (i, name) in ["tensor", "channel", "last", "block", "four"].into_iter().enumerate() {
        assert_eq!(tensors[name], made[i], "{name}");
    }
    assert!(SafeTensors::deserialize(&file).is_ok());
}

#[test]
fn parameters_that_others_read_stay() {
    let mut g = model();
    let scale = g.find_value("channel_scale").unwrap();
    let codes = g.find_value("tensor_quantized").unwrap();
    let y = g.add_node("use", Op::Identity, &[scale], "scale out");
    g.outputs.extend([y, codes]);
    let file = bytes(&g, Form::Dequantized);
    let tensors = read(&file).unwrap();
    assert!(tensors.contains_key("channel_scale") && !tensors.contains_key("tensor_scale"));
}

/// Two f32 constants, one f16 constant and one of a shape.
fn floats() -> Graph {
    let mut g = Graph::new("g");
    g.add_constant("fc.weight", Tensor::new(&[2, 2], vec![0.0f32; 4]).unwrap());
    g.add_constant("fc.bias", Tensor::vector(vec![0.0f32; 2]));
    g.add_constant("half", Tensor::vector(vec![half::f16::ZERO; 2]));
    g.add_constant("shape", Tensor::vector(vec![2i64]));
    g.add_constant("limit", Tensor::scalar(6.0f32));
    g
}

fn written(tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) -> (TempDir, PathBuf) {
    let views =
        tensors.iter().map(|(n, d, s, b)| (n.to_string(), TensorView::new(*d, s.to_vec(), b).unwrap()));
    file_of(&safetensors::serialize(views, None).unwrap())
}

fn f32s(v: &[f32]) -> Vec<u8> {
    v.iter().flat_map(|v| v.to_le_bytes()).collect()
}

#[test]
fn weights_of_others_come_in_by_name() {
    let weight = ("fc.weight", Dtype::F32, &[2usize, 2][..], f32s(&[1.0, 2.0, 3.0, 4.0]));
    let bias =
        ("fc.bias", Dtype::F64, &[2usize][..], [0.1f64, -1.0].iter().flat_map(|v| v.to_le_bytes()).collect());
    let half = ("half", Dtype::BF16, &[2usize][..], [0x80, 0x3f, 0x00, 0xc0].to_vec());
    let mut g = floats();
    let (_folder, path) = written(&[weight.clone(), bias.clone(), half.clone()]);
    load(&mut g, &path, LoadOptions::default()).unwrap();
    let value = |name: &str| g.constant(g.find_value(name).unwrap()).unwrap().clone();
    assert_eq!(value("fc.weight").as_slice::<f32>().unwrap(), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(value("fc.bias").as_slice::<f32>().unwrap(), [0.1, -1.0]);
    assert_eq!(value("half"), Tensor::vector(vec![half::f16::ONE, half::f16::from_f32(-2.0)]));

    let refused = |tensors: &[_], options| {
        let (mut g, (_folder, path)) = (floats(), written(tensors));
        let result = load(&mut g, &path, options);
        if result.is_err() {
            assert_eq!(g, floats(), "an error has changed the graph");
        }
        result
    };
    let strict = LoadOptions::default();
    let other = ("other", Dtype::F32, &[1usize][..], f32s(&[1.0]));
    let tensors = [weight.clone(), other, bias.clone()];
    let error = refused(&tensors, LoadOptions { allow_unexpected: true, ..strict }).unwrap_err();
    assert_eq!(error, FormatError::MissingWeights(vec!["half".into()]));
    let error = refused(&tensors, LoadOptions { allow_missing: true, ..strict }).unwrap_err();
    assert_eq!(error.to_string(), "the graph has no constants other");
    let both = LoadOptions { allow_missing: true, allow_unexpected: true };
    let report = refused(&tensors, both).unwrap();
    assert_eq!((report.missing, report.unexpected), (vec!["half".to_owned()], vec!["other".to_owned()]));
    let flat = ("fc.weight", Dtype::F32, &[4usize][..], f32s(&[1.0, 2.0, 3.0, 4.0]));
    let error = refused(&[flat, bias.clone(), half.clone()], strict).unwrap_err();
    assert_eq!(error.to_string(), "weights fc.weight have shape [4], the graph has [2, 2]");
    let integers = ("fc.weight", Dtype::I32, &[2usize, 2][..], vec![0; 16]);
    let error = refused(&[integers, bias, half], strict).unwrap_err();
    assert_eq!(error.to_string(), "weights fc.weight are i32, the graph has f32");
}

#[test]
fn what_cannot_be_written() {
    let mut g = floats();
    g.values[1].name = "__metadata__".into();
    let error = write(&g, Form::Stored, &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("the container has this name"), "{error}");
    let mut g = model();
    g.add_constant("channel", Tensor::scalar(1.0f32));
    assert!(write(&g, Form::Stored, &mut Vec::new()).is_ok());
    let error = write(&g, Form::Dequantized, &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("tensor channel: two constants"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let error = save(&model(), &folder.path().join("no/w.safetensors"), Form::Stored).unwrap_err();
    assert!(error.to_string().contains("No such file"), "{error}");
}
