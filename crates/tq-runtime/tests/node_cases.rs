//! The node test cases of the ONNX project: as they are they run like the reference evaluator, and with their float
//! tensors quantized they hold against the judge. Where the cases come from: `data/README.md` of the evaluator's tests.
#![allow(clippy::unwrap_used, reason = "a test that cannot read its data has failed")]

mod common;

use common::sessions;
use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use tq_eval::{Evaluator, Precision};
use tq_graph::{Graph, Op, Tensor, ValueId};
use tq_qtypes::DType;
use tq_runtime::{Execution, JudgeReport, judge};

/// The archives, older one first.
const ARCHIVES: [&[u8]; 2] = [
    include_bytes!("../../tq-eval/tests/data/onnx_node_cases.zip"),
    include_bytes!("../../tq-eval/tests/data/onnx_newer_cases.zip"),
];

fn cases() -> Vec<(String, Graph, Vec<Tensor>)> {
    ARCHIVES.into_iter().flat_map(cases_of).collect()
}

fn cases_of(archive: &[u8]) -> Vec<(String, Graph, Vec<Tensor>)> {
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
    let cases = files.into_iter().filter_map(|(name, files)| {
        let graph = tq_onnx::import_bytes(&files["model.onnx"], None).ok()?;
        let inputs = (0..).map_while(|i| files.get(&format!("input_{i}.pb")));
        let inputs: Vec<Tensor> = inputs.map(|b| tq_onnx::read_tensor(b).unwrap()).collect();
        (inputs.len() == graph.inputs.len()).then_some((name, graph, inputs))
    });
    cases.collect()
}

/// The bytes of a tensor, so that NaN equals itself.
fn text(t: &Tensor) -> String {
    let values = match t.to_i64_vec() {
        Some(v) => format!("{v:?}"),
        None => format!("{:?}", t.to_f64_vec()),
    };
    format!("{t:?} {values}")
}

#[test]
fn as_they_are_they_run_like_the_reference() {
    let mut n = 0;
    for (name, graph, inputs) in cases() {
        let expected = Evaluator::new(&graph, Precision::F32).unwrap().run(&inputs);
        for session in sessions(&graph) {
            match (&expected, session.run(&inputs)) {
                (Ok(expected), Ok(got)) => {
                    for (a, b) in expected.iter().zip(&got) {
                        assert_eq!(text(a), text(b), "{name}");
                    }
                    n += 1;
                }
                (Err(_), Err(_)) => {}
                (expected, got) => panic!("{name}: {expected:?}, the session {got:?}"),
            }
        }
    }
    assert!(n > 2500, "{n} runs");
}

/// The case with its float inputs and outputs as codes; weights and everything that is not float become constants.
/// `None` where there is no float to quantize.
fn quantized(graph: &Graph, inputs: &[Tensor]) -> Option<(Graph, Vec<Tensor>)> {
    let [node] = graph.nodes.as_slice() else { return None };
    if matches!(
        node.op,
        Op::QuantizeLinear { .. } | Op::DequantizeLinear { .. } | Op::DynamicQuantizeLinear { .. }
    ) {
        return None;
    }
    let mut g = graph.clone();
    let weighted = matches!(node.op, Op::Conv(_) | Op::Gemm { .. } | Op::MatMul);
    let mut kept = Vec::new();
    let mut nodes = Vec::new();
    let mut replaced: Vec<Option<ValueId>> = node.inputs.clone();
    let constant = |g: &mut Graph, t: Tensor| {
        let name = g.fresh_value_name("constant");
        g.add_constant(name, t)
    };
    let scale_of = |t: &Tensor| {
        let v = t.to_f32_vec().unwrap();
        let largest = v.iter().filter(|v| v.is_finite()).fold(0.1f32, |m, v| m.max(v.abs()));
        largest / 127.3
    };
    let mut floats = 0;
    for (v, t) in graph.inputs.iter().zip(inputs) {
        let places: Vec<usize> = (0..node.inputs.len()).filter(|i| node.inputs[*i] == Some(*v)).collect();
        if t.dtype() != DType::F32 {
            g.values[v.0].constant = Some(t.clone());
            continue;
        }
        if matches!(node.op, Op::Clip | Op::Pad { .. }) && places.iter().all(|p| *p > 0) {
            g.values[v.0].constant = Some(t.clone());
            continue;
        }
        floats += 1;
        let is_weight = weighted && places == [1];
        if weighted && places == [2] {
            g.values[v.0].constant = Some(t.clone());
            continue;
        }
        let scale = scale_of(t);
        let s = constant(&mut g, Tensor::scalar(scale));
        let name = |what: &str| format!("{}_{what}", graph.value(*v).name);
        let real = if is_weight {
            let codes = t.to_f32_vec().unwrap().iter().map(|x| (x / scale).round() as i8).collect();
            let codes = constant(&mut g, Tensor::new(t.dims(), codes).ok()?);
            let z = constant(&mut g, Tensor::scalar(0i8));
            g.values[v.0].constant = Some(t.clone());
            g.add_node(
                name("dq"),
                Op::DequantizeLinear { axis: 1, block_size: 0 },
                &[codes, s, z],
                name("real"),
            )
        } else {
            kept.push((*v, t.clone()));
            let z = constant(&mut g, Tensor::scalar(128u8));
            let op = Op::QuantizeLinear { axis: 1, block_size: 0, output_dtype: None, saturate: true };
            let q = g.add_node(name("q"), op, &[*v, s, z], name("codes"));
            let op = Op::DequantizeLinear { axis: 1, block_size: 0 };
            g.add_node(name("dq"), op, &[q, s, z], name("real"))
        };
        for p in places {
            replaced[p] = Some(real);
        }
    }
    if floats == 0 || kept.is_empty() {
        return None;
    }
    nodes.extend(g.nodes.drain(1..));
    let mut core = g.nodes.remove(0);
    core.inputs = replaced;
    let outputs: Vec<ValueId> = core.outputs.iter().flatten().copied().collect();
    nodes.push(core);
    g.nodes = nodes;
    let expected = Evaluator::new(graph, Precision::F32).ok()?.run(inputs).ok()?;
    let mut outs = Vec::new();
    for (v, t) in outputs.iter().zip(&expected) {
        if t.dtype() != DType::F32 {
            return None;
        }
        let s = constant(&mut g, Tensor::scalar(scale_of(t) * 1.01));
        let z = constant(&mut g, Tensor::scalar(120u8));
        let name = |what: &str| format!("{}_{what}", graph.value(*v).name);
        let op = Op::QuantizeLinear { axis: 1, block_size: 0, output_dtype: None, saturate: true };
        let q = g.add_node(name("q"), op, &[*v, s, z], name("codes"));
        outs.push(g.add_node(
            name("dq"),
            Op::DequantizeLinear { axis: 1, block_size: 0 },
            &[q, s, z],
            name("out"),
        ));
    }
    g.outputs = outs;
    g.inputs = kept.iter().map(|(v, _)| *v).collect();
    g.compact();
    tq_graph::infer::infer(&mut g).ok()?;
    Some((g, kept.into_iter().map(|(_, t)| t).collect()))
}

#[test]
fn quantized_they_hold_against_the_judge() {
    let mut total = JudgeReport::default();
    let (mut integer, mut float) = (0, Vec::new());
    for (name, graph, inputs) in cases() {
        let Some((g, x)) = quantized(&graph, &inputs) else { continue };
        let all = sessions(&g);
        let first: Vec<String> =
            all[0].run(&x).unwrap_or_else(|e| panic!("{name}: {e}")).iter().map(text).collect();
        for session in &all {
            let got: Vec<String> = session.run(&x).unwrap().iter().map(text).collect();
            assert_eq!(got, first, "{name}");
        }
        let report = judge(&all[0], &x).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(report.max_off() <= 1, "{name}: {report}");
        for op in report.operators {
            let op = tq_runtime::OperatorVerdict { node: op.kind.name().to_owned(), ..op };
            total.merge(JudgeReport { operators: vec![op] });
        }
        let op = graph.nodes[0].op.name();
        match all[0].explain().nodes.iter().find(|n| n.op == op) {
            Some(n) if n.execution == Execution::Integer => integer += 1,
            n => float.push(format!("{name}: {}", n.and_then(|n| n.reason.clone()).unwrap_or_default())),
        }
    }
    println!("{integer} cases in integers, {} in float:\n{}\n{total}", float.len(), float.join("\n"));
    let (codes, equal) = total.totals();
    assert!(codes > 5000 && (codes - equal) as f64 <= 0.002 * codes as f64, "{total}");
    assert!(integer > 100, "{integer} cases in integers");
}
