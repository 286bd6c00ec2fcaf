//! What models can be trained on: rows, sequences, initial states; and what is refused before any training.

#![allow(clippy::unwrap_used)]

mod shared;

use shared::noise;
use tq_graph::op::UnaryOp;
use tq_graph::{Dim, Graph, Op, Tensor};
use tq_passes::QuantConfig;
use tq_qat::train::{Criterion, SampleInput, Samples, Targets, TrainOptions, Trainer};
use tq_qat::{QatError, prepare_qat};
use tq_qtypes::DType;

/// A linear layer over frames, to which a state is added, and a sigmoid.
fn frames() -> Graph {
    let mut g = Graph::new("frames");
    let x = g.add_input("x", DType::F32, vec![Dim::symbol("T"), 3usize.into()]);
    let h = g.add_input("h", DType::F32, vec![1usize.into(), 2usize.into()]);
    let w = g.add_constant("w", Tensor::new(&[3, 2], noise(6, 1)).unwrap());
    let y = g.add_node("linear", Op::MatMul, &[x, w], "z");
    let y = g.add_node("state", Op::Binary(tq_graph::op::BinaryOp::Add), &[y, h], "s");
    let y = g.add_node("sigmoid", Op::Unary(UnaryOp::Sigmoid), &[y], "y");
    g.outputs.push(y);
    tq_graph::infer::infer(&mut g).unwrap();
    g
}

/// Clips of these lengths, and whether each of the two numbers of a frame is above a line.
fn clips(lengths: &[usize]) -> (Vec<Tensor>, Vec<Tensor>) {
    let clip = |(i, n): (usize, &usize)| {
        let x = noise(3 * n, 40 + i as u32);
        let is_above = |row: &[f32]| [row[0] > row[1], row[2] > 0.1].map(|b| f32::from(u8::from(b)));
        let y: Vec<f32> = x.chunks_exact(3).flat_map(is_above).collect();
        (Tensor::new(&[*n, 3], x).unwrap(), Tensor::new(&[*n, 2], y).unwrap())
    };
    lengths.iter().enumerate().map(clip).unzip()
}

fn zeros() -> SampleInput {
    SampleInput::Same(Tensor::new(&[1, 2], vec![0.0f32; 2]).unwrap())
}

fn options(criterion: Criterion) -> TrainOptions {
    TrainOptions { epochs: 4, batch: 8, lr: 0.05, criterion, observe_epochs: None, ..TrainOptions::default() }
}

fn trained(samples: &Samples, options: TrainOptions) -> Result<Trainer, QatError> {
    let qat = prepare_qat(frames(), QuantConfig::default())?;
    let mut trainer = Trainer::new(qat, samples.clone(), samples.clone(), options)?;
    while trainer.advance()?.is_some() {}
    Ok(trainer)
}

#[test]
fn sequences_of_any_length_are_learned_from_an_initial_state() {
    let (x, y) = clips(&[5, 9, 2, 7, 1, 4, 12, 3, 6, 8]);
    let samples = Samples::of_inputs(vec![SampleInput::Whole(x), zeros()], Targets::Whole(y)).unwrap();
    assert!(samples.is_one_by_one() && samples.len() == 10);
    let trainer = trained(&samples, options(Criterion::Bce)).unwrap();
    let (start, best) = (trainer.history()[0].validation, trainer.best().validation);
    assert!(best.loss < 0.95 * start.loss && best.right().is_none(), "{start:?} {best:?}");
}

/// A sequence of one frame is a row: the same gradients, one pass a sample, and so the same parameters.
#[test]
fn sequences_of_one_frame_are_rows() {
    let (x, y) = clips(&[1; 20]);
    let rows = |parts: &[Tensor], width: usize| {
        let values = parts.iter().flat_map(|t| t.as_slice::<f32>().unwrap().to_vec()).collect();
        Tensor::new(&[parts.len(), width], values).unwrap()
    };
    let inputs = vec![SampleInput::Rows(rows(&x, 3)), zeros()];
    let as_rows = Samples::of_inputs(inputs, Targets::Values(rows(&y, 2))).unwrap();
    let as_clips = Samples::of_inputs(vec![SampleInput::Whole(x), zeros()], Targets::Whole(y)).unwrap();
    let result = |samples: &Samples| {
        let trainer = trained(samples, options(Criterion::Mse)).unwrap();
        let parameters: Vec<_> = trainer.model().parameters().iter().map(|p| p.value()).collect();
        (trainer.history().to_vec(), parameters)
    };
    assert_eq!(result(&as_rows), result(&as_clips));
}

#[test]
fn the_float_model_gives_values_where_there_are_none() {
    let (x, _) = clips(&[5, 9, 2, 7]);
    let samples = Samples::of_inputs(vec![SampleInput::Whole(x), zeros()], Targets::Teacher).unwrap();
    for criterion in [Criterion::Mse, Criterion::Bce] {
        let trainer = trained(&samples, options(criterion)).unwrap();
        let (start, best) = (trainer.history()[0].validation, trainer.best().validation);
        assert!(best.loss <= start.loss && best.loss.is_finite());
        // Next to nothing is lost with 8 bits: the squared error says so.
        assert!(criterion != Criterion::Mse || start.loss < 1e-4, "{start:?}");
    }
}

#[test]
fn what_no_criterion_takes_is_said_before_training() {
    let (x, y) = clips(&[5, 9]);
    let told = |targets: Targets, criterion: Criterion| {
        let inputs = vec![SampleInput::Whole(x.clone()), zeros()];
        let samples = Samples::of_inputs(inputs, targets)?;
        trained(&samples, options(criterion)).map(|_| ())
    };
    let of_classes = told(Targets::Classes(vec![0, 1]), Criterion::default()).unwrap_err().to_string();
    assert!(of_classes.starts_with("output y is f32 of shape [5, 2] for 1 samples: "), "{of_classes}");
    assert!(of_classes.contains("several rows a sample is trained on values"), "{of_classes}");
    let short = vec![y[0].clone(), y[0].clone()];
    let wrong = told(Targets::Whole(short), Criterion::Mse).unwrap_err().to_string();
    assert!(wrong.contains("mse"), "{wrong}");
    let swapped = vec![y[1].clone(), y[0].clone()];
    let wrong = told(Targets::Whole(swapped), Criterion::Mse).unwrap_err().to_string();
    assert_eq!(wrong, "a target has shape [9, 2], and output y has [5, 2] for each sample");
    let one = told(Targets::Whole(vec![y[0].clone()]), Criterion::Mse).unwrap_err().to_string();
    assert_eq!(one, "1 labels for 2 samples");
    let nan = Tensor::new(&[9, 2], [vec![0.0; 7], vec![f32::NAN], vec![0.0; 10]].concat()).unwrap();
    let nan = told(Targets::Whole(vec![y[0].clone(), nan]), Criterion::Mse).unwrap_err().to_string();
    assert_eq!(nan, "sample 1: element 7 of the targets is NaN");
}

#[test]
fn outputs_that_are_no_scores_are_named() {
    let x = || Tensor::new(&[8, 3], noise(24, 5)).unwrap();
    let told = |op: Op, name: &str| {
        let mut g = Graph::new("g");
        let x_in = g.add_input("x", DType::F32, vec![Dim::symbol("N"), 3usize.into()]);
        let w = g.add_constant("w", Tensor::new(&[3, 4], noise(12, 1)).unwrap());
        let y = g.add_node("linear", Op::MatMul, &[x_in, w], "h");
        let y = g.add_node("last", op, &[y], name);
        g.outputs.push(y);
        tq_graph::infer::infer(&mut g).unwrap();
        let qat = prepare_qat(g, QuantConfig::default()).unwrap();
        let samples = Samples::classes(vec![x()], vec![0; 8]).unwrap();
        Trainer::new(qat, samples.clone(), samples, TrainOptions::default())
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    let sum =
        Op::Reduce { kind: tq_graph::op::ReduceKind::Sum, keep_dims: false, noop_with_empty_axes: false };
    let scalar = told(sum, "sum");
    assert!(scalar.starts_with("output sum is f32 of shape [] for 8 samples: "), "{scalar}");
    let decided = told(Op::Cast { to: DType::I64, saturate: true }, "class");
    assert_eq!(
        decided,
        "output class is i64 of shape [8, 4] for 8 samples: training takes scores that are f32"
    );
}

#[test]
fn a_model_without_weights_is_refused() {
    let mut g = Graph::new("g");
    let x = g.add_input("x", DType::F32, vec![Dim::symbol("N"), 3usize.into()]);
    let y = g.add_node("relu", Op::Unary(UnaryOp::Relu), &[x], "y");
    g.outputs.push(y);
    tq_graph::infer::infer(&mut g).unwrap();
    let qat = prepare_qat(g, QuantConfig::default()).unwrap();
    let samples = Samples::classes(vec![Tensor::new(&[8, 3], noise(24, 5)).unwrap()], vec![0; 8]).unwrap();
    let error = Trainer::new(qat, samples.clone(), samples, TrainOptions::default()).map(|_| ()).unwrap_err();
    assert!(matches!(error, QatError::NothingToTrain { .. }), "{error}");
    assert_eq!(error.to_string(), "the model has nothing to train: it has no constants of floats");
}
