//! The evaluator gives the codes of PyTorch's quantized operators: in f64, and in f32 as ONNX computes.
#![allow(clippy::unwrap_used, reason = "a test that cannot read its data has failed")]

mod golden;

use tq_eval::{Evaluator, Precision};

#[test]
fn golden_quantized_ops_are_evaluated() {
    for case in golden::cases() {
        let run = |precision| Evaluator::new(&case.graph, precision).unwrap().run(&case.inputs).unwrap();
        let exact = run(Precision::F64);
        case.compare(&exact[0], &exact[1]);
        case.compare(&run(Precision::F32)[0], &exact[1]);
    }
}
