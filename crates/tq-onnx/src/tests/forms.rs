//! The forms in which a quantized graph can be written, read off the messages. That they compute the same is tested
//! where there is something to run them (tq-export).

use super::*;
use crate::proto::tensor_proto::DataLocation;
use crate::{BiasForm, ExportOptions, OperatorForm, WeightForm, export, export_bytes};
use std::collections::BTreeMap;
use tq_graph::op::{ConvAttrs, Op, Padding, UnaryOp};
use tq_graph::{Dim, Tensor, ValueId};
use tq_qtypes::DType;

fn dequantize(
    g: &mut Graph,
    base: &str,
    codes: ValueId,
    params: (Tensor, Tensor),
    axis: i64,
    block: usize,
) -> ValueId {
    let scale = g.add_constant(format!("{base}_scale"), params.0);
    let zero = g.add_constant(format!("{base}_zero_point"), params.1);
    let op = Op::DequantizeLinear { axis, block_size: block };
    let name = format!("{base}_dequantized");
    g.add_node(format!("{base}_DequantizeLinear"), op, &[codes, scale, zero], name)
}

fn quantize(g: &mut Graph, base: &str, x: ValueId, scale: f32, zero: u8) -> ValueId {
    let s = g.add_constant(format!("{base}_q_scale"), Tensor::scalar(scale));
    let z = g.add_constant(format!("{base}_q_zero_point"), Tensor::scalar(zero));
    let op = Op::QuantizeLinear { axis: 1, block_size: 0, output_dtype: None, saturate: true };
    g.add_node(format!("{base}_QuantizeLinear"), op, &[x, s, z], format!("{base}_quantized"))
}

/// `x -> Q -> DQ -> Conv (i8 weights by channel, 32-bit bias) -> Relu -> Q -> DQ -> y`, zero point 3 at the end.
fn conv() -> Graph {
    let mut g = Graph::new("net");
    let x = g.add_input("x", DType::F32, [1usize, 1, 3, 3].map(Dim::from).to_vec());
    let q = quantize(&mut g, "x", x, 0.5, 2);
    let d = dequantize(&mut g, "x", q, (Tensor::scalar(0.5f32), Tensor::scalar(2u8)), 1, 0);
    let w = g.add_constant("w_quantized", Tensor::new(&[2, 1, 1, 1], vec![3i8, -127]).unwrap());
    let scales = Tensor::vector(vec![0.25f32, 0.125]);
    let w = dequantize(&mut g, "w", w, (scales, Tensor::vector(vec![0i8, 0])), 0, 0);
    let b = g.add_constant("b_quantized", Tensor::vector(vec![7i32, -9]));
    let scales = Tensor::vector(vec![0.125f32, 0.0625]);
    let b = dequantize(&mut g, "b", b, (scales, Tensor::vector(vec![0i32, 0])), 0, 0);
    let attrs = ConvAttrs {
        strides: vec![1, 1],
        dilations: vec![1, 1],
        padding: Padding::Explicit { begin: vec![0, 0], end: vec![0, 0] },
        groups: 1,
    };
    let c = g.add_node("conv", Op::Conv(attrs), &[d, w, b], "c");
    let r = g.add_node("relu", Op::Unary(UnaryOp::Relu), &[c], "r");
    let q = quantize(&mut g, "r", r, 0.5, 3);
    let y = dequantize(&mut g, "r", q, (Tensor::scalar(0.5f32), Tensor::scalar(3u8)), 1, 0);
    g.outputs.push(y);
    g
}

fn written(graph: &Graph, options: &ExportOptions) -> GraphProto {
    ModelProto::decode(export_bytes(graph, options).unwrap().as_slice()).unwrap().graph.unwrap()
}

fn ops(graph: &GraphProto) -> Vec<&str> {
    graph.node.iter().map(NodeProto::op_type).collect()
}

fn constant<'g>(graph: &'g GraphProto, name: &str) -> &'g TensorProto {
    graph.initializer.iter().find(|t| t.name() == name).unwrap_or_else(|| panic!("no constant {name}"))
}

#[test]
fn weights_become_floats_that_quantize_to_the_same_codes_and_back() {
    let pairs = ExportOptions { weights: Some(WeightForm::FloatPair), ..ExportOptions::at(13) };
    let g = written(&conv(), &pairs);
    let float: Vec<u8> = [0.75f32, -15.875].iter().flat_map(|w| w.to_le_bytes()).collect();
    assert_eq!(constant(&g, "w").raw_data(), float);
    let q = g.node.iter().find(|n| n.input.first().is_some_and(|i| i == "w")).unwrap();
    assert_eq!((q.op_type(), q.input.len()), ("QuantizeLinear", 3));
    assert!(g.node.iter().any(|n| n.op_type() == "DequantizeLinear" && n.input[0] == q.output[0]));
    // The bias is no weight.
    assert_eq!(constant(&g, "b_quantized").data_type(), DataType::Int32 as i32);
    let back = import_bytes(&export_bytes(&conv(), &pairs).unwrap(), None).unwrap();
    let codes = ExportOptions { weights: Some(WeightForm::Codes), ..ExportOptions::at(13) };
    let g = written(&back, &codes);
    assert_eq!(constant(&g, "w_quantized").raw_data(), [3u8, 129]);
    assert_eq!(ops(&g), ops(&written(&conv(), &ExportOptions::at(13))));
}

#[test]
fn weights_whose_floats_lose_their_code_are_refused() {
    let mut g = conv();
    let at = g.find_value("w_scale").unwrap();
    g.values[at.0].constant = Some(Tensor::vector(vec![1e-44f32, 0.125]));
    let pairs = ExportOptions { weights: Some(WeightForm::FloatPair), ..ExportOptions::default() };
    // 127 steps of a denormal scale are exact; a scale that is no power of two of the smallest number is not.
    let result = export_bytes(&g, &pairs);
    match result {
        Ok(bytes) => {
            let g = ModelProto::decode(bytes.as_slice()).unwrap().graph.unwrap();
            assert_eq!(constant(&g, "w").raw_data()[..4], (3.0 * 1e-44f32).to_le_bytes());
        }
        Err(e) => assert!(e.to_string().contains("w_quantized"), "{e}"),
    }
}

#[test]
fn biases_become_floats_and_back() {
    let float = ExportOptions { bias: Some(BiasForm::Float), ..ExportOptions::at(13) };
    let g = written(&conv(), &float);
    let bias: Vec<u8> = [7.0 * 0.125f32, -9.0 * 0.0625].iter().flat_map(|b| b.to_le_bytes()).collect();
    assert_eq!(constant(&g, "b").raw_data(), bias);
    assert!(g.initializer.iter().all(|t| t.data_type() != DataType::Int32 as i32));
    let back = import_bytes(&export_bytes(&conv(), &float).unwrap(), None).unwrap();
    let codes = ExportOptions { bias: Some(BiasForm::Int32), ..ExportOptions::at(13) };
    let g = written(&back, &codes);
    assert_eq!(constant(&g, "b_quantized").raw_data(), [7i32.to_le_bytes(), (-9i32).to_le_bytes()].concat());
    let scales = [0.125f32, 0.0625].iter().flat_map(|s| s.to_le_bytes()).collect::<Vec<u8>>();
    assert_eq!(constant(&g, "b_scale").raw_data(), scales);
}

#[test]
fn a_convolution_on_codes() {
    let options = ExportOptions { form: OperatorForm::QOperator, ..ExportOptions::at(13) };
    let g = written(&conv(), &options);
    assert_eq!(ops(&g), ["QuantizeLinear", "QLinearConv", "Clip", "DequantizeLinear"]);
    let inputs = [
        "x_quantized",
        "x_scale",
        "x_zero_point",
        "w_quantized",
        "w_scale",
        "w_zero_point",
        "r_q_scale",
        "r_q_zero_point",
        "b_quantized",
    ];
    assert_eq!((g.node[1].name(), &g.node[1].input[..]), ("conv", &inputs.map(String::from)[..]));
    // A Relu is the codes from its zero point on.
    assert_eq!(constant(&g, &g.node[2].input[1]).raw_data(), [3]);
    assert_eq!(constant(&g, &g.node[2].input[2]).raw_data(), [255]);
}

#[test]
fn the_lowest_operator_set_is_taken_unless_one_is_asked_for() {
    let blocks = |dtype, q: Tensor| {
        let mut g = Graph::new("g");
        let x = g.add_input("x", DType::F32, vec![Dim::symbol("N"), Dim::from(32usize)]);
        let w = g.add_constant("w_quantized", q);
        let zero = Tensor::with_dtype(dtype, &[2, 2], vec![0i8; 4]).unwrap();
        let w = dequantize(
            &mut g,
            "w",
            w,
            (Tensor::new(&[2, 2], vec![0.5f32, 0.25, 2.0, 1.0]).unwrap(), zero),
            0,
            16,
        );
        let y = g.add_node("mm", Op::MatMul, &[x, w], "y");
        g.outputs.push(y);
        g
    };
    let four = blocks(
        DType::I4,
        Tensor::with_dtype(DType::I4, &[32, 2], (0..64).map(|i| (i % 16 - 8) as i8).collect()).unwrap(),
    );
    let two = blocks(
        DType::I2,
        Tensor::with_dtype(DType::I2, &[32, 2], (0..64).map(|i| (i % 4 - 2) as i8).collect()).unwrap(),
    );
    for (graph, needs) in [(&conv(), 13), (&four, 21), (&two, 25)] {
        let model =
            ModelProto::decode(export_bytes(graph, &ExportOptions::default()).unwrap().as_slice()).unwrap();
        assert_eq!(model.opset_import[0].version(), needs);
        assert_eq!(import_bytes(&model.encode_to_vec(), None).unwrap().nodes.len(), graph.nodes.len());
    }
    let error = export_bytes(&four, &ExportOptions::at(20)).unwrap_err().to_string();
    assert_eq!(error, "node w_DequantizeLinear (DequantizeLinear) needs opset 21, not 20: i4 data");
    // Four codes a byte, the first in the lowest bits: -2, -1, 0, 1.
    let g = written(&two, &ExportOptions::default());
    assert_eq!(
        (constant(&g, "w_quantized").data_type(), constant(&g, "w_quantized").raw_data()[0]),
        (26, 0b0100_1110)
    );

    let nbits = ExportOptions { matmul_nbits: true, ..ExportOptions::default() };
    let model = ModelProto::decode(export_bytes(&four, &nbits).unwrap().as_slice()).unwrap();
    let domains: Vec<_> = model.opset_import.iter().map(|o| (o.domain(), o.version())).collect();
    assert_eq!(domains, [("", 13), ("com.microsoft", 1)]);
    let g = model.graph.unwrap();
    assert_eq!(ops(&g), ["MatMulNBits"]);
    let b = constant(&g, &g.node[0].input[1]);
    assert_eq!(b.dims, [2, 2, 8]);
    // Column 0 of the weights is codes -8, -6, -4, ...; unsigned 0, 2, 4, ..., two a byte.
    assert_eq!(b.raw_data()[..4], [0x20, 0x64, 0xa8, 0xec]);
    // Its blocks have the scales 0.5 and 2.0: scales go output by output.
    let scales = [0.5f32, 2.0, 0.25, 1.0].iter().flat_map(|s| s.to_le_bytes()).collect::<Vec<u8>>();
    assert_eq!(constant(&g, &g.node[0].input[2]).raw_data(), scales);
    // Zero points of 0 are 8 unsigned, and those may be left out.
    assert_eq!(g.node[0].input.len(), 3);
}

#[test]
fn large_constants_go_to_a_file_beside_the_model() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    let options = ExportOptions { external_data: Some(8), ..ExportOptions::default() };
    export(&conv(), &path, &options).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let model = ModelProto::decode(bytes.as_slice()).unwrap();
    let (external, inside): (Vec<_>, Vec<_>) = model
        .graph
        .unwrap()
        .initializer
        .into_iter()
        .partition(|t| t.data_location == Some(DataLocation::External as i32));
    let names: Vec<_> = external.iter().map(TensorProto::name).collect();
    assert_eq!(names, ["w_scale", "b_quantized", "b_scale", "b_zero_point"]);
    assert!(inside.iter().all(|t| t.raw_data().len() < 8) && external.iter().all(|t| t.raw_data.is_none()));
    assert_eq!(
        crate::import(&path).unwrap(),
        import_bytes(&export_bytes(&conv(), &ExportOptions::default()).unwrap(), None).unwrap()
    );
    // Twice the same, and nothing more beside it.
    export(&conv(), &path, &options).unwrap();
    assert_eq!((std::fs::read(&path).unwrap(), std::fs::read_dir(dir.path()).unwrap().count()), (bytes, 2));
    let error = export_bytes(&conv(), &options).unwrap_err().to_string();
    assert_eq!(error, "model: external data needs a file to lie beside");
}

#[test]
fn doc_strings_survive() {
    let mut model = model(13, vec![named("n", node("Relu", &["x"], &["y"], vec![]))]);
    model.doc_string = Some("of the model".into());
    let g = graph_of(&mut model);
    g.doc_string = Some("of the graph".into());
    g.node[0].doc_string = Some("of the node".into());
    g.input[0].doc_string = Some("of the input".into());
    let graph = import_bytes(&model.encode_to_vec(), None).unwrap();
    let back =
        ModelProto::decode(export_bytes(&graph, &ExportOptions::default()).unwrap().as_slice()).unwrap();
    assert_eq!((back.doc_string(), back.metadata_props.len()), ("of the model", 0));
    let g = back.graph.unwrap();
    let texts = [g.doc_string(), g.node[0].doc_string(), g.input[0].doc_string(), g.output[0].doc_string()];
    assert_eq!(texts, ["of the graph", "of the node", "of the input", ""]);
    // Of a node that is gone they stay in the metadata.
    let mut other = graph.clone();
    other.nodes[0].name = "other".into();
    let back =
        ModelProto::decode(export_bytes(&other, &ExportOptions::default()).unwrap().as_slice()).unwrap();
    let entries: BTreeMap<_, _> = back.metadata_props.iter().map(|e| (e.key(), e.value())).collect();
    assert_eq!(entries, BTreeMap::from([("tq.doc_string/node/n", "of the node")]));
}
