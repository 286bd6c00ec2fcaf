//! Whole networks, read from the folder that `TQ_MODELS_DIR` names: fusion keeps the function, and the QDQ graph keeps
//! the accuracy. Skipped, visibly, where the variable is not set. `TQ_CASE` picks one model.

mod common;

use common::cases::{Case, cases};
use tq_eval::{Evaluator, Precision};
use tq_graph::qdq::QdqView;
use tq_passes::{Placement, QuantConfig, convert, fold_constants, fuse, prepare_static};

const BATCH: usize = 32;

fn for_each_case(check: impl Fn(&Case)) {
    match cases() {
        None => eprintln!("SKIPPED: TQ_MODELS_DIR is not set"),
        Some(cases) => cases.iter().for_each(check),
    }
}

#[test]
fn fusion_keeps_the_function() {
    for_each_case(|case| {
        let float = case.graph();
        let mut fused = float.clone();
        fold_constants(&mut fused).unwrap();
        let report = fuse(&mut fused).unwrap();
        for entry in &report.entries {
            println!("{}: {entry}", case.name);
        }
        let x = case.calibration().batch(0, 4);
        let run = |g| Evaluator::new(g, Precision::F64).unwrap().run(std::slice::from_ref(&x)).unwrap();
        for (a, b) in run(&float).iter().zip(run(&fused)) {
            let (a, b) = (a.to_f64_vec().unwrap(), b.to_f64_vec().unwrap());
            let norm = a.iter().fold(0.0f64, |m, v| m.max(v.abs()));
            for (x, y) in a.iter().zip(&b) {
                assert!((x - y).abs() <= 1e-4 * norm, "{}: {x} became {y}", case.name);
            }
        }
    });
}

#[test]
fn quantized_networks_keep_their_accuracy() {
    for_each_case(|case| {
        let prepared = prepare_static(case.graph(), QuantConfig::default()).unwrap();
        let calibration = case.calibration();
        for start in (0..calibration.len()).step_by(BATCH) {
            prepared.forward(&calibration.batch(start, BATCH)).unwrap();
        }
        let quantized = convert(prepared).unwrap();
        for (node, reason) in quantized.report.float_nodes() {
            println!("{}: float: {} {}: {reason}", case.name, node.op, node.node);
        }
        for adjustment in &quantized.report.adjustments {
            println!("{}: {adjustment:?}", case.name);
        }
        let view = QdqView::new(&quantized.graph);
        let float_nodes: Vec<&str> =
            view.floats.iter().map(|f| quantized.graph.node(f.node).name.as_str()).collect();
        for node in &quantized.report.nodes {
            let in_view = !float_nodes.contains(&node.node.as_str());
            if matches!(node.placement, Placement::Integer { .. }) {
                assert!(in_view, "{}: {node}, but the view has it in float", case.name);
            }
        }
        let eval = case.evaluation();
        let evaluator = Evaluator::new(&quantized.graph, Precision::F32).unwrap();
        let mut hits = 0usize;
        for start in (0..eval.len()).step_by(BATCH) {
            let out = evaluator.run(&[eval.batch(start, BATCH)]).unwrap();
            hits += case.hits(&out[0], start);
        }
        let top1 = 100.0 * hits as f64 / eval.len() as f64;
        let best = case.best_static;
        println!(
            "{}: float {:.3}, int8 {top1:.3}, best static of ONNX Runtime {best:.3}",
            case.name, case.float
        );
        let sample = 100.0 / eval.len() as f64;
        assert!(
            top1 >= case.float - 1.0 - 1e-9 || top1 >= best - 1e-9,
            "{}: {top1:.3} against float {:.3} (one sample is {sample:.3})",
            case.name,
            case.float
        );
    });
}
