//! What is written, and what cannot be.

use super::*;
use crate::{ExportOptions, export, export_bytes};
use tq_graph::op::{Op, PadMode, Padding, PoolAttrs, ReduceKind, UnaryOp};
use tq_graph::{Dim, Tensor, ValueId};
use tq_qtypes::DType;

/// `y = op(x, constants...)` with x of f32 `[N, 3, 8, 8]`.
fn one(op: Op, constants: Vec<Tensor>) -> Graph {
    let mut g = Graph::new("g");
    let dims = vec![Dim::symbol("N"), Dim::from(3usize), Dim::from(8usize), Dim::from(8usize)];
    let mut inputs = vec![g.add_input("x", DType::F32, dims)];
    for (i, c) in constants.into_iter().enumerate() {
        inputs.push(g.add_constant(format!("c{i}"), c));
    }
    let y = g.add_node("n", op, &inputs, "y");
    g.outputs.push(y);
    g
}

fn relu() -> Graph {
    one(Op::Unary(UnaryOp::Relu), vec![])
}

fn write(graph: &Graph, opset: i64) -> Result<ModelProto, String> {
    let bytes = export_bytes(graph, &ExportOptions::at(opset)).map_err(|e| e.to_string())?;
    Ok(ModelProto::decode(bytes.as_slice()).unwrap())
}

#[test]
fn the_frame_of_a_file() {
    for (opset, ir) in [
        (13, 7),
        (14, 7),
        (15, 8),
        (18, 8),
        (19, 9),
        (20, 9),
        (21, 10),
        (22, 10),
        (23, 11),
        (24, 12),
        (25, 13),
    ] {
        let m = write(&relu(), opset).unwrap();
        assert_eq!((m.ir_version(), m.opset_import[0].version()), (ir, opset));
        assert_eq!(m.producer_name(), "torsh-quantization");
    }
    for opset in [0, 12, 26] {
        let error = export_bytes(&relu(), &ExportOptions::at(opset)).unwrap_err();
        assert_eq!(error.to_string(), format!("opset {opset} is not written, 13 to 25 are"));
    }
    let m = write(&relu(), 13).unwrap();
    let g = m.graph.unwrap();
    assert_eq!(g.input, [info("x", DataType::Float, &["N", "3", "8", "8"])]);
    assert_eq!(g.output, [info("y", DataType::Float, &["N", "3", "8", "8"])]);
    assert_eq!(g.node, [named("n", node("Relu", &["x"], &["y"], vec![]))]);
}

#[test]
fn an_average_pool_counts_padding_only_where_there_is_some() {
    for (pads, counts) in [([0, 0, 0, 0], 0), ([0, 0, 0, 1], 1), ([1, 1, 1, 1], 1)] {
        let attrs = PoolAttrs {
            kernel: vec![3, 3],
            strides: vec![2, 2],
            dilations: vec![1, 1],
            padding: Padding::Explicit { begin: pads[..2].to_vec(), end: pads[2..].to_vec() },
            ceil_mode: true,
        };
        let g = one(Op::AveragePool { attrs, count_include_pad: true }, vec![]);
        let node = write(&g, 13).unwrap().graph.unwrap().node.remove(0);
        assert!(node.attribute.contains(&int("ceil_mode", 1)));
        assert!(node.attribute.contains(&int("count_include_pad", counts)), "pads {pads:?}");
    }
}

#[test]
fn constants_that_nobody_reads_are_left_out() {
    let mut g = relu();
    g.add_constant("unused", Tensor::scalar(1.0f32));
    assert!(write(&g, 13).unwrap().graph.unwrap().initializer.is_empty());
}

#[test]
fn hard_swish_below_14_is_its_definition() {
    let g = one(Op::Unary(UnaryOp::HardSwish), vec![]);
    let nodes = write(&g, 13).unwrap().graph.unwrap().node;
    let gate = node("HardSigmoid", &["x"], &["y_gate"], vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)]);
    let mul = node("Mul", &["x", "y_gate"], &["y"], vec![]);
    assert_eq!(nodes, [named("n_gate", gate), named("n", mul)]);
    assert_eq!(write(&g, 14).unwrap().graph.unwrap().node[0].op_type(), "HardSwish");
}

#[test]
fn what_an_operator_set_cannot_say_is_named_with_the_one_that_can() {
    let refused = |g: &Graph, opset: i64, expected: &str| {
        assert_eq!(write(g, opset).unwrap_err(), expected);
        let OnnxError::NotExpressible { needs, .. } = export_bytes(g, &ExportOptions::at(opset)).unwrap_err()
        else {
            panic!()
        };
        if needs > 0 {
            assert!(write(g, needs).is_ok());
        }
    };
    let shape = one(Op::Shape { start: 1, end: None }, vec![]);
    refused(&shape, 14, "node n (Shape) needs opset 15, not 14: start or end");
    let pool = PoolAttrs {
        kernel: vec![2, 2],
        strides: vec![1, 1],
        dilations: vec![2, 2],
        padding: Padding::Explicit { begin: vec![0, 0], end: vec![0, 0] },
        ceil_mode: false,
    };
    let average = one(Op::AveragePool { attrs: pool, count_include_pad: false }, vec![]);
    refused(&average, 18, "node n (AveragePool) needs opset 19, not 18: dilations");
    let wrap = one(Op::Pad { mode: PadMode::Wrap }, vec![Tensor::vector(vec![1i64; 8])]);
    refused(&wrap, 13, "node n (Pad) needs opset 19, not 13: mode wrap");
    let noop =
        one(Op::Reduce { kind: ReduceKind::Mean, keep_dims: true, noop_with_empty_axes: true }, vec![]);
    refused(&noop, 17, "node n (ReduceMean) needs opset 18, not 17: noop_with_empty_axes");
    let mut axes =
        one(Op::Reduce { kind: ReduceKind::Mean, keep_dims: true, noop_with_empty_axes: false }, vec![]);
    let a = axes.add_input("a", DType::I64, vec![Dim::from(1usize)]);
    axes.nodes[0].inputs.push(Some(a));
    refused(&axes, 13, "node n (ReduceMean) needs opset 18, not 13: axes that are not constant");
    let zero = one(Op::Reshape { allow_zero: true }, vec![Tensor::vector(vec![-1i64, 3])]);
    refused(&zero, 13, "node n (Reshape) needs opset 14, not 13: a zero in the shape");
    let uneven = {
        let mut g = one(Op::Split { axis: 0 }, vec![]);
        let z = g.add_value("z", None, None);
        g.nodes[0].outputs.push(Some(z));
        g
    };
    refused(
        &uneven,
        13,
        "node n (Split) needs opset 18, not 13: a split of an unknown dimension without sizes",
    );
    let mut bytes = one(Op::Binary(tq_graph::op::BinaryOp::Add), vec![]);
    bytes.values[0].dtype = Some(DType::U8);
    bytes.nodes[0].inputs.push(Some(ValueId(0)));
    refused(&bytes, 13, "node n (Add) needs opset 14, not 13: u8 data");
    let mut never = one(Op::Concat { axis: 0 }, vec![]);
    never.values[0].dtype = Some(DType::I4);
    refused(&never, 21, "node n (Concat) cannot be written at any opset up to 25: i4 data");
    let quantize =
        Op::QuantizeLinear { axis: 1, block_size: 0, output_dtype: Some(DType::U2), saturate: true };
    let mut two_bits = one(quantize, vec![Tensor::scalar(0.5f32)]);
    two_bits.values[0].dtype = Some(DType::F32);
    refused(&two_bits, 21, "node n (QuantizeLinear) needs opset 25, not 21: u2 data");
    let mut moved = one(Op::Transpose { perm: None }, vec![]);
    moved.values[0].dtype = Some(DType::I2);
    refused(&moved, 21, "node n (Transpose) needs opset 25, not 21: i2 data");
    let mut alone = Graph::new("alone");
    let constant = alone.add_constant("w", Tensor::with_dtype(DType::I2, &[1], vec![1i8]).unwrap());
    alone.outputs.push(constant);
    let error = export_bytes(&alone, &ExportOptions::at(21)).unwrap_err().to_string();
    assert_eq!(error, "node w (tensor) needs opset 25, not 21: i2 data");
}

#[test]
fn an_uneven_split_gets_its_sizes_where_they_must_stand() {
    let mut g = one(Op::Split { axis: -1 }, vec![]);
    for name in ["z", "u"] {
        let v = g.add_value(name, None, None);
        g.nodes[0].outputs.push(Some(v));
    }
    let below = write(&g, 17).unwrap().graph.unwrap();
    assert_eq!(below.node[0].input, ["x", "n_split"]);
    assert_eq!(below.initializer[0].raw_data(), [3i64, 3, 2].map(i64::to_le_bytes).concat());
    let above = write(&g, 18).unwrap().graph.unwrap();
    assert_eq!(above.node[0].input, ["x"]);
    assert!(above.node[0].attribute.contains(&int("num_outputs", 3)));
}

#[test]
fn the_type_of_codes_is_told_by_a_zero_point_below_21() {
    let op = Op::QuantizeLinear { axis: 1, block_size: 0, output_dtype: Some(DType::I8), saturate: true };
    let g = one(op, vec![Tensor::vector(vec![0.5f32; 3])]);
    let below = write(&g, 13).unwrap().graph.unwrap();
    assert_eq!(below.node[0].input, ["x", "c0", "n_zero_point"]);
    let zeros = &below.initializer[1];
    assert_eq!((zeros.data_type(), zeros.raw_data()), (DataType::Int8 as i32, &[0u8; 3][..]));
    let at = write(&g, 21).unwrap().graph.unwrap();
    assert_eq!(at.node[0].input, ["x", "c0"]);
    assert!(at.node[0].attribute.contains(&int("output_dtype", DataType::Int8 as i64)));
}

#[test]
fn dimensions_that_inference_made_up_are_left_open() {
    let mut g = one(Op::Slice, vec![]);
    let ends = g.add_input("ends", DType::I64, vec![Dim::from(4usize)]);
    let starts = g.add_constant("starts", Tensor::vector(vec![0i64; 4]));
    g.nodes[0].inputs.extend([Some(starts), Some(ends)]);
    let m = write(&g, 13).unwrap();
    let out = &m.graph.unwrap().output[0];
    let Some(type_proto::Value::TensorType(t)) = out.r#type.clone().unwrap().value else { panic!() };
    assert!(t.shape.unwrap().dim.iter().all(|d| d.value.is_none()));
}

#[test]
fn a_file_appears_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    let options = ExportOptions::default();
    export(&relu(), &path, &options).unwrap();
    let before = std::fs::read(&path).unwrap();
    assert_eq!(before, export_bytes(&relu(), &options).unwrap());
    let list = || std::fs::read_dir(dir.path()).unwrap().count();
    // A graph that cannot be written leaves the file as it was.
    let shape = one(Op::Shape { start: 1, end: None }, vec![]);
    assert!(export(&shape, &path, &ExportOptions::at(13)).is_err());
    assert_eq!((std::fs::read(&path).unwrap(), list()), (before, 1));
    // It replaces a file, but nothing else.
    export(&one(Op::Identity, vec![]), &path, &options).unwrap();
    assert_eq!(crate::import(&path).unwrap().nodes[0].op, Op::Identity);
    let error = export(&relu(), dir.path(), &options).unwrap_err().to_string();
    assert!(error.ends_with("it is not a regular file"), "{error}");
    let nowhere = dir.path().join("none/m.onnx");
    let error = export(&relu(), &nowhere, &options).unwrap_err().to_string();
    assert!(error.contains("none/m.onnx: "), "{error}");
    assert_eq!(list(), 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o400, 0o400);
    }
    #[cfg(target_os = "linux")]
    {
        assert!(export(&relu(), std::path::Path::new("/dev/full"), &options).is_err());
        assert!(std::path::Path::new("/dev/full").exists());
    }
}

#[test]
fn graphs_that_are_not_valid_are_not_written() {
    let mut g = relu();
    g.nodes[0].inputs.clear();
    assert!(write(&g, 13).unwrap_err().starts_with("node n (Relu): 0 inputs"));
    let mut g = relu();
    g.values[1].name = String::new();
    assert!(write(&g, 13).unwrap_err().contains("a value has no name"));
}
