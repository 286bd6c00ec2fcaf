//! From a float model over training with fake quantization to a model of codes.

#![allow(clippy::unwrap_used)]

mod shared;

use shared::{CLASSES, SIZE, model, samples};
use std::sync::Arc;
use tq_graph::{Graph, Tensor};
use tq_observers::{MinMaxObserver, MovingAverageMinMaxObserver, MseObserver, PerChannelMinMaxObserver};
use tq_passes::{
    Backend, GroupWiseQuantConfig, Placement, QConfig, QConfigDict, QuantConfig, convert, int4_qconfig,
    int8_qconfig, prepare_static,
};
use tq_qat::loss::cross_entropy;
use tq_qat::optim::{Adam, Optimizer};
use tq_qat::{
    FakeQuantize, LearnableFakeQuantize, Parameter, QatModel, QatOptions, QuantizerConfig,
    StochasticQuantize, Tape, Var, prepare_qat, prepare_qat_with,
};
use tq_qtypes::{OperatorKind, QuantSpec};
use tq_runtime::{Session, SessionOptions};

fn rows(t: &Tensor, from: usize, n: usize) -> Tensor {
    let row = SIZE * SIZE;
    let data = t.as_slice::<f32>().unwrap()[from * row..(from + n) * row].to_vec();
    Tensor::new(&[n, 1, SIZE, SIZE], data).unwrap()
}

/// The loss of every step.
fn train(qat: &QatModel, steps: usize, lr: f32) -> Vec<f32> {
    let (x, labels) = samples(256, 5);
    qat.train(true);
    // The first pass shows how many scales there are.
    qat.run(&Tape::without_gradients(), &[rows(&x, 0, 32)]).unwrap();
    let mut optimizer = Adam::new(qat.parameters(), lr).unwrap();
    for (group, lr) in qat.group_rates() {
        optimizer.set_group_lr(group, lr).unwrap();
    }
    let mut losses = Vec::new();
    for step in 0..steps {
        let from = step * 32 % 256;
        let output = qat.forward(&rows(&x, from, 32)).unwrap();
        let loss = cross_entropy(&output, &labels[from..from + 32]).unwrap();
        optimizer.zero_grad();
        loss.backward().unwrap();
        optimizer.step().unwrap();
        losses.push(loss.item().unwrap());
    }
    losses
}

fn decisions(y: &Tensor) -> Vec<usize> {
    let best = |row: &[f32]| (0..row.len()).fold(0, |b, i| if row[i] > row[b] { i } else { b });
    y.as_slice::<f32>().unwrap().chunks_exact(CLASSES).map(best).collect()
}

fn accuracy(graph: &Graph) -> f64 {
    let (x, labels) = samples(400, 77);
    let y = Session::new(graph, SessionOptions::default()).unwrap().run(&[x]).unwrap();
    let right = decisions(&y[0]).iter().zip(&labels).filter(|(d, l)| **d as i64 == **l).count();
    right as f64 / labels.len() as f64
}

/// A float model that was trained here too: the same code with rounding switched off.
fn trained_float() -> Graph {
    let qat = prepare_qat(model(), QuantConfig::default().activation(FakeQuantize::default())).unwrap();
    qat.set_quantizing(false);
    let losses = train(&qat, 150, 0.01);
    assert!(losses[149] < 0.5 * losses[0], "{} to {}", losses[0], losses[149]);
    qat.float_graph().unwrap()
}

/// The model of codes computes what training has imitated, to the last bit.
fn check_converted(qat: QatModel) -> Graph {
    let (x, _) = samples(400, 77);
    qat.train(false);
    let expected = qat.run(&Tape::without_gradients(), std::slice::from_ref(&x)).unwrap();
    let expected = expected[0].value().clone();
    let graph = convert(qat).unwrap().graph;
    let got = Session::new(&graph, SessionOptions::default()).unwrap().run(&[x]).unwrap().remove(0);
    assert_eq!(decisions(&expected), decisions(&got));
    let (expected, got) = (expected.as_slice::<f32>().unwrap(), got.as_slice::<f32>().unwrap());
    let differ = expected.iter().zip(got).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
    assert_eq!(differ, 0, "of {} scores", got.len());
    graph
}

#[test]
fn training_recovers_what_four_bits_lose_and_converts_to_what_it_was() {
    let float = trained_float();
    let of_float = accuracy(&float);
    assert!(of_float > 0.8, "{of_float}");
    let (x, _) = samples(256, 5);
    let ptq = prepare_static(float.clone(), int4_qconfig()).unwrap();
    ptq.forward(&rows(&x, 0, 128)).unwrap();
    let of_ptq = accuracy(&convert(ptq).unwrap().graph);

    let fixed = prepare_qat(float.clone(), int4_qconfig()).unwrap();
    train(&fixed, 60, 0.003);
    let of_fixed = accuracy(&check_converted(fixed));
    let options = QatOptions {
        activation: LearnableFakeQuantize::default().into(),
        weight: LearnableFakeQuantize::default().into(),
        ..QatOptions::default()
    };
    let learned = prepare_qat_with(float, int4_qconfig(), &options).unwrap();
    let scales = |m: &QatModel| m.quantizers().map(|q| q.qparams().map(|p| p.scale).ok()).collect::<Vec<_>>();
    train(&learned, 1, 0.0);
    let before = scales(&learned);
    train(&learned, 60, 0.003);
    assert_ne!(before, scales(&learned), "no scale was trained");
    let of_learned = accuracy(&check_converted(learned));
    println!("float {of_float}, PTQ {of_ptq}, QAT {of_fixed}, LSQ {of_learned}");
    let half = of_ptq + 0.5 * (of_float - of_ptq);
    assert!(of_fixed >= half.min(of_float - 0.02) && of_learned >= half.min(of_float - 0.02));
}

#[test]
fn every_backend_and_quantizer_converts_to_what_it_was() {
    let float = model();
    let four_bits = QuantSpec { quant_max: 15, ..QuantSpec::u8_affine() };
    let configs = [
        QuantConfig::default().activation(FakeQuantize::default()).weight(FakeQuantize::default()),
        QuantConfig::default()
            .backend(Backend::Qnnpack)
            .activation(FakeQuantize::default())
            .weight(FakeQuantize::default()),
        QuantConfig::default()
            .activation(MovingAverageMinMaxObserver::default())
            .weight(PerChannelMinMaxObserver::symmetric()),
        QuantConfig::default().activation(MinMaxObserver::with_bits(4).unwrap()),
        // Ranges that cut off what is large: codes of four bits in bytes must be kept to.
        QuantConfig::default().activation(MseObserver::new(four_bits, 1e-7, 50, 2048).unwrap()),
    ];
    for config in configs {
        let qat = prepare_qat(float.clone(), config.clone()).unwrap();
        train(&qat, 10, 0.003);
        check_converted(qat);
        let stochastic =
            QatOptions { activation: StochasticQuantize::new(8, 1.0).into(), ..QatOptions::default() };
        let qat = prepare_qat_with(float.clone(), config, &stochastic).unwrap();
        train(&qat, 10, 0.003);
        check_converted(qat);
    }
}

#[test]
fn training_does_not_depend_on_threads() {
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let qat = prepare_qat(model(), int4_qconfig()).unwrap();
            let losses = train(&qat, 12, 0.01);
            let values: Vec<Vec<f32>> =
                qat.parameters().iter().map(|p| p.value().as_slice::<f32>().unwrap().to_vec()).collect();
            (losses, values)
        })
    };
    assert_eq!(with(1), with(4));
}

#[test]
fn what_does_not_fit_is_told() {
    let qat = prepare_qat(model(), QuantConfig::default()).unwrap();
    let wrong = qat.forward(&Tensor::vector(vec![1.0f32; 4])).unwrap_err().to_string();
    assert!(wrong.contains("conv0"), "{wrong}");
    let two = [samples(1, 1).0, samples(1, 1).0];
    assert_eq!(qat.run(&Tape::new(), &two).unwrap_err().to_string(), "2 tensors for 1 inputs of the model");
    let nan = Tensor::new(&[1, 1, SIZE, SIZE], vec![f32::NAN; SIZE * SIZE]).unwrap();
    let told = qat.forward(&nan).unwrap_err().to_string();
    assert!(told.starts_with("fake quantization of x: "), "{told}");
    // Nothing was seen, so there are no scales.
    assert!(convert(prepare_qat(model(), QuantConfig::default()).unwrap()).is_err());
}

/// What a segment of `Tape::checkpoint` observes and draws in its first run stays as it is in the second.
#[test]
fn a_segment_that_runs_twice_observes_and_draws_once() {
    let kinds: [QuantizerConfig; 3] = [
        FakeQuantize::new(MovingAverageMinMaxObserver::default()).into(),
        LearnableFakeQuantize::default().into(),
        StochasticQuantize::new(4, 1.0).into(),
    ];
    for kind in kinds {
        let run = |in_segment: bool| {
            let quantizer = Arc::new(kind.build("x").unwrap());
            let x = Parameter::new("x", Tensor::vector(shared::noise(500, 3))).unwrap();
            for _ in 0..3 {
                let (tape, inner) = (Tape::new(), Arc::clone(&quantizer));
                let value = tape.parameter(&x);
                let segment = move |_: &Tape, inputs: &[Var]| {
                    let y = inner.forward(&inputs[0])?;
                    Ok(vec![y.mul(&y)?])
                };
                let y = match in_segment {
                    true => tape.checkpoint("segment", &[&value], segment).unwrap().remove(0),
                    false => segment(&tape, &[value]).unwrap().remove(0),
                };
                y.sum().unwrap().backward().unwrap();
            }
            let trained: Vec<_> = quantizer.parameters().iter().map(Parameter::gradient).collect();
            (quantizer.state_dict(), x.gradient(), trained)
        };
        assert_eq!(run(true), run(false), "{kind:?}");
    }
}

/// Sums of groups have no scale of their own: a bias that training rounded to one would not be that of the converted model.
#[test]
fn biases_beside_weights_in_groups_stay_as_they_are() {
    let four_bits: QConfig = GroupWiseQuantConfig::new(4, 4).try_into().unwrap();
    let linear = int8_qconfig().weight(four_bits.weight);
    let dict = QConfigDict::from(int8_qconfig()).set_module_type_name("Linear", linear);
    let mut float = model();
    let (w, b) = (float.find_value("w").unwrap(), float.find_value("b").unwrap());
    // A column without weights has the smallest scale that there is, at which no bias of this size fits 32 bits.
    let mut weights = float.constant(w).unwrap().as_slice::<f32>().unwrap().to_vec();
    weights.iter_mut().step_by(CLASSES).for_each(|w| *w = 0.0);
    float.values[w.0].constant = Some(Tensor::new(&[12, CLASSES], weights).unwrap());
    float.values[b.0].constant = Some(Tensor::vector((0..CLASSES).map(|c| c as f32 + 10.0).collect()));
    let qat = prepare_qat(float, dict).unwrap();
    train(&qat, 5, 1e-4);
    qat.train(false);
    let (x, _) = samples(40, 77);
    let expected = qat.run(&Tape::without_gradients(), std::slice::from_ref(&x)).unwrap();
    let expected = expected[0].value().clone();
    let quantized = convert(qat).unwrap();
    let head = quantized.report.nodes.iter().find(|n| n.node == "head").unwrap();
    let kind = OperatorKind::GroupWiseLinear;
    assert_eq!(head.placement, Placement::Integer { kind, float_output: true });
    let session = Session::new(&quantized.graph, SessionOptions::default()).unwrap();
    let got = session.run(&[x]).unwrap().remove(0);
    let both = expected.as_slice::<f32>().unwrap().iter().zip(got.as_slice::<f32>().unwrap());
    for (expected, got) in both {
        assert!((expected - got).abs() < 1e-4 * expected.abs(), "{got}, expected {expected}");
    }
}
