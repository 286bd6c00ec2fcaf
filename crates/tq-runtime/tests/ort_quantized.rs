//! Files that ONNX Runtime's quantizer made: they import as QDQ graphs, run on codes, and give ONNX Runtime's results.
//! `data/make_ort_quantized.py` made them.
#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use tq_graph::{Graph, Op, Tensor};
use tq_qtypes::DType;
use tq_runtime::{Execution, Session, SessionOptions, judge};

struct Case {
    model: Vec<u8>,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

fn cases() -> BTreeMap<String, Case> {
    cases_of(include_bytes!("data/ort_quantized.zip"))
}

fn cases_of(archive: &[u8]) -> BTreeMap<String, Case> {
    let mut archive = zip::ZipArchive::new(Cursor::new(archive)).unwrap();
    let mut files: BTreeMap<String, BTreeMap<String, Vec<u8>>> = BTreeMap::new();
    for i in 0..archive.len() {
        let mut file = archive.by_index(i).unwrap();
        let name = file.name().unwrap().into_owned();
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).unwrap();
        let (case, part) = name.split_once('/').unwrap();
        files.entry(case.to_owned()).or_default().insert(part.to_owned(), bytes);
    }
    let read = |(name, files): (String, BTreeMap<String, Vec<u8>>)| {
        let tensors = |kind: &str| {
            let all = (0..).map_while(|i| files.get(&format!("{kind}_{i}.pb")));
            all.map(|b| tq_onnx::read_tensor(b).unwrap()).collect()
        };
        let case =
            Case { model: files["model.onnx"].clone(), inputs: tensors("input"), outputs: tensors("output") };
        (name, case)
    };
    files.into_iter().map(read).collect()
}

/// The scale of the codes behind output `i`, or of the codes that it is; `None` where it is a sum of products.
fn step_of(graph: &Graph, i: usize) -> Option<f64> {
    let output = graph.outputs[i];
    if graph.value(output).dtype.is_some_and(DType::is_integer) {
        return Some(1.0);
    }
    let node = graph.nodes.iter().find(|n| n.output(0) == Some(output))?;
    match node.op {
        Op::DequantizeLinear { .. } => {
            graph.const_input(node, 1)?.to_f32_vec()?.first().map(|s| f64::from(*s))
        }
        _ => None,
    }
}

fn numbers(t: &Tensor) -> Vec<f64> {
    match t.to_i64_vec() {
        Some(codes) => codes.into_iter().map(|c| c as f64).collect(),
        None => t.to_f64_vec().unwrap(),
    }
}

/// What a case may be off by.
enum Allowed {
    /// Codes are equal.
    Nothing,
    /// One code, on no more than a tenth of them.
    Ties,
    /// So many of a million of the largest element: sums of f32 in another order.
    PartsPerMillion(f64),
}

fn allowed(name: &str, step: Option<f64>) -> Allowed {
    match step {
        // A mean of 4 or 6 codes is often a tie, and which way ONNX Runtime's float mean falls is chance.
        Some(_) if name.starts_with("qdq_padded_pools") => Allowed::Ties,
        // Between codes of 16 bits convolutions are in float, whose sums have no order that all programs share.
        Some(_) if name.contains("16_bit") => Allowed::Ties,
        Some(_) => Allowed::Nothing,
        // Each step of time rounds its states to codes of 1/255 of their range, and one of these may go the other way.
        None if name.starts_with("dynamic_lstm") => Allowed::PartsPerMillion(3000.0),
        None => Allowed::PartsPerMillion(1.0),
    }
}

/// The operators of a case that do not run on codes, in order. All others must.
fn floats_of(name: &str) -> &'static [&'static str] {
    let has = |what: &str| name.contains(what);
    match () {
        // Their biases are shaped at run time.
        () if name.starts_with("dynamic_conv") => &["Add", "Relu", "Add"],
        () if name.starts_with("dynamic_attention") => &["Transpose", "MatMul", "Softmax", "MatMul"],
        () if name.starts_with("dynamic_embedding") => &["Gather", "MatMulInteger", "Cast", "Mul"],
        () if name.starts_with("dynamic_gemm") || name.starts_with("dynamic_matmul") => &["Relu"],
        () if name.starts_with("nbits") => &["MatMul", "Relu", "MatMul"],
        () if has("gemm_float") => &["Gemm"],
        () if has("to_float") => &["MatMulInteger", "Cast", "Mul", "Add"],
        () if has("softmax_flat") || has("softmax_of_12") => &["Flatten", "Softmax", "Reshape"],
        () if has("softmax") || has("attention") => &["Softmax"],
        () if has("where") => &["Where"],
        () if has("embedding") => &["Gather"],
        // ONNX Runtime does not quantize it in this form.
        () if has("qop_transposed") => &["ConvTranspose"],
        () if has("16_bit") => &["Conv", "Conv", "Conv"],
        () if has("quantize_") => &[],
        () => &[],
    }
}

#[test]
fn results_are_those_of_onnx_runtime() {
    let cases = cases();
    assert_eq!(cases.len(), 194);
    let mut failures = Vec::new();
    for (name, case) in &cases {
        if let Err(message) = check(name, case) {
            failures.push(format!("{name}: {message}"));
        }
    }
    assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n"));
}

fn check(name: &str, case: &Case) -> Result<(), String> {
    let graph = tq_onnx::import_bytes(&case.model, None).map_err(|e| e.to_string())?;
    let session = Session::new(&graph, SessionOptions::default()).map_err(|e| e.to_string())?;
    let got = session.run(&case.inputs).map_err(|e| e.to_string())?;
    for (i, (got, want)) in got.iter().zip(&case.outputs).enumerate() {
        if (got.dims(), got.dtype()) != (want.dims(), want.dtype()) {
            return Err(format!("output {i} is {got:?}, expected {want:?}"));
        }
        let step = step_of(&graph, i);
        let (got, want) = (numbers(got), numbers(want));
        let largest = want.iter().fold(0.0f64, |m, w| m.max(w.abs()));
        let off = |limit: f64| got.iter().zip(&want).filter(|(g, w)| (*g - *w).abs() > limit).count();
        let code = step.unwrap_or(0.0);
        let off = match allowed(name, step) {
            Allowed::Nothing => off(0.01 * code),
            Allowed::Ties if off(0.01 * code) * 10 <= got.len() => off(1.01 * code),
            Allowed::Ties => off(0.01 * code),
            Allowed::PartsPerMillion(parts) => off(largest * parts * 1e-6),
        };
        if off > 0 {
            return Err(format!("output {i}: {off} of {} elements differ", got.len()));
        }
    }
    let is_border = |op: &str| matches!(op, "QuantizeLinear" | "DequantizeLinear");
    let floats: Vec<&str> = session
        .explain()
        .nodes
        .iter()
        .filter(|n| n.execution == Execution::Float && !is_border(n.op))
        .map(|n| n.op)
        .collect();
    if floats != floats_of(name) {
        return Err(format!("in float run {floats:?}, expected {:?}", floats_of(name)));
    }
    let report = judge(&session, &case.inputs).map_err(|e| e.to_string())?;
    if report.holds() { Ok(()) } else { Err(format!("the judge: {report:?}")) }
}

/// Written at the lowest operator set that has words for it, and at the highest, a file says the same.
#[test]
fn written_and_read_again() {
    for (name, case) in cases() {
        let graph = tq_onnx::import_bytes(&case.model, None).unwrap();
        let session = Session::new(&graph, SessionOptions::default()).unwrap();
        let want = session.run(&case.inputs).unwrap();
        let mut opset = tq_onnx::MIN_OPSET;
        loop {
            let options = tq_onnx::ExportOptions::at(opset);
            let bytes = match tq_onnx::export_bytes(&graph, &options) {
                Ok(bytes) => bytes,
                Err(tq_onnx::OnnxError::NotExpressible { needs, .. }) if needs > opset => {
                    opset = needs;
                    continue;
                }
                Err(e) => panic!("{name}: {e}"),
            };
            let read = tq_onnx::import_bytes(&bytes, None).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(read.to_string(), graph.to_string(), "{name} at {opset}");
            let got = Session::new(&read, SessionOptions::default()).unwrap().run(&case.inputs).unwrap();
            assert_eq!(got, want, "{name} at {opset}");
            if opset == tq_onnx::MAX_OPSET {
                break;
            }
            opset = tq_onnx::MAX_OPSET;
        }
    }
}

/// PyTorch's exports, with PyTorch's own results: `data/make_torch_quantized.py` made them.
#[test]
fn modules_of_pytorch_run_on_codes() {
    let cases = cases_of(include_bytes!("data/torch_quantized.zip"));
    assert_eq!(cases.len(), 3);
    for (name, case) in cases {
        let graph = tq_onnx::import_bytes(&case.model, None).unwrap();
        let session = Session::new(&graph, SessionOptions::default()).unwrap();
        let explanation = session.explain();
        let floats: Vec<&str> = explanation
            .nodes
            .iter()
            .filter(|n| n.execution == Execution::Float)
            .map(|n| n.op)
            .filter(|op| !matches!(*op, "QuantizeLinear" | "DequantizeLinear"))
            .collect();
        // In the graph of training the mean has no quantizer of its own, and what follows it has float data.
        let expected: &[&str] = if name == "qat" { &["GlobalAveragePool", "Flatten", "Gemm"] } else { &[] };
        assert_eq!(floats, expected, "{name}: {explanation}");
        let step = step_of(&graph, 0).unwrap();
        let (got, want) = (session.run(&case.inputs).unwrap(), &case.outputs);
        for (g, w) in numbers(&got[0]).iter().zip(numbers(&want[0])) {
            // FBGEMM requantizes by the same formula; rounding of a mean may differ by one code.
            assert!((g - w).abs() <= 1.01 * step, "{name}: {g} {w}");
        }
    }
}

/// What torchao quantizes and PyTorch exports, with PyTorch's own results: `data/make_torchao_quantized.py` made them.
#[test]
fn models_of_torchao_run_on_codes() {
    let cases = cases_of(include_bytes!("data/torchao_quantized.zip"));
    assert_eq!(cases.len(), 4);
    for (name, case) in cases {
        let graph = tq_onnx::import_bytes(&case.model, None).unwrap();
        let session = Session::new(&graph, SessionOptions::default()).unwrap();
        let explanation = session.explain();
        let integers: Vec<&str> = explanation
            .nodes
            .iter()
            .filter(|n| n.execution != Execution::Float)
            .map(|n| n.op)
            .filter(|op| !matches!(*op, "QuantizeLinear" | "DequantizeLinear"))
            .collect();
        // torchao gives codes to what products read; PyTorch's exporter makes floats of weights that are codes alone.
        let expected: &[&str] =
            if name == "weight_only" { &[] } else { &["Conv", "Relu", "Gemm", "Relu", "Gemm"] };
        assert_eq!(integers, expected, "{name}: {explanation}");
        let (got, want) = (numbers(&session.run(&case.inputs).unwrap()[0]), numbers(&case.outputs[0]));
        let largest = want.iter().fold(0.0f64, |m, w| m.max(w.abs()));
        for (g, w) in got.iter().zip(&want) {
            // Float biases become codes of the scale of the products, half of which they may be off by; another code between
            // two layers would be thirty times what is allowed.
            assert!((g - w).abs() <= 5e-5 * largest, "{name}: {g} {w}");
        }
    }
}
