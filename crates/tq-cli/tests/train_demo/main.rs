//! The float model of `tq demo`, trained from nothing by this project's own training.
//!
//! `cargo xtask train-demo` runs the ignored test, which writes demo/model.onnx where `TQ_TRAIN_DEMO` is set, and compares
//! with it where not. All values depend on the digits and the settings below alone: not on time, nor on the number of
//! threads. Products of floats are summed as the vector instructions of the processor have it, so that another kind of
//! processor may give other last bits, and other bytes.
#![allow(clippy::unwrap_used)]

#[path = "../common/arrays.rs"]
mod arrays;
mod digits;
mod network;
mod random;

use digits::{Digits, demo};
use random::Random;
use std::collections::BTreeMap;
use torsh_quantization::export::{ExportOptions, export_onnx_bytes};
use torsh_quantization::model::{Graph, Tensor, load_model};
use torsh_quantization::qat::{
    BatchNorm, Criterion, Event, QatOptions, Samples, TrainOptions, Trainer, prepare_qat_with,
};
use torsh_quantization::qconfig::QuantConfig;
use torsh_quantization::runtime::{Session, SessionOptions};

const SEED: u64 = 20;

/// How long it is trained.
#[derive(Debug, Clone, Copy)]
struct Effort {
    digits: usize,
    variants: usize,
    epochs: usize,
}

/// That of the model in the program.
const WHOLE: Effort = Effort { digits: 600, variants: 30, epochs: 8 };

/// What the file says of its training.
fn note(effort: Effort) -> String {
    let Effort { digits, variants, epochs } = effort;
    format!("{digits} digits of train_x_u8.npz in {variants} variants each, {epochs} epochs, seed {SEED}")
}

/// Trains, and gives the bytes of the ONNX file. The epoch that is kept is the one that is best on the digits themselves,
/// as they are; those of `eval` are not looked at.
fn trained(effort: Effort) -> Vec<u8> {
    let mut random = Random(SEED);
    let graph = network::network(&mut random);
    let digits = Digits::read("train").first(effort.digits);
    let options = QatOptions { batch_norm: BatchNorm::Trained, ..QatOptions::default() };
    let model = prepare_qat_with(graph.clone(), QuantConfig::default(), &options).unwrap();
    assert_eq!(model.trained_batch_norms(), 6);
    // In float.
    model.set_quantizing(false);
    let options = TrainOptions {
        epochs: effort.epochs,
        batch: 64,
        lr: 3e-3,
        criterion: Criterion::CrossEntropy { label_smoothing: 0.05 },
        seed: SEED,
        ..TrainOptions::default()
    };
    let variants = digits.variants(effort.variants, &mut random);
    let mut trainer = Trainer::new(model, variants, digits.samples(), options).unwrap();
    while let Some(event) = trainer.advance().unwrap() {
        if let Event::Epoch(report) = event {
            println!("epoch {}: loss {:.4?}, {:?}", report.epoch, report.loss, report.validation);
        }
    }
    let model = trainer.finish().unwrap();
    let mut graph = with_values(graph, model.state_dict());
    graph.metadata.insert("torsh-quantization.training".to_owned(), note(effort));
    export_onnx_bytes(&graph, &ExportOptions::default()).unwrap()
}

/// The network that was built, with the values that training has come to.
fn with_values(mut graph: Graph, state: torsh_quantization::qat::ModelState) -> Graph {
    let mut values: BTreeMap<String, Tensor> = state.parameters;
    for (_, node) in graph.iter_nodes().filter(|(_, n)| n.op.name() == "BatchNormalization") {
        for (slot, what) in [(3, "mean"), (4, "variance")] {
            let name = graph.value(node.input(slot).unwrap()).name.clone();
            values.insert(name, state.statistics[&format!("{}.{what}", node.name)].clone());
        }
    }
    let mut taken = 0;
    for value in &mut graph.values {
        if let (Some(constant), Some(new)) = (&mut value.constant, values.get(&value.name)) {
            assert_eq!(constant.dims(), new.dims());
            *constant = new.clone();
            taken += 1;
        }
    }
    assert_eq!(taken, values.len(), "values of no constant");
    graph
}

fn top1(graph: &Graph, samples: &Samples) -> f64 {
    let rows: Vec<usize> = (0..samples.len()).collect();
    let y = Session::new(graph, SessionOptions::default()).unwrap();
    let y = y.run(&samples.inputs(&rows).unwrap()).unwrap().remove(0);
    let torsh_quantization::qat::Targets::Classes(labels) = samples.targets() else { panic!("no labels") };
    let best = |row: &[f32]| (0..10).fold(0, |b, i| if row[i] > row[b] { i } else { b }) as i64;
    let rows = y.as_slice::<f32>().unwrap().chunks_exact(10);
    let right = rows.zip(labels).filter(|(row, label)| best(row) == **label).count();
    100.0 * right as f64 / labels.len() as f64
}

/// Whatever the number of threads.
#[test]
fn training_twice_gives_the_same_bytes() {
    let short = Effort { digits: 64, variants: 1, epochs: 1 };
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| trained(short))
    };
    assert!(with(1) == with(3));
    let other = Effort { digits: 63, ..short };
    assert!(trained(short) != trained(other));
}

/// Nothing that the demo judges by was learned from.
#[test]
fn digits_to_judge_by_are_others() {
    let (train, eval) = (Digits::read("train"), Digits::read("eval"));
    assert_eq!((train.labels.len(), eval.labels.len()), (600, 400));
    let calibration = arrays::read(demo().join("calib_x_u8.npz").to_str().unwrap());
    let calibration = calibration.as_slice::<u8>().unwrap().to_vec();
    let images = |pixels: &[u8]| pixels.chunks_exact(784).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let seen: std::collections::HashSet<_> =
        images(&train.pixels).into_iter().chain(images(&calibration)).collect();
    assert_eq!(seen.len(), 856);
    assert!(images(&eval.pixels).iter().all(|image| !seen.contains(image)));
}

/// The file says which settings it comes from, and does what the documentation says.
#[test]
fn the_file_is_of_these_settings() {
    let graph = load_model(&demo().join("model.onnx")).unwrap();
    assert_eq!(
        graph.metadata.get("torsh-quantization.training"),
        Some(&note(WHOLE)),
        "run `cargo xtask train-demo`"
    );
    let built = network::network(&mut Random(SEED));
    let shape = |g: &Graph| g.iter_nodes().map(|(_, n)| (n.name.clone(), n.op.name())).collect::<Vec<_>>();
    assert_eq!(shape(&graph), shape(&built));
    let top1 = top1(&graph, &Digits::read("eval").samples());
    println!("top-1 {top1:.2} % of 400");
    assert!(top1 > 96.0, "{top1}");
}

/// The whole training, minutes long.
#[test]
#[ignore = "cargo xtask train-demo runs it"]
fn the_file_is_what_training_makes() {
    let bytes = trained(WHOLE);
    if let Some(path) = std::env::var_os("TQ_TRAIN_DEMO") {
        std::fs::write(&path, &bytes).unwrap();
        return;
    }
    let there = std::fs::read(demo().join("model.onnx")).unwrap();
    assert!(bytes == there, "{} bytes, not the {} of demo/model.onnx", bytes.len(), there.len());
}
