//! Random cases of operators in their older and newer forms, with the outputs of ONNX Runtime: what import makes of them
//! computes the same. `data/make_older_cases.py` made them.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod cases;

use cases::{Tolerance, read, run};
use tq_eval::Precision;

/// ONNX Runtime computes in f32, so that sums are off by parts of what they are sums of.
const TOLERANCE: Tolerance = Tolerance { of_element: 0.0, of_largest: 5e-6 };

#[test]
fn outputs_are_those_of_onnx_runtime() {
    let cases = read(include_bytes!("data/older_cases.zip"));
    assert_eq!(cases.len(), 515);
    let mut failures = Vec::new();
    for (name, case) in &cases {
        for precision in [Precision::F32, Precision::F64] {
            if let Err(message) = run(case, precision, TOLERANCE) {
                failures.push(format!("{name} in {precision:?}: {message}"));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}
