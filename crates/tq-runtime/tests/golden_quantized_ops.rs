//! Sessions give the codes of PyTorch's quantized operators, all in integers, on every kernel.
#![allow(clippy::unwrap_used, reason = "a test that cannot read its data has failed")]

mod common;
#[path = "../../tq-eval/tests/golden/mod.rs"]
mod golden;

use common::sessions;
use tq_eval::{Evaluator, Precision};

#[test]
fn golden_quantized_ops_run() {
    for mut case in golden::cases() {
        let real = Evaluator::new(&case.graph, Precision::F64).unwrap().run(&case.inputs).unwrap().remove(1);
        // A result that is also wanted as real numbers would be computed as such.
        case.graph.outputs.truncate(1);
        for session in sessions(&case.graph) {
            let codes = session.run(&case.inputs).unwrap().remove(0);
            case.compare(&codes, &real);
            let explanation = session.explain();
            assert!(explanation.floats().next().is_none(), "{}: {explanation}", case.name);
        }
    }
}
