//! What is written reads back as the same graph.

use super::*;
use crate::{ExportOptions, MAX_OPSET, MIN_OPSET, export_bytes};
use std::collections::BTreeMap;
use tq_graph::op::{BinaryOp, ConvAttrs, Op, PadMode, Padding, PoolAttrs, ReduceKind, UnaryOp};
use tq_graph::{Dim, Node, Shape, Tensor, ValueId, infer};
use tq_qtypes::DType;

/// Type, shape and data of a value.
type Facts<'a> = (Option<DType>, &'a Option<Shape>, &'a Option<Tensor>);

/// Name and operator of a node, and the names of what it reads and gives.
type NodeFacts<'a> = (&'a str, &'a Op, Vec<Option<&'a str>>, Vec<Option<&'a str>>);

/// A graph without its ids: all values by name, and the nodes with the names of what they read and give.
#[derive(Debug, PartialEq)]
struct ByName<'a> {
    name: &'a str,
    values: BTreeMap<&'a str, Facts<'a>>,
    nodes: Vec<NodeFacts<'a>>,
    inputs: Vec<&'a str>,
    outputs: Vec<&'a str>,
    metadata: &'a BTreeMap<String, String>,
}

fn by_name(g: &Graph) -> ByName<'_> {
    let name = |v: &ValueId| g.value(*v).name.as_str();
    let names = |list: &[Option<ValueId>]| list.iter().map(|v| v.as_ref().map(name)).collect();
    ByName {
        name: &g.name,
        values: g.values.iter().map(|v| (v.name.as_str(), (v.dtype, &v.shape, &v.constant))).collect(),
        nodes: g
            .nodes
            .iter()
            .map(|n| (n.name.as_str(), &n.op, names(&n.inputs), names(&n.outputs)))
            .collect(),
        inputs: g.inputs.iter().map(name).collect(),
        outputs: g.outputs.iter().map(name).collect(),
        metadata: &g.metadata,
    }
}

/// Writes and reads; what comes back must be the same but for ids, and from then on even those.
pub(super) fn assert_round_trip(graph: &Graph, opset: i64) {
    let options = ExportOptions::at(opset);
    let bytes = export_bytes(graph, &options).unwrap();
    assert_eq!(bytes, export_bytes(graph, &options).unwrap(), "two exports differ");
    let first = import_bytes(&bytes, None).unwrap();
    assert_eq!(by_name(&first), by_name(graph));
    let again = export_bytes(&first, &options).unwrap();
    let second = import_bytes(&again, None).unwrap();
    assert_eq!(first, second);
    assert_eq!(again, export_bytes(&second, &options).unwrap());
}

/// Round trips of what reading this graph's own export gives.
pub(super) fn assert_stable(graph: &Graph, opset: i64) {
    let bytes = export_bytes(graph, &ExportOptions::at(opset)).unwrap();
    assert_round_trip(&import_bytes(&bytes, None).unwrap(), opset);
}

/// Adds a node that may have any inputs and several outputs.
pub(super) fn push(
    g: &mut Graph,
    name: &str,
    op: Op,
    inputs: Vec<Option<ValueId>>,
    outputs: &[&str],
) -> Vec<ValueId> {
    let ids: Vec<ValueId> = outputs.iter().map(|o| g.add_value(*o, None, None)).collect();
    let outputs = ids.iter().map(|v| Some(*v)).collect();
    g.nodes.push(Node { name: name.into(), op, inputs, outputs });
    ids
}

/// A graph with (almost) every float operator in it, in forms that opset 13 can say.
fn everything() -> Graph {
    let mut g = Graph::new("everything");
    g.metadata.insert("key".into(), "value\nwith lines".into());
    let x =
        g.add_input("x", DType::F32, vec![Dim::symbol("batch"), 4usize.into(), 8usize.into(), 8usize.into()]);
    let constant = |g: &mut Graph, name: &str, dims: &[usize]| {
        let data = (0..dims.iter().product::<usize>()).map(|i| i as f32 * 0.25 - 1.0).collect();
        g.add_constant(name, Tensor::new(dims, data).unwrap())
    };
    let w = constant(&mut g, "w", &[4, 2, 3, 3]);
    let b = constant(&mut g, "b", &[4]);
    let conv = ConvAttrs {
        strides: vec![1, 1],
        dilations: vec![1, 1],
        padding: Padding::Explicit { begin: vec![1, 0], end: vec![1, 2] },
        groups: 2,
    };
    let same = ConvAttrs { padding: Padding::SameLower, ..conv.clone() };
    let mut v = g.add_node("conv", Op::Conv(conv), &[x, w, b], "conv_y");
    v = g.add_node("same", Op::Conv(same), &[v, w], "same_y");
    let stats: Vec<ValueId> = ["scale", "bias", "mean"].iter().map(|n| constant(&mut g, n, &[4])).collect();
    let var = g.add_constant("var", Tensor::vector(vec![1.0f32; 4]));
    v = g.add_node(
        "bn",
        Op::BatchNormalization { epsilon: 0.001 },
        &[v, stats[0], stats[1], stats[2], var],
        "bn_y",
    );
    for (i, op) in [
        UnaryOp::Relu,
        UnaryOp::Elu { alpha: 0.5 },
        UnaryOp::Sigmoid,
        UnaryOp::HardSigmoid { alpha: 0.25, beta: 0.4 },
        UnaryOp::HardSwish,
    ]
    .into_iter()
    .enumerate()
    {
        v = g.add_node(format!("unary{i}"), Op::Unary(op), &[v], format!("unary_y{i}"));
    }
    let hi = g.add_constant("hi", Tensor::scalar(6.0f32));
    v = push(&mut g, "clip", Op::Clip, vec![Some(v), None, Some(hi)], &["clip_y"])[0];
    for (i, op) in [BinaryOp::Add, BinaryOp::Sub, BinaryOp::Mul, BinaryOp::Div].into_iter().enumerate() {
        v = g.add_node(format!("binary{i}"), Op::Binary(op), &[v, hi], format!("binary_y{i}"));
    }
    let window = PoolAttrs {
        kernel: vec![2, 2],
        strides: vec![1, 1],
        dilations: vec![1, 1],
        padding: Padding::SameUpper,
        ceil_mode: true,
    };
    let max = Op::MaxPool { attrs: window.clone(), column_major: true };
    v = push(&mut g, "max", max, vec![Some(v)], &["max_y", "max_i"])[0];
    let indices = ValueId(g.values.len() - 1);
    v = g.add_node("avg", Op::AveragePool { attrs: window, count_include_pad: true }, &[v], "avg_y");
    let pads = g.add_constant("pads", Tensor::vector(vec![0i64, 0, 1, 1, 0, 0, 1, 1]));
    v = g.add_node("pad", Op::Pad { mode: PadMode::Reflect }, &[v, pads], "pad_y");
    let (one, six, axis) = (
        g.add_constant("one", Tensor::vector(vec![1i64])),
        g.add_constant("six", Tensor::vector(vec![6i64])),
        g.add_constant("axis", Tensor::vector(vec![2i64])),
    );
    v = push(&mut g, "slice", Op::Slice, vec![Some(v), Some(one), Some(six), Some(axis)], &["slice_y"])[0];
    let parts = push(&mut g, "split", Op::Split { axis: 1 }, vec![Some(v)], &["left", "right"]);
    v = g.add_node("concat", Op::Concat { axis: -3 }, &parts, "concat_y");
    v = g.add_node("t", Op::Transpose { perm: Some(vec![0, 2, 3, 1]) }, &[v], "t_y");
    let which = g.add_constant("which", Tensor::vector(vec![0i64, 2]));
    v = g.add_node("gather", Op::Gather { axis: 1 }, &[v, which], "gather_y");
    let reduced = Op::Reduce { kind: ReduceKind::Mean, keep_dims: true, noop_with_empty_axes: false };
    let mean_axes = g.add_constant("mean_node_axes", Tensor::vector(vec![1i64]));
    v = g.add_node("mean_node", reduced, &[v, mean_axes], "mean_y");
    v = g.add_node("squeeze", Op::Squeeze, &[v, one], "squeeze_y");
    v = g.add_node("unsqueeze", Op::Unsqueeze, &[v, one], "unsqueeze_y");
    v = g.add_node("t2", Op::Transpose { perm: Some(vec![0, 3, 1, 2]) }, &[v], "t2_y");
    v = g.add_node("gap", Op::GlobalAveragePool, &[v], "gap_y");
    v = g.add_node("flat", Op::Flatten { axis: 1 }, &[v], "flat_y");
    v = g.add_node("id", Op::Identity, &[v], "id_y");
    v = push(&mut g, "drop", Op::Dropout, vec![Some(v)], &["drop_y"])[0];
    let gw = constant(&mut g, "gw", &[3, 4]);
    let gemm = Op::Gemm { alpha: 0.5, beta: 2.0, trans_a: false, trans_b: true };
    v = g.add_node("gemm", gemm, &[v, gw], "gemm_y");
    let mw = constant(&mut g, "mw", &[3, 5]);
    v = g.add_node("matmul", Op::MatMul, &[v, mw], "matmul_y");
    v = g.add_node("softmax", Op::Softmax { axis: 1 }, &[v], "softmax_y");
    let cast = g.add_node("cast", Op::Cast { to: DType::F16, saturate: true }, &[v], "cast_y");
    g.outputs = vec![v, cast, indices];
    infer::infer(&mut g).unwrap();
    g
}

#[test]
fn every_float_operator_at_every_operator_set() {
    for opset in MIN_OPSET..=MAX_OPSET {
        assert_round_trip(&everything(), opset);
    }
}

/// `x -> Quantize -> Dequantize -> y` with parameters of this type and block size.
fn qdq(codes: Tensor, block_size: usize, scale: Tensor) -> Graph {
    let mut g = Graph::new("qdq");
    let x = g.add_input("x", DType::F32, vec![4usize.into(), 6usize.into()]);
    let s = g.add_constant("s", scale);
    let z = g.add_constant("z", codes);
    let quantize = Op::QuantizeLinear { axis: 1, block_size, output_dtype: None, saturate: true };
    let q = g.add_node("q", quantize, &[x, s, z], "codes");
    let y = g.add_node("dq", Op::DequantizeLinear { axis: 1, block_size }, &[q, s, z], "y");
    g.outputs = vec![y];
    infer::infer(&mut g).unwrap();
    g
}

#[test]
fn quantized_graphs_at_the_operator_sets_that_have_their_types() {
    let scales = |n: usize| Tensor::vector(vec![0.5f32; n]);
    let per_axis = |dtype| match dtype {
        DType::I8 | DType::I4 => Tensor::with_dtype(dtype, &[6], vec![1i8; 6]).unwrap(),
        DType::I16 => Tensor::vector(vec![1i16; 6]),
        DType::U16 => Tensor::vector(vec![1u16; 6]),
        _ if dtype.is_float8() => Tensor::with_dtype(dtype, &[6], vec![0u8; 6]).unwrap(),
        _ => Tensor::with_dtype(dtype, &[6], vec![1u8; 6]).unwrap(),
    };
    for (dtype, lowest) in [
        (DType::U8, 13),
        (DType::I8, 13),
        (DType::F8E4M3FN, 19),
        (DType::F8E5M2FNUZ, 19),
        (DType::I16, 21),
        (DType::U16, 21),
        (DType::I4, 21),
        (DType::U4, 21),
    ] {
        let graph = qdq(per_axis(dtype), 0, scales(6));
        for opset in MIN_OPSET..=MAX_OPSET {
            if opset >= lowest {
                assert_round_trip(&graph, opset);
                continue;
            }
            let error = export_bytes(&graph, &ExportOptions::at(opset)).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("node q (QuantizeLinear) needs opset {lowest}, not {opset}: {dtype} data")
            );
        }
    }
    let blocks = |dtype| {
        let codes = Tensor::with_dtype(dtype, &[4, 3], vec![1i8; 12]).unwrap();
        qdq(codes, 2, Tensor::new(&[4, 3], vec![0.5f32; 12]).unwrap())
    };
    assert_round_trip(&blocks(DType::I4), 21);
    let error = export_bytes(&blocks(DType::I8), &ExportOptions::at(20)).unwrap_err().to_string();
    assert_eq!(error, "node q (QuantizeLinear) needs opset 21, not 20: block_size 2");
}

#[test]
fn integer_operators() {
    let mut g = Graph::new("integers");
    let x = g.add_input("x", DType::F32, vec![Dim::symbol("N"), 4usize.into()]);
    let dql = push(
        &mut g,
        "dql",
        Op::DynamicQuantizeLinear { formula: Default::default() },
        vec![Some(x)],
        &["q", "s", "z"],
    );
    let w = g.add_constant("w", Tensor::new(&[4, 2], vec![1i8; 8]).unwrap());
    let y = push(&mut g, "mmi", Op::MatMulInteger, vec![Some(dql[0]), Some(w), Some(dql[2])], &["y"])[0];
    let (sw, zw) = (g.add_constant("sw", Tensor::scalar(0.5f32)), g.add_constant("zw", Tensor::scalar(0i8)));
    let zy = g.add_constant("zy", Tensor::scalar(3u8));
    let inputs = [dql[0], dql[1], dql[2], w, sw, zw, sw, zy].map(Some).to_vec();
    let p = push(&mut g, "qmm", Op::QLinearMatMul, inputs, &["p"])[0];
    let data = g.add_input("data", DType::U8, [1usize, 1, 5, 5].map(Dim::from).to_vec());
    let k = g.add_constant("k", Tensor::new(&[1, 1, 3, 3], vec![1i8; 9]).unwrap());
    let attrs =
        ConvAttrs { strides: vec![2, 1], dilations: vec![1, 1], padding: Padding::SameUpper, groups: 1 };
    let c = g.add_node("ci", Op::ConvInteger(attrs.clone()), &[data, k], "c");
    let zx = g.add_constant("zx", Tensor::scalar(7u8));
    // With constant parameters it would come back as Dequantize, Conv, Quantize.
    let inputs = [data, g.nodes[0].outputs[1].unwrap(), zx, k, sw, zw, sw, zy].map(Some).to_vec();
    let qc = push(&mut g, "qc", Op::QLinearConv(attrs), inputs, &["qc_y"])[0];
    g.outputs = vec![y, p, c, qc];
    infer::infer(&mut g).unwrap();
    for opset in MIN_OPSET..=MAX_OPSET {
        assert_round_trip(&g, opset);
    }
}

#[test]
fn the_node_cases_of_the_onnx_project_come_back_the_same() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tq-eval/tests/data/onnx_node_cases.zip");
    let Ok(file) = std::fs::File::open(path) else {
        println!("SKIPPED: {path} is not there");
        return;
    };
    let mut archive = zip::ZipArchive::new(file).unwrap();
    let mut models = 0;
    for i in 0..archive.len() {
        let mut entry = archive.by_index(i).unwrap();
        let name = entry.name().unwrap().into_owned();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        if name.ends_with("model.onnx") {
            let graph = import_bytes(&bytes, None).unwrap_or_else(|e| panic!("{name}: {e}"));
            // Names of inputs that were attributes settle after the first time.
            assert_stable(&graph, MAX_OPSET);
            models += 1;
        } else if name.ends_with(".pb") {
            let tensor = crate::read_tensor(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
            let written = crate::tensor::write(&tensor, "t").unwrap();
            assert_eq!(crate::read_tensor(&written.encode_to_vec()).unwrap().dtype(), tensor.dtype());
        }
    }
    assert!(models > 300, "{models} models");
}
