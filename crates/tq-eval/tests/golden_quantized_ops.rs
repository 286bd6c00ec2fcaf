//! The evaluator gives the codes of PyTorch's quantized operators: in f64, and in f32 as ONNX computes.
#![allow(clippy::unwrap_used, reason = "a test that cannot read its data has failed")]

mod golden;

use tq_eval::{Evaluator, Precision};

#[test]
fn golden_quantized_ops_are_evaluated() {
    for case in golden::cases() {
        let run = |precision| Evaluator::new(&case.graph, precision).unwrap().run(&case.inputs).unwrap();
        let exact = run(Precision::F64);
        case.compare(&exact[0], &exact[1], |_| 0.0);
        case.compare(&run(Precision::F32)[0], &exact[1], |_| 0.0);
        assert_eq!(
            (case.dims.as_slice(), case.units.len()),
            (exact[0].dims(), channels(&case)),
            "{}",
            case.name
        );
    }
}

/// Layers have a unit for every channel of their result, other operators have none.
fn channels(case: &golden::Case) -> usize {
    if matches!(case.name.as_str(), "linear" | "conv2d") { case.dims[1] } else { 0 }
}
