//! Every form in which quantized operators are written, as files for other programs to read.
//!
//! Each form is held to the judge here, and read back from its file to the same results. With `TQ_FORMS_DIR` set to a
//! folder, the files are left there with data and results beside them: `cargo xtask oracle` has ONNX Runtime run them.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;

use common::{Numbers, sessions};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tq_graph::builder::*;
use tq_graph::{Dim, Graph, GraphError, Tensor, ValueId};
use tq_onnx::{ExportOptions, export_bytes, import_bytes};
use tq_passes::{
    BackendConfig, QConfigDict, Recipe, convert, default_dynamic_qconfig, int4_qconfig, int8_qconfig,
    quantize_fx,
};
use tq_qtypes::DType;
use tq_runtime::{Execution, judge};

type Built = Result<ValueId, GraphError>;
type Build = Box<dyn Fn(&mut Builder, &[ValueId]) -> Built>;

/// A model under a name: the shapes of its inputs (integers below the number where there is one), how it is quantized,
/// and the operators that have to run in integers.
struct Form {
    name: &'static str,
    inputs: Vec<(Vec<usize>, Option<usize>)>,
    dict: QConfigDict,
    integer: &'static [&'static str],
    build: Build,
}

fn form(
    name: &'static str,
    shapes: &[&[usize]],
    dict: impl Into<QConfigDict>,
    integer: &'static [&'static str],
    build: impl Fn(&mut Builder, &[ValueId]) -> Built + 'static,
) -> Form {
    let inputs = shapes.iter().map(|s| (s.to_vec(), None)).collect();
    Form { name, inputs, dict: dict.into(), integer, build: Box::new(build) }
}

/// One layer, and a function of its result so that this is codes too.
fn one(
    name: &'static str,
    shape: &[usize],
    operator: &'static [&'static str],
    layer: impl Layer + Clone + 'static,
) -> Form {
    form(name, &[shape], int8_qconfig(), operator, move |b, x| {
        let y = b.layer("layer", x[0], layer.clone())?;
        b.layer("after", y, LeakyReLU::new(0.1))
    })
}

fn dynamic(
    name: &'static str,
    shape: &[usize],
    operator: &'static [&'static str],
    build: impl Fn(&mut Builder, &[ValueId]) -> Built + 'static,
) -> Form {
    form(name, &[shape], Recipe::Int8DynamicAll, operator, build)
}

fn embedding(name: &'static str, dict: impl Into<QConfigDict>) -> Form {
    Form {
        name,
        inputs: vec![(vec![2, 7], Some(50))],
        dict: dict.into(),
        integer: &[],
        build: Box::new(|b, x| {
            let y = b.layer("table", x[0], Embedding::new(50, 64))?;
            b.layer("fc", y, Linear::new(64, 24))
        }),
    }
}

fn statics() -> Vec<Form> {
    let transpose: &[&str] = &["ConvTranspose"];
    let attention = |b: &mut Builder, x: &[ValueId]| {
        let q = b.layer("q", x[0], Linear::new(16, 16))?;
        let k = b.layer("k", x[0], Linear::new(16, 16))?;
        let turned = b.transpose(k, -1, -2)?;
        let scores = b.matmul(q, turned)?;
        let weights = b.layer("softmax", scores, Softmax::new(-1))?;
        let y = b.matmul(weights, k)?;
        b.layer("after", y, Tanh)
    };
    vec![
        one(
            "conv_transpose1d",
            &[2, 4, 9],
            transpose,
            ConvTranspose1d::new(4, 6, 3).stride(2).padding(1).groups(2),
        ),
        one(
            "conv_transpose2d",
            &[2, 4, 6, 5],
            transpose,
            ConvTranspose2d::new(4, 6, [4, 3]).stride(2).output_padding(1),
        ),
        one("conv_transpose3d", &[1, 3, 4, 3, 4], transpose, ConvTranspose3d::new(3, 4, 2).stride([2, 1, 2])),
        one("conv3d", &[1, 3, 5, 6, 4], &["Conv"], Conv3d::new(3, 4, 3).padding(1)),
        one("max_pool3d", &[1, 3, 6, 5, 4], &["MaxPool"], MaxPool3d::new(2).stride([2, 1, 2])),
        one(
            "avg_pool1d",
            &[2, 3, 17],
            &["AveragePool"],
            AvgPool1d::new(3).stride(2).padding(1).count_include_pad(false),
        ),
        one(
            "avg_pool3d",
            &[1, 3, 6, 5, 4],
            &["AveragePool"],
            AvgPool3d::new(2).stride([2, 1, 2]).ceil_mode(true),
        ),
        one("global_pool3d", &[2, 3, 6, 5, 4], &["GlobalAveragePool"], GlobalAvgPool),
        one("adaptive_pool2d", &[2, 3, 7, 9], &["MatMul"], AdaptiveAvgPool2d::new([3, 4])),
        one("sigmoid", &[3, 40], &["Sigmoid"], Sigmoid),
        one("hard_sigmoid", &[3, 40], &["HardSigmoid"], Hardsigmoid),
        one("tanh", &[3, 40], &["Tanh"], Tanh),
        one("softmax", &[3, 40], &["LeakyRelu"], Softmax::new(-1)),
        one("prelu_channels", &[2, 4, 6, 5], &["PRelu"], PReLU::new(4)),
        one("gelu", &[3, 40], &["LeakyRelu"], GELU::new()),
        one("layer_norm", &[3, 40], &["LeakyRelu"], LayerNorm::new([40])),
        form("attention", &[&[2, 9, 16]], int8_qconfig(), &["MatMul", "Tanh"], attention),
        form("bilinear", &[&[3, 12], &[3, 8]], int8_qconfig(), &["MatMul"], |b, x| {
            let y = b.bilinear("match", x[0], x[1], Bilinear::new(12, 8, 10))?;
            b.layer("after", y, Tanh)
        }),
        embedding("embedding_int8", int8_qconfig()),
        embedding("embedding_int4", int4_qconfig()),
        form("hybrid", &[&[2, 3, 12]], hybrid(), &["Conv", "MatMulInteger"], |b, x| {
            let y = b.layer("conv", x[0], Conv1d::new(3, 5, 3))?;
            let y = b.layer("relu", y, ReLU)?;
            b.layer("fc", y, Linear::new(10, 6))
        }),
    ]
}

/// Linear layers at run time, all else calibrated.
fn hybrid() -> QConfigDict {
    QConfigDict::new().set_global(int8_qconfig()).set_module_type_name("Linear", default_dynamic_qconfig())
}

fn dynamics() -> Vec<Form> {
    let rnn =
        |layer: fn(&mut Builder, ValueId) -> Built| move |b: &mut Builder, x: &[ValueId]| layer(b, x[0]);
    let mut embedding = embedding("dynamic_embedding", Recipe::Int8Dynamic);
    embedding.integer = &["MatMulInteger"];
    vec![
        dynamic("dynamic_linear", &[3, 5, 20], &["MatMulInteger"], |b, x| {
            b.layer("fc", x[0], Linear::new(20, 12))
        }),
        dynamic("dynamic_linear_rows", &[7, 20], &["MatMulInteger"], |b, x| {
            b.layer("fc", x[0], Linear::new(20, 12))
        }),
        dynamic("dynamic_conv1d", &[2, 4, 15], &["ConvInteger"], |b, x| {
            b.layer("conv", x[0], Conv1d::new(4, 6, 3).padding(1).groups(2).stride(2))
        }),
        dynamic("dynamic_conv2d", &[2, 3, 9, 8], &["ConvInteger"], |b, x| {
            let y = b.layer("conv", x[0], Conv2d::new(3, 8, 3).padding(1))?;
            let y = b.layer("relu", y, ReLU)?;
            b.layer("depthwise", y, Conv2d::new(8, 8, 3).groups(8).padding(1).bias(false))
        }),
        dynamic("dynamic_conv3d", &[1, 2, 5, 6, 4], &["ConvInteger"], |b, x| {
            b.layer("conv", x[0], Conv3d::new(2, 4, 2))
        }),
        dynamic(
            "dynamic_lstm",
            &[6, 2, 10],
            &["LSTM"],
            rnn(|b, x| Ok(b.recurrent("lstm", x, LSTM::new(10, 12).bidirectional(true), None, None)?.output)),
        ),
        dynamic(
            "dynamic_gru",
            &[6, 2, 10],
            &["GRU"],
            rnn(|b, x| Ok(b.recurrent("gru", x, GRU::new(10, 12).num_layers(2), None, None)?.output)),
        ),
        dynamic(
            "dynamic_rnn",
            &[6, 2, 10],
            &["RNN"],
            rnn(|b, x| Ok(b.recurrent("rnn", x, RNN::new(10, 12), None, None)?.output)),
        ),
        embedding,
    ]
}

/// Data for the inputs of a form, of as many rows along the first axis as it says.
fn data(form: &Form, seed: u64) -> Vec<Tensor> {
    let mut numbers = Numbers(seed);
    let tensor = |(dims, below): &(Vec<usize>, Option<usize>)| {
        let n: usize = dims.iter().product();
        match below {
            Some(below) => Tensor::new(dims, (0..n).map(|_| numbers.below(*below as u64) as i64).collect()),
            None => Tensor::new(dims, (0..n).map(|_| 4.0 * numbers.real() - 2.0).collect()),
        }
        .unwrap()
    };
    form.inputs.iter().map(tensor).collect()
}

fn quantized(form: &Form) -> Graph {
    let mut b = Graph::builder();
    let xs: Vec<ValueId> = form
        .inputs
        .iter()
        .enumerate()
        .map(|(i, (dims, below))| {
            let dtype = if below.is_some() { DType::I64 } else { DType::F32 };
            b.input(format!("x{i}"), dtype, dims.iter().map(|d| Dim::from(*d)).collect::<Vec<_>>()).unwrap()
        })
        .collect();
    let y = (form.build)(&mut b, &xs).unwrap();
    b.output("y", y).unwrap();
    b.initialize(11).unwrap();
    let prepared = quantize_fx(b.build().unwrap(), form.dict.clone(), BackendConfig::default()).unwrap();
    if !prepared.observers().is_empty() {
        (0..6).for_each(|seed| drop(prepared.forward(&data(form, seed)).unwrap()));
    }
    convert(prepared).unwrap().graph
}

/// The file at the lowest operator set that has words for it.
fn written(graph: &Graph) -> Vec<u8> {
    export_bytes(graph, &ExportOptions::default()).unwrap()
}

fn check(form: &Form, folder: Option<&PathBuf>) {
    let name = form.name;
    let graph = quantized(form);
    let all = sessions(&graph);
    // Data that calibration has seen: within its ranges.
    let x = data(form, 0);
    let y = all[0].run(&x).unwrap();
    if all[0].explain().reproducible() {
        assert!(all.iter().all(|s| s.run(&x).unwrap() == y), "{name}: kernels differ");
    }
    let report = judge(&all[0], &x).unwrap();
    assert!(report.holds() && !report.operators.is_empty(), "{name}: {report}");
    let explanation = all[0].explain();
    for op in form.integer {
        let runs = explanation.nodes.iter().filter(|n| n.op == *op);
        assert!(
            runs.clone().count() > 0 && runs.clone().all(|n| n.execution == Execution::Integer),
            "{name}: {op}\n{explanation}"
        );
    }
    let file = written(&graph);
    let read = import_bytes(&file, None).unwrap();
    assert_eq!(common::scalar(&read).run(&x).unwrap(), common::scalar(&graph).run(&x).unwrap(), "{name}");
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join(format!("{name}.onnx")), file).unwrap();
        let mut tensors: BTreeMap<String, Tensor> =
            x.into_iter().enumerate().map(|(i, t)| (format!("x{i}"), t)).collect();
        tensors.insert("y".into(), y[0].clone());
        std::fs::write(folder.join(format!("{name}.safetensors")), write_safetensors(&tensors).unwrap())
            .unwrap();
    }
}

#[test]
fn forms_hold_and_their_files_too() {
    let folder = std::env::var_os("TQ_FORMS_DIR").map(PathBuf::from);
    for form in statics().iter().chain(&dynamics()) {
        check(form, folder.as_ref());
    }
}
