//! The training loop: what it learns, what it keeps, and that a training put aside goes on to the same bytes.

#![allow(clippy::unwrap_used)]

mod shared;

use shared::{CLASSES, SIZE, model, noise, samples};
use std::path::Path;
use tq_graph::{Dim, Graph, Op, Tensor};
use tq_passes::{QuantConfig, convert, int4_qconfig};
use tq_qat::optim::Schedule;
use tq_qat::train::{
    Criterion, Distillation, Event, OptimizerConfig, Samples, Score, Targets, TrainOptions, Trainer,
};
use tq_qat::{
    FakeQuantize, LearnableFakeQuantize, QatError, QatModel, QatOptions, StochasticQuantize, prepare_qat,
    prepare_qat_with,
};
use tq_qtypes::DType;

fn data(n: usize, seed: u32) -> Samples {
    let (x, labels) = samples(n, seed);
    Samples::classes(vec![x], labels).unwrap()
}

/// A model that was trained in float here.
fn float_model() -> Graph {
    let qat = prepare_qat(model(), QuantConfig::default().activation(FakeQuantize::default())).unwrap();
    qat.set_quantizing(false);
    let options = TrainOptions { epochs: 14, batch: 32, lr: 0.01, ..TrainOptions::default() };
    let mut trainer = Trainer::new(qat, data(256, 5), data(128, 6), options).unwrap();
    while trainer.advance().unwrap().is_some() {}
    assert!(trainer.best().validation.top1.unwrap() > 80.0, "{:?}", trainer.history());
    trainer.finish().unwrap().float_graph().unwrap()
}

fn int4() -> QatOptions {
    QatOptions {
        activation: LearnableFakeQuantize::default().into(),
        weight: LearnableFakeQuantize::default().into(),
        ..QatOptions::default()
    }
}

fn bytes_of(model: &QatModel) -> Vec<(String, Vec<u8>)> {
    model.parameters().iter().map(|p| (p.name().to_owned(), p.value().le_bytes().into_owned())).collect()
}

fn run_all(trainer: &mut Trainer) {
    while trainer.advance().unwrap().is_some() {}
}

#[test]
fn the_best_epoch_is_kept_and_never_worse_than_calibration() {
    let float = float_model();
    for lr in [0.003, 30.0] {
        let qat = prepare_qat_with(float.clone(), int4_qconfig(), &int4()).unwrap();
        let options = TrainOptions {
            epochs: 3,
            lr,
            optimizer: OptimizerConfig::Sgd { momentum: 0.9, nesterov: false, weight_decay: 0.0 },
            max_grad_norm: Some(1.0),
            ..TrainOptions::default()
        };
        let mut trainer = Trainer::new(qat, data(256, 5), data(128, 6), options).unwrap();
        let mut epochs = Vec::new();
        // A rate that is far too large may end in numbers that are none; what was best is there all the same.
        while let Ok(Some(event)) = trainer.advance() {
            if let Event::Epoch(report) = event {
                epochs.push(report);
            }
        }
        let (start, best) = (trainer.history()[0], trainer.best());
        assert_eq!(start.epoch, 0);
        assert!(best.validation.top1 >= start.validation.top1);
        let better = |s: &Score| trainer.history().iter().any(|e| e.validation.is_better_than(s));
        assert!(!better(&best.validation));
        assert_eq!(best.epoch > 0, lr < 1.0, "{:?}", trainer.history());
        let kept = trainer.finish().unwrap();
        let options = TrainOptions { epochs: 0, ..TrainOptions::default() };
        let again = Trainer::new(kept, data(256, 5), data(128, 6), options).unwrap();
        assert_eq!(again.best().validation, best.validation, "what is handed out is what was measured");
        assert!(convert(again.finish().unwrap()).is_ok());
    }
}

/// Epoch 0 is what calibration and conversion give: the judge here is a session of the graph of codes.
#[test]
fn the_start_is_what_calibration_gives() {
    let float = float_model();
    let prepared = tq_passes::prepare_static(float.clone(), int4_qconfig()).unwrap();
    let (x, labels) = samples(256, 5);
    prepared.forward(&[x]).unwrap();
    let (held, held_labels) = samples(128, 6);
    let graph = convert(prepared).unwrap().graph;
    let session = tq_runtime::Session::new(&graph, tq_runtime::SessionOptions::default()).unwrap();
    let y = session.run(&[held]).unwrap().remove(0);
    let decided = y
        .as_slice::<f32>()
        .unwrap()
        .chunks_exact(CLASSES)
        .map(|row| (0..CLASSES).fold(0, |b, i| if row[i] > row[b] { i } else { b }) as i64);
    let right = decided.zip(&held_labels).filter(|(d, l)| d == *l).count();
    let qat = prepare_qat(float, int4_qconfig()).unwrap();
    let samples = Samples::classes(vec![samples(256, 5).0], labels).unwrap();
    let trainer = Trainer::new(qat, samples, data(128, 6), TrainOptions::default()).unwrap();
    assert_eq!(trainer.best().validation.top1, Some(100.0 * right as f64 / 128.0));
}

#[test]
fn without_labels_the_float_model_teaches() {
    let float = float_model();
    let teach = |samples: Samples, distillation: Option<Distillation>| {
        let qat = prepare_qat(float.clone(), int4_qconfig()).unwrap();
        let options = TrainOptions { epochs: 3, lr: 0.003, distillation, ..TrainOptions::default() };
        let mut trainer = Trainer::new(qat, samples.clone(), samples, options)?;
        run_all(&mut trainer);
        Ok::<_, QatError>((trainer.history()[0].validation, trainer.best().validation))
    };
    let unlabelled = Samples::new(vec![samples(256, 5).0], Targets::Teacher).unwrap();
    let (start, best) = teach(unlabelled.clone(), Some(Distillation::default())).unwrap();
    assert!(best.is_better_than(&start) && best.agreement.unwrap() > 90.0, "{start:?} {best:?}");
    assert!(best.top1.is_none() && start.top1.is_none());
    let both = teach(data(256, 5), Some(Distillation { temperature: 4.0, weight: 0.3 })).unwrap();
    assert!(both.1.top1 >= both.0.top1);
    assert!(both.1.agreement.is_none());
    let nothing = Distillation { weight: 0.0, ..Distillation::default() };
    let error = teach(unlabelled.clone(), Some(nothing)).unwrap_err().to_string();
    assert!(error.contains("the weight of distillation is 0"), "{error}");
    let error = teach(unlabelled, None).unwrap_err().to_string();
    assert!(error.contains("no targets, and no distillation"), "{error}");
}

/// Every kind of state there is: learned scales, moving averages, random rounding, momentum, Adam's moments, schedules,
/// gradients in several passes.
fn settings() -> Vec<(QatOptions, TrainOptions)> {
    let base = TrainOptions { epochs: 2, batch: 24, lr: 0.003, seed: 7, ..TrainOptions::default() };
    let sgd = OptimizerConfig::Sgd { momentum: 0.9, nesterov: true, weight_decay: 1e-4 };
    let stochastic = QatOptions {
        activation: StochasticQuantize::new(8, 1.0).into(),
        weight: LearnableFakeQuantize::default().into(),
        ..QatOptions::default()
    };
    vec![
        (int4(), TrainOptions { max_grad_norm: Some(0.5), ..base.clone() }),
        (
            QatOptions::default(),
            TrainOptions {
                optimizer: sgd,
                observe_epochs: Some(1),
                pass: Some(10),
                schedule: Some(Schedule::Step { every: 3, gamma: 0.5 }),
                ..base.clone()
            },
        ),
        (
            stochastic,
            TrainOptions {
                optimizer: OptimizerConfig::AdamW { weight_decay: 0.01 },
                observe_epochs: None,
                distillation: Some(Distillation::default()),
                ..base
            },
        ),
    ]
}

#[test]
fn interrupted_at_any_step_it_ends_in_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("training.tq-train");
    for (quantizers, options) in settings() {
        let config = QuantConfig::default().activation(FakeQuantize::default());
        let start = || {
            let qat = prepare_qat_with(model(), config.clone(), &quantizers).unwrap();
            Trainer::new(qat, data(100, 5), data(40, 6), options.clone()).unwrap()
        };
        let mut whole = start();
        // The file of every moment, and how often it was written.
        let mut files = Vec::new();
        loop {
            whole.save_checkpoint(&path).unwrap();
            files.push(std::fs::read(&path).unwrap());
            if whole.advance().unwrap().is_none() {
                break;
            }
        }
        assert_eq!(files.len(), 2 * (5 + 1) + 1);
        let (history, best) = (whole.history().to_vec(), whole.best());
        let end = bytes_of(&whole.finish().unwrap());
        for at in [0, 1, 3, 5, 6, 8, 11, 12] {
            std::fs::write(&path, &files[at]).unwrap();
            let mut resumed = start();
            resumed.resume(&path).unwrap();
            // At once the same file, and later the same as without the interruption.
            for file in &files[at..] {
                resumed.save_checkpoint(&path).unwrap();
                assert_eq!(std::fs::read(&path).unwrap(), *file);
                resumed.advance().unwrap();
            }
            assert!(resumed.is_over());
            assert_eq!((resumed.history(), resumed.best()), (&history[..], best));
            assert_eq!(bytes_of(&resumed.finish().unwrap()), end);
        }
    }
}

#[test]
fn checkpoints_that_are_not_whole_or_of_something_else_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c");
    let options = TrainOptions { epochs: 2, batch: 32, lr: 0.01, ..TrainOptions::default() };
    let begin = |graph: Graph, train: Samples, options: &TrainOptions| {
        Trainer::new(
            prepare_qat_with(graph, int4_qconfig(), &int4()).unwrap(),
            train,
            data(16, 6),
            options.clone(),
        )
        .unwrap()
    };
    let start = || begin(model(), data(64, 5), &options);
    let mut trainer = start();
    trainer.advance().unwrap();
    trainer.save_checkpoint(&path).unwrap();
    let good = std::fs::read(&path).unwrap();

    let mut fresh = start();
    let before = bytes_of(fresh.model());
    let fails = |trainer: &mut Trainer, bytes: &[u8], words: &str| {
        std::fs::write(&path, bytes).unwrap();
        let error = trainer.resume(&path).unwrap_err();
        assert!(matches!(error, QatError::Checkpoint { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{words}: {error}");
    };
    fails(&mut fresh, b"", "it is damaged, or no checkpoint");
    for cut in [1, 7, 8, 9, 100, good.len() / 2, good.len() - 1] {
        fails(&mut fresh, &good[..cut], "checkpoint");
    }
    // A bit anywhere: in the length, in the header, in the numbers.
    let step = (good.len() / 97).max(1);
    for at in (0..good.len()).step_by(step).chain(0..16).chain(good.len() - 4..good.len()) {
        let mut changed = good.clone();
        changed[at] ^= 0x10;
        fails(&mut fresh, &changed, "checkpoint");
    }
    let text = |from: &str, to: &str| {
        // Of the same length, so that the file stays a file.
        assert_eq!(from.len(), to.len());
        let at = good.windows(from.len()).position(|w| w == from.as_bytes()).unwrap();
        let mut changed = good.clone();
        changed[at..at + to.len()].copy_from_slice(to.as_bytes());
        changed
    };
    fails(&mut fresh, &text("\\\"version\\\":3", "\\\"version\\\":9"), "version 9 of the format");
    fails(&mut fresh, &text("\\\"step\\\":1", "\\\"step\\\":0"), "it was changed");
    assert!(fresh.resume(Path::new("/nowhere/at/all")).is_err());
    assert_eq!((bytes_of(fresh.model()), fresh.position()), (before, (1, 0)), "nothing has changed");
    std::fs::write(&path, &good).unwrap();
    fresh.resume(&path).unwrap();
    assert_eq!(fresh.position(), (1, 1));

    let mut other = model();
    let w0 = other.values.iter_mut().find(|v| v.name == "w0").unwrap();
    w0.constant = Some(Tensor::new(&[8, 1, 3, 3], noise(72, 99)).unwrap());
    fails(&mut begin(other, data(64, 5), &options), &good, "another model");
    // Calibrated on other samples it is another model, too: the samples are to blame.
    fails(&mut begin(model(), data(64, 50), &options), &good, "other samples");
    let mut labels = samples(64, 5).1;
    labels.swap(0, 1);
    let relabelled = Samples::classes(vec![samples(64, 5).0], labels).unwrap();
    fails(&mut begin(model(), relabelled, &options), &good, "other samples");
    let lr = TrainOptions { lr: 0.02, ..options.clone() };
    fails(&mut begin(model(), data(64, 5), &lr), &good, "lr was 0.01, and is 0.02");
    let eight =
        prepare_qat_with(model(), QuantConfig::default().activation(FakeQuantize::default()), &int4())
            .unwrap();
    let mut eight = Trainer::new(eight, data(64, 5), data(16, 6), options.clone()).unwrap();
    fails(&mut eight, &good, "other settings: configuration.");
    let fixed = prepare_qat(model(), int4_qconfig()).unwrap();
    let mut fixed = Trainer::new(fixed, data(64, 5), data(16, 6), options).unwrap();
    fails(&mut fixed, &good, "other settings: fake_quantizers.activation");
}

/// What is written in the middle is what is handed out, and does not change what follows.
#[test]
fn a_model_can_be_converted_while_it_is_trained() {
    let start = || {
        let qat = prepare_qat_with(model(), int4_qconfig(), &int4()).unwrap();
        let options = TrainOptions { epochs: 2, batch: 24, lr: 0.01, ..TrainOptions::default() };
        Trainer::new(qat, data(72, 5), data(40, 6), options).unwrap()
    };
    let (mut plain, mut looked_at) = (start(), start());
    run_all(&mut plain);
    let mut last = looked_at.converted().unwrap();
    while looked_at.advance().unwrap().is_some() {
        last = looked_at.converted().unwrap();
    }
    assert!(plain.history() == looked_at.history() && plain.best().epoch > 0);
    let end = convert(plain.finish().unwrap()).unwrap();
    assert!(end.graph == last.graph && convert(looked_at.finish().unwrap()).unwrap().graph == end.graph);
}

#[test]
fn what_is_wrong_is_said_before_or_where_it_happens() {
    let x = || samples(8, 1).0;
    let says = |result: Result<Samples, QatError>, words: &str| {
        assert_eq!(result.unwrap_err().to_string(), words);
    };
    says(Samples::classes(vec![x()], vec![0; 7]), "7 labels for 8 samples");
    says(Samples::classes(vec![], vec![]), "samples: there are none");
    says(
        Samples::classes(vec![Tensor::new(&[0, 2], Vec::<f32>::new()).unwrap()], vec![]),
        "samples: there are none",
    );
    let two = vec![x(), samples(4, 1).0];
    says(Samples::classes(two, vec![0; 8]), "samples: input 1 has 4 of them, input 0 has 8");

    let new = |train: Samples, options: TrainOptions| {
        let qat = prepare_qat(model(), QuantConfig::default()).unwrap();
        Trainer::new(qat, train, data(8, 6), options).map(|_| ()).unwrap_err().to_string()
    };
    let default = TrainOptions::default;
    let mut labels = samples(8, 1).1;
    labels[5] = 4;
    let out = Samples::classes(vec![x()], labels).unwrap();
    assert_eq!(new(out, default()), "label 4 of sample 5 is outside 0..4");
    // By the place where it comes from, not by that after a split.
    let mut labels = samples(40, 1).1;
    labels[33] = -2;
    let all = Samples::classes(vec![samples(40, 1).0], labels).unwrap();
    for (part, seed) in [(0.5, 0), (0.5, 1), (0.5, 2), (0.5, 3)] {
        let (train, validation) = all.split(part, seed).unwrap();
        let qat = prepare_qat(model(), QuantConfig::default()).unwrap();
        let error = Trainer::new(qat, train, validation, default()).map(|_| ()).unwrap_err().to_string();
        assert!(error.ends_with("label -2 of sample 33 is outside 0..4"), "{error}");
    }
    for (value, text) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
        let mut values = samples(8, 1).0.as_slice::<f32>().unwrap().to_vec();
        values[3 * 100 + 17] = value;
        let x = Tensor::new(&[8, 1, SIZE, SIZE], values).unwrap();
        let words = format!("sample 3: element 17 of input 0 is {text}");
        says(Samples::classes(vec![x], vec![0; 8]), &words);
    }
    for (options, words) in [
        (TrainOptions { batch: 0, ..default() }, "at least one sample"),
        (TrainOptions { lr: f32::NAN, ..default() }, "learning rate NaN"),
        (TrainOptions { max_grad_norm: Some(0.0), ..default() }, "largest gradient norm 0"),
        (TrainOptions { criterion: Criterion::Mse, ..default() }, "the samples have classes"),
        (
            TrainOptions { criterion: Criterion::CrossEntropy { label_smoothing: 2.0 }, ..default() },
            "label smoothing 2",
        ),
        (
            TrainOptions { distillation: Some(Distillation { temperature: 0.0, weight: 0.5 }), ..default() },
            "temperature 0",
        ),
    ] {
        let error = new(data(8, 5), options);
        assert!(error.contains(words), "{error}");
    }

    // A rate that makes weights infinite: the step is named, and so is what is not finite.
    let qat = prepare_qat(model(), QuantConfig::default()).unwrap();
    let sgd = OptimizerConfig::Sgd { momentum: 0.0, nesterov: false, weight_decay: 0.0 };
    let options = TrainOptions { lr: 1e38, optimizer: sgd, batch: 8, ..default() };
    let mut trainer = Trainer::new(qat, data(32, 5), data(8, 6), options).unwrap();
    let start = trainer.best().validation;
    let error = loop {
        match trainer.advance() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a learning rate of 1e38 is no problem"),
            Err(e) => break e,
        }
    };
    let text = error.to_string();
    assert!(text.starts_with("epoch 1, step ") || text.starts_with("validation after epoch 1"), "{text}");
    let best = trainer.best().validation;
    assert!(best == start || best.is_better_than(&start));
}

/// A model that insists on batches of 4 learns the same as one that takes any, given the same samples.
#[test]
fn a_fixed_batch_is_kept_to() {
    let fixed = |batch: Option<usize>| {
        let mut graph = model();
        if let Some(batch) = batch {
            let x = graph.inputs[0];
            graph.values[x.0].shape.as_mut().unwrap()[0] = Dim::from(batch);
            for value in &mut graph.values {
                if value.constant.is_none() && value.name != "x" {
                    value.shape = None;
                }
            }
            tq_graph::infer::infer(&mut graph).unwrap();
        }
        let qat = prepare_qat(graph, QuantConfig::default()).unwrap();
        let options =
            TrainOptions { epochs: 1, batch: 8, pass: Some(4), lr: 0.01, ..TrainOptions::default() };
        let mut trainer = Trainer::new(qat, data(24, 5), data(10, 6), options).unwrap();
        run_all(&mut trainer);
        (trainer.history().to_vec(), bytes_of(trainer.model()))
    };
    let (any, four) = (fixed(None), fixed(Some(4)));
    // The last of the ten validation samples are measured in another batch, which moves their loss by rounding errors.
    for (a, b) in any.0.iter().zip(&four.0) {
        assert_eq!((a.epoch, a.loss, a.validation.top1), (b.epoch, b.loss, b.validation.top1));
        assert!((a.validation.loss - b.validation.loss).abs() < 1e-6, "{a:?} {b:?}");
    }
    assert!(any.1 == four.1, "other parameters");
    let mut graph = model();
    let x = graph.inputs[0];
    graph.values[x.0].shape.as_mut().unwrap()[0] = Dim::from(4usize);
    let qat = prepare_qat(graph, QuantConfig::default());
    if let Ok(qat) = qat {
        let error =
            Trainer::new(qat, data(3, 5), data(4, 6), TrainOptions::default()).map(|_| ()).unwrap_err();
        assert_eq!(error.to_string(), "training samples: 3, but the model takes batches of 4");
    }
}

/// Regression, and probabilities of their own: the other criteria, on a linear layer.
#[test]
fn other_criteria_learn_too() {
    let graph = |sigmoid: bool| {
        let mut g = Graph::new("linear");
        let x = g.add_input("x", DType::F32, vec![Dim::symbol("N"), 3usize.into()]);
        let w = g.add_constant("w", Tensor::new(&[3, 2], vec![0.1f32; 6]).unwrap());
        let mut y = g.add_node("linear", Op::MatMul, &[x, w], "h");
        if sigmoid {
            y = g.add_node("sigmoid", Op::Unary(tq_graph::op::UnaryOp::Sigmoid), &[y], "y");
        }
        g.outputs.push(y);
        tq_graph::infer::infer(&mut g).unwrap();
        g
    };
    let x = noise(300, 3);
    let wanted = |row: &[f32]| [row[0] - 0.5 * row[1], row[2] + 0.3 * row[0]];
    let values: Vec<f32> = x.chunks_exact(3).flat_map(wanted).collect();
    let bits: Vec<f32> = values.iter().map(|v| f32::from(u8::from(*v > 0.0))).collect();
    for (criterion, targets, sigmoid) in [(Criterion::Mse, values, false), (Criterion::Bce, bits, true)] {
        let targets = Targets::Values(Tensor::new(&[100, 2], targets).unwrap());
        let samples = Samples::new(vec![Tensor::new(&[100, 3], x.clone()).unwrap()], targets).unwrap();
        let qat = prepare_qat(graph(sigmoid), QuantConfig::default()).unwrap();
        // Ranges of results follow the weights.
        let options = TrainOptions {
            epochs: 30,
            batch: 10,
            lr: 0.1,
            criterion,
            observe_epochs: None,
            ..TrainOptions::default()
        };
        let mut trainer = Trainer::new(qat, samples.clone(), samples, options).unwrap();
        run_all(&mut trainer);
        let (start, best) = (trainer.history()[0].validation, trainer.best().validation);
        // The cross-entropy of a linear layer falls slowly, as its weights grow.
        let part = if sigmoid { 0.6 } else { 0.05 };
        assert!(best.loss < part * start.loss && best.top1.is_none(), "{criterion:?}: {start:?} {best:?}");
    }
}

#[test]
fn splits_are_by_chance_and_lose_nothing() {
    let all = data(50, 3);
    let (a, b) = all.split(0.2, 1).unwrap();
    assert_eq!((a.len(), b.len()), (40, 10));
    assert_ne!(all.split(0.2, 2).unwrap().1, b);
    assert_eq!(all.split(0.2, 1).unwrap().1, b);
    let first = |s: &Samples| {
        let t = s.inputs(&(0..s.len()).collect::<Vec<_>>()).unwrap().remove(0);
        t.as_slice::<f32>().unwrap().chunks_exact(SIZE * SIZE).map(|r| r[0].to_bits()).collect::<Vec<_>>()
    };
    let mut joined = [first(&a), first(&b)].concat();
    let mut whole = first(&all);
    joined.sort_unstable();
    whole.sort_unstable();
    assert_eq!(joined, whole);
    assert!(all.split(1.0, 1).is_err() && all.split(f32::NAN, 1).is_err());
    assert!(all.take(&[0]).unwrap().split(0.5, 1).is_err());
}

/// Two scores of three numbers.
fn linear() -> Graph {
    let mut g = Graph::new("linear");
    let x = g.add_input("x", DType::F32, vec![Dim::symbol("N"), 3usize.into()]);
    let w = g.add_constant("w", Tensor::new(&[3, 2], noise(6, 9)).unwrap());
    let y = g.add_node("linear", Op::MatMul, &[x, w], "y");
    g.outputs.push(y);
    tq_graph::infer::infer(&mut g).unwrap();
    g
}

fn rows(n: usize) -> Tensor {
    Tensor::new(&[n, 3], noise(3 * n, 3)).unwrap()
}

#[test]
fn a_teacher_of_scores_gives_the_probabilities_of_binary_cross_entropy() {
    let scores = tq_eval::Evaluator::new(&linear(), tq_eval::Precision::F64).unwrap();
    let scores = scores.run(&[rows(40)]).unwrap().swap_remove(0);
    // The least that cross-entropy can be is the entropy of the teacher.
    let entropy = |x: &f64| {
        let p = 1.0 / (1.0 + (-x).exp());
        -p * p.ln() - (1.0 - p) * (1.0 - p).ln()
    };
    let scores = scores.as_slice::<f64>().unwrap();
    let least = scores.iter().map(entropy).sum::<f64>() / scores.len() as f64;
    let samples = Samples::new(vec![rows(40)], Targets::Teacher).unwrap();
    let qat = prepare_qat(linear(), QuantConfig::default()).unwrap();
    let options = TrainOptions { criterion: Criterion::Bce, epochs: 2, lr: 0.01, ..TrainOptions::default() };
    let mut trainer = Trainer::new(qat, samples.clone(), samples, options).unwrap();
    run_all(&mut trainer);
    assert!((trainer.float().loss - least).abs() < 1e-6, "{:?}, {least}", trainer.float());
    for epoch in trainer.history() {
        assert!(epoch.validation.loss > least - 1e-6 && epoch.validation.loss < least + 0.01, "{epoch:?}");
    }
}

#[test]
fn targets_that_are_no_probabilities_are_named() {
    let mut targets = vec![0.25f32; 80];
    targets[33 * 2 + 1] = 1.5;
    let targets = Targets::Values(Tensor::new(&[40, 2], targets).unwrap());
    let samples = Samples::new(vec![rows(40)], targets).unwrap();
    let options = TrainOptions { criterion: Criterion::Bce, ..TrainOptions::default() };
    let (train, validation) = samples.split(0.5, 1).unwrap();
    let qat = prepare_qat(linear(), QuantConfig::default()).unwrap();
    let error = Trainer::new(qat, train, validation, options).map(|_| ()).unwrap_err().to_string();
    let words = "sample 33, element 1: the target 1.5 is not between 0 and 1, as probabilities are";
    assert!(error.ends_with(words), "{error}");
}

#[test]
fn a_loss_that_explodes_is_told_while_it_is_finite() {
    let targets = Targets::Values(Tensor::new(&[40, 2], noise(80, 12)).unwrap());
    let samples = Samples::new(vec![rows(40)], targets).unwrap();
    for (lr, explodes) in [(0.01, false), (1e6, true)] {
        let qat = prepare_qat(linear(), QuantConfig::default()).unwrap();
        let options = TrainOptions { criterion: Criterion::Mse, batch: 10, lr, ..TrainOptions::default() };
        let mut trainer = Trainer::new(qat, samples.clone(), samples.clone(), options).unwrap();
        let result = loop {
            match trainer.advance() {
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(e) => break Err(e),
            }
        };
        match result {
            Ok(()) => assert!(!explodes),
            Err(QatError::Step { epoch: 1, step: 2, source }) => {
                assert!(
                    explodes && matches!(*source, QatError::Exploded { loss, .. } if loss.is_finite()),
                    "{source}"
                );
            }
            Err(e) => panic!("{e}"),
        }
        assert!(convert(trainer.finish().unwrap()).is_ok());
    }
}
