//! The node test cases of the ONNX project, in both precisions.
//!
//! Where they come from: `data/README.md`. Models are run as they are imported: what their inputs'
//! values determine is not folded, what their shapes determine (Shape, and arithmetic on it) is.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod cases;

use cases::{Case, Tolerance, read, run};
use std::collections::{BTreeMap, BTreeSet};
use tq_eval::Precision;
use tq_onnx::{ExportOptions, OnnxError};

/// Cases in the archive. All of them run, so that a case that gets lost is a failure.
const CASES: usize = 998;

/// Cases whose expected outputs are wrong.
const WRONG: [(&str, &str); 5] = [
    ("test_averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True", BEYOND_PADDING),
    ("test_qlinearmatmul_2D_int8_float16", WRAPS),
    ("test_qlinearmatmul_2D_int8_float32", WRAPS),
    ("test_qlinearmatmul_3D_int8_float16", WRAPS),
    ("test_qlinearmatmul_3D_int8_float32", WRAPS),
];
const BEYOND_PADDING: &str = "it divides by elements beyond the padding; later ONNX and ONNX Runtime do not";
const WRAPS: &str = "it wraps where the operator saturates, as ONNX Runtime does";

/// What one node may be off by; the runner of ONNX allows 1e-3 of every element.
const TOLERANCE: Tolerance = Tolerance { of_element: 2e-6, of_largest: 0.0 };

fn cases() -> BTreeMap<String, Case> {
    read(include_bytes!("data/onnx_node_cases.zip"))
}

/// How many cases have each operator, as the lines of a table. Shape is not among them: import makes constants of it.
fn by_operator(cases: &BTreeMap<String, Case>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, case) in cases {
        let graph = tq_onnx::import_bytes(&case.model, None).unwrap_or_else(|e| panic!("{name}: {e}"));
        let names: BTreeSet<&str> = graph.nodes.iter().map(|n| n.op.name()).collect();
        for name in names {
            *counts.entry(name).or_default() += 1;
        }
    }
    counts.iter().map(|(op, n)| format!("| {op} | {n} |\n")).collect()
}

fn check(precision: Precision, exceptions: &[(&str, &str)]) {
    let cases = cases();
    assert_eq!(cases.len(), CASES);
    let mut failures = Vec::new();
    let mut passed = 0;
    for (name, case) in &cases {
        match (run(case, precision, TOLERANCE), exceptions.iter().find(|(n, _)| n == name)) {
            (Ok(()), None) => passed += 1,
            (Ok(()), Some(_)) => failures.push(format!("{name}: passes, but is listed as an exception")),
            (Err(_), Some((_, reason))) => println!("{name} differs, as it must: {reason}"),
            (Err(message), None) => failures.push(format!("{name}: {message}")),
        }
    }
    println!("{precision:?}: {passed} of {} cases passed, {} exceptions", cases.len(), exceptions.len());
    if precision == Precision::F32 {
        println!("{}", by_operator(&cases));
    }
    assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(passed, CASES - exceptions.len());
}

/// Every case, written at the highest operator set and at the lowest one that has words for it, still passes.
#[test]
fn written_and_read_again() {
    let mut lowest = BTreeMap::<i64, usize>::new();
    for (name, case) in cases() {
        if WRONG.iter().any(|(wrong, _)| *wrong == name) {
            continue;
        }
        let graph = tq_onnx::import_bytes(&case.model, None).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut opset = 13;
        let bytes = loop {
            match tq_onnx::export_bytes(&graph, &ExportOptions { opset }) {
                Ok(bytes) => break bytes,
                Err(OnnxError::NotExpressible { needs, .. }) if needs > opset => opset = needs,
                Err(e) => panic!("{name}: {e}"),
            }
        };
        *lowest.entry(opset).or_default() += 1;
        let highest = tq_onnx::export_bytes(&graph, &ExportOptions { opset: 21 });
        for bytes in [bytes, highest.unwrap_or_else(|e| panic!("{name}: {e}"))] {
            let written = Case { model: bytes, inputs: case.inputs.clone(), outputs: case.outputs.clone() };
            if let Err(message) = run(&written, Precision::F32, TOLERANCE) {
                panic!("{name}, at opset {opset} or 21: {message}");
            }
        }
    }
    println!("lowest operator sets: {lowest:?}");
}

#[test]
fn in_f32() {
    check(Precision::F32, &WRONG);
}

#[test]
fn in_f64() {
    let tie = "0.5 / scale is a tie in f32, and just below one in f64";
    let exceptions: Vec<_> = WRONG.into_iter().chain([("test_dynamicquantizelinear", tie)]).collect();
    check(Precision::F64, &exceptions);
}
