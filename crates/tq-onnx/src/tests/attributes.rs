//! Defaults of attributes, and what each operator set knows.

use super::*;
use tq_graph::Tensor;
use tq_graph::op::{ConvAttrs, ConvTransposeAttrs, Op, PadMode, Padding, PoolAttrs, ReduceKind};
use tq_qtypes::DType;

/// The operator that a node with these attributes becomes; its inputs are `x` and initializers.
fn op(opset: i64, name: &str, constants: Vec<TensorProto>, attributes: Vec<AttributeProto>) -> Op {
    graph(opset, name, constants, attributes).unwrap().nodes.remove(0).op
}

fn graph(
    opset: i64,
    name: &str,
    constants: Vec<TensorProto>,
    attributes: Vec<AttributeProto>,
) -> Result<Graph, OnnxError> {
    let mut inputs = vec!["x"];
    inputs.extend(constants.iter().map(|t| t.name()));
    let mut m = model(opset, vec![node(name, &inputs, &["y"], attributes)]);
    graph_of(&mut m).initializer = constants;
    read(&m)
}

fn message(opset: i64, name: &str, constants: Vec<TensorProto>, attributes: Vec<AttributeProto>) -> String {
    graph(opset, name, constants, attributes).unwrap_err().to_string()
}

fn explicit(begin: [usize; 2], end: [usize; 2]) -> Padding {
    Padding::Explicit { begin: begin.to_vec(), end: end.to_vec() }
}

#[test]
fn convolutions() {
    let w = || vec![zeros("w", &[4, 3, 3, 5])];
    let plain = ConvAttrs {
        strides: vec![1, 1],
        dilations: vec![1, 1],
        padding: explicit([0, 0], [0, 0]),
        groups: 1,
    };
    assert_eq!(op(13, "Conv", w(), vec![]), Op::Conv(plain.clone()));
    assert_eq!(op(13, "Conv", w(), vec![text("auto_pad", "VALID")]), Op::Conv(plain.clone()));
    let full = vec![
        ints("kernel_shape", &[3, 5]),
        ints("strides", &[2, 3]),
        ints("dilations", &[1, 2]),
        ints("pads", &[1, 2, 3, 4]),
        int("group", 1),
        text("auto_pad", "NOTSET"),
    ];
    let all = ConvAttrs {
        strides: vec![2, 3],
        dilations: vec![1, 2],
        padding: explicit([1, 2], [3, 4]),
        groups: 1,
    };
    assert_eq!(op(13, "Conv", w(), full), Op::Conv(all));
    for (rule, padding) in [("SAME_UPPER", Padding::SameUpper), ("SAME_LOWER", Padding::SameLower)] {
        let same = Op::Conv(ConvAttrs { padding, ..plain.clone() });
        assert_eq!(op(13, "Conv", w(), vec![text("auto_pad", rule)]), same);
    }
    let bad = |a| message(13, "Conv", w(), vec![a]);
    assert_eq!(
        bad(ints("kernel_shape", &[3, 3])),
        "node Conv_0 (Conv): kernel_shape [3, 3], weights of shape [4, 3, 3, 5]"
    );
    assert_eq!(bad(ints("strides", &[0, 1])), "node Conv_0 (Conv): strides [0, 1] has a number below 1");
    assert_eq!(bad(ints("strides", &[1])), "node Conv_0 (Conv): strides [1] for 2 spatial axes");
    assert_eq!(bad(ints("pads", &[1, 1])), "node Conv_0 (Conv): pads [1, 1] for 2 spatial axes");
    assert_eq!(bad(ints("pads", &[-1, 0, 0, 0])), "unsupported: Conv (negative pads [-1, 0, 0, 0]: Conv_0)");
    assert_eq!(bad(int("group", 0)), "node Conv_0 (Conv): group is 0");
    assert_eq!(bad(text("auto_pad", "SAME")), "node Conv_0 (Conv): auto_pad is \"SAME\"");
    assert_eq!(bad(int("pads", 1)), "node Conv_0 (Conv): attribute pads is of type INT, expected INTS");
}

#[test]
fn the_rank_of_a_convolution_comes_from_the_weights_behind_a_dequantize_node() {
    let mut m = model(
        13,
        vec![
            node("DequantizeLinear", &["w", "s"], &["wf"], vec![]),
            node("Conv", &["x", "wf"], &["y"], vec![]),
        ],
    );
    graph_of(&mut m).initializer = vec![
        raw("w", DataType::Int8, &[1, 3, 1, 1], &[0; 3]),
        raw("s", DataType::Float, &[], &1.0f32.to_le_bytes()),
    ];
    let Op::Conv(attrs) = &read(&m).unwrap().nodes[1].op else { panic!() };
    assert_eq!(attrs.strides, [1, 1]);
}

#[test]
fn transposed_convolutions() {
    let w = || vec![zeros("w", &[3, 2, 3, 5])];
    let plain = ConvTransposeAttrs {
        strides: vec![1, 1],
        dilations: vec![1, 1],
        padding: explicit([0, 0], [0, 0]),
        output_padding: vec![0, 0],
        output_shape: None,
        groups: 1,
    };
    assert_eq!(op(13, "ConvTranspose", w(), vec![]), Op::ConvTranspose(plain.clone()));
    let given = vec![
        ints("strides", &[2, 2]),
        ints("output_padding", &[1, 0]),
        ints("output_shape", &[16, 18]),
        text("auto_pad", "SAME_UPPER"),
        int("group", 1),
    ];
    let all = ConvTransposeAttrs {
        strides: vec![2, 2],
        padding: Padding::SameUpper,
        output_padding: vec![1, 0],
        output_shape: Some(vec![16, 18]),
        ..plain
    };
    assert_eq!(op(13, "ConvTranspose", w(), given), Op::ConvTranspose(all));
    let bad = |a| message(13, "ConvTranspose", w(), vec![a]);
    assert_eq!(
        bad(ints("output_shape", &[1, 6, 8, 8])),
        "node ConvTranspose_0 (ConvTranspose): output_shape [1, 6, 8, 8] for 2 spatial axes"
    );
    assert_eq!(
        bad(ints("output_padding", &[-1, 0])),
        "node ConvTranspose_0 (ConvTranspose): output_padding [-1, 0] has a number below 0"
    );
    assert_eq!(
        bad(ints("pads", &[9, 9, 9, 9])),
        "node ConvTranspose_0 (ConvTranspose): output axis 2 would have -8 elements"
    );
}

#[test]
fn norms_over_windows() {
    let kernel = || ints("kernel_shape", &[2, 2]);
    let attrs = PoolAttrs {
        kernel: vec![2, 2],
        strides: vec![1, 1],
        dilations: vec![1, 1],
        padding: explicit([0, 0], [0, 0]),
        ceil_mode: false,
    };
    assert_eq!(op(13, "LpPool", vec![], vec![kernel()]), Op::LpPool { attrs: attrs.clone(), p: 2 });
    let later = vec![kernel(), ints("dilations", &[2, 1]), int("ceil_mode", 1), int("p", 3)];
    let attrs = PoolAttrs { dilations: vec![2, 1], ceil_mode: true, ..attrs };
    assert_eq!(op(18, "LpPool", vec![], later), Op::LpPool { attrs, p: 3 });
    assert_eq!(
        message(17, "LpPool", vec![], vec![kernel(), int("ceil_mode", 1)]),
        "unsupported: LpPool (attribute ceil_mode is unknown at opset 17: LpPool_0)"
    );
    assert_eq!(
        message(13, "GlobalLpPool", vec![], vec![int("p", 0)]),
        "node GlobalLpPool_0 (GlobalLpPool): p is 0"
    );
    assert_eq!(
        op(13, "LRN", vec![], vec![int("size", 3)]),
        Op::Lrn { size: 3, alpha: 1e-4, beta: 0.75, bias: 1.0 }
    );
    assert_eq!(message(13, "LRN", vec![], vec![]), "node LRN_0 (LRN): size is missing");
    let mvn = Op::MeanVarianceNormalization { axes: vec![0, 2, 3] };
    assert_eq!(op(13, "MeanVarianceNormalization", vec![], vec![]), mvn);
}

#[test]
fn pools() {
    let kernel = || ints("kernel_shape", &[2, 2]);
    let plain = PoolAttrs {
        kernel: vec![2, 2],
        strides: vec![1, 1],
        dilations: vec![1, 1],
        padding: explicit([0, 0], [0, 0]),
        ceil_mode: false,
    };
    let max = Op::MaxPool { attrs: plain.clone(), column_major: false };
    assert_eq!(op(13, "MaxPool", vec![], vec![kernel()]), max);
    let wide = PoolAttrs { dilations: vec![2, 1], ceil_mode: true, ..plain.clone() };
    let with = || vec![kernel(), ints("dilations", &[2, 1]), int("ceil_mode", 1)];
    let mut ordered = with();
    ordered.push(int("storage_order", 1));
    assert_eq!(op(13, "MaxPool", vec![], ordered), Op::MaxPool { attrs: wide.clone(), column_major: true });
    let average = Op::AveragePool { attrs: plain, count_include_pad: false };
    assert_eq!(op(13, "AveragePool", vec![], vec![kernel()]), average);
    let average = Op::AveragePool { attrs: wide, count_include_pad: false };
    assert_eq!(op(19, "AveragePool", vec![], with()), average);
    assert_eq!(
        message(18, "AveragePool", vec![], with()),
        "unsupported: AveragePool (attribute dilations is unknown at opset 18: AveragePool_0)"
    );
    assert_eq!(message(13, "MaxPool", vec![], vec![]), "node MaxPool_0 (MaxPool): kernel_shape is missing");
}

#[test]
fn recurrent_networks() {
    let weights = |gates: i64| vec![zeros("w", &[1, 4 * gates, 8]), zeros("r", &[1, 4 * gates, 4])];
    let texts = |name: &str, values: &[&str]| AttributeProto {
        strings: values.iter().map(|v| v.as_bytes().to_vec()).collect(),
        ..attribute(name, AttributeType::Strings)
    };
    let floats = |name: &str, values: &[f32]| AttributeProto {
        floats: values.to_vec(),
        ..attribute(name, AttributeType::Floats)
    };
    let read = |opset: i64, name: &str, gates: i64, attributes: Vec<AttributeProto>| {
        let mut m = model(opset, vec![node(name, &["x", "w", "r"], &["y"], attributes)]);
        graph_of(&mut m).input = vec![info("x", DataType::Float, &["S", "N", "8"])];
        graph_of(&mut m).initializer = weights(gates);
        super::read(&m).map(|mut g| g.nodes.remove(0).op).map_err(|e| e.to_string())
    };
    use tq_graph::op::{Activation, Direction, RecurrentAttrs, RecurrentKind};
    let plain = RecurrentAttrs {
        hidden_size: 4,
        direction: Direction::Forward,
        activations: vec![Activation::Tanh],
        clip: None,
        batch_first: false,
        dynamic: None,
    };
    let rnn = |attrs: RecurrentAttrs| Ok(Op::Recurrent { kind: RecurrentKind::Rnn, attrs });
    assert_eq!(read(13, "RNN", 1, vec![]), rnn(plain.clone()));
    // ONNX's default names a function for a second direction too.
    assert_eq!(read(13, "RNN", 1, vec![texts("activations", &["Tanh", "Tanh"])]), rnn(plain.clone()));
    let soft = RecurrentAttrs {
        activations: vec![Activation::LeakyRelu { alpha: 0.01 }],
        clip: Some(3.0),
        direction: Direction::Reverse,
        batch_first: true,
        ..plain.clone()
    };
    let given = vec![
        texts("activations", &["leakyrelu"]),
        float("clip", 3.0),
        text("direction", "reverse"),
        int("layout", 1),
        int("hidden_size", 4),
    ];
    assert_eq!(read(14, "RNN", 1, given.clone()), rnn(soft));
    assert_eq!(
        read(13, "RNN", 1, given),
        Err("unsupported: RNN (attribute layout is unknown at opset 13: RNN_0)".into())
    );
    let kind = RecurrentKind::Lstm { input_forget: true };
    let functions = vec![
        texts("activations", &["HardSigmoid", "Tanh", "Affine"]),
        floats("activation_alpha", &[0.25]),
        floats("activation_beta", &[0.75, 0.5]),
        int("input_forget", 1),
    ];
    let attrs = RecurrentAttrs {
        activations: vec![
            Activation::HardSigmoid { alpha: 0.25, beta: 0.75 },
            Activation::Tanh,
            Activation::Affine { alpha: 1.0, beta: 0.5 },
        ],
        ..plain.clone()
    };
    assert_eq!(read(21, "LSTM", 4, functions), Ok(Op::Recurrent { kind, attrs }));
    let kind = RecurrentKind::Gru { linear_before_reset: true };
    let attrs = RecurrentAttrs { activations: vec![Activation::Sigmoid, Activation::Tanh], ..plain };
    assert_eq!(read(13, "GRU", 3, vec![int("linear_before_reset", 1)]), Ok(Op::Recurrent { kind, attrs }));
    for (attribute, message) in [
        (text("direction", "backward"), "direction is \"backward\""),
        (texts("activations", &["Tanh"]), "activations [\"Tanh\"], expected 2"),
        (texts("activations", &["Tanh", "Swish"]), "activation \"Swish\" is unknown"),
        (float("clip", 0.0), "clip is 0, expected a number above 0"),
        (int("hidden_size", 0), "hidden_size is 0"),
    ] {
        assert_eq!(read(13, "GRU", 3, vec![attribute]), Err(format!("node GRU_0 (GRU): {message}")));
    }
    assert_eq!(
        read(13, "GRU", 3, vec![int("hidden_size", 3)]),
        Err("node GRU_0 (GRU): w has shape [1, 12, 8], expected [1, 9, 8]".into())
    );
}

#[test]
fn plain_numbers() {
    use tq_graph::op::UnaryOp::{Elu, HardSigmoid, HardSwish};
    assert_eq!(op(13, "HardSigmoid", vec![], vec![]), Op::Unary(HardSigmoid { alpha: 0.2, beta: 0.5 }));
    assert_eq!(op(13, "Elu", vec![], vec![float("alpha", 0.5)]), Op::Unary(Elu { alpha: 0.5 }));
    assert_eq!(op(14, "HardSwish", vec![], vec![]), Op::Unary(HardSwish));
    assert_eq!(
        message(13, "HardSwish", vec![], vec![]),
        "unsupported: HardSwish (needs opset 14: HardSwish_0)"
    );
    assert_eq!(op(13, "Softmax", vec![], vec![]), Op::Softmax { axis: -1 });
    assert_eq!(op(13, "Flatten", vec![], vec![]), Op::Flatten { axis: 1 });
    assert_eq!(op(13, "Gather", vec![int64s("i", &[0])], vec![]), Op::Gather { axis: 0 });
    assert_eq!(message(13, "Concat", vec![], vec![]), "node Concat_0 (Concat): axis is missing");
    assert_eq!(op(13, "Transpose", vec![], vec![]), Op::Transpose { perm: None });
    assert_eq!(
        message(13, "Transpose", vec![], vec![ints("perm", &[0, 1, 1, 3])]),
        "node Transpose_0 (Transpose): perm [0, 1, 1, 3] is not a permutation"
    );
    let mut gemm = model(13, vec![node("Gemm", &["a", "b"], &["y"], vec![])]);
    graph_of(&mut gemm).input =
        vec![info("a", DataType::Float, &["2", "3"]), info("b", DataType::Float, &["3", "4"])];
    let expected = Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false };
    assert_eq!(read(&gemm).unwrap().nodes[0].op, expected);
}

#[test]
fn reduce_mean_takes_its_axes_from_the_attribute_below_18() {
    let g = graph(13, "ReduceMean", vec![], vec![ints("axes", &[2, -1]), int("keepdims", 0)]).unwrap();
    assert_eq!(
        g.nodes[0].op,
        Op::Reduce { kind: ReduceKind::Mean, keep_dims: false, noop_with_empty_axes: false }
    );
    assert_eq!(g.const_input(&g.nodes[0], 1), Some(&Tensor::vector(vec![2i64, -1])));
    let g = graph(18, "ReduceMean", vec![int64s("a", &[2])], vec![int("noop_with_empty_axes", 1)]).unwrap();
    assert_eq!(
        g.nodes[0].op,
        Op::Reduce { kind: ReduceKind::Mean, keep_dims: true, noop_with_empty_axes: true }
    );
    let full = graph(17, "ReduceMean", vec![], vec![]).unwrap();
    assert_eq!(full.nodes[0].inputs.len(), 1);
    assert_eq!(
        message(17, "ReduceMean", vec![int64s("a", &[2])], vec![]),
        "node ReduceMean_0 (ReduceMean): 2 inputs, one at opset 17"
    );
    assert_eq!(
        message(18, "ReduceMean", vec![], vec![ints("axes", &[2])]),
        "unsupported: ReduceMean (attribute axes is unknown at opset 18: ReduceMean_0)"
    );
}

#[test]
fn attributes_appear_with_their_operator_sets() {
    let shape = |o, a| graph(o, "Shape", vec![], a).map(|_| ());
    assert!(shape(15, vec![int("start", 1)]).is_ok());
    assert!(shape(14, vec![int("start", 1)]).is_err());
    let reshape = |o| graph(o, "Reshape", vec![int64s("s", &[-1, 64])], vec![int("allowzero", 0)]);
    assert!(reshape(14).is_ok());
    assert!(reshape(13).is_err());
    let cast = |o, to: DataType| graph(o, "Cast", vec![], vec![int("to", to as i64), int("saturate", 0)]);
    assert!(cast(19, DataType::Float8e5m2).is_ok());
    assert!(cast(18, DataType::Float16).is_err());
    assert_eq!(
        message(13, "Cast", vec![], vec![int("to", 8)]),
        "unsupported: Cast (element type STRING: Cast_0)"
    );
    let pad = |o, mode| graph(o, "Pad", vec![int64s("p", &[0; 8])], vec![text("mode", mode)]);
    assert_eq!(pad(13, "edge").unwrap().nodes[0].op, Op::Pad { mode: PadMode::Edge });
    assert_eq!(pad(19, "wrap").unwrap().nodes[0].op, Op::Pad { mode: PadMode::Wrap });
    assert!(pad(18, "wrap").is_err());
    let mut axes = model(18, vec![node("Pad", &["x", "p", "", "a"], &["y"], vec![])]);
    graph_of(&mut axes).initializer = vec![int64s("p", &[1, 1]), int64s("a", &[3])];
    assert!(read(&axes).is_ok());
    axes.opset_import[0].version = Some(17);
    assert_eq!(error(&axes), "node Pad_0 (Pad): 4 inputs, at most 3 at opset 17");
}

#[test]
fn split() {
    let of = |opset, attributes: Vec<AttributeProto>| {
        let mut m = model(opset, vec![node("Split", &["x"], &["y", "z"], attributes)]);
        graph_of(&mut m).output.push(info("z", DataType::Float, &[]));
        read(&m)
    };
    assert_eq!(of(13, vec![int("axis", -1)]).unwrap().nodes[0].op, Op::Split { axis: -1 });
    assert!(of(18, vec![int("axis", 2), int("num_outputs", 2)]).is_ok());
    assert_eq!(
        of(18, vec![int("axis", 2), int("num_outputs", 3)]).unwrap_err().to_string(),
        "node Split_0 (Split): num_outputs is 3, there are 2 outputs"
    );
    assert!(of(17, vec![int("axis", 2), int("num_outputs", 2)]).is_err());
}

#[test]
fn training_is_refused() {
    let four = || (0..4).map(|i| zeros(&format!("c{i}"), &[3])).collect::<Vec<_>>();
    assert_eq!(op(13, "BatchNormalization", four(), vec![]), Op::BatchNormalization { epsilon: 1e-5 });
    let training = vec![int("training_mode", 1)];
    assert_eq!(
        message(14, "BatchNormalization", four(), training),
        "unsupported: BatchNormalization (training_mode is 1: BatchNormalization_0)"
    );
    let dropout = |on: u8| {
        let ratio = raw("r", DataType::Float, &[], &0.5f32.to_le_bytes());
        graph(13, "Dropout", vec![ratio, raw("t", DataType::Bool, &[], &[on])], vec![int("seed", 1)])
    };
    let g = dropout(0).unwrap();
    assert_eq!((&g.nodes[0].op, g.nodes[0].inputs.len(), g.values.len()), (&Op::Dropout, 1, 2));
    assert_eq!(
        dropout(1).unwrap_err().to_string(),
        "unsupported: Dropout (training_mode is true: Dropout_0)"
    );
}

#[test]
fn quantize_and_dequantize() {
    let scale = || raw("s", DataType::Float, &[], &1.0f32.to_le_bytes());
    let plain = Op::QuantizeLinear { axis: 1, block_size: 0, output_dtype: None, saturate: true };
    assert_eq!(op(13, "QuantizeLinear", vec![scale()], vec![]), plain);
    assert_eq!(op(21, "QuantizeLinear", vec![scale()], vec![int("output_dtype", 0)]), plain);
    let full = vec![int("axis", 0), int("output_dtype", DataType::Int16 as i64), int("saturate", 0)];
    let typed =
        Op::QuantizeLinear { axis: 0, block_size: 0, output_dtype: Some(DType::I16), saturate: false };
    assert_eq!(op(21, "QuantizeLinear", vec![scale()], full), typed);
    for (opset, name) in [(18, "saturate"), (20, "output_dtype"), (20, "block_size")] {
        assert_eq!(
            message(opset, "QuantizeLinear", vec![scale()], vec![int(name, 0)]),
            format!(
                "unsupported: QuantizeLinear (attribute {name} is unknown at opset {opset}: QuantizeLinear_0)"
            )
        );
    }
    assert!(
        message(21, "QuantizeLinear", vec![scale()], vec![int("block_size", -1)])
            .contains("block_size is -1")
    );
}

#[test]
fn constants_of_every_kind() {
    let of = |a: AttributeProto| {
        let m =
            model(13, vec![node("Constant", &[], &["c"], vec![a]), node("Add", &["x", "c"], &["y"], vec![])]);
        read(&m).map(|g| g.constant(g.find_value("c").unwrap()).cloned().unwrap())
    };
    assert_eq!(of(float("value_float", 2.5)).unwrap(), Tensor::scalar(2.5f32));
    let floats = AttributeProto { floats: vec![1.0; 8], ..attribute("value_floats", AttributeType::Floats) };
    assert_eq!(of(floats).unwrap(), Tensor::vector(vec![1.0f32; 8]));
    assert_eq!(of(tensor_attribute("value", zeros("", &[1, 8]))).unwrap().dims(), [1, 8]);
    let g = graph(13, "Reshape", vec![int64s("s", &[-1, 64])], vec![]).unwrap();
    assert_eq!(g.nodes[0].op, Op::Reshape { allow_zero: false });
    let none = model(13, vec![node("Constant", &[], &["y"], vec![])]);
    assert_eq!(error(&none), "node Constant_0 (Constant): 0 attributes, expected one value");
}

#[test]
fn the_fill_of_constant_of_shape_is_one_element() {
    let of = |a: Vec<AttributeProto>| {
        let mut m = model(13, vec![node("ConstantOfShape", &["s"], &["y"], a)]);
        graph_of(&mut m).input.push(info("s", DataType::Int64, &["2"]));
        read(&m).map(|mut g| g.nodes.remove(0).op)
    };
    let zero = Op::ConstantOfShape { value: Tensor::vector(vec![0.0f32]) };
    assert_eq!(of(vec![]).unwrap(), zero);
    assert_eq!(of(vec![tensor_attribute("value", zeros("", &[]))]).unwrap(), zero);
    assert!(of(vec![tensor_attribute("value", zeros("", &[2]))]).is_err());
}

#[test]
fn normalizations() {
    let p = || vec![zeros("s", &[3]), zeros("b", &[3])];
    assert_eq!(
        op(17, "LayerNormalization", vec![zeros("s", &[8])], vec![]),
        Op::LayerNormalization { axis: -1, epsilon: 1e-5, stash: DType::F32 }
    );
    let given = vec![int("axis", 2), float("epsilon", 0.5), int("stash_type", 16)];
    assert_eq!(
        op(21, "LayerNormalization", vec![zeros("s", &[8])], given),
        Op::LayerNormalization { axis: 2, epsilon: 0.5, stash: DType::BF16 }
    );
    assert_eq!(
        message(17, "LayerNormalization", vec![zeros("s", &[8])], vec![int("stash_type", 7)]),
        "node LayerNormalization_0 (LayerNormalization): stash_type is 7 (i64), expected a float type"
    );
    assert_eq!(
        message(16, "LayerNormalization", vec![zeros("s", &[8])], vec![]),
        "unsupported: LayerNormalization (needs opset 17: LayerNormalization_0)"
    );
    assert_eq!(op(13, "InstanceNormalization", p(), vec![]), Op::InstanceNormalization { epsilon: 1e-5 });
    let groups = || vec![int("num_groups", 3)];
    let group = Op::GroupNormalization { epsilon: 1e-5, groups: 3 };
    assert_eq!(op(18, "GroupNormalization", p(), groups()), group);
    assert_eq!(op(21, "GroupNormalization", p(), [groups(), vec![int("stash_type", 1)]].concat()), group);
    assert_eq!(
        message(18, "GroupNormalization", p(), [groups(), vec![int("stash_type", 1)]].concat()),
        "unsupported: GroupNormalization (attribute stash_type is unknown at opset 18: GroupNormalization_0)"
    );
    assert_eq!(
        message(18, "GroupNormalization", p(), vec![]),
        "node GroupNormalization_0 (GroupNormalization): num_groups is missing"
    );
}
