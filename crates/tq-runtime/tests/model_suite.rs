//! Whole networks, read from the folder that `TQ_MODELS_DIR` names; skipped, visibly, where it is not set.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its data has failed")]

mod common;

use common::models::{cases, hits};
use tq_eval::{Evaluator, Precision};
use tq_kernels::Isa;
use tq_runtime::{JudgeReport, Session, SessionOptions, judge};

/// Samples that the judge sees.
const JUDGED: usize = 3;

fn integer_share(session: &Session) -> f64 {
    let (integer, float) = session.explain().macs();
    integer as f64 / (integer + float).max(1) as f64
}

#[test]
fn quantized_networks_hold_against_the_judge_and_are_the_same_on_all_kernels() {
    for case in cases() {
        let graph = case.quantized_graph();
        let best = Session::new(&graph, SessionOptions::default()).unwrap();
        let scalar = Session::new(&graph, SessionOptions::with_isa(Isa::Scalar)).unwrap();
        let eval = case.data("eval");
        let mut report = JudgeReport::default();
        for i in 0..JUDGED {
            let x = [eval.batch(i * 7, 1)];
            report.merge(judge(&best, &x).unwrap());
            assert!(best.run(&x).unwrap() == scalar.run(&x).unwrap(), "{}: kernels differ", case.name);
        }
        println!("{}: {report}", case.name);
        for n in best.explain().floats() {
            println!("{}: in float: {} {}: {}", case.name, n.op, n.node, n.reason.as_deref().unwrap_or(""));
        }
        assert!(report.holds(), "{}: {report}", case.name);
        assert!(integer_share(&best) > 0.99, "{}: {}", case.name, best.explain());
        // From a native file it gives the same bits.
        for graph in [&graph, &tq_format::strip(&graph)] {
            let mut file = Vec::new();
            tq_format::write(graph, &mut file).unwrap();
            let read = tq_format::read(&file).unwrap();
            let native = Session::new(&read, SessionOptions::default()).unwrap();
            let x = [eval.batch(1, 2)];
            assert!(
                read == *graph && native.run(&x).unwrap() == best.run(&x).unwrap(),
                "{}: native",
                case.name
            );
        }
        // A batch is the same as its samples one by one.
        let batch = best.run(&[eval.batch(0, 3)]).unwrap();
        let single = best.run(&[eval.batch(1, 1)]).unwrap();
        let (batch, single) = (batch[0].to_f32_vec().unwrap(), single[0].to_f32_vec().unwrap());
        assert_eq!(batch[single.len()..2 * single.len()], single, "{}", case.name);
    }
}

#[test]
fn quantized_networks_keep_their_accuracy() {
    for case in cases() {
        let session = Session::new(&case.quantized_graph(), SessionOptions::default()).unwrap();
        let (eval, labels) = (case.data("eval"), case.labels());
        let mut right = 0;
        for start in (0..eval.len()).step_by(16) {
            let out = session.run(&[eval.batch(start, 16)]).unwrap();
            right += hits(&out[0], &labels[start..]);
        }
        let top1 = 100.0 * right as f64 / eval.len() as f64;
        println!("{}: float {:.3}, int8 {top1:.3}", case.name, case.float_metric());
        let enough = (case.float_metric() - 1.0).min(case.best_static());
        assert!(top1 >= enough, "{}: {top1} is below {enough}", case.name);
    }
}

#[test]
fn float_sessions_are_the_reference() {
    for case in cases() {
        let graph = case.float_graph();
        let session = Session::new(&graph, SessionOptions::default()).unwrap();
        let x = [case.data("eval").batch(0, 2)];
        let expected = Evaluator::new(&graph, Precision::F32).unwrap().run(&x).unwrap();
        assert!(session.run(&x).unwrap() == expected, "{}", case.name);
        assert_eq!(integer_share(&session), 0.0, "{}", case.name);
    }
}
