//! Every layer of the builder against PyTorch, whose parameters, inputs and outputs `data/make_builder_layers.py` wrote.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::collections::{BTreeMap, BTreeSet};
use tq_eval::{Evaluator, Precision};
use tq_graph::builder::*;
use tq_graph::{Graph, GraphError, Tensor, ValueId};

type Apply = Box<dyn Fn(&mut Builder, &[ValueId]) -> Result<Vec<ValueId>, GraphError>>;

fn one(layer: impl Layer + Clone + 'static) -> Apply {
    Box::new(move |b, x| Ok(vec![b.layer("m", x[0], layer.clone())?]))
}

fn recurrent(layer: impl RecurrentLayer + Clone + 'static) -> Apply {
    Box::new(move |b, x| {
        let y = b.recurrent("m", x[0], layer.clone(), x.get(1).copied(), x.get(2).copied())?;
        Ok([Some(y.output), Some(y.hidden), y.cell].into_iter().flatten().collect())
    })
}

fn cases() -> Vec<(&'static str, Apply)> {
    vec![
        ("linear", one(Linear::new(5, 3))),
        ("linear_3d", one(Linear::new(5, 3))),
        ("linear_no_bias", one(Linear::new(5, 3).bias(false))),
        ("bilinear", Box::new(|b, x| Ok(vec![b.bilinear("m", x[0], x[1], Bilinear::new(4, 3, 5))?]))),
        (
            "bilinear_3d",
            Box::new(|b, x| Ok(vec![b.bilinear("m", x[0], x[1], Bilinear::new(4, 3, 5).bias(false))?])),
        ),
        ("embedding", one(Embedding::new(7, 3))),
        ("conv1d", one(Conv1d::new(4, 6, 3).stride(2).padding(1).dilation(2).groups(2))),
        ("conv1d_same", one(Conv1d::new(2, 3, 4).same_padding())),
        ("conv2d", one(Conv2d::new(3, 4, [3, 2]).stride([2, 1]).padding([1, 0]))),
        ("conv3d", one(Conv3d::new(2, 3, 2).bias(false))),
        (
            "conv_transpose1d",
            one(ConvTranspose1d::new(4, 6, 3).stride(3).padding(1).output_padding(2).groups(2)),
        ),
        (
            "conv_transpose2d",
            one(ConvTranspose2d::new(2, 3, [3, 2]).stride(2).dilation([2, 1]).output_padding(1)),
        ),
        ("conv_transpose3d", one(ConvTranspose3d::new(2, 2, 2).stride(2).bias(false))),
        ("rnn", recurrent(RNN::new(3, 4))),
        ("rnn_relu", recurrent(RNN::new(3, 4).num_layers(2).relu().bidirectional(true).batch_first(true))),
        ("lstm", recurrent(LSTM::new(3, 4))),
        ("lstm_states", recurrent(LSTM::new(3, 4).num_layers(2).bidirectional(true).batch_first(true))),
        ("lstm_no_bias", recurrent(LSTM::new(3, 4).bias(false))),
        ("gru", recurrent(GRU::new(3, 4).bidirectional(true))),
        ("gru_states", recurrent(GRU::new(3, 4).num_layers(3))),
        ("batch_norm1d", one(BatchNorm1d::new(4))),
        ("batch_norm1d_length", one(BatchNorm1d::new(4).affine(false))),
        ("batch_norm2d", one(BatchNorm2d::new(3).eps(1e-3))),
        ("batch_norm3d", one(BatchNorm3d::new(2))),
        ("layer_norm", one(LayerNorm::new([3, 4]))),
        ("layer_norm_plain", one(LayerNorm::new([4]).elementwise_affine(false))),
        ("layer_norm_no_bias", one(LayerNorm::new([4]).bias(false))),
        ("instance_norm1d", one(InstanceNorm1d::new(3))),
        ("instance_norm2d", one(InstanceNorm2d::new(3).affine(true))),
        ("instance_norm3d", one(InstanceNorm3d::new(2))),
        ("group_norm", one(GroupNorm::new(2, 6))),
        ("relu", one(ReLU)),
        ("relu6", one(ReLU6)),
        ("leaky_relu", one(LeakyReLU::new(0.2))),
        ("prelu", one(PReLU::default())),
        ("prelu_channels", one(PReLU::new(3))),
        ("elu", one(ELU::new(0.7))),
        ("selu", one(SELU)),
        ("celu", one(CELU::new(0.6))),
        ("hardswish", one(Hardswish)),
        ("hardsigmoid", one(Hardsigmoid)),
        ("hardtanh", one(Hardtanh::new(-0.5, 1.5))),
        ("silu", one(SiLU)),
        ("gelu", one(GELU::new())),
        ("gelu_tanh", one(GELU::tanh())),
        ("sigmoid", one(Sigmoid)),
        ("tanh", one(Tanh)),
        ("softplus", one(Softplus::default())),
        ("softplus_beta", one(Softplus::new(2.5))),
        ("softsign", one(Softsign)),
        ("mish", one(Mish)),
        ("softmax", one(Softmax::new(1))),
        ("log_softmax", one(LogSoftmax::new(-1))),
        ("dropout", one(Dropout::new(0.5))),
        ("identity", one(Identity)),
        ("flatten", one(Flatten::default())),
        ("flatten_inner", one(Flatten::new(0, 1))),
        ("max_pool1d", one(MaxPool1d::new(3).stride(2).padding(1).ceil_mode(true))),
        ("max_pool2d", one(MaxPool2d::new([3, 2]).stride(2).dilation([2, 1]))),
        ("max_pool3d", one(MaxPool3d::new(2))),
        ("avg_pool1d", one(AvgPool1d::new(3).stride(2).padding(1).ceil_mode(true))),
        ("avg_pool2d", one(AvgPool2d::new(3).stride(2).padding(1).count_include_pad(false))),
        ("avg_pool3d", one(AvgPool3d::new(2).ceil_mode(true))),
        ("adaptive_avg_pool1d", one(AdaptiveAvgPool1d::new(3))),
        ("adaptive_avg_pool2d", one(AdaptiveAvgPool2d::new([5, 3]))),
        ("adaptive_avg_pool2d_even", one(AdaptiveAvgPool2d::new([2, 4]))),
        ("adaptive_avg_pool3d", one(AdaptiveAvgPool3d::new([2, 3, 7]))),
        ("adaptive_max_pool2d", one(AdaptiveMaxPool2d::new([2, 4]))),
        ("global_avg_pool", one(GlobalAvgPool)),
        (
            "attention",
            Box::new(|b, x| Ok(vec![b.attention("m", x[0], x[1], x[2], MultiheadAttention::new(8, 2))?])),
        ),
        ("self_attention", one(MultiheadAttention::new(8, 4).bias(false).batch_first(true))),
    ]
}

/// The tensors of one case and one kind (`w`, `x`, `y`) by the rest of their names.
fn part(all: &BTreeMap<String, Tensor>, case: &str, kind: &str) -> BTreeMap<String, Tensor> {
    let prefix = format!("{case}|{kind}|");
    all.iter().filter_map(|(k, t)| k.strip_prefix(&prefix).map(|k| (k.to_owned(), t.clone()))).collect()
}

fn golden() -> BTreeMap<String, Tensor> {
    read_safetensors(include_bytes!("data/builder_layers.safetensors")).unwrap()
}

/// Equal within what two orders of f32 sums may differ by.
fn assert_close(case: &str, got: &[Tensor], expected: &[Tensor]) {
    assert_eq!(got.len(), expected.len(), "{case}");
    for (g, e) in got.iter().zip(expected) {
        assert_eq!(g.dims(), e.dims(), "{case}");
        for (g, e) in g.to_f64_vec().unwrap().iter().zip(e.to_f64_vec().unwrap()) {
            assert!((g - e).abs() <= 2e-5 * (1.0 + e.abs()), "{case}: {g}, expected {e}");
        }
    }
}

#[test]
fn every_layer_gives_what_pytorch_gives_and_survives_onnx() {
    let all = golden();
    let names: BTreeSet<&str> = all.keys().map(|k| k.split('|').next().unwrap()).collect();
    let cases = cases();
    assert_eq!(names, cases.iter().map(|(n, _)| *n).collect::<BTreeSet<_>>());
    for (case, apply) in cases {
        let inputs: Vec<Tensor> = part(&all, case, "x").into_values().collect();
        let expected: Vec<Tensor> = part(&all, case, "y").into_values().collect();
        let mut b = Graph::builder();
        let x: Vec<ValueId> = inputs
            .iter()
            .enumerate()
            .map(|(i, t)| b.input(format!("x{i}"), t.dtype(), tq_graph::dim::shape_of(t.dims())).unwrap())
            .collect();
        let y = apply(&mut b, &x).unwrap();
        for (i, y) in y.into_iter().enumerate() {
            b.output(format!("y{i}"), y).unwrap();
        }
        // Strict: names and shapes are PyTorch's, no more and no less.
        b.load_weights(&write_safetensors(&part(&all, case, "w")).unwrap()).unwrap();
        let graph = b.build().unwrap();
        let run = |g: &Graph| Evaluator::new(g, Precision::F32).unwrap().run(&inputs).unwrap();
        let outputs = run(&graph);
        assert_close(case, &outputs, &expected);

        let bytes = tq_onnx::export_bytes(&graph, &tq_onnx::ExportOptions::at(21)).unwrap();
        let again = tq_onnx::import_bytes(&bytes, None).unwrap();
        assert_close(case, &run(&again), &outputs);
    }
}
