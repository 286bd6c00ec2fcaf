//! Models of several outputs: they train, convert and resume, and what becomes of every output is told.

#![allow(clippy::unwrap_used)]

mod shared;

use shared::{model, noise, samples};
use tq_graph::op::UnaryOp;
use tq_graph::{Graph, Op, Tensor};
use tq_passes::{convert, int4_qconfig};
use tq_qat::train::{Agreement, Distillation, OutputReport, Samples, Targets, TrainOptions, Trainer};
use tq_qat::{LearnableFakeQuantize, QatModel, QatOptions, prepare_qat_with};
use tq_runtime::{Session, SessionOptions};

/// The network of classes, with three more outputs of the same trunk: probabilities of others, numbers, and a decision.
fn several() -> Graph {
    let mut g = model();
    let flat = g.iter_nodes().find(|(_, n)| n.name == "flat").unwrap().1.output(0).unwrap();
    let y = g.outputs[0];
    let head = |g: &mut Graph, name: &str, n: usize, seed: u32| {
        let w = g.add_constant(format!("{name}.w"), Tensor::new(&[12, n], noise(12 * n, seed)).unwrap());
        let b = g.add_constant(format!("{name}.b"), Tensor::vector(vec![0.1f32; n]));
        let op = Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false };
        g.add_node(name, op, &[flat, w, b], format!("{name}.y"))
    };
    let colours = head(&mut g, "colours", 3, 21);
    let colours = g.add_node("softmax", Op::Softmax { axis: -1 }, &[colours], "colour");
    let place = head(&mut g, "place", 2, 22);
    let place = g.add_node("tanh", Op::Unary(UnaryOp::Tanh), &[place], "position");
    let args = tq_graph::op::ArgAttrs { axis: 1, keep_dims: false, select_last: false };
    let class = g.add_node("decide", Op::ArgMax(args), &[y], "class");
    g.outputs.extend([colours, place, class]);
    tq_graph::infer::infer(&mut g).unwrap();
    g
}

fn data(n: usize, seed: u32) -> Samples {
    let (x, labels) = samples(n, seed);
    Samples::classes(vec![x], labels).unwrap()
}

fn lsq() -> QatOptions {
    QatOptions {
        activation: LearnableFakeQuantize::default().into(),
        weight: LearnableFakeQuantize::default().into(),
        ..QatOptions::default()
    }
}

fn trainer(distillation: Option<Distillation>) -> Trainer {
    trainer_on(data(96, 5), data(64, 6), distillation, 3, 0.003)
}

fn trainer_on(
    train: Samples,
    validation: Samples,
    distillation: Option<Distillation>,
    epochs: usize,
    lr: f32,
) -> Trainer {
    let qat = prepare_qat_with(several(), int4_qconfig(), &lsq()).unwrap();
    let options = TrainOptions { epochs, batch: 16, lr, distillation, ..TrainOptions::default() };
    Trainer::new(qat, train, validation, options).unwrap()
}

fn values(model: &QatModel) -> Vec<(String, Vec<u8>)> {
    model.parameters().iter().map(|p| (p.name().to_owned(), p.value().le_bytes().into_owned())).collect()
}

fn of<'a>(reports: &'a [OutputReport], name: &str) -> &'a OutputReport {
    reports.iter().find(|r| r.name == name).unwrap()
}

fn db(agreement: Agreement) -> f64 {
    match agreement {
        Agreement::SqnrDb(db) => db,
        Agreement::EqualPercent(_) => panic!("{agreement:?}"),
    }
}

/// A model whose only output is `n` scores through a sigmoid.
fn detector(n: usize) -> Graph {
    let mut g = model();
    let flat = g.iter_nodes().find(|(_, n)| n.name == "flat").unwrap().1.output(0).unwrap();
    let w = g.add_constant("detect.w", Tensor::new(&[12, n], noise(12 * n, 31)).unwrap());
    let score = g.add_node("detect", Op::MatMul, &[flat, w], "score");
    let found = g.add_node("sigmoid", Op::Unary(UnaryOp::Sigmoid), &[score], "found");
    g.outputs = vec![found];
    tq_graph::infer::infer(&mut g).unwrap();
    g
}

#[test]
fn scores_that_are_no_classes_are_refused_before_anything_is_trained() {
    let (x, labels) = samples(32, 5);
    let taught = || Samples::new(vec![x.clone()], Targets::Teacher).unwrap();
    let zeros = || Samples::classes(vec![x.clone()], vec![0; labels.len()]).unwrap();
    let distillation = Some(Distillation { temperature: 2.0, weight: 1.0 });
    let refused = |n: usize, samples: &dyn Fn() -> Samples, distillation: Option<Distillation>| {
        let qat = prepare_qat_with(detector(n), int4_qconfig(), &QatOptions::default()).unwrap();
        let options = TrainOptions { epochs: 1, batch: 16, distillation, ..TrainOptions::default() };
        let error = match Trainer::new(qat, samples(), samples(), options) {
            Ok(mut trainer) => {
                let error = trainer.advance().unwrap_err();
                assert_eq!(trainer.position(), (0, 0));
                error
            }
            Err(error) => error,
        };
        error.to_string()
    };
    assert!(refused(1, &taught, distillation).contains("at least two scores"));
    assert!(refused(1, &zeros, None).contains("at least two scores"));
    assert!(refused(3, &taught, distillation).contains("sigmoid"));
}

#[test]
fn learned_scales_of_all_outputs_train_convert_and_resume() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c");
    for distillation in [None, Some(Distillation { temperature: 2.0, weight: 0.5 })] {
        let mut whole = trainer(distillation);
        let before = values(whole.model());
        assert!(before.iter().any(|(name, _)| name == "place.weight.scale"), "{before:?}");
        for _ in 0..8 {
            whole.advance().unwrap();
        }
        whole.save_checkpoint(&path).unwrap();
        while whole.advance().unwrap().is_some() {}
        let outputs = whole.outputs().unwrap();
        assert_eq!(outputs, whole.outputs().unwrap(), "looking changes nothing");
        let fixed = whole.fixed_constants();
        let whole = whole.finish().unwrap();

        let mut resumed = trainer(distillation);
        resumed.resume(&path).unwrap();
        assert_eq!(resumed.position(), (2, 1));
        while resumed.advance().unwrap().is_some() {}
        assert_eq!(resumed.outputs().unwrap(), outputs);
        let end = values(&whole);
        assert!(values(&resumed.finish().unwrap()) == end, "other parameters after the interruption");

        // The others are trained where the float model teaches them, and told to be fixed where not.
        let moved = |name: &str| {
            let find = |all: &[(String, Vec<u8>)]| all.iter().find(|(n, _)| n == name).unwrap().1.clone();
            find(&before) != find(&end)
        };
        assert!(moved("w"));
        for name in ["colours.w", "place.w", "place.b"] {
            assert_eq!(moved(name), distillation.is_some(), "{name}");
            let told = fixed.iter().any(|c| c.name == name && c.reason.contains("not trained"));
            assert_eq!(told, distillation.is_none(), "{name}: {fixed:?}");
        }
        let names: Vec<_> = outputs.iter().map(|o| (o.name.as_str(), o.is_trained)).collect();
        let others = distillation.is_some();
        assert_eq!(names, [("y", true), ("colour", others), ("position", others), ("class", false)]);
        assert!(matches!(of(&outputs, "class").after, Agreement::EqualPercent(p) if p > 25.0));

        // Every output of the session is that of the model that was trained.
        let (x, _) = samples(64, 6);
        whole.train(false);
        let imitated = whole.run(&tq_qat::Tape::without_gradients(), std::slice::from_ref(&x)).unwrap();
        let graph = convert(whole).unwrap().graph;
        let got = Session::new(&graph, SessionOptions::default()).unwrap().run(&[x]).unwrap();
        assert_eq!(got.len(), 4);
        for (got, imitated) in got.iter().zip(&imitated).take(3) {
            let (got, imitated) = (got.as_slice::<f32>().unwrap(), imitated.value());
            let imitated = imitated.as_slice::<f32>().unwrap();
            let range = imitated.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            let close = got.iter().zip(imitated).filter(|(a, b)| (**a - **b).abs() <= range / 127.0).count();
            assert!(close * 100 >= got.len() * 98, "{close} of {}", got.len());
        }
    }
}

/// What the float model teaches comes nearer to it than what only moves along.
#[test]
fn drift_of_outputs_is_told_and_distillation_stops_it() {
    let run = |mut trainer: Trainer| {
        while trainer.advance().unwrap().is_some() {}
        assert!(trainer.best().epoch > 0, "{:?}", trainer.history());
        trainer.outputs().unwrap()
    };
    let unlabelled = |n, seed| Samples::new(vec![samples(n, seed).0], Targets::Teacher).unwrap();
    let alone = run(trainer_on(data(96, 5), data(64, 6), None, 10, 0.001));
    let teach = Some(Distillation::default());
    let taught = run(trainer_on(unlabelled(96, 5), unlabelled(64, 6), teach, 10, 0.001));
    for name in ["colour", "position"] {
        let (alone, taught) = (of(&alone, name), of(&taught, name));
        assert_eq!(alone.before, taught.before, "{name}");
        assert!(db(taught.after) > db(alone.after) + 1.0, "{name}: {alone:?} {taught:?}");
        assert!(db(taught.after) > db(taught.before), "{name}: {taught:?}");
    }
    assert_eq!(
        of(&alone, "colour").after.to_string(),
        format!("SQNR {:.1} dB", db(of(&alone, "colour").after))
    );
}

/// One output says all in its score.
#[test]
fn one_output_is_not_reported() {
    let qat = prepare_qat_with(model(), int4_qconfig(), &lsq()).unwrap();
    let trainer = Trainer::new(qat, data(16, 5), data(16, 6), TrainOptions::default()).unwrap();
    assert!(trainer.outputs().unwrap().is_empty());
    assert!(trainer.fixed_constants().is_empty(), "{:?}", trainer.fixed_constants());
}
