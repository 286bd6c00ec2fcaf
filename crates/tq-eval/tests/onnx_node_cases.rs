//! The node test cases of the ONNX project, in both precisions.
//!
//! Where they come from: `data/README.md`. Models are run as they are imported: what their inputs'
//! values determine is not folded, what their shapes determine (Shape, and arithmetic on it) is.

#![allow(clippy::unwrap_used)] // a test fails by panicking

use half::bf16;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read};
use tq_eval::{EvalError, Evaluator, Precision};
use tq_graph::dim::known_shape;
use tq_graph::{Tensor, ValueId};
use tq_onnx::{ExportOptions, OnnxError};
use tq_qtypes::DType;

/// Cases in the archive. All of them run, so that a case that gets lost is a failure.
const CASES: usize = 947;

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

struct Case {
    model: Vec<u8>,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

fn cases() -> BTreeMap<String, Case> {
    let archive: &[u8] = include_bytes!("data/onnx_node_cases.zip");
    let mut archive = zip::ZipArchive::new(Cursor::new(archive)).unwrap();
    let mut files: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    let mut same = String::new();
    for i in 0..archive.len() {
        let mut file = archive.by_index(i).unwrap();
        let name = file.name().unwrap().into_owned();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        if name == "same.txt" {
            same = String::from_utf8(bytes).unwrap();
        } else if let Some((case, part)) = name.split_once('/') {
            files.entry(case.to_owned()).or_default().insert(part.to_owned(), bytes);
        }
    }
    for line in same.lines() {
        let (name, other) = line.split_once(' ').unwrap();
        let [(case, part), (other, other_part)] = [name, other].map(|n| n.split_once('/').unwrap());
        let bytes = files[other][other_part].clone();
        files.entry(case.to_owned()).or_default().insert(part.to_owned(), bytes);
    }
    files
        .into_iter()
        .map(|(name, files)| {
            let tensors = |kind: &str| {
                (0..)
                    .map_while(|i| files.get(&format!("{kind}_{i}.pb")))
                    .map(|b| tq_onnx::read_tensor(b).unwrap_or_else(|e| panic!("{name}: {e}")))
                    .collect()
            };
            let case = Case {
                model: files["model.onnx"].clone(),
                inputs: tensors("input"),
                outputs: tensors("output"),
            };
            (name, case)
        })
        .collect()
}

/// Largest relative error allowed on floats that one node computes and keeps in `dtype`. The ONNX runner allows 1e-3.
fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 1e-3,
        DType::BF16 => 8e-3,
        _ => 2e-6,
    }
}

/// What differs between an output and the expected one, if anything does.
fn difference(got: &Tensor, want: &Tensor, precision: Precision, nodes: usize) -> Option<String> {
    if got.dims() != want.dims() {
        return Some(format!("shape {:?}, expected {:?}", got.dims(), want.dims()));
    }
    let float = want.dtype().is_float();
    let dtype = if float && precision == Precision::F64 { DType::F64 } else { want.dtype() };
    if got.dtype() != dtype {
        return Some(format!("type {}, expected {dtype}", got.dtype()));
    }
    if !float {
        return (got != want).then(|| "codes differ".to_owned());
    }
    // Every node of a function body rounds.
    let tolerance = tolerance(want.dtype()) * nodes.max(1) as f64;
    let pairs = got.to_f64_vec().unwrap().into_iter().zip(want.to_f64_vec().unwrap());
    for (i, (g, w)) in pairs.enumerate() {
        let same = g == w || (g.is_nan() && w.is_nan()) || (g - w).abs() <= 1e-7 + tolerance * w.abs();
        if !same {
            return Some(format!("element {i} is {g}, expected {w}"));
        }
    }
    None
}

/// Why a case fails.
struct Failure(String);

impl From<EvalError> for Failure {
    fn from(e: EvalError) -> Self {
        Failure(e.to_string())
    }
}

fn run(case: &Case, precision: Precision) -> Result<(), String> {
    let graph = tq_onnx::import_bytes(&case.model, None).map_err(|e| format!("import: {e}"))?;
    let evaluator = Evaluator::new(&graph, precision).map_err(|e| e.to_string())?;
    // The files keep bf16 as u16: the model says which of these are meant so.
    let retype = |t: &Tensor, v: &ValueId| match graph.value(*v).dtype {
        Some(DType::BF16) if t.dtype() == DType::U16 => {
            let bits = t.as_slice::<u16>().unwrap();
            Tensor::new(t.dims(), bits.iter().map(|b| bf16::from_bits(*b)).collect()).unwrap()
        }
        _ => t.clone(),
    };
    let inputs: Vec<Tensor> = case.inputs.iter().zip(&graph.inputs).map(|(t, v)| retype(t, v)).collect();
    let wanted: Vec<Tensor> = case.outputs.iter().zip(&graph.outputs).map(|(t, v)| retype(t, v)).collect();
    // What comes out of every node has the type and shape that were inferred for it.
    let outputs = evaluator.run_tapped(&inputs, &mut |v, t| {
        let value = graph.value(v);
        let shape = value.shape.as_deref().and_then(known_shape);
        if shape.is_some_and(|s| s != t.dims()) {
            return Err(Failure(format!(
                "{} has shape {:?}, inferred {:?}",
                value.name,
                t.dims(),
                value.shape
            )));
        }
        let dtype =
            value.dtype.map(|d| if d.is_float() && precision == Precision::F64 { DType::F64 } else { d });
        match dtype.filter(|d| *d != t.dtype()) {
            Some(d) => Err(Failure(format!("{} is {}, inferred {d}", value.name, t.dtype()))),
            None => Ok(()),
        }
    });
    let outputs = outputs.map_err(|e: Failure| e.0)?;
    if outputs.len() != case.outputs.len() {
        return Err(format!("{} outputs, expected {}", outputs.len(), case.outputs.len()));
    }
    let mut pairs = outputs.iter().zip(&wanted).enumerate();
    match pairs.find_map(|(i, (g, w))| {
        difference(g, w, precision, graph.nodes.len()).map(|d| format!("output {i}: {d}"))
    }) {
        Some(message) => Err(message),
        None => Ok(()),
    }
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
        match (run(case, precision), exceptions.iter().find(|(n, _)| n == name)) {
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
            if let Err(message) = run(&written, Precision::F32) {
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
