//! The search for a recipe, on models that are known to take static quantization well or badly.

#![allow(clippy::unwrap_used)] // what is not as expected fails the test

use tq_analysis::{AnalysisError, Dataset, RecommendOptions, Recommendation, Verdict, recommend};
use tq_graph::infer::infer;
use tq_graph::op::{ArgAttrs, BinaryOp, CompareOp, ConvAttrs, Padding, UnaryOp};
use tq_graph::{Dim, Graph, Op, Tensor};
use tq_passes::{convert, prepare_static};
use tq_qtypes::DType;

const WIDTH: usize = 64;

/// Numbers between -1 and 1, the same every time.
fn noise(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    std::iter::repeat_with(next).take(n).collect()
}

/// Linear, Relu, Linear; the first channel between the two is `outlier` times as large as the others, and counts for
/// nothing after it.
fn model(outlier: f32) -> Graph {
    let mut g = Graph::new("net");
    let x = g.add_input("x", DType::F32, vec![Dim::symbol("N"), WIDTH.into()]);
    let mut first = noise(WIDTH * WIDTH, 1);
    first.iter_mut().step_by(WIDTH).for_each(|w| *w *= outlier);
    let mut second = noise(WIDTH * WIDTH, 2);
    second[..WIDTH].iter_mut().for_each(|w| *w /= outlier * outlier);
    let w1 = g.add_constant("w1", Tensor::new(&[WIDTH, WIDTH], first).unwrap());
    let w2 = g.add_constant("w2", Tensor::new(&[WIDTH, WIDTH], second).unwrap());
    let h = g.add_node("first", Op::MatMul, &[x, w1], "h");
    let r = g.add_node("relu", Op::Unary(UnaryOp::Relu), &[h], "r");
    let y = g.add_node("second", Op::MatMul, &[r, w2], "y");
    g.outputs.push(y);
    g
}

fn data(graph: &Graph, rows: usize) -> Dataset {
    let x = Tensor::new(&[rows, WIDTH], noise(rows * WIDTH, 3)).unwrap();
    Dataset::new(graph, vec![x]).unwrap()
}

fn recommended(graph: &Graph, rows: usize, options: &RecommendOptions) -> Recommendation {
    recommend(graph, &data(graph, rows), options, |_| ()).unwrap()
}

/// What was tried and what came of it.
fn told(r: &Recommendation) -> String {
    let lines = r.trials.iter().map(|t| format!("{}: {}", t.name, t.verdict));
    lines.collect::<Vec<_>>().join("\n")
}

fn trial<'r>(r: &'r Recommendation, name: &str) -> &'r tq_analysis::Trial {
    r.trials.iter().find(|t| t.name == name).unwrap_or_else(|| panic!("no {name} in {}", told(r)))
}

#[test]
fn what_takes_static_quantization_gets_it() {
    let r = recommended(&model(1.0), 64, &RecommendOptions::default());
    assert!(r.chosen.starts_with("int8/") && r.met && !r.same_rows, "{}", told(&r));
    assert_eq!((r.rows, r.trial().unwrap().figures.as_ref().unwrap().integer_share), (64, 1.0));
    assert!(!r.trials.iter().any(|t| t.name.starts_with("int8-mixed")), "{}", told(&r));
    assert!(matches!(trial(&r, "w8").verdict, Verdict::Surpassed(_)), "{}", told(&r));
    let quantized = prepare_static(model(1.0), r.configuration()).unwrap();
    quantized.forward(&[Tensor::new(&[8, WIDTH], noise(8 * WIDTH, 4)).unwrap()]).unwrap();
    assert!(convert(quantized).unwrap().report.integer_nodes().count() >= 2);
}

#[test]
fn a_layer_that_8_bits_ruin_is_found_and_left_in_float() {
    let r = recommended(&model(3000.0), 64, &RecommendOptions::default());
    for name in ["int8/min-max", "int8/histogram", "int8/mse", "int8/percentile"] {
        assert!(matches!(trial(&r, name).verdict, Verdict::Rejected(_)), "{name}: {}", told(&r));
    }
    assert_eq!(r.chosen, "int8-mixed/1", "{}", told(&r));
    let chosen = r.trial().unwrap();
    assert!(chosen.description.ends_with("float activations for second"), "{chosen:?}");
    let figures = chosen.figures.as_ref().unwrap();
    assert!(figures.fidelity.sqnr_db >= 20.0 && figures.integer_share == 0.5, "{figures:?}");
}

#[test]
fn the_worst_output_counts() {
    // What the outlier ruins is the second output.
    let with_two = |outlier: f32| {
        let mut g = model(outlier);
        let x = g.inputs[0];
        let w = g.add_constant("w3", Tensor::new(&[WIDTH, 8], noise(WIDTH * 8, 9)).unwrap());
        let easy = g.add_node("third", Op::MatMul, &[x, w], "easy");
        g.outputs.insert(0, easy);
        g
    };
    let good = recommended(&with_two(1.0), 64, &RecommendOptions::default());
    assert!(good.chosen.starts_with("int8/") && good.met, "{}", told(&good));
    assert_eq!(good.judged_by, ["easy", "y"]);
    let r = recommended(&with_two(3000.0), 64, &RecommendOptions::default());
    assert!(matches!(trial(&r, "int8/min-max").verdict, Verdict::Rejected(_)), "{}", told(&r));
    assert!(trial(&r, "int8/min-max").verdict.why().contains("dB in y is below"), "{}", told(&r));
    assert_eq!(r.chosen, "int8-mixed/1", "{}", told(&r));
    // Asked about the first alone, it may.
    let easy = RecommendOptions { output: Some("easy".into()), ..Default::default() };
    let r = recommended(&with_two(3000.0), 64, &easy);
    assert!(r.chosen.starts_with("int8/") && r.judged_by == ["easy"], "{}", told(&r));
}

#[test]
fn decisions_are_judged_by_what_they_are_made_of() {
    // The largest class, and the rows whose first score is above zero: as many as the data has.
    let deciding = |outlier: f32| {
        let mut g = model(outlier);
        let y = g.outputs.pop().unwrap();
        let arg = ArgAttrs { axis: 1, keep_dims: false, select_last: false };
        let class = g.add_node("class", Op::ArgMax(arg), &[y], "label");
        let zero = g.add_constant("zero", Tensor::scalar(0f32));
        let first = g.add_constant("first", Tensor::vector(vec![0i64]));
        let scores = g.add_node("scores", Op::Gather { axis: 1 }, &[y, first], "scores");
        let above = g.add_node("above", Op::Compare(CompareOp::Greater), &[scores, zero], "above");
        let at = g.add_node("at", Op::NonZero, &[above], "at");
        let at = g.add_node("turned", Op::Transpose { perm: Some(vec![1, 0]) }, &[at], "turned");
        let kept = g.add_node("kept", Op::GatherND { batch_dims: 0 }, &[y, at], "kept");
        g.outputs.extend([class, kept]);
        infer(&mut g).unwrap();
        g
    };
    let r = recommended(&deciding(1.0), 64, &RecommendOptions::default());
    assert!(r.chosen.starts_with("int8/") && r.met, "{}", told(&r));
    // `kept` reads y too: each tensor judges once.
    assert_eq!(r.judged_by, ["y", "scores"]);
    let decisions = r.trial().unwrap().figures.as_ref().unwrap().decisions.unwrap();
    assert!((80.0..=100.0).contains(&decisions), "{decisions}");
    let r = recommended(&deciding(3000.0), 64, &RecommendOptions::default());
    assert!(matches!(trial(&r, "int8/min-max").verdict, Verdict::Rejected(_)), "{}", told(&r));
}

#[test]
fn what_has_nothing_to_judge_by_or_to_quantize_is_said() {
    // No float tensor leads to the output.
    let mut g = Graph::new("net");
    let x = g.add_input("x", DType::F32, vec![Dim::symbol("N"), WIDTH.into()]);
    let size = g.add_node("size", Op::Size, &[x], "size");
    g.outputs.push(size);
    infer(&mut g).unwrap();
    let error = recommend(&g, &data(&g, 16), &RecommendOptions::default(), |_| ()).unwrap_err();
    assert!(
        error.to_string().contains("size") && error.to_string().contains("nothing to judge by"),
        "{error}"
    );
    // Nothing is quantized: said, and not called a choice for its decibels.
    let mut g = Graph::new("net");
    let x = g.add_input("x", DType::F32, vec![Dim::symbol("N"), WIDTH.into()]);
    let y = g.add_node("erf", Op::Unary(UnaryOp::Erf), &[x], "y");
    g.outputs.push(y);
    infer(&mut g).unwrap();
    let r = recommended(&g, 16, &RecommendOptions { exclude: vec!["erf".into()], ..Default::default() });
    assert!(r.trial().unwrap().verdict.why().contains("anything to quantize"), "{}", told(&r));
    // The float model itself gives no numbers.
    let mut g = model(1.0);
    let w = g.add_constant("nan", Tensor::vector(vec![f32::NAN; WIDTH]));
    let y = g.outputs.pop().unwrap();
    let bad = g.add_node("bad", Op::Binary(BinaryOp::Add), &[y, w], "bad");
    g.outputs.push(bad);
    infer(&mut g).unwrap();
    let error = recommend(&g, &data(&g, 16), &RecommendOptions::default(), |_| ()).unwrap_err();
    assert!(error.to_string().contains("not a number"), "{error}");
    assert!(!error.to_string().contains(": ;"), "{error}");
}

/// A convolution, Relu, and a linear layer on what it gives.
fn with_convolution() -> Graph {
    let mut g = Graph::new("net");
    let x = g.add_input("x", DType::F32, vec![Dim::symbol("N"), WIDTH.into()]);
    let shape = g.add_constant("shape", Tensor::vector(vec![0i64, 4, (WIDTH / 4) as i64]));
    let rows = g.add_node("rows", Op::Reshape { allow_zero: false }, &[x, shape], "rows");
    let w = g.add_constant("cw", Tensor::new(&[4, 4, 3], noise(48, 6)).unwrap());
    let attrs = ConvAttrs {
        strides: vec![1],
        dilations: vec![1],
        padding: Padding::Explicit { begin: vec![1], end: vec![1] },
        groups: 1,
    };
    let c = g.add_node("conv", Op::Conv(attrs), &[rows, w], "c");
    let r = g.add_node("relu", Op::Unary(UnaryOp::Relu), &[c], "r");
    let f = g.add_node("flat", Op::Flatten { axis: 1 }, &[r], "f");
    let w = g.add_constant("lw", Tensor::new(&[WIDTH, 8], noise(WIDTH * 8, 7)).unwrap());
    let y = g.add_node("linear", Op::MatMul, &[f, w], "y");
    g.outputs.push(y);
    g
}

#[test]
fn models_of_convolutions_and_linear_layers_try_both_ways_of_mixing_them() {
    let graph = with_convolution();
    let r = recommended(&graph, 48, &RecommendOptions::default());
    let operators = |name: &str| {
        let prepared = prepare_static(graph.clone(), trial(&r, name).configuration.clone()).unwrap();
        if !prepared.observers().is_empty() {
            prepared.forward(&[Tensor::new(&[8, WIDTH], noise(8 * WIDTH, 4)).unwrap()]).unwrap();
        }
        let graph = convert(prepared).unwrap().graph;
        ["Conv", "ConvInteger", "MatMul", "MatMulInteger"]
            .map(|op| graph.nodes.iter().any(|n| n.op.name() == op))
    };
    assert_eq!(operators("int8+dynamic"), [true, false, false, true]);
    assert_eq!(operators("int8-dynamic"), [true, false, false, true]);
    assert_eq!(operators("int8-dynamic-all"), [false, true, false, true]);
    // What is looked for in every run costs a quarter of those layers' work, and of no others.
    let work = |name: &str| trial(&r, name).figures.as_ref().unwrap().work;
    let (conv, linear) = (8 * 4 * 4 * 3 * (WIDTH as u64 / 4), 8 * 8 * WIDTH as u64);
    assert_eq!(work("int8/min-max"), conv + linear);
    assert_eq!(work("int8+dynamic"), conv + linear + linear / 4);
    assert_eq!(work("int8-dynamic"), 4 * conv + linear + linear / 4);
    assert_eq!(work("int8-dynamic-all"), (conv + linear) + (conv + linear) / 4);
    // Of what is as good the calibrated one is taken.
    assert!(r.met && r.chosen.starts_with("int8/"), "{}", told(&r));
    // Where there are no convolutions, neither is a recipe of its own.
    let r = recommended(&model(1.0), 64, &RecommendOptions::default());
    assert!(
        r.trials.iter().all(|t| t.name != "int8+dynamic" && t.name != "int8-dynamic-all"),
        "{}",
        told(&r)
    );
}

#[test]
fn the_answer_is_the_same_every_time() {
    let graph = model(3000.0);
    let options = RecommendOptions::default();
    assert_eq!(recommended(&graph, 40, &options), recommended(&graph, 40, &options));
}

#[test]
fn what_cannot_be_kept_is_said() {
    let r = recommended(&model(1.0), 64, &RecommendOptions { min_sqnr_db: 500.0, ..Default::default() });
    assert!(!r.met, "{}", told(&r));
    assert_eq!(r.chosen, "fp16", "{}", told(&r));
    assert!(r.trial().unwrap().verdict.why().contains("below the 500.0 dB"), "{}", told(&r));
    // One batch alone calibrates and judges.
    assert!(recommended(&model(1.0), 8, &RecommendOptions::default()).same_rows);
}

#[test]
fn excluded_nodes_stay_in_float() {
    let options = RecommendOptions { exclude: vec!["second".into()], ..Default::default() };
    let r = recommended(&model(1.0), 32, &options);
    let prepared = prepare_static(model(1.0), r.configuration()).unwrap();
    let second = prepared.placements().into_iter().find(|n| n.node == "second").unwrap();
    assert!(second.placement.float_reason().is_some(), "{second:?}");
}

#[test]
fn quantized_models_and_bad_data_are_errors() {
    let graph = model(1.0);
    let prepared = prepare_static(graph.clone(), tq_passes::QuantConfig::default()).unwrap();
    prepared.forward(&[Tensor::new(&[2, WIDTH], noise(2 * WIDTH, 5)).unwrap()]).unwrap();
    let quantized = convert(prepared).unwrap().graph;
    let error =
        recommend(&quantized, &data(&quantized, 16), &RecommendOptions::default(), |_| ()).unwrap_err();
    assert!(
        matches!(error, AnalysisError::Pass(_)) && error.to_string().contains("quantized already"),
        "{error}"
    );
    let bad = Tensor::new(&[16, WIDTH], vec![f32::NAN; 16 * WIDTH]).unwrap();
    let bad = Dataset::new(&graph, vec![bad]).unwrap();
    let error = recommend(&graph, &bad, &RecommendOptions::default(), |_| ()).unwrap_err();
    assert!(error.to_string().contains("NaN"), "{error}");
}
