//! Random cases of operators with the outputs of ONNX Runtime: what the cases of the ONNX project leave out.
//! `data/make_runtime_cases.py` made them.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod cases;

use cases::{Case, Tolerance, read, run};
use std::collections::BTreeMap;
use tq_eval::Precision;
use tq_onnx::{ExportOptions, OnnxError};

/// ONNX Runtime computes in f32, so that sums are off by parts of what they are sums of.
const TOLERANCE: Tolerance = Tolerance { of_element: 0.0, of_largest: 5e-6 };

fn all() -> BTreeMap<String, Case> {
    read(include_bytes!("data/runtime_cases.zip"))
}

#[test]
fn outputs_are_those_of_onnx_runtime() {
    let cases = all();
    assert_eq!(cases.len(), 478);
    let mut failures = Vec::new();
    for precision in [Precision::F32, Precision::F64] {
        for (name, case) in &cases {
            if let Err(message) = run(case, precision, TOLERANCE) {
                failures.push(format!("{name} in {precision:?}: {message}"));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

/// Every case, written at the lowest operator set that has words for it and at the highest one, still passes.
#[test]
fn written_and_read_again() {
    for (name, case) in all() {
        let graph = tq_onnx::import_bytes(&case.model, None).unwrap();
        let mut opset = 13;
        while let Err(OnnxError::NotExpressible { needs, .. }) =
            tq_onnx::export_bytes(&graph, &ExportOptions::at(opset))
        {
            assert!(needs > opset, "{name} at {opset} needs {needs}");
            opset = needs;
        }
        for opset in [opset, 21] {
            let model = tq_onnx::export_bytes(&graph, &ExportOptions::at(opset)).unwrap();
            let written = Case { model, inputs: case.inputs.clone(), outputs: case.outputs.clone() };
            if let Err(message) = run(&written, Precision::F32, TOLERANCE) {
                panic!("{name} at opset {opset}: {message}");
            }
        }
    }
}
