//! Calibration and conversion: structure of the QDQ graph, shared scales, reports, errors.
#![allow(clippy::unwrap_used)]

mod common;

use common::net::{Net, distance, magnitude, run64, window};
use proptest::prelude::*;
use tq_graph::op::{BinaryOp, PoolAttrs, ReduceKind, UnaryOp};
use tq_graph::qdq::{QOutput, QdqView, node_params};
use tq_graph::{Graph, Op, Tensor, ValueId};
use tq_observers::{MinMaxObserver, PerChannelMinMaxObserver};
use tq_passes::{Backend, Placement, QuantConfig, Quantized, convert, prepare_static};
use tq_qtypes::{AffineParams, DType, Granularity, OperatorKind};

fn quantized_with(n: &mut Net, dims: &[usize], config: QuantConfig) -> (Quantized, Vec<Tensor>) {
    let prepared = prepare_static(n.graph.clone(), config).unwrap();
    let data: Vec<Tensor> = (0..3).map(|_| n.tensor(dims)).collect();
    for x in &data {
        prepared.forward(x).unwrap();
    }
    let planned = prepared.placements();
    let quantized = convert(prepared).unwrap();
    assert_eq!(planned, quantized.report.nodes, "the plan did not come true");
    (quantized, data)
}

fn quantized(n: &mut Net, dims: &[usize]) -> (Quantized, Vec<Tensor>) {
    quantized_with(n, dims, QuantConfig::default())
}

fn ops(graph: &Graph) -> Vec<&'static str> {
    graph
        .nodes
        .iter()
        .map(|n| match n.op {
            Op::QuantizeLinear { .. } => "Q",
            Op::DequantizeLinear { .. } => "DQ",
            ref op => op.name(),
        })
        .collect()
}

fn names(graph: &Graph, list: &[ValueId]) -> Vec<String> {
    list.iter().map(|v| graph.value(*v).name.clone()).collect()
}

/// Parameters of the Quantize or Dequantize node that gives the value of this name.
fn params_of(graph: &Graph, name: &str) -> AffineParams {
    let v = graph.find_value(name).unwrap_or_else(|| panic!("no value {name}"));
    let node = graph.node(graph.producers()[v.0].unwrap());
    node_params(graph, node).unwrap()
}

fn placement<'q>(q: &'q Quantized, node: &str) -> &'q Placement {
    &q.report.nodes.iter().find(|n| n.node == node).unwrap().placement
}

/// What must hold of every converted graph: structure, names, shared scales, agreement of report and view.
fn check_invariants(float: &Graph, q: &Quantized) {
    let g = &q.graph;
    g.validate().unwrap();
    assert_eq!(names(float, &float.inputs), names(g, &g.inputs));
    assert_eq!(names(float, &float.outputs), names(g, &g.outputs));
    for v in g.outputs.iter().chain(&g.inputs) {
        assert!(g.value(*v).dtype.is_some() && g.value(*v).shape.is_some());
    }
    // One pair a tensor, whoever reads it.
    let mut read_by_quantize = std::collections::HashSet::new();
    for node in g.nodes.iter().filter(|n| matches!(n.op, Op::QuantizeLinear { .. })) {
        assert!(read_by_quantize.insert(node.input(0)), "{} quantizes a second time", node.name);
    }
    let view = QdqView::new(g);
    let in_float: Vec<&str> = view.floats.iter().map(|f| g.node(f.node).name.as_str()).collect();
    for report in &q.report.nodes {
        match &report.placement {
            Placement::Integer { kind, float_output } => {
                let op = view.operators.iter().find(|o| g.node(o.node).name == report.node);
                let op = op.unwrap_or_else(|| panic!("{report}, but {in_float:?} in\n{g:#?}"));
                assert!(op.kind == *kind, "{report}: {:?}", op.kind);
                let floats = op.outputs.iter().any(|o| matches!(o, QOutput::Float(_)));
                assert_eq!(floats, *float_output, "{report}");
            }
            Placement::Float { reason } => {
                assert!(!reason.is_empty());
                assert!(in_float.contains(&report.node.as_str()), "{report}");
            }
            _ => {}
        }
    }
    for name in in_float {
        let report = q.report.nodes.iter().find(|n| n.node == name);
        let listed = report.is_some_and(|n| !n.placement.is_quantized());
        assert!(listed, "{name} is left in float and not listed");
    }
    for op in &view.operators {
        let node = g.node(op.node);
        let clamps = matches!(node.op, Op::Unary(UnaryOp::Relu) | Op::Clip);
        let shares = matches!(
            op.kind,
            OperatorKind::MaxPool | OperatorKind::AveragePool | OperatorKind::Movement | OperatorKind::Concat
        ) || clamps;
        for (input, output) in op.inputs.iter().flat_map(|i| op.outputs.iter().map(move |o| (i, o))) {
            if let (true, QOutput::Codes(out)) = (shares, output) {
                assert_eq!(input.params, out.params, "{} does not share its scale", node.name);
            }
        }
        if let (Some(w), Some(_)) = (&op.weights, &op.bias) {
            let b = node.input(2).unwrap();
            let p = params_of(g, &g.value(b).name);
            let expected: Vec<f32> =
                w.params.scale.iter().map(|s| op.inputs[0].params.scale[0] * s).collect();
            assert_eq!((p.scale, p.dtype), (expected, DType::I32));
        }
    }
}

#[test]
fn a_convolution_with_relu_has_the_expected_form() {
    let mut n = Net::new(1);
    let x = n.input("x", &[3, 5, 5]);
    let c = n.conv("conv", x, [3, 4], 3, 1);
    let r = n.relu("relu", c);
    let f = n.node("flat", Op::Flatten { axis: 1 }, &[r]);
    let y = n.gemm("y", f, [100, 2], true);
    n.output(y);
    let (q, data) = quantized(&mut n, &[2, 3, 5, 5]);
    check_invariants(&n.graph, &q);
    // Relu is what the quantizer does anyway; the last product stays float.
    assert_eq!(
        ops(&q.graph),
        ["Q", "DQ", "DQ", "DQ", "Conv", "Q", "DQ", "Flatten", "Q", "DQ", "DQ", "DQ", "Gemm"]
    );
    for name in [
        "x",
        "x_scale",
        "x_zero_point",
        "x_quantized",
        "x_dequantized",
        "relu",
        "relu_quantized",
        "relu_scale",
        "relu_dequantized",
        "flat",
        "flat_quantized",
        "y",
        "c1_quantized",
        "c1_scale",
        "c2_quantized",
        "c2_scale",
    ] {
        assert!(q.graph.find_value(name).is_some(), "{name}");
    }
    let relu = params_of(&q.graph, "relu_dequantized");
    assert_eq!((relu.dtype, relu.zero_point.as_slice()), (DType::U8, [0].as_slice()));
    let w = params_of(&q.graph, "c1_dequantized");
    assert_eq!((w.dtype, w.granularity, w.scale.len()), (DType::I8, Granularity::PerChannel { axis: 0 }, 4));
    assert!(w.zero_point.iter().all(|z| *z == 0));
    let codes = q.graph.constant(q.graph.find_value("c1_quantized").unwrap()).unwrap();
    for channel in codes.as_slice::<i8>().unwrap().chunks(27) {
        assert_eq!(channel.iter().map(|v| v.unsigned_abs()).max(), Some(127));
    }
    assert_eq!(placement(&q, "y"), &Placement::Integer { kind: OperatorKind::Linear, float_output: true });
    assert_eq!(placement(&q, "relu"), &Placement::Epilogue { of: "conv".into() });
    let (a, b) = (run64(&n.graph, &data[..1]), run64(&q.graph, &data[..1]));
    assert!(distance(&a[0], &b[0]) < 0.05);
}

#[test]
fn weights_of_both_layouts_are_scaled_by_output_channel() {
    for (trans_b, axis) in [(true, 0), (false, 1)] {
        let mut n = Net::new(2);
        let x = n.input("x", &[6]);
        let y = n.gemm("fc", x, [6, 3], trans_b);
        n.output(y);
        let (q, _) = quantized(&mut n, &[4, 6]);
        check_invariants(&n.graph, &q);
        let w = params_of(&q.graph, "c1_dequantized");
        assert_eq!((w.granularity, w.scale.len()), (Granularity::PerChannel { axis }, 3));
        // One scale a tensor for mobile.
        let (q, _) = quantized_with(&mut n, &[4, 6], QuantConfig::default().backend(Backend::Qnnpack));
        check_invariants(&n.graph, &q);
        assert_eq!(params_of(&q.graph, "c1_dequantized").granularity, Granularity::PerTensor);
        assert_eq!(params_of(&q.graph, "c2_dequantized").granularity, Granularity::PerTensor);
    }
}

#[test]
fn other_observers_give_other_codes() {
    let build = || {
        let mut n = Net::new(2);
        let x = n.input("x", &[3, 4, 4]);
        let c = n.conv("conv", x, [3, 4], 1, 0);
        let r = n.relu("relu", c);
        let y = n.conv("y", r, [4, 2], 1, 0);
        n.output(y);
        n
    };
    let mut n = build();
    let config = QuantConfig::default()
        .activation(MinMaxObserver::symmetric())
        .weight(PerChannelMinMaxObserver::asymmetric());
    let (q, data) = quantized_with(&mut n, &[2, 3, 4, 4], config);
    check_invariants(&n.graph, &q);
    let x = params_of(&q.graph, "x_dequantized");
    assert_eq!((x.dtype, x.zero_point[0]), (DType::I8, 0));
    assert_eq!(params_of(&q.graph, "c1_dequantized").dtype, DType::U8);
    // With the zero point in the middle of the codes the Relu is not the quantizer's, so it stays.
    assert!(ops(&q.graph).contains(&"Relu"));
    let (a, b) = (run64(&n.graph, &data[..1]), run64(&q.graph, &data[..1]));
    assert!(distance(&a[0], &b[0]) < 0.05);

    let mut n = build();
    let config = QuantConfig::default().activation(MinMaxObserver::with_bits(4).unwrap());
    let (q, data) = quantized_with(&mut n, &[2, 3, 4, 4], config);
    check_invariants(&n.graph, &q);
    let (a, b) = (run64(&n.graph, &data[..1]), run64(&q.graph, &data[..1]));
    assert!(distance(&a[0], &b[0]) < 0.4);
}

#[test]
fn an_output_that_is_codes_keeps_its_name() {
    let mut n = Net::new(3);
    let x = n.input("x", &[3, 4, 4]);
    let c = n.conv("c", x, [3, 4], 1, 0);
    n.output(c);
    let r = n.relu("r", c);
    n.output(r);
    n.output(x);
    let (q, _) = quantized(&mut n, &[1, 3, 4, 4]);
    check_invariants(&n.graph, &q);
    assert!(q.graph.find_value("c_float").is_some());
    let c = q.graph.outputs[0];
    let producer = q.graph.node(q.graph.producers()[c.0].unwrap());
    assert!(matches!(producer.op, Op::DequantizeLinear { .. }));
    // The clamp reads a tensor that others read too, so it shares the scale of that tensor.
    assert_eq!(params_of(&q.graph, "c"), params_of(&q.graph, "r"));
}

#[test]
fn a_clamp_goes_only_where_the_quantizer_does_the_same() {
    for (lo, hi, stays) in [(0.0, 6.0, false), (-6.0, 6.0, false), (-0.25, 0.5, false)] {
        let mut n = Net::new(4);
        let x = n.input("x", &[3, 4, 4]);
        let c = n.conv("c", x, [3, 4], 1, 0);
        let r = n.clip("clip", c, lo, hi);
        let y = n.conv("y", r, [4, 2], 1, 0);
        n.output(y);
        let (q, data) = quantized(&mut n, &[2, 3, 4, 4]);
        check_invariants(&n.graph, &q);
        assert_eq!(ops(&q.graph).contains(&"Clip"), stays, "{lo} {hi}");
        // Put back, it changes nothing: values beyond what was calibrated included.
        let far = Tensor::new(&[1, 3, 4, 4], (0..48).map(|i| (i as f32 - 24.0) * 3.0).collect()).unwrap();
        let mut with = q.graph.clone();
        let at = with.nodes.iter().position(|n| n.name == "c").unwrap();
        let (lo, hi) =
            (with.add_constant("lo", Tensor::scalar(lo)), with.add_constant("hi", Tensor::scalar(hi)));
        let inner = with.add_value("inner", Some(DType::F32), None);
        let out = with.nodes[at].outputs[0].replace(inner);
        let clip = tq_graph::Node {
            name: "again".into(),
            op: Op::Clip,
            inputs: vec![Some(inner), Some(lo), Some(hi)],
            outputs: vec![out],
        };
        with.nodes.insert(at + 1, clip);
        for x in data.iter().chain([&far]) {
            assert_eq!(run64(&q.graph, std::slice::from_ref(x)), run64(&with, std::slice::from_ref(x)));
        }
    }
}

#[test]
fn concat_pools_and_movement_share_one_scale_with_constants_observed() {
    let mut n = Net::new(5);
    let x = n.input("x", &[4, 6, 6]);
    let a = n.conv("a", x, [4, 4], 3, 1);
    let b = n.conv("b", x, [4, 4], 1, 0);
    let k = n.constant(Tensor::new(&[2, 4, 6, 6], vec![7.5f32; 288]).unwrap());
    let cat = n.node("cat", Op::Concat { axis: 1 }, &[a, b, k]);
    let pool = n.max_pool("pool", cat);
    let perm = Some(vec![0, 2, 3, 1]);
    let t = n.node("t", Op::Transpose { perm }, &[pool]);
    n.output(t);
    let (q, _) = quantized(&mut n, &[2, 4, 6, 6]);
    check_invariants(&n.graph, &q);
    let p = params_of(&q.graph, "a_dequantized");
    for name in ["b_dequantized", "cat_dequantized", "pool_dequantized", "t", "c5_dequantized"] {
        assert_eq!(params_of(&q.graph, name), p, "{name}");
    }
    // 7.5 is in the range although no activation comes near it.
    assert!(p.scale[0] * (255 - p.zero_point[0]) as f32 >= 7.4);
    let codes = q.graph.constant(q.graph.find_value("c5_quantized").unwrap()).unwrap();
    assert_eq!(codes.as_slice::<u8>().unwrap()[0], 255);
}

#[test]
fn operators_that_share_weights_read_codes_and_zero_points_of_their_own() {
    let mut n = Net::new(31);
    let x = n.input("x", &[4, 6, 6]);
    let a = n.conv("a", x, [4, 4], 3, 1);
    let (w, b) = (n.graph.nodes[0].inputs[1].unwrap(), n.graph.nodes[0].inputs[2].unwrap());
    let c = n.node("c", n.graph.nodes[0].op.clone(), &[a, w, b]);
    n.output(c);
    let (q, _) = quantized(&mut n, &[2, 4, 6, 6]);
    check_invariants(&n.graph, &q);
    let producers = q.graph.producers();
    let convolutions = q.graph.nodes.iter().filter(|n| matches!(n.op, Op::Conv(_)));
    let weights: Vec<&tq_graph::Node> =
        convolutions.map(|n| q.graph.node(producers[n.input(1).unwrap().0].unwrap())).collect();
    let [first, second] = weights[..] else { panic!("{} convolutions", weights.len()) };
    for slot in 0..3 {
        let (u, v) = (first.input(slot).unwrap(), second.input(slot).unwrap());
        assert_ne!(u, v, "input {slot} is shared");
        assert_eq!(q.graph.constant(u), q.graph.constant(v));
    }
}

#[test]
fn a_shared_clamp_that_leaves_the_range_is_observed() {
    // Clip to 5..9 gives 5 where its input, which another node reads too, is at most 1.
    let mut n = Net::new(6);
    let x = n.input("x", &[4, 6, 6]);
    let c = n.clip("clip", x, 5.0, 9.0);
    let s = n.binary("s", BinaryOp::Add, x, c);
    n.output(s);
    let (q, data) = quantized(&mut n, &[1, 4, 6, 6]);
    check_invariants(&n.graph, &q);
    let (a, b) = (run64(&n.graph, &data[..1]), run64(&q.graph, &data[..1]));
    assert!(distance(&a[0], &b[0]) < 0.01);
}

#[test]
fn what_stays_float_says_why() {
    let mut n = Net::new(7);
    let x = n.input("x", &[4, 6, 6]);
    let c = n.conv("conv", x, [4, 4], 1, 0);
    let axes = n.constant(Tensor::vector(vec![1i64]));
    let mean = n.node(
        "mean",
        Op::Reduce { kind: ReduceKind::Mean, keep_dims: true, noop_with_empty_axes: false },
        &[c, axes],
    );
    let ratio = n.binary("ratio", BinaryOp::Div, c, mean);
    let attrs = window(2, 0);
    let pool = n.node("pool", Op::MaxPool { attrs, column_major: false }, &[ratio]);
    n.graph.nodes.last_mut().unwrap().outputs.push(None);
    let indices = n.graph.add_value("indices", Some(DType::I64), None);
    n.graph.nodes.last_mut().unwrap().outputs[1] = Some(indices);
    n.output(indices);
    let dynamic = n.node("dynamic", Op::MatMul, &[pool, pool]);
    let shape = n.node("shape", Op::Shape { start: 0, end: None }, &[c]);
    n.output(shape);
    let flat = n.node("flat", Op::Flatten { axis: 1 }, &[dynamic]);
    let fc = n.gemm("fc", flat, [100, 2], true);
    let relu = n.relu("relu", fc);
    let soft = n.node("soft", Op::Softmax { axis: -1 }, &[relu]);
    n.output(soft);
    let (q, _) = quantized(&mut n, &[1, 4, 6, 6]);
    check_invariants(&n.graph, &q);
    let reason = |node: &str| match placement(&q, node) {
        Placement::Float { reason } => reason.clone(),
        other => panic!("{node}: {other}"),
    };
    assert!(reason("mean").contains("axes [1]"));
    assert!(reason("ratio").contains("Div has no integer form"));
    assert!(reason("pool").contains("positions of the maxima"));
    // Its operands are both activations: codes are multiplied with codes.
    assert!(matches!(
        placement(&q, "dynamic"),
        Placement::Integer { kind: OperatorKind::MatMul, float_output: false }
    ));
    assert!(reason("relu").contains("last linear layer"));
    assert!(reason("soft").contains("Softmax"));
    assert_eq!(placement(&q, "shape"), &Placement::Data);
    assert_eq!(
        placement(&q, "flat"),
        &Placement::Integer { kind: OperatorKind::Movement, float_output: false }
    );
}

#[test]
fn the_bias_of_a_dead_channel_enlarges_its_scale_instead_of_wrapping() {
    for backend in [Backend::Fbgemm, Backend::Qnnpack] {
        let mut n = Net::new(8);
        let x = n.input("x", &[2]);
        let dead = vec![0.5f32, -0.25, 0.0, 0.0, 1e-6, 1e-6];
        let dead = if backend == Backend::Fbgemm { dead } else { dead.iter().map(|v| v * 1e-6).collect() };
        let w = n.constant(Tensor::new(&[3, 2], dead).unwrap());
        let b = n.constant(Tensor::vector(vec![0.1f32, 100.0, -3000.0]));
        let op = Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
        let y = n.node("fc", op, &[x, w, b]);
        n.output(y);
        let (q, data) = quantized_with(&mut n, &[4, 2], QuantConfig::default().backend(backend));
        check_invariants(&n.graph, &q);
        let changed = &q.report.adjustments;
        let channels: Vec<Option<usize>> = changed.iter().map(|a| a.channel).collect();
        let expected = if backend == Backend::Fbgemm { vec![Some(1), Some(2)] } else { vec![None] };
        assert_eq!(channels, expected);
        assert!(changed.iter().all(|a| a.to > a.from && a.node == "fc"));
        let view = QdqView::new(&q.graph);
        let bias = view.operators.iter().find_map(|o| o.bias.as_ref()).unwrap();
        assert!(bias.iter().all(|b| b.unsigned_abs() < 1 << 30 || b.unsigned_abs() == 1 << 30), "{bias:?}");
        let (a, b) = (run64(&n.graph, &data[..1]), run64(&q.graph, &data[..1]));
        assert!(distance(&a[0], &b[0]) < 1e-4, "{a:?} {b:?}");
    }
}

#[test]
fn all_zero_tensors_and_weights_convert() {
    let mut n = Net::new(9);
    let x = n.input("x", &[3, 4, 4]);
    let w = n.constant(Tensor::new(&[2, 3, 1, 1], vec![0.0f32; 6]).unwrap());
    let zero = n.scalar(0.0);
    let c = n.conv("c", x, [3, 2], 1, 0);
    n.graph.nodes[0].inputs = vec![Some(x), Some(w)];
    let y = n.binary("y", BinaryOp::Mul, x, zero);
    n.output(c);
    n.output(y);
    let prepared = prepare_static(n.graph.clone(), QuantConfig::default()).unwrap();
    let zeros = Tensor::new(&[1, 3, 4, 4], vec![0.0f32; 48]).unwrap();
    prepared.forward(&zeros).unwrap();
    let q = convert(prepared).unwrap();
    check_invariants(&n.graph, &q);
    assert_eq!(run64(&q.graph, &[zeros])[0], vec![0.0; 32]);
}

#[test]
fn a_tensor_with_two_readers_has_one_pair_and_float_readers_of_float_values_keep_them() {
    let mut n = Net::new(12);
    let x = n.input("x", &[4, 6, 6]);
    let a = n.conv("a", x, [4, 4], 3, 1);
    let b = n.conv("b", a, [4, 4], 3, 1);
    let sum = n.binary("sum", BinaryOp::Add, a, b);
    let soft = n.node("soft", Op::Softmax { axis: 1 }, &[sum]);
    let twice = n.binary("twice", BinaryOp::Mul, soft, soft);
    n.output(twice);
    n.output(soft);
    let (q, _) = quantized(&mut n, &[1, 4, 6, 6]);
    check_invariants(&n.graph, &q);
    let g = &q.graph;
    let reads = |node: &str| {
        let node = g.nodes.iter().find(|n| n.name == node).unwrap();
        node.inputs.iter().flatten().map(|v| g.value(*v).name.clone()).take(2).collect::<Vec<_>>()
    };
    assert_eq!(reads("b")[0], "a_dequantized");
    assert_eq!(reads("sum"), ["a_dequantized", "b_dequantized"]);
    assert_eq!(reads("twice"), ["soft_dequantized", "soft_dequantized"]);
    // Softmax gives floats, and the model hands out those.
    assert!(g.outputs.contains(&g.find_value("soft").unwrap()));
}

#[test]
fn one_and_three_dimensional_networks_convert() {
    use tq_graph::op::{ConvAttrs, Padding};
    for spatial in [1usize, 3] {
        let mut n = Net::new(13);
        let dims = [vec![2], vec![5; spatial]].concat();
        let x = n.input("x", &dims);
        let lone = n.batch_norm("lone", x, 2);
        let w = n.random(&[vec![3, 2], vec![3; spatial]].concat());
        let attrs = ConvAttrs {
            strides: vec![1; spatial],
            dilations: vec![1; spatial],
            padding: Padding::Explicit { begin: vec![1; spatial], end: vec![1; spatial] },
            groups: 1,
        };
        let c = n.node("conv", Op::Conv(attrs), &[lone, w]);
        let b = n.batch_norm("bn", c, 3);
        let r = n.relu("relu", b);
        let axes = n.constant(Tensor::vector((-(spatial as i64)..0).collect()));
        let op = Op::Reduce { kind: ReduceKind::Mean, keep_dims: false, noop_with_empty_axes: false };
        let mean = n.node("mean", op, &[r, axes]);
        n.output(mean);
        let (q, data) = quantized(&mut n, &[vec![2], dims].concat());
        check_invariants(&n.graph, &q);
        assert_eq!(q.report.float_nodes().count(), 0, "{:?}", q.report.nodes);
        let (a, b) = (run64(&n.graph, &data[..1]), run64(&q.graph, &data[..1]));
        assert!(distance(&a[0], &b[0]) < 0.05);
    }
}

#[test]
fn half_precision_stays_as_it_is_and_is_listed() {
    let half = |n: &mut Net, dims: &[usize]| {
        let data = n.numbers(dims.iter().product());
        Tensor::new(dims, data.iter().map(|v| half::f16::from_f32(*v)).collect()).unwrap()
    };
    let mut n = Net::new(14);
    let x = n.graph.add_input("x", DType::F16, tq_graph::dim::shape_of(&[1, 3, 4, 4]));
    let y = n.conv("conv", x, [3, 4], 1, 0);
    let y = n.relu("relu", y);
    n.output(y);
    for (name, dims) in [("c1", vec![4, 3, 1, 1]), ("c2", vec![4])] {
        let t = half(&mut n, &dims);
        let v = n.graph.find_value(name).unwrap();
        (n.graph.values[v.0].dtype, n.graph.values[v.0].constant) = (Some(DType::F16), Some(t));
    }
    let p = prepare_static(n.graph.clone(), QuantConfig::default()).unwrap();
    p.forward(&half(&mut n, &[1, 3, 4, 4])).unwrap();
    let q = convert(p).unwrap();
    let floats: Vec<_> = q.report.float_nodes().map(|(n, reason)| (n.node.as_str(), reason)).collect();
    assert!(floats.iter().any(|(n, reason)| *n == "conv" && reason.contains("f16")), "{floats:?}");
    assert_eq!(floats.len(), 2);
}

#[test]
fn converting_twice_gives_the_same_graph() {
    let make = || {
        let mut n = Net::new(11);
        let x = n.input("x", &[3, 4, 4]);
        let c = n.conv("conv", x, [3, 4], 3, 1);
        let d = n.conv("conv2", x, [3, 4], 3, 1);
        let y = n.binary("sum", BinaryOp::Add, c, d);
        n.output(y);
        quantized(&mut n, &[1, 3, 4, 4]).0
    };
    assert_eq!(make(), make());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Random networks of everything that can be placed: the invariants hold, and the QDQ graph computes nearly the same.
    #[test]
    fn random_networks_convert(seed in 0u64..1_000_000, steps in proptest::collection::vec(0u8..20, 1..9)) {
        let mut n = Net::new(seed);
        let mut x = n.input("x", &[4, 6, 6]);
        let mut previous = x;
        for (i, step) in steps.iter().enumerate() {
            let name = format!("n{i}");
            let before = x;
            x = match step {
                0 | 1 => n.grouped(&name, x, [4, 4], 1, 3, 1),
                2 => n.grouped(&name, x, [4, 4], 4, 3, 1),
                3 => n.batch_norm(&name, x, 4),
                4 | 5 => n.relu(&name, x),
                6 => n.clip(&name, x, -0.25, 0.5),
                7 => {
                    let k = n.random(&[1, 4, 1, 1]);
                    n.binary(&name, BinaryOp::Add, x, k)
                }
                8 => {
                    let k = n.scalar(-0.7);
                    n.binary(&name, BinaryOp::Mul, k, x)
                }
                9 => n.binary(&name, BinaryOp::Add, x, previous),
                10 => n.binary(&name, BinaryOp::Sub, x, previous),
                11 => n.node(&name, Op::Unary(UnaryOp::HardSwish), &[x]),
                12 => n.node(&name, Op::Unary(UnaryOp::Sigmoid), &[x]),
                13 => {
                    let attrs = PoolAttrs { strides: vec![1; 2], ..window(3, 1) };
                    n.node(&name, Op::MaxPool { attrs, column_major: false }, &[x])
                }
                14 => {
                    let attrs = PoolAttrs { strides: vec![1; 2], ..window(3, 1) };
                    n.node(&name, Op::AveragePool { attrs, count_include_pad: false }, &[x])
                }
                15 => {
                    let g = n.node(&format!("{name}_gap"), Op::GlobalAveragePool, &[x]);
                    n.binary(&name, BinaryOp::Add, x, g)
                }
                16 => {
                    let c = n.node(&format!("{name}_cat"), Op::Concat { axis: 1 }, &[x, previous]);
                    n.conv(&name, c, [8, 4], 1, 0)
                }
                17 => n.node(&name, Op::Transpose { perm: Some(vec![0, 1, 3, 2]) }, &[x]),
                18 => n.node(&name, Op::Softmax { axis: 1 }, &[x]),
                _ => {
                    let p = n.pad(&format!("{name}_pad"), x, &[0, 0, 1, 1, 0, 0, 1, 1]);
                    n.max_pool(&format!("{name}_pool"), p);
                    n.conv(&name, p, [4, 4], 3, 0)
                }
            };
            if step % 6 == 5 && seed % 3 == 0 && i > 0 && !n.graph.outputs.contains(&before) {
                n.output(before);
            }
            previous = before;
        }
        n.output(x);
        let (q, data) = quantized(&mut n, &[1, 4, 6, 6]);
        check_invariants(&n.graph, &q);
        let (a, b) = (run64(&n.graph, &data[..1]), run64(&q.graph, &data[..1]));
        // A step of the largest tensor on the way is what any quantizer may lose.
        let largest = magnitude(&n.graph, &data[..1]);
        for (a, b) in a.iter().zip(&b) {
            let squares: f64 = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum();
            let off = (squares / a.len() as f64).sqrt() / largest;
            prop_assert!(a.len() == b.len() && off < 0.1, "off by {off}");
        }
    }
}
