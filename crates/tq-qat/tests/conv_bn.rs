//! Convolutions trained with their batch normalization, against PyTorch's (`tests/data/make_conv_bn.py`).

#![allow(clippy::unwrap_used)]

mod shared;

use serde_json::Value;
use tq_graph::op::{ConvAttrs, Padding, UnaryOp};
use tq_graph::{Dim, Graph, Op, Tensor, infer};
use tq_observers::{Mode, PerChannelMinMaxObserver};
use tq_passes::{QuantConfig, convert, prepare_static};
use tq_qat::train::{Samples, TrainOptions, Trainer};
use tq_qat::{BatchNorm, QatModel, QatOptions, Tape, prepare_qat_with};
use tq_qtypes::DType;
use tq_runtime::{Session, SessionOptions};

fn floats(v: &Value) -> Vec<f32> {
    v.as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect()
}

fn conv(groups: usize) -> Op {
    let padding = Padding::Explicit { begin: vec![1; 2], end: vec![1; 2] };
    Op::Conv(ConvAttrs { strides: vec![1; 2], dilations: vec![1; 2], padding, groups })
}

/// A convolution, its normalization, and perhaps Relu.
fn graph(case: &Value, relu: bool) -> Graph {
    let dims: Vec<usize> =
        case["w_shape"].as_array().unwrap().iter().map(|d| d.as_u64().unwrap() as usize).collect();
    let groups = case["groups"].as_u64().unwrap() as usize;
    let mut g = Graph::new("net");
    let shape = vec![Dim::symbol("N"), (dims[1] * groups).into(), 4usize.into(), 4usize.into()];
    let x = g.add_input("x", DType::F32, shape);
    let w = g.add_constant("w", Tensor::new(&dims, floats(&case["w"])).unwrap());
    let mut inputs = vec![x, w];
    if !case["bias"].is_null() {
        inputs.push(g.add_constant("b", Tensor::vector(floats(&case["bias"]))));
    }
    let c = g.add_node("conv", conv(groups), &inputs, "c");
    let mut inputs = vec![c];
    for name in ["scale", "offset", "mean", "variance"] {
        inputs.push(g.add_constant(name, Tensor::vector(floats(&case[name]))));
    }
    let epsilon = case["epsilon"].as_f64().unwrap() as f32;
    let mut y = g.add_node("norm", Op::BatchNormalization { epsilon }, &inputs, "n");
    if relu {
        y = g.add_node("relu", Op::Unary(UnaryOp::Relu), &[y], "y");
    }
    g.outputs.push(y);
    infer::infer(&mut g).unwrap();
    g
}

fn prepared(case: &Value, relu: bool) -> QatModel {
    let weight = PerChannelMinMaxObserver::symmetric().with_mode(Mode::PyTorch);
    let options = QatOptions { batch_norm: BatchNorm::Trained, ..QatOptions::default() };
    let config = QuantConfig::default().weight(weight);
    prepare_qat_with(graph(case, relu), config, &options).unwrap()
}

fn cases() -> Vec<Value> {
    let json: Value = serde_json::from_str(include_str!("data/conv_bn.json")).unwrap();
    let cases = json["cases"].as_array().unwrap().clone();
    assert!(!cases.is_empty());
    cases
}

fn assert_close(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}");
    let size = want.iter().fold(0.01f32, |m, v| m.max(v.abs()));
    for (i, (a, b)) in got.iter().zip(want).enumerate() {
        assert!((a - b).abs() <= 4e-6 * size, "{what}, element {i}: {a} {b}");
    }
}

#[test]
fn values_gradients_and_running_statistics_are_those_of_pytorch() {
    for (i, case) in cases().iter().enumerate() {
        let qat = prepared(case, false);
        // Weights alone are rounded there.
        qat.quantizers().filter(|q| !q.name().ends_with(".weight")).for_each(|q| q.set_quantizing(false));
        let channels =
            case["w_shape"][1].as_u64().unwrap() as usize * case["groups"].as_u64().unwrap() as usize;
        for (k, step) in case["steps"].as_array().unwrap().iter().enumerate() {
            let what = |name: &str| format!("case {i}, step {k}, {name}");
            if step["frozen"] == true {
                qat.freeze_bn_stats();
            }
            qat.parameters().iter().for_each(tq_qat::Parameter::zero_grad);
            let x = Tensor::new(&[3, channels, 4, 4], floats(&step["x"])).unwrap();
            let y = qat.forward(&x).unwrap();
            assert_close(&what("y"), y.value().as_slice().unwrap(), &floats(&step["y"]));
            y.backward_with(Tensor::new(y.shape(), floats(&step["g"])).unwrap()).unwrap();
            for (name, want) in [("w", "dw"), ("b", "dbias"), ("scale", "dscale"), ("offset", "doffset")] {
                let parameter = qat.parameters().into_iter().find(|p| p.name() == name);
                assert_eq!(parameter.is_some(), !step[want].is_null(), "{}", what(name));
                let Some(parameter) = parameter else { continue };
                let gradient = parameter.gradient().unwrap();
                // With statistics of the batch a bias has no gradient but rounding errors.
                if name == "b" && step["frozen"] == false {
                    let got = gradient.as_slice::<f32>().unwrap();
                    assert!(got.iter().all(|g| g.abs() < 1e-4), "{got:?}");
                    continue;
                }
                assert_close(&what(want), gradient.as_slice().unwrap(), &floats(&step[want]));
            }
            let state = qat.state_dict().statistics;
            for name in ["mean", "variance"] {
                let got = state[&format!("norm.{name}")].clone();
                assert_close(&what(name), got.as_slice().unwrap(), &floats(&step[name]));
            }
        }
    }
}

/// Before training the model is the folded one, and after it what conversion folds is what was trained.
#[test]
fn it_begins_and_ends_as_the_folded_model() {
    for case in cases() {
        let channels =
            case["w_shape"][1].as_u64().unwrap() as usize * case["groups"].as_u64().unwrap() as usize;
        let pixels = channels * 16;
        let x = Tensor::new(&[64, channels, 4, 4], shared::noise(64 * pixels, 4)).unwrap();
        let qat = prepared(&case, true);
        let folded = prepare_static(graph(&case, true), QuantConfig::default()).unwrap();
        let (ours, theirs) = (qat.float_graph().unwrap(), folded.graph());
        for (a, b) in ours.values.iter().zip(&theirs.values) {
            assert_eq!(a.name, b.name);
            if let (Some(a), Some(b)) = (&a.constant, &b.constant) {
                assert_close("constant", a.as_slice().unwrap(), b.as_slice().unwrap());
            }
        }
        let target = shared::noise(64 * case["scale"].as_array().unwrap().len() * 16, 5);
        let target = Tensor::new(&[64, case["scale"].as_array().unwrap().len(), 4, 4], target).unwrap();
        let samples = Samples::new(vec![x.clone()], tq_qat::train::Targets::Values(target)).unwrap();
        let options = TrainOptions {
            epochs: 3,
            batch: 16,
            lr: 0.01,
            bn_epochs: Some(2),
            criterion: tq_qat::train::Criterion::Mse,
            ..TrainOptions::default()
        };
        let before = qat.state_dict();
        let mut trainer = Trainer::new(qat, samples.clone(), samples, options).unwrap();
        while trainer.advance().unwrap().is_some() {}
        // The last state, best or not: it has statistics of its own.
        let last = trainer.model().state_dict();
        let qat = trainer.finish().unwrap();
        qat.load_state_dict(&last).unwrap();
        for name in ["norm.mean", "norm.variance"] {
            assert_ne!(before.statistics[name], qat.state_dict().statistics[name]);
        }
        let imitated = qat.run(&Tape::without_gradients(), std::slice::from_ref(&x)).unwrap();
        let scale = qat.quantizers().find(|q| q.name() == "y").unwrap().qparams().unwrap().scale[0];
        let imitated = imitated[0].value().clone();
        let graph = convert(qat).unwrap().graph;
        let got = Session::new(&graph, SessionOptions::default()).unwrap().run(&[x]).unwrap().remove(0);
        let (a, b) = (imitated.as_slice::<f32>().unwrap(), got.as_slice::<f32>().unwrap());
        let differ = a.iter().zip(b).filter(|(a, b)| (**a - **b).abs() > 0.5 * scale).count();
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1.01 * scale), "more than one code");
        assert!(differ * 1000 <= a.len(), "{differ} of {} codes differ", a.len());
    }
}

/// A normalization that was never trained moves nothing yet; it is trained all the same.
#[test]
fn training_from_nothing_has_its_normalizations() {
    for mut case in cases() {
        for name in ["offset", "mean"] {
            let n = case[name].as_array().unwrap().len();
            case[name] = vec![0.0; n].into();
        }
        case["bias"] = Value::Null;
        assert_eq!(prepared(&case, true).trained_batch_norms(), 1);
    }
}
