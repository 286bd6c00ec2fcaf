//! Weights files that are cut, forged or do not fit: an error that says what is wrong, and no parameter changed.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use std::collections::BTreeMap;
use tq_graph::builder::{Builder, Linear, read_safetensors, write_safetensors};
use tq_graph::{Graph, GraphError, Tensor};
use tq_qtypes::DType;

/// A file with this header, whatever it says, before this data.
fn file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend(header.as_bytes());
    out.extend(data);
    out
}

fn entry(dtype: &str, shape: &str, begin: usize, end: usize) -> String {
    format!("{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[{begin},{end}]}}")
}

/// One linear layer of 3 features to 2, which waits for its weights.
fn waiting() -> Builder {
    let mut b = Graph::builder();
    let x = b.input("x", DType::F32, [1usize.into(), 3usize.into()]).unwrap();
    let y = b.layer("fc", x, Linear::new(3, 2)).unwrap();
    b.output("y", y).unwrap();
    b
}

fn fitting() -> Vec<u8> {
    let tensors = BTreeMap::from([
        ("fc.weight".to_owned(), Tensor::new(&[2, 3], vec![0.5f32; 6]).unwrap()),
        ("fc.bias".to_owned(), Tensor::vector(vec![1.0f32, 2.0])),
    ]);
    write_safetensors(&tensors).unwrap()
}

/// The error of loading these bytes; afterwards the layer still waits for both parameters.
fn refused(bytes: &[u8]) -> GraphError {
    let mut b = waiting();
    let error = b.load_weights(bytes).unwrap_err();
    match b.build() {
        Err(GraphError::MissingWeights(names)) => assert_eq!(names, ["fc.bias", "fc.weight"]),
        other => panic!("{error}, but then {other:?}"),
    }
    error
}

fn is_file_error(bytes: &[u8]) -> String {
    match refused(bytes) {
        GraphError::WeightsFile(message) => message,
        other => panic!("{other}"),
    }
}

#[test]
fn every_cut_is_refused() {
    let whole = fitting();
    let mut b = waiting();
    b.load_weights(&whole).unwrap();
    b.build().unwrap();
    for n in 0..whole.len() {
        is_file_error(&whole[..n]);
    }
    let more = [&whole[..], &[0]].concat();
    is_file_error(&more);
}

#[test]
fn headers_that_lie_about_their_length_are_refused_before_anything_is_allocated() {
    for length in [17 << 20, 1 << 40, u64::MAX - 7, u64::MAX] {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend(b"{}");
        let message = is_file_error(&bytes);
        assert!(message.contains(&length.to_string()) && message.contains("limit"), "{message}");
    }
    is_file_error(&file("{", &[]));
    is_file_error(&file("[]", &[]));
    is_file_error(&file("{\"fc.weight\":7}", &[]));
    is_file_error(&file("\u{feff}{}", &[]));
    // Nested deeply: no stack is used up.
    is_file_error(&file(&"[".repeat(1 << 20), &[]));
    is_file_error(&file(&format!("{{\"a\":{}", "{\"b\":".repeat(1 << 18)), &[]));
}

#[test]
fn offsets_that_overlap_leave_gaps_or_lead_outside_are_refused() {
    let two = |a: (usize, usize), b: (usize, usize)| {
        let (w, c) = (entry("F32", "[2,3]", a.0, a.1), entry("F32", "[2]", b.0, b.1));
        file(&format!("{{\"fc.weight\":{w},\"fc.bias\":{c}}}"), &[0; 32])
    };
    let mut b = waiting();
    b.load_weights(&two((0, 24), (24, 32))).unwrap();
    for (a, b) in [
        ((0, 24), (16, 24)),
        ((0, 24), (0, 8)),
        ((8, 32), (24, 32)),
        ((0, 24), (24, 40)),
        ((0, 24), (32, 24)),
        ((24, 0), (24, 32)),
        ((0, 24), (25, 33)),
        ((0, usize::MAX), (24, 32)),
        ((usize::MAX - 23, usize::MAX), (24, 32)),
        ((0, 23), (23, 31)),
    ] {
        is_file_error(&two(a, b));
    }
    // Many names for the same bytes would take memory without end.
    let entries: Vec<String> =
        (0..1000).map(|i| format!("\"t{i}\":{}", entry("F32", "[1024]", 0, 4096))).collect();
    is_file_error(&file(&format!("{{{}}}", entries.join(",")), &[0; 4096]));
}

#[test]
fn shapes_and_types_that_do_not_go_with_the_data_are_refused() {
    let one = |dtype: &str, shape: &str, bytes: usize| {
        let (w, c) = (entry(dtype, shape, 0, bytes), entry("F32", "[2]", bytes, bytes + 8));
        file(&format!("{{\"fc.weight\":{w},\"fc.bias\":{c}}}"), &vec![0; bytes + 8])
    };
    for (shape, bytes) in [
        ("[2,4]", 24),
        ("[-2,3]", 24),
        ("[2.5,3]", 24),
        ("[18446744073709551615,3]", 24),
        ("[4294967296,4294967296]", 0),
        ("[18446744073709551615,18446744073709551615,0]", 0),
        ("\"2\"", 24),
    ] {
        is_file_error(&one("F32", shape, bytes));
    }
    is_file_error(&one("F33", "[2,3]", 24));
    let message = is_file_error(&one("F8_E5M2", "[2,3]", 6));
    assert!(message.contains("fc.weight"), "{message}");
    // Whole files whose tensors are not those of the layer.
    for (dtype, bytes) in [("I64", 48), ("U8", 6), ("BOOL", 6)] {
        let error = refused(&one(dtype, "[2,3]", bytes));
        assert!(
            matches!(error, GraphError::WeightType { .. }) && error.to_string().contains("fc.weight"),
            "{error}"
        );
    }
    for shape in ["[3,2]", "[6]", "[1,2,3]", "[]"] {
        let bytes = if shape == "[]" { 4 } else { 24 };
        let error = refused(&one("F32", shape, bytes));
        assert!(
            matches!(error, GraphError::WeightShape { .. }) && error.to_string().contains("fc.weight"),
            "{error}"
        );
    }
    // Other floats become f32.
    for (dtype, bytes) in [("F16", 12), ("BF16", 12), ("F64", 48)] {
        let mut b = waiting();
        b.load_weights(&one(dtype, "[2,3]", bytes)).unwrap();
        b.build().unwrap();
    }
    let w = entry("F32", "[2,3]", 0, 24);
    let twice = file(&format!("{{\"fc.weight\":{w},\"fc.weight\":{w}}}"), &[0; 24]);
    refused(&twice);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes changed anywhere: tensors that take no more than the file, or an error.
    #[test]
    fn changed_files_answer_or_are_refused(at in any::<prop::sample::Index>(), byte in any::<u8>(), more in 0usize..3) {
        let mut bytes = fitting();
        let n = bytes.len();
        for i in 0..=more {
            let place = (at.index(n) + i * 7) % n;
            bytes[place] = byte.wrapping_add(i as u8);
        }
        if let Ok(tensors) = read_safetensors(&bytes) {
            let total: usize = tensors.values().map(|t| t.len() * t.dtype().bits().div_ceil(8)).sum();
            prop_assert!(total <= bytes.len());
        }
    }
}
