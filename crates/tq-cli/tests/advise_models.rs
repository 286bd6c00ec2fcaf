//! Faults that are put into real models by hand: each is told first, by its cause; the models as they are have none of these.
//!
//! The models are read from the folder that `TQ_MODELS_DIR` names; skipped, visibly, where it is not set. `TQ_CASE` picks one.

#![allow(clippy::unwrap_used)] // what is not as expected fails the test

mod common;

use common::cases::{Case, cases};
use std::path::Path;
use std::time::Instant;
use torsh_quantization::analysis::{Advice, AdviceOptions, Dataset, FindingKind, advise};
use torsh_quantization::model::op::UnaryOp;
use torsh_quantization::model::{Graph, Node, NodeId, Op, Tensor, ValueId, load_model};
use torsh_quantization::prelude::*;
use torsh_quantization::ptq::fuse;
use torsh_quantization::qconfig::{Configuration, Granularity, QuantSpec, int8_qconfig};

/// Classifiers of different make: residual, depthwise, plain.
const MODELS: [&str; 4] = ["cifar10_resnet20", "kws_dscnn", "mnist_cnn", "cifar10_resnet8"];

/// Rows that calibrate.
const CALIBRATION: usize = 128;

/// A model with the data that calibrates it, which is also what is looked at.
struct Bench {
    name: String,
    float: Graph,
    data: Dataset,
}

impl Bench {
    fn new(case: &Case) -> Self {
        let mut float = load_model(Path::new(&case.model())).unwrap();
        // Faults are put where conversion will find them.
        fuse(&mut float).unwrap();
        let data = case.dataset(&float);
        Self { name: case.name.clone(), float, data }
    }

    fn quantized(&self, float: &Graph, dict: QConfigDict) -> Graph {
        let prepared =
            prepare_static(float.clone(), Configuration { dict, ..Configuration::default() }).unwrap();
        for batch in self.data.batches(Some(8)).take(CALIBRATION / 8) {
            prepared.forward(&batch.unwrap()).unwrap();
        }
        convert(prepared).unwrap().graph
    }

    fn advice(&self, float: &Graph, quantized: &Graph) -> Advice {
        advise(float, quantized, &self.data, &AdviceOptions { rows: 32, ..AdviceOptions::default() }).unwrap()
    }

    /// Holds that the fault is told first, at the place where it is.
    fn expect(
        &self,
        advice: &Advice,
        kind: FindingKind,
        place: &str,
        is_there: impl Fn(&[String], &str) -> bool,
    ) {
        let shown = || {
            let lines = advice.findings.iter().map(|f| format!("\n  {:.1} %: {f}", f.share));
            format!("{}, {place}, {:.1} dB:{}", self.name, advice.sqnr_db, lines.collect::<String>())
        };
        let first = advice.findings.first().unwrap_or_else(|| panic!("nothing found: {}", shown()));
        println!(
            "{}: {place}: {kind} explains {:.1} %, of {} findings",
            self.name,
            first.share,
            advice.findings.len()
        );
        assert_eq!(first.kind, kind, "{}", shown());
        assert!(is_there(&first.nodes, first.tensor.as_deref().unwrap_or("")), "{}", shown());
    }
}

/// The first, the middle and the last of these.
fn three<T: Clone>(all: &[T]) -> Vec<T> {
    let mut at = vec![0, all.len() / 2, all.len().saturating_sub(1)];
    at.dedup();
    at.into_iter().filter_map(|i| all.get(i).cloned()).collect()
}

fn has_weights(graph: &Graph, node: &Node) -> bool {
    matches!(node.op, Op::Conv(_) | Op::Gemm { .. } | Op::MatMul) && graph.const_input(node, 1).is_some()
}

/// A convolution and the one that alone reads what becomes of its result, with the tensors between them.
#[derive(Clone)]
struct Link {
    from: NodeId,
    to: NodeId,
    between: Vec<ValueId>,
}

/// Links over which a factor of one channel passes unchanged: nothing but Relu and pooling lies between.
fn links(graph: &Graph) -> Vec<Link> {
    let consumers = graph.consumers();
    let mut found = Vec::new();
    for (from, node) in graph.iter_nodes() {
        if !matches!(node.op, Op::Conv(_)) || !has_weights(graph, node) {
            continue;
        }
        let (mut at, mut between) = (node.output(0).unwrap(), Vec::new());
        while let ([id], false) = (&consumers[at.0][..], graph.outputs.contains(&at)) {
            between.push(at);
            let next = graph.node(*id);
            match &next.op {
                Op::Unary(UnaryOp::Relu) | Op::MaxPool { .. } | Op::AveragePool { .. } => {
                    at = next.output(0).unwrap()
                }
                Op::Conv(_) if has_weights(graph, next) => {
                    found.push(Link { from, to: *id, between });
                    break;
                }
                _ => break,
            }
        }
    }
    found
}

/// The weights of a node, times `by` where the index on this axis is `channel`.
fn scale_channel(graph: &mut Graph, value: ValueId, axis: usize, channel: usize, by: f32) {
    let tensor = graph.values[value.0].constant.as_mut().unwrap();
    let (count, inner) = (tensor.dims()[axis], tensor.dims()[axis + 1..].iter().product::<usize>());
    for (i, v) in tensor.as_mut_slice::<f32>().unwrap().iter_mut().enumerate() {
        if i / inner % count == channel {
            *v *= by;
        }
    }
}

/// The channel of middle size of what the second convolution reads: dead ones cannot be made large.
fn typical_channel(bench: &Bench, link: &Link) -> usize {
    let mut tapped = bench.float.clone();
    tapped.outputs = vec![*link.between.last().unwrap()];
    let session = Session::new(&tapped, SessionOptions::default()).unwrap();
    let batch = bench.data.batches(Some(8)).next().unwrap().unwrap();
    let y = session.run(&batch.inputs).unwrap().remove(0);
    let (count, inner) = (y.dims()[1], y.dims()[2..].iter().product::<usize>());
    let mut sizes = vec![0f32; count];
    for (i, v) in y.as_slice::<f32>().unwrap().iter().enumerate() {
        sizes[i / inner % count] = sizes[i / inner % count].max(v.abs());
    }
    let mut alive: Vec<usize> = (0..count).filter(|c| sizes[*c] > 0.0).collect();
    alive.sort_by(|a, b| sizes[*a].total_cmp(&sizes[*b]));
    alive[alive.len() / 2]
}

/// One channel fifty times as large where it is made, and its weights a fiftieth where it is read: the same function.
fn with_large_channel(bench: &Bench, link: &Link) -> (Graph, usize) {
    let mut graph = bench.float.clone();
    let channel = typical_channel(bench, link);
    let [from, to] = [link.from, link.to].map(|id| graph.node(id).clone());
    scale_channel(&mut graph, from.input(1).unwrap(), 0, channel, 50.0);
    if let Some(bias) = from.input(2) {
        scale_channel(&mut graph, bias, 0, channel, 50.0);
    }
    let depthwise = matches!(&to.op, Op::Conv(attrs) if attrs.groups > 1);
    scale_channel(&mut graph, to.input(1).unwrap(), usize::from(!depthwise), channel, 1.0 / 50.0);
    (graph, channel)
}

fn two_bits() -> torsh_quantization::qconfig::QConfig {
    let spec = QuantSpec {
        dtype: DType::I2,
        quant_min: -2,
        quant_max: 1,
        ..QuantSpec::i8_symmetric(Granularity::PerChannel { axis: 0 })
    };
    int8_qconfig().weight(PerChannelMinMaxObserver::with_spec(spec, f32::EPSILON).unwrap())
}

fn clipped(quantized: &Graph, scale: ValueId) -> Graph {
    let mut graph = quantized.clone();
    let tensor: &mut Tensor = graph.values[scale.0].constant.as_mut().unwrap();
    tensor.as_mut_slice::<f32>().unwrap().iter_mut().for_each(|s| *s /= 8.0);
    graph
}

fn planted(bench: &Bench) {
    let (name, float) = (&bench.name, &bench.float);
    let healthy = bench.quantized(float, int8_qconfig().into());
    let begin = Instant::now();
    let advice = bench.advice(float, &healthy);
    println!("{name}: {:.1} dB, advice in {:.1} s", advice.sqnr_db, begin.elapsed().as_secs_f64());
    for f in &advice.findings {
        println!("{name}: as it is: {:.1} %: {f}", f.share);
        let planted = [FindingKind::OutlierChannels, FindingKind::ClippedActivations, FindingKind::FewBits]
            .contains(&f.kind);
        assert!(!planted, "{name} as it is: {f:#?}");
    }
    assert!(advice.skipped.is_empty(), "{name}: {:?}", advice.skipped);

    let links = links(float);
    assert!(!links.is_empty(), "{name} has no two convolutions in a row");
    for link in three(&links) {
        let (changed, channel) = with_large_channel(bench, &link);
        let advice = bench.advice(&changed, &bench.quantized(&changed, int8_qconfig().into()));
        let between: Vec<&str> = link.between.iter().map(|v| float.value(*v).name.as_str()).collect();
        let place = format!("channel {channel} of {}", between[between.len() - 1]);
        bench.expect(&advice, FindingKind::OutlierChannels, &place, |_, tensor| between.contains(&tensor));
        assert_eq!(
            advice.findings[0].evidence_of("largest channel"),
            Some(channel as f64),
            "{name}: {place}"
        );
    }

    // What pools or moves codes has the scale of what it reads, and may use an eighth of it.
    let producers = healthy.producers();
    let has_its_own = |n: &&Node| {
        let from = producers[n.input(0).unwrap().0].map(|id| &healthy.node(id).op);
        !matches!(
            from,
            Some(
                Op::Flatten { .. }
                    | Op::Reshape { .. }
                    | Op::GlobalAveragePool
                    | Op::AveragePool { .. }
                    | Op::MaxPool { .. }
                    | Op::Reduce { .. }
            )
        )
    };
    let scales: Vec<(String, ValueId)> = healthy
        .nodes
        .iter()
        .filter(|n| matches!(n.op, Op::QuantizeLinear { .. }))
        .filter(has_its_own)
        .map(|n| (healthy.value(n.input(0).unwrap()).name.clone(), n.input(1).unwrap()))
        .collect();
    for (tensor, scale) in three(&scales) {
        let advice = bench.advice(float, &clipped(&healthy, scale));
        let stem = healthy.value(scale).name.trim_end_matches("_scale").to_owned();
        // Of an input most of which is beyond its codes it cannot be told whether codes or data are at fault.
        let is_input = float.inputs.iter().any(|v| float.value(*v).name == stem);
        let other_data = advice.findings.first().is_some_and(|f| f.kind == FindingKind::InputRange);
        let kind = match is_input && other_data {
            true => FindingKind::InputRange,
            false => FindingKind::ClippedActivations,
        };
        bench.expect(&advice, kind, &tensor, |_, found| found == stem);
    }

    let weighted: Vec<String> =
        float.nodes.iter().filter(|n| has_weights(float, n)).map(|n| n.name.clone()).collect();
    for node in three(&weighted) {
        let dict = QConfigDict::from(int8_qconfig()).set_module_name(&node, two_bits());
        let advice = bench.advice(float, &bench.quantized(float, dict));
        bench.expect(&advice, FindingKind::FewBits, &node, |nodes, _| nodes == [node.clone()]);
    }
}

#[test]
fn planted_faults_are_told_first() {
    let Some(cases) = cases() else {
        println!("SKIPPED: TQ_MODELS_DIR is not set");
        return;
    };
    for case in cases.iter().filter(|c| MODELS.contains(&c.name.as_str())) {
        planted(&Bench::new(case));
    }
}
