//! The node test cases of the ONNX project, in both precisions, and the table that says how they went.
//!
//! Where they come from: `data/README.md`. Models are run as they are imported: what their inputs'
//! values determine is not folded, what their shapes determine (Shape, and arithmetic on it) is.

#![allow(clippy::unwrap_used)] // a test fails by panicking

#[path = "../cases/mod.rs"]
mod cases;
mod table;

use cases::{Case, Tolerance, read, run, text};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use tq_eval::Precision;
use tq_onnx::{ExportOptions, OnnxError};

/// The archives, older one first.
const ARCHIVES: [&[u8]; 2] =
    [include_bytes!("../data/onnx_node_cases.zip"), include_bytes!("../data/onnx_newer_cases.zip")];

/// Cases in the archives. All of them run, so that a case that gets lost is a failure.
const CASES: usize = 1004 + 358;

/// A case that must fail.
struct Exception {
    case: &'static str,
    precisions: &'static [Precision],
    reason: &'static str,
}

const BOTH: &[Precision] = &[Precision::F32, Precision::F64];
const BEYOND_PADDING: &str = "it divides by elements beyond the padding; later ONNX and ONNX Runtime do not";
const WRAPS: &str = "it wraps where the operator saturates, as ONNX Runtime does";
const OTHER_NAN: &str =
    "its NaN has the code 7e; that of the same case in release 1.16.2 has 7f, as here, and both are NaN";
const WRAPS_INT4: &str = "it wraps what is out of range, which ONNX leaves undefined; the same case in release 1.16.2 saturates, as here";
const WRAPS_INT2: &str =
    "it wraps what is out of range, which ONNX leaves undefined; here it saturates, as for other types";
const FEW_DIGITS: &str = "its expected outputs have four digits";
const TIE: &str = "0.5 / scale is a tie in f32, and just below one in f64";

const fn wrong(case: &'static str, reason: &'static str) -> Exception {
    Exception { case, precisions: BOTH, reason }
}

/// Cases whose expected outputs are wrong, or are only one of several that ONNX allows.
const EXCEPTIONS: [Exception; 34] = [
    wrong("test_averagepool_2d_ceil_last_window_starts_on_pad", FEW_DIGITS),
    wrong("test_averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True", BEYOND_PADDING),
    wrong("test_qlinearmatmul_2D_int8_float16", WRAPS),
    wrong("test_qlinearmatmul_2D_int8_float32", WRAPS),
    wrong("test_qlinearmatmul_3D_int8_float16", WRAPS),
    wrong("test_qlinearmatmul_3D_int8_float32", WRAPS),
    Exception { case: "test_dynamicquantizelinear", precisions: &[Precision::F64], reason: TIE },
    Exception { case: "test_dynamicquantizelinear_expanded", precisions: &[Precision::F64], reason: TIE },
    wrong("test_castlike_FLOAT16_to_FLOAT8E5M2", OTHER_NAN),
    wrong("test_castlike_FLOAT16_to_FLOAT8E5M2_expanded", OTHER_NAN),
    wrong("test_castlike_no_saturate_FLOAT16_to_FLOAT8E5M2", OTHER_NAN),
    wrong("test_castlike_no_saturate_FLOAT16_to_FLOAT8E5M2_expanded", OTHER_NAN),
    wrong("test_castlike_no_saturate_FLOAT_to_FLOAT8E5M2", OTHER_NAN),
    wrong("test_castlike_no_saturate_FLOAT_to_FLOAT8E5M2_expanded", OTHER_NAN),
    wrong("test_castlike_FLOAT16_to_INT4", WRAPS_INT4),
    wrong("test_castlike_FLOAT16_to_INT4_expanded", WRAPS_INT4),
    wrong("test_castlike_FLOAT16_to_UINT4", WRAPS_INT4),
    wrong("test_castlike_FLOAT16_to_UINT4_expanded", WRAPS_INT4),
    wrong("test_castlike_FLOAT_to_INT4", WRAPS_INT4),
    wrong("test_castlike_FLOAT_to_INT4_expanded", WRAPS_INT4),
    wrong("test_castlike_FLOAT_to_UINT4", WRAPS_INT4),
    wrong("test_castlike_FLOAT_to_UINT4_expanded", WRAPS_INT4),
    wrong("test_cast_FLOAT16_to_INT2", WRAPS_INT2),
    wrong("test_cast_FLOAT16_to_UINT2", WRAPS_INT2),
    wrong("test_cast_FLOAT_to_INT2", WRAPS_INT2),
    wrong("test_cast_FLOAT_to_UINT2", WRAPS_INT2),
    wrong("test_castlike_FLOAT16_to_INT2", WRAPS_INT2),
    wrong("test_castlike_FLOAT16_to_INT2_expanded", WRAPS_INT2),
    wrong("test_castlike_FLOAT16_to_UINT2", WRAPS_INT2),
    wrong("test_castlike_FLOAT16_to_UINT2_expanded", WRAPS_INT2),
    wrong("test_castlike_FLOAT_to_INT2", WRAPS_INT2),
    wrong("test_castlike_FLOAT_to_INT2_expanded", WRAPS_INT2),
    wrong("test_castlike_FLOAT_to_UINT2", WRAPS_INT2),
    wrong("test_castlike_FLOAT_to_UINT2_expanded", WRAPS_INT2),
];

fn exception(case: &str, precision: Precision) -> Option<&'static Exception> {
    EXCEPTIONS.iter().find(|e| e.case == case && e.precisions.contains(&precision))
}

/// What one node may be off by; the runner of ONNX allows 1e-3 of every element.
const TOLERANCE: Tolerance = Tolerance { of_element: 2e-6, of_largest: 0.0 };

static CASES_BY_NAME: LazyLock<BTreeMap<String, Case>> =
    LazyLock::new(|| ARCHIVES.into_iter().flat_map(read).collect());

/// What came out of every case, by name.
type Results = BTreeMap<&'static str, Result<(), String>>;

static F32: LazyLock<Results> = LazyLock::new(|| results(Precision::F32));
static F64: LazyLock<Results> = LazyLock::new(|| results(Precision::F64));

fn results(precision: Precision) -> Results {
    CASES_BY_NAME.par_iter().map(|(name, case)| (name.as_str(), run(case, precision, TOLERANCE))).collect()
}

fn check(precision: Precision, results: &Results) {
    assert_eq!(results.len(), CASES);
    let mut failures = Vec::new();
    for (name, result) in results {
        match (result, exception(name, precision)) {
            (Ok(()), Some(_)) => failures.push(format!("{name}: passes, but is listed as an exception")),
            (Err(message), None) => failures.push(format!("{name}: {message}")),
            (Ok(()), None) | (Err(_), Some(_)) => {}
        }
    }
    assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n"));
    let expected = EXCEPTIONS.iter().filter(|e| e.precisions.contains(&precision)).count();
    assert_eq!(results.values().filter(|r| r.is_ok()).count(), CASES - expected);
}

#[test]
fn in_f32() {
    check(Precision::F32, &F32);
}

#[test]
fn in_f64() {
    check(Precision::F64, &F64);
}

/// `docs/OPERATORS.md` is what these tests find.
#[test]
fn the_table_of_the_docs_is_true() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/OPERATORS.md");
    let now = table::document();
    if std::env::var_os("TQ_WRITE_DOCS").is_some() {
        std::fs::write(path, now).unwrap();
        return;
    }
    let written = std::fs::read_to_string(path).unwrap().replace("\r\n", "\n");
    let differs = now.lines().zip(written.lines()).find(|(a, b)| a != b);
    assert!(
        now == written,
        "docs/OPERATORS.md is out of date, first at {differs:?}; rewrite it with\n\
         TQ_WRITE_DOCS=1 cargo test -p tq-eval --test onnx_node_cases"
    );
}

/// Every case, written at the highest operator set and at the lowest one that has words for it, still passes.
#[test]
fn written_and_read_again() {
    CASES_BY_NAME.par_iter().filter(|(name, _)| exception(name, Precision::F32).is_none()).for_each(
        |(name, case)| {
            let graph = tq_onnx::import_bytes(&case.model, None).unwrap_or_else(|e| panic!("{name}: {e}"));
            let mut opset = 13;
            let bytes = loop {
                match tq_onnx::export_bytes(&graph, &ExportOptions::at(opset)) {
                    Ok(bytes) => break bytes,
                    // Operators got these types after the highest operator set that is written.
                    Err(OnnxError::NotExpressible { needs, .. })
                        if needs > tq_onnx::MAX_OPSET || name.contains("bfloat16") =>
                    {
                        return;
                    }
                    Err(OnnxError::NotExpressible { needs, .. }) if needs > opset => opset = needs,
                    Err(e) => panic!("{name}: {e}"),
                }
            };
            let highest = tq_onnx::export_bytes(&graph, &ExportOptions::at(opset.max(21)));
            for bytes in [bytes, highest.unwrap_or_else(|e| panic!("{name}: {e}"))] {
                let written =
                    Case { model: bytes, inputs: case.inputs.clone(), outputs: case.outputs.clone() };
                if let Err(message) = run(&written, Precision::F32, TOLERANCE) {
                    panic!("{name}, at opset {opset} or the higher of it and 21: {message}");
                }
            }
        },
    );
}
