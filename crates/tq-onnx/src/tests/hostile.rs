//! Bytes that mean harm, and bytes that an accident changed. Nothing may panic, take long, or take much memory.

use super::*;
use proptest::prelude::*;
use std::time::{Duration, Instant};

/// Small valid models with most kinds of messages in them.
fn seeds() -> Vec<Vec<u8>> {
    let mut conv = model(
        13,
        vec![
            node("Constant", &[], &["k"], vec![tensor_attribute("value", int64s("", &[-1, 64]))]),
            node(
                "Conv",
                &["x", "w", "b"],
                &["c"],
                vec![ints("pads", &[1, 1, 1, 1]), ints("strides", &[2, 2])],
            ),
            node(
                "MaxPool",
                &["c"],
                &["m"],
                vec![ints("kernel_shape", &[2, 2]), text("auto_pad", "SAME_UPPER")],
            ),
            node("Reshape", &["m", "k"], &["r"], vec![]),
            node("Split", &["r"], &["s", "t"], vec![int("axis", 1)]),
            node("Add", &["s", "t"], &["y"], vec![]),
        ],
    );
    graph_of(&mut conv).initializer = vec![zeros("w", &[4, 3, 3, 3]), zeros("b", &[4])];
    let mut shapes = model(
        18,
        vec![
            node("Shape", &["x"], &["s"], vec![int("start", 0), int("end", 2)]),
            node("Constant", &[], &["l"], vec![ints("value_ints", &[-1])]),
            node("Concat", &["s", "l"], &["t"], vec![int("axis", 0)]),
            node("Reshape", &["x", "t"], &["r"], vec![]),
            node("Gather", &["s", "i"], &["n"], vec![]),
            node("ConstantOfShape", &["n"], &["z"], vec![tensor_attribute("value", zeros("", &[1]))]),
            node("Pad", &["r", "p"], &["q"], vec![text("mode", "edge")]),
            node("Slice", &["q", "i", "e", "a"], &["v"], vec![]),
            node("ReduceMean", &["v", "a"], &["u"], vec![int("keepdims", 1)]),
            node("Squeeze", &["u", "a"], &["f"], vec![]),
            node("Unsqueeze", &["f", "a"], &["g"], vec![]),
            node("Transpose", &["g"], &["y"], vec![ints("perm", &[2, 0, 1])]),
        ],
    );
    graph_of(&mut shapes).initializer = vec![
        int64s("i", &[1]),
        int64s("e", &[i64::MAX]),
        int64s("a", &[2]),
        int64s("p", &[0, 1, 0, 0, 0, 2]),
    ];
    let mut quantized = model(
        21,
        vec![
            node("QuantizeLinear", &["x", "s", "z"], &["q"], vec![int("axis", 1), int("saturate", 1)]),
            node("DequantizeLinear", &["q", "s", "z"], &["d"], vec![int("axis", 1)]),
            node("DequantizeLinear", &["w", "t"], &["v"], vec![int("axis", 0), int("block_size", 2)]),
            node("MatMul", &["d", "v"], &["m"], vec![]),
            node("Cast", &["m"], &["c"], vec![int("to", 10)]),
            node("Clip", &["c", "", "h"], &["y"], vec![]),
        ],
    );
    graph_of(&mut quantized).initializer = vec![
        raw("s", DataType::Float, &[3], &[0x3f; 12]),
        TensorProto { int32_data: vec![1, 2, 3], ..raw("z", DataType::Uint8, &[3], &[]) },
        raw("w", DataType::Int4, &[8, 2], &[0x21; 8]),
        raw("t", DataType::Float, &[4, 2], &[0x3f; 32]),
        raw("h", DataType::Float16, &[], &[0, 0x46]),
    ];
    let mut seeds = vec![conv.encode_to_vec(), shapes.encode_to_vec(), quantized.encode_to_vec()];
    seeds.extend([older(), on_codes(), contributed()].map(|m| m.encode_to_vec()));
    seeds
}

/// Forms of old operator sets.
fn older() -> ModelProto {
    model(
        8,
        vec![
            node("Clip", &["x"], &["a"], vec![float("min", -1.0), float("max", 1.0)]),
            node("Upsample", &["a"], &["b"], vec![floats("scales", &[1.0, 1.0, 2.0, 0.5])]),
            node("Softmax", &["b"], &["c"], vec![int("axis", 2)]),
            node("Pad", &["c"], &["d"], vec![ints("pads", &[0, 0, 1, 0, 0, 0, 0, 2]), float("value", 0.5)]),
            node("Slice", &["d"], &["e"], vec![ints("starts", &[1]), ints("ends", &[9]), ints("axes", &[2])]),
            node("Split", &["e"], &["f", "g"], vec![ints("split", &[1, 2]), int("axis", 1)]),
            node("TopK", &["g"], &["h", "i"], vec![int("k", 2)]),
            node("Unsqueeze", &["h"], &["j"], vec![ints("axes", &[0])]),
            node("Squeeze", &["j"], &["y"], vec![ints("axes", &[0])]),
        ],
    )
}

/// Operators on codes.
fn on_codes() -> ModelProto {
    let ms = |node: NodeProto| NodeProto { domain: Some("com.microsoft".into()), ..node };
    let one = |op: &str, x: &str, y: &str, list| ms(node(op, &[x, "s", "z", "s", "z"], &[y], list));
    let mut m = model(
        13,
        vec![
            node("QuantizeLinear", &["x", "s", "z"], &["q"], vec![]),
            node("QLinearConv", &["q", "s", "z", "w", "t", "u", "s", "z", "b"], &["a"], vec![]),
            node("MaxPool", &["a"], &["m"], vec![ints("kernel_shape", &[2, 2])]),
            node("Pad", &["m", "p"], &["d"], vec![]),
            ms(node("QLinearAdd", &["d", "s", "z", "d", "s", "", "s", "z"], &["e"], vec![])),
            one("QLinearAveragePool", "e", "f", vec![ints("kernel_shape", &[2, 2])]),
            one("QLinearSoftmax", "f", "g", vec![int("axis", 2), int("opset", 11)]),
            ms(node(
                "QLinearConcat",
                &["s", "z", "g", "s", "z", "g", "s", "z"],
                &["h"],
                vec![int("axis", 1)],
            )),
            one("QLinearGlobalAveragePool", "h", "i", vec![]),
            node("Flatten", &["i"], &["j"], vec![]),
            ms(node("QGemm", &["j", "s", "z", "v", "t", "u", "b", "s", "z"], &["k"], vec![int("transB", 1)])),
            node("DequantizeLinear", &["k", "s", "z"], &["y"], vec![]),
        ],
    );
    graph_of(&mut m).initializer = vec![
        raw("s", DataType::Float, &[], &0.02f32.to_le_bytes()),
        raw("z", DataType::Uint8, &[], &[100]),
        raw("w", DataType::Int8, &[2, 3, 1, 1], &[3, 0xfd, 7, 1, 2, 0x80]),
        raw("t", DataType::Float, &[2], &[0.01f32, 0.02].map(f32::to_le_bytes).concat()),
        raw("u", DataType::Int8, &[2], &[0, 0]),
        raw("b", DataType::Int32, &[2], &[100i32, -7].map(i32::to_le_bytes).concat()),
        raw("v", DataType::Int8, &[2, 4], &[3, 0xfd, 7, 1, 2, 0x80, 5, 6]),
        int64s("p", &[0, 0, 1, 0, 0, 0, 0, 1]),
    ];
    m
}

/// Weights of few bits, and codes made at run time.
fn contributed() -> ModelProto {
    let ms = |node: NodeProto| NodeProto { domain: Some("com.microsoft".into()), ..node };
    let bits = vec![int("K", 8), int("N", 3), int("block_size", 4), int("bits", 4)];
    let mut m = model(
        13,
        vec![
            ms(node("MatMulNBits", &["x", "w", "s", "z"], &["a"], bits)),
            ms(node("DynamicQuantizeMatMul", &["a", "v", "t", "u"], &["b"], vec![])),
            node("Reshape", &["b", "r"], &["c"], vec![]),
            ms(node(
                "DynamicQuantizeLSTM",
                &["c", "f", "g", "", "", "", "", "", "t", "u", "t", "u"],
                &["d"],
                vec![int("hidden_size", 1)],
            )),
            node("QuantizeLinear", &["k", "t", "u"], &["l"], vec![]),
            node("DequantizeLinear", &["l", "t", "u"], &["n"], vec![]),
            node("Add", &["d", "n"], &["y"], vec![]),
        ],
    );
    graph_of(&mut m).initializer = vec![
        raw("w", DataType::Uint8, &[3, 2, 2], &[0x21; 12]),
        raw("s", DataType::Float, &[6], &[0.5f32; 6].map(f32::to_le_bytes).concat()),
        raw("z", DataType::Uint8, &[3], &[0x87; 3]),
        raw("v", DataType::Int8, &[3, 4], &[5; 12]),
        raw("t", DataType::Float, &[1], &0.25f32.to_le_bytes()),
        raw("u", DataType::Int8, &[1], &[1]),
        int64s("r", &[-1, 1, 4]),
        raw("f", DataType::Int8, &[1, 4, 4], &[9; 16]),
        raw("g", DataType::Int8, &[1, 1, 4], &[7; 4]),
        raw("k", DataType::Float, &[1], &1.5f32.to_le_bytes()),
    ];
    m
}

fn floats(name: &str, values: &[f32]) -> AttributeProto {
    AttributeProto { floats: values.to_vec(), ..attribute(name, AttributeType::Floats) }
}

/// Reads; whatever comes out, it comes soon and prints as one line.
fn survive(bytes: &[u8]) {
    let start = Instant::now();
    match import_bytes(bytes, None) {
        Ok(graph) => {
            let _ = crate::export_bytes(&graph, &crate::ExportOptions::at(21));
        }
        Err(error) => assert!(!error.to_string().contains('\n'), "{error}"),
    }
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn the_seeds_are_valid() {
    for bytes in seeds() {
        import_bytes(&bytes, None).unwrap();
    }
}

#[test]
fn every_truncation_is_an_error() {
    for bytes in seeds() {
        for n in 0..bytes.len() {
            survive(&bytes[..n]);
        }
        // Inside the graph, which is the last message but for the operator sets, nothing is complete.
        for n in [1, bytes.len() / 4, bytes.len() / 2, bytes.len() * 3 / 4] {
            let error = import_bytes(&bytes[..n], None).unwrap_err().to_string();
            assert!(error.starts_with("not an ONNX model: "), "{error}");
        }
    }
}

#[test]
fn every_byte_may_change() {
    for bytes in seeds() {
        for at in 0..bytes.len() {
            for value in [0x00, 0x01, 0x7f, 0x80, 0xff, bytes[at] ^ 1, bytes[at].wrapping_add(1)] {
                let mut changed = bytes.clone();
                changed[at] = value;
                survive(&changed);
            }
        }
    }
}

#[test]
fn what_is_no_model_is_called_so() {
    let of = |bytes: &[u8]| import_bytes(bytes, None).unwrap_err().to_string();
    assert_eq!(of(b""), "not an ONNX model: it is empty");
    assert!(of(b"version https://git-lfs.github.com/spec/v1\n").contains("Git LFS"));
    for bytes in
        [&b"PK\x03\x04 a zip"[..], b"\x89PNG\r\n\x1a\n", b"<html></html>", b"{\"a\": 1}", b"\x93NUMPY"]
    {
        assert!(of(bytes).starts_with("not an ONNX model: "), "{}", of(bytes));
    }
    assert!(of(&[0; 64]).starts_with("not an ONNX model: "));
    assert!(of(&[0xff; 64]).starts_with("not an ONNX model: "));
}

#[test]
fn sizes_that_no_memory_holds_are_not_tried() {
    // A fill of 2^60 elements, of a shape that is known.
    let mut fill = model(13, vec![node("ConstantOfShape", &["s"], &["y"], vec![])]);
    for dims in [&[1i64 << 30, 1 << 30][..], &[i64::MAX, i64::MAX], &[-1], &[1 << 33]] {
        graph_of(&mut fill).initializer = vec![int64s("s", dims)];
        survive(&fill.encode_to_vec());
    }
    // Attributes and shapes at the ends of their range.
    for big in [i64::MAX, i64::MIN, i64::MAX / 2, 1 << 40] {
        let huge = [big.saturating_abs(); 2];
        let mut m = model(
            21,
            vec![
                node(
                    "Conv",
                    &["x", "w"],
                    &["a"],
                    vec![ints("strides", &huge), ints("dilations", &huge), int("group", big)],
                ),
                node("MaxPool", &["a"], &["b"], vec![ints("kernel_shape", &huge), ints("pads", &[big; 4])]),
                node("Pad", &["b", "p"], &["c"], vec![]),
                node("Slice", &["c", "p", "p", "p", "p"], &["d"], vec![]),
                node("Flatten", &["d"], &["y"], vec![int("axis", big)]),
            ],
        );
        graph_of(&mut m).initializer = vec![zeros("w", &[4, 3, 3, 3]), int64s("p", &[big; 8])];
        survive(&m.encode_to_vec());
        for single in 0..5 {
            let mut m = m.clone();
            let mut n = graph_of(&mut m).node[single].clone();
            n.input[0] = "x".into();
            n.output[0] = "y".into();
            graph_of(&mut m).node = vec![n];
            survive(&m.encode_to_vec());
        }
        for op in ["Concat", "Split", "Softmax", "Gather", "Shape", "DequantizeLinear", "QuantizeLinear"] {
            let names = ["axis", "start", "end", "block_size"];
            for name in names {
                let m = model(21, vec![node(op, &["x", "x"], &["y"], vec![int(name, big)])]);
                survive(&m.encode_to_vec());
            }
        }
        for op in ["Reshape", "Squeeze", "Unsqueeze", "ReduceMean", "Split", "Pad"] {
            let mut m = model(18, vec![node(op, &["x", "p"], &["y"], vec![])]);
            graph_of(&mut m).initializer = vec![int64s("p", &[big, big])];
            survive(&m.encode_to_vec());
        }
        let mut input = model(13, vec![node("MatMul", &["x", "x"], &["y"], vec![])]);
        graph_of(&mut input).input = vec![info("x", DataType::Float, &[&big.to_string(), &big.to_string()])];
        survive(&input.encode_to_vec());
    }
}

#[test]
fn absurd_attributes_of_later_operators_are_refused_quickly() {
    let start = Instant::now();
    for big in [i64::MAX, i64::MIN, 1 << 60, 1 << 40, -1, 0] {
        let try_one = |op: &str, inputs: &[&str], attributes: Vec<AttributeProto>, constant: &[i64]| {
            let outputs: &[&str] = if op == "TopK" { &["y", "z"] } else { &["y"] };
            let mut m = model(21, vec![node(op, inputs, outputs, attributes)]);
            graph_of(&mut m).initializer = vec![
                int64s("p", constant),
                raw("one", DataType::Int64, &[], &1i64.to_le_bytes()),
                raw("far", DataType::Int64, &[], &big.to_le_bytes()),
                raw("scales", DataType::Float, &[4], &[1e30f32; 4].map(f32::to_le_bytes).concat()),
                zeros("two", &[2]),
                zeros("w", &[4, 3, 3, 3]),
                zeros("gates", &[1, 4, 8]),
            ];
            survive(&m.encode_to_vec());
        };
        for op in ["LSTM", "GRU", "RNN"] {
            try_one(op, &["gates", "gates", "gates"], vec![int("hidden_size", big)], &[]);
        }
        for op in ["Conv", "ConvTranspose"] {
            try_one(op, &["x", "w"], vec![int("group", big)], &[]);
        }
        for name in ["strides", "dilations", "output_padding", "output_shape"] {
            try_one("ConvTranspose", &["x", "w"], vec![ints(name, &[big; 2])], &[]);
        }
        try_one("Resize", &["x", "", "", "p"], vec![], &[1, 3, big, big]);
        try_one("Resize", &["x", "", "scales"], vec![], &[]);
        try_one("TopK", &["x", "p"], vec![], &[big]);
        try_one("Tile", &["x", "p"], vec![], &[big; 4]);
        try_one("Expand", &["x", "p"], vec![], &[big; 5]);
        try_one("ConstantOfShape", &["p"], vec![], &[big; 2]);
        try_one("Range", &["one", "far", "one"], vec![], &[]);
        try_one("Range", &["far", "one", "one"], vec![], &[]);
        try_one("OneHot", &["p", "far", "two"], vec![], &[0, 1]);
        try_one("NonMaxSuppression", &["w", "w", "far"], vec![], &[]);
        try_one("NonMaxSuppression", &["gates", "gates", "far"], vec![], &[]);
        try_one("GroupNormalization", &["x", "two", "two"], vec![int("num_groups", big)], &[]);
        try_one("LRN", &["x"], vec![int("size", big)], &[]);
        try_one("LpPool", &["x"], vec![ints("kernel_shape", &[2, 2]), int("p", big)], &[]);
    }
    let letters = (0..1000u32).map(|i| char::from(b'a' + (i % 26) as u8)).collect::<String>();
    let lists =
        [letters.clone(), format!("{letters}->"), ["..."; 400].concat(), ",".repeat(100_000), "->".repeat(9)];
    for equation in lists {
        survive(
            &model(13, vec![node("Einsum", &["x"], &["y"], vec![text("equation", &equation)])])
                .encode_to_vec(),
        );
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn many_of_anything_stays_quick() {
    // Equal names, long chains, wide fans.
    let chain: Vec<NodeProto> = (0..20_000)
        .map(|i| {
            let (x, y) = (if i == 0 { "x".into() } else { format!("v{i}") }, format!("v{}", i + 1));
            named("same", node("Relu", &[&x], &[&y], vec![]))
        })
        .collect();
    let mut m = model(13, chain);
    graph_of(&mut m).output = vec![info("v20000", DataType::Float, &[])];
    let start = Instant::now();
    assert_eq!(read(&m).unwrap().nodes.len(), 20_000);
    // Expressions that would grow without end: every step doubles what a dimension is made of.
    let mut doubling = vec![node("Flatten", &["x"], &["f0"], vec![int("axis", 2)])];
    for i in 0..200 {
        let (a, b) = (format!("f{i}"), format!("f{}", i + 1));
        doubling.push(node("Concat", &[&a, &a], &[&b], vec![int("axis", 0)]));
    }
    let mut m = model(13, doubling);
    graph_of(&mut m).output = vec![info("f200", DataType::Float, &[])];
    survive(&m.encode_to_vec());
    let deep: Vec<NodeProto> = (0..300)
        .flat_map(|i| {
            let (s, t) = (format!("s{i}"), format!("s{}", i + 1));
            let c = format!("c{i}");
            [node("Div", &[&s, "three"], &[&c], vec![]), node("Add", &[&c, "three"], &[&t], vec![])]
        })
        .collect();
    let mut m = model(13, deep);
    graph_of(&mut m).node.insert(0, node("Shape", &["x"], &["s0"], vec![]));
    graph_of(&mut m).initializer = vec![int64s("three", &[3])];
    graph_of(&mut m).output = vec![info("s300", DataType::Int64, &[])];
    survive(&m.encode_to_vec());
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn mutated_models_never_panic(
        seed in 0usize..6,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 1..8),
    ) {
        let mut bytes = seeds().remove(seed);
        for (at, value, kind) in edits {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = value,
                1 => bytes.insert(at, value),
                2 => {
                    bytes.remove(at);
                }
                _ => {
                    let end = (at + usize::from(value)).min(bytes.len());
                    let piece = bytes[at..end].to_vec();
                    bytes.extend(piece);
                }
            }
            if bytes.is_empty() {
                break;
            }
        }
        survive(&bytes);
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        survive(&bytes);
        let _ = crate::read_tensor(&bytes);
    }

    #[test]
    fn any_attribute_value_never_panics(
        op in any::<usize>(),
        name in any::<usize>(),
        value in prop::collection::vec(prop_oneof![-4i64..10, any::<i64>()], 0..6),
        scalar in any::<bool>(),
        inputs in 1usize..13,
        opset in 7i64..26,
        constant in prop::collection::vec(prop_oneof![-4i64..10, any::<i64>()], 0..9),
    ) {
        let ops = [
            "Conv", "Gemm", "MatMul", "Relu", "Elu", "HardSwish", "Add", "Clip", "BatchNormalization", "MaxPool",
            "AveragePool", "GlobalAveragePool", "ReduceMean", "Flatten", "Reshape", "Transpose", "Squeeze",
            "Unsqueeze", "Concat", "Slice", "Split", "Pad", "Shape", "Gather", "Cast", "ConstantOfShape", "Identity",
            "Dropout", "Softmax", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger",
            "ConvInteger", "QLinearMatMul", "QLinearConv", "Constant", "Sigmoid", "HardSigmoid", "Div", "Pow", "Mod",
            "PRelu", "Equal", "Less", "And", "Not", "BitwiseOr", "BitwiseNot", "BitShift", "IsNaN", "IsInf", "Where",
            "Max", "Mean", "Erf", "Gelu", "Mish", "ReduceSum", "ReduceMax", "ReduceLogSumExp", "ArgMax", "ArgMin",
            "TopK", "CumSum", "LogSoftmax", "Hardmax", "GatherElements", "GatherND", "ScatterElements", "ScatterND",
            "Expand", "Tile", "Trilu", "DepthToSpace", "SpaceToDepth", "Size", "NonZero", "Range", "OneHot",
            "EyeLike", "CastLike", "ConvTranspose", "LSTM", "GRU", "RNN", "Resize", "Einsum", "NonMaxSuppression",
            "LayerNormalization", "InstanceNormalization", "GroupNormalization", "MeanVarianceNormalization", "LRN",
            "LpPool", "GlobalMaxPool", "GlobalLpPool", "Upsample", "Scatter", "Swish", "RMSNormalization",
            "com.microsoft::DequantizeLinear", "com.microsoft::DynamicQuantizeLSTM",
            "com.microsoft::DynamicQuantizeMatMul", "com.microsoft::MatMulIntegerToFloat",
            "com.microsoft::MatMulNBits", "com.microsoft::QGemm", "com.microsoft::QLinearAdd",
            "com.microsoft::QLinearAveragePool", "com.microsoft::QLinearConcat", "com.microsoft::QLinearConv",
            "com.microsoft::QLinearGlobalAveragePool", "com.microsoft::QLinearLeakyRelu",
            "com.microsoft::QLinearMul", "com.microsoft::QLinearSigmoid", "com.microsoft::QLinearSoftmax",
            "com.microsoft::QLinearWhere", "com.microsoft::QuantizeLinear",
        ];
        let names = [
            "axis", "axes", "pads", "strides", "dilations", "kernel_shape", "group", "perm", "start", "end", "to",
            "block_size", "output_dtype", "num_outputs", "keepdims", "ceil_mode", "value_ints", "value",
            "fmod", "batch_dims", "blocksize", "k", "dtype", "noop_with_empty_axes", "largest", "upper",
            "hidden_size", "layout", "linear_before_reset", "input_forget", "output_padding", "output_shape",
            "num_groups", "stash_type", "size", "p", "antialias", "exclude_outside", "center_point_box", "starts", "ends",
            "split", "spatial", "scales", "precision", "transB", "channels_last", "opset", "K", "N", "bits",
        ];
        let (op, name) = (ops[op % ops.len()], names[name % names.len()]);
        let a = if scalar { int(name, value.first().copied().unwrap_or(0)) } else { ints(name, &value) };
        let pool: Vec<&str> = ["x", "p", "p", "w", "p", "", "", "s", "s", "z", "s", "z"][..inputs].to_vec();
        let mut attributes = vec![a];
        if op.ends_with("Pool") && name != "kernel_shape" {
            attributes.push(ints("kernel_shape", &[2, 2]));
        }
        if op.contains("Depth") && name != "blocksize" {
            attributes.push(int("blocksize", 2));
        }
        if op == "BitShift" {
            attributes.push(text("direction", "LEFT"));
        }
        if op == "Einsum" {
            attributes.push(text("equation", "abcd...,...->..."));
        }
        if matches!(op, "LSTM" | "GRU" | "RNN") && name != "hidden_size" {
            attributes.push(int("hidden_size", 1));
        }
        if op == "GroupNormalization" && name != "num_groups" {
            attributes.push(int("num_groups", 1));
        }
        if op.ends_with("NBits") {
            let given = [("K", 8), ("N", 4), ("block_size", 16)];
            attributes.extend(given.into_iter().filter(|(n, _)| *n != name).map(|(n, v)| int(n, v)));
        }
        if op == "LRN" && name != "size" {
            attributes.push(int("size", 3));
        }
        for outputs in [&["y"][..], &["y", "z"], &["y", "z", "u"]] {
            for first in ["x", "p"] {
                let mut used = pool.clone();
                used[0] = first;
                let mut one = node(op, &used, outputs, attributes.clone());
                if let Some((domain, name)) = op.split_once("::") {
                    (one.domain, one.op_type) = (Some(domain.into()), Some(name.into()));
                }
                let mut m = model(opset, vec![one]);
                graph_of(&mut m).initializer = vec![
                    int64s("p", &constant),
                    zeros("w", &[4, 3, 3, 3]),
                    raw("s", DataType::Float, &[], &0.5f32.to_le_bytes()),
                    raw("z", DataType::Int8, &[], &[3]),
                ];
                survive(&m.encode_to_vec());
            }
        }
    }
}
