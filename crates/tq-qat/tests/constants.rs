//! What training changes beside layers: slopes, tables, recurrent layers, normalizations that stand alone. And what it does
//! not, which is told.

#![allow(clippy::unwrap_used)]

mod shared;

use shared::noise;
use std::collections::BTreeMap;
use tq_graph::op::{BinaryOp, Direction, RecurrentAttrs, RecurrentKind};
use tq_graph::{Dim, Graph, Op, Tensor, infer};
use tq_passes::{QuantConfig, convert};
use tq_qat::prepare_qat;
use tq_qat::train::{Samples, TrainOptions, Trainer};
use tq_qtypes::DType;
use tq_runtime::{Session, SessionOptions};

const WORDS: usize = 12;
const LENGTH: usize = 5;

/// Words, an embedding, a recurrent layer, PRelu, a normalization of its own, classes.
fn sequences(kind: RecurrentKind) -> Graph {
    let (table, hidden) = (6, 8);
    let mut g = Graph::new("words");
    let x = g.add_input("words", DType::I64, vec![Dim::symbol("N"), LENGTH.into()]);
    let constant = |g: &mut Graph, name: &str, dims: &[usize], seed: u32| {
        let values = noise(dims.iter().product(), seed).iter().map(|v| v * 0.5).collect();
        g.add_constant(name, Tensor::new(dims, values).unwrap())
    };
    let words = constant(&mut g, "table", &[WORDS, table], 1);
    let e = g.add_node("embedding", Op::Gather { axis: 0 }, &[words, x], "e");
    let t = g.add_node("time first", Op::Transpose { perm: Some(vec![1, 0, 2]) }, &[e], "t");
    let gates = match kind {
        RecurrentKind::Lstm { .. } => 4,
        RecurrentKind::Gru { .. } => 3,
        RecurrentKind::Rnn => 1,
    };
    let w = constant(&mut g, "W", &[1, gates * hidden, table], 2);
    let r = constant(&mut g, "R", &[1, gates * hidden, hidden], 3);
    let b = constant(&mut g, "B", &[1, 2 * gates * hidden], 4);
    let attrs = RecurrentAttrs {
        hidden_size: hidden,
        direction: Direction::Forward,
        activations: kind.default_activations().to_vec(),
        clip: None,
        batch_first: false,
        dynamic: None,
    };
    let y = g.add_node("recurrent", Op::Recurrent { kind, attrs }, &[t, w, r, b], "states");
    let last = g.add_constant("last", Tensor::scalar(LENGTH as i64 - 1));
    let y = g.add_node("last state", Op::Gather { axis: 0 }, &[y, last], "h");
    // [1, N, hidden] has the direction first.
    let shape = g.add_constant("shape", Tensor::vector(vec![-1i64, hidden as i64]));
    let y = g.add_node("rows", Op::Reshape { allow_zero: false }, &[y, shape], "rows");
    let slope = constant(&mut g, "slope", &[hidden], 5);
    let y = g.add_node("prelu", Op::Binary(BinaryOp::PRelu), &[y, slope], "p");
    let offset = constant(&mut g, "offset", &[hidden], 6);
    let y = g.add_node("shift", Op::Binary(BinaryOp::Add), &[y, offset], "s");
    let (w, b) = (constant(&mut g, "w", &[hidden, 2], 7), constant(&mut g, "b", &[2], 8));
    let gemm = Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false };
    let y = g.add_node("classes", gemm, &[y, w, b], "y");
    g.outputs.push(y);
    infer::infer(&mut g).unwrap();
    g
}

/// Words by chance; the class is whether more of them are of the first half than of the second.
fn data(n: usize, seed: u32) -> Samples {
    let words: Vec<i64> = noise(n * LENGTH, seed)
        .iter()
        .map(|v| ((v + 1.0) / 2.0 * WORDS as f32) as i64 % WORDS as i64)
        .collect();
    let half = |row: &[i64]| i64::from(2 * row.iter().filter(|w| **w < WORDS as i64 / 2).count() > LENGTH);
    let labels = words.chunks_exact(LENGTH).map(half).collect();
    Samples::classes(vec![Tensor::new(&[n, LENGTH], words).unwrap()], labels).unwrap()
}

#[test]
fn tables_recurrent_weights_and_slopes_are_trained() {
    let kinds = [
        RecurrentKind::Lstm { input_forget: false },
        RecurrentKind::Gru { linear_before_reset: true },
        RecurrentKind::Rnn,
    ];
    for kind in kinds {
        let graph = sequences(kind);
        let qat = prepare_qat(graph.clone(), QuantConfig::default()).unwrap();
        let fixed: Vec<_> = qat.fixed_constants().into_iter().map(|c| (c.name, c.node, c.reason)).collect();
        let reason = "constant operands of this operator stay as they are";
        assert_eq!(fixed, [("offset".to_owned(), "shift".to_owned(), reason)]);
        let options = TrainOptions { epochs: 6, batch: 16, lr: 0.03, ..TrainOptions::default() };
        let mut trainer = Trainer::new(qat, data(192, 1), data(64, 2), options).unwrap();
        while trainer.advance().unwrap().is_some() {}
        let (start, best) = (trainer.history()[0].validation, trainer.best().validation);
        assert!(best.top1 > Some(85.0) && best.top1 > start.top1, "{kind:?}: {start:?} {best:?}");
        let trained = trainer.finish().unwrap();
        let after: BTreeMap<_, _> =
            trained.parameters().iter().map(|p| (p.name().to_owned(), p.value())).collect();
        for name in ["table", "W", "R", "B", "slope", "w", "b"] {
            let before = graph.values.iter().find(|v| v.name == name).unwrap().constant.as_ref().unwrap();
            assert!(after[name].le_bytes() != before.le_bytes(), "{kind:?}: {name}");
        }
        // The session of the converted model says the same.
        let quantized = convert(trained).unwrap().graph;
        let held = data(64, 2);
        let inputs = held.inputs(&(0..64).collect::<Vec<_>>()).unwrap();
        let y = Session::new(&quantized, SessionOptions::default()).unwrap().run(&inputs).unwrap().remove(0);
        let tq_qat::train::Targets::Classes(labels) = held.targets() else { panic!("no labels") };
        let rows = y.as_slice::<f32>().unwrap().chunks_exact(2);
        let right = rows.zip(labels).filter(|(r, l)| i64::from(r[1] > r[0]) == **l).count();
        let imitated = best.top1.unwrap() / 100.0 * 64.0;
        assert!((right as f64 - imitated).abs() <= 1.0, "{right} {imitated}");
    }
}
