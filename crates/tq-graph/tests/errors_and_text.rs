//! What inference says when it refuses, what it leaves open, and how a graph reads as text.

#![allow(clippy::unwrap_used)]

use tq_graph::infer::infer;
use tq_graph::op::{BinaryOp, ConvAttrs, PadMode, Padding, PoolAttrs};
use tq_graph::{Dim, Graph, Op, Shape, Tensor, ValueId};
use tq_qtypes::DType;

/// Dimensions as text: numbers, and everything else a symbol.
fn shape(text: &str) -> Shape {
    let dims = text.split(',').map(str::trim).filter(|d| !d.is_empty());
    dims.map(|d| d.parse::<i64>().map_or_else(|_| Dim::symbol(d), Dim::from)).collect()
}

fn f32s(graph: &mut Graph, name: &str, dims: &str) -> ValueId {
    graph.add_input(name, DType::F32, shape(dims))
}

/// The error of one node named `n` over float inputs of these shapes.
fn refusal(op: Op, inputs: &[&str]) -> String {
    let mut graph = Graph::new("g");
    let inputs: Vec<ValueId> =
        inputs.iter().enumerate().map(|(i, d)| f32s(&mut graph, &format!("i{i}"), d)).collect();
    graph.add_node("n", op, &inputs, "y");
    infer(&mut graph).unwrap_err().to_string()
}

/// The error of one node over a float input and constants.
fn refusal_with(op: Op, input: &str, constants: &[&[i64]]) -> String {
    let mut graph = Graph::new("g");
    let mut inputs = vec![f32s(&mut graph, "x", input)];
    for (i, values) in constants.iter().enumerate() {
        inputs.push(graph.add_constant(format!("c{i}"), Tensor::vector(values.to_vec())));
    }
    graph.add_node("n", op, &inputs, "y");
    infer(&mut graph).unwrap_err().to_string()
}

fn conv(strides: [usize; 2], pads: usize, groups: usize) -> Op {
    let padding = Padding::Explicit { begin: vec![pads; 2], end: vec![pads; 2] };
    Op::Conv(ConvAttrs { strides: strides.to_vec(), dilations: vec![1, 1], padding, groups })
}

fn max_pool(kernel: usize, pads: usize) -> Op {
    let padding = Padding::Explicit { begin: vec![pads; 2], end: vec![pads; 2] };
    let attrs = PoolAttrs {
        kernel: vec![kernel; 2],
        strides: vec![2, 2],
        dilations: vec![1, 1],
        padding,
        ceil_mode: false,
    };
    Op::MaxPool { attrs, column_major: false }
}

#[test]
fn errors_name_the_node_and_the_numbers() {
    let cases = [
        (
            refusal(conv([1, 1], 0, 1), &["N,3,8,8", "4,2,3,3"]),
            "node n (Conv): x [N, 3, 8, 8] has 3 channels, but w [4, 2, 3, 3] with 1 groups expects 2",
        ),
        (
            refusal(conv([1, 1], 0, 2), &["1,4,8,8", "3,2,3,3"]),
            "node n (Conv): 3 output channels do not divide into 2 groups",
        ),
        (
            refusal(conv([1, 0], 0, 1), &["1,4,8,8", "3,4,3,3"]),
            "node n (Conv): stride is 0 on spatial axis 1",
        ),
        (
            refusal(conv([1, 1], 0, 1), &["1,4,8,8", "3,4,3,0"]),
            "node n (Conv): kernel is 0 on spatial axis 0",
        ),
        (
            refusal(conv([1, 1], 0, 1), &["1,4,8,8", "3,4,9,3"]),
            "node n (Conv): a window of 9 does not fit into 8 elements with pads 0 and 0 on axis 2",
        ),
        (
            refusal(conv([1, 1], usize::MAX, 1), &["1,4,8,8", "3,4,3,3"]),
            "node n (Conv): pads 18446744073709551615 and 18446744073709551615 on axis 2 overflow",
        ),
        (
            refusal(conv([1, 1], usize::MAX / 2, 1), &["1,4,8,8", "3,4,3,3"]),
            "node n (Conv): the size of output axis 2 overflows",
        ),
        (refusal(conv([1, 1], 0, 1), &["1,4", "3,4"]), "node n (Conv): w has rank 2, expected 3 to 5"),
        (
            refusal(conv([1, 1], 0, 1), &["1,4,8", "3,4,3"]),
            "node n (Conv): strides has 2 entries, expected 1, one a spatial axis",
        ),
        (
            refusal(conv([1, 1], 0, 1), &["1,4,8,8", "3,4,3,3", "5"]),
            "node n (Conv): bias has 5 elements, expected 3",
        ),
        (
            refusal(max_pool(2, 2), &["1,4,8,8"]),
            "node n (MaxPool): pads 2 and 2 on axis 2 must be smaller than the window of 2",
        ),
        (
            refusal(Op::Binary(BinaryOp::Add), &["2,3", "N,4"]),
            "node n (Add): shapes [2, 3] and [N, 4] do not broadcast",
        ),
        (
            refusal(Op::MatMul, &["N,3", "4,5"]),
            "node n (MatMul): inner dimensions differ: 3 of a [N, 3] and 4 of b [4, 5]",
        ),
        (refusal(Op::MatMul, &["", "4,5"]), "node n (MatMul): a has rank 0, expected at least 1"),
        (
            refusal(Op::Concat { axis: 1 }, &["N,3,4", "N,5,6"]),
            "node n (Concat): input 1 has shape [N, 5, 6], which differs from [N, 3, 4] on axis 2",
        ),
        (refusal(Op::Flatten { axis: 5 }, &["1,2"]), "node n (Flatten): axis 5 is out of range for rank 2"),
        (
            refusal_with(Op::Reshape { allow_zero: false }, "2,3", &[&[4, -1]]),
            "node n (Reshape): x [2, 3] cannot be reshaped to [4, -1]",
        ),
        (
            refusal_with(Op::Reshape { allow_zero: false }, "2,3", &[&[-1, -1]]),
            "node n (Reshape): shape [-1, -1] has more than one -1",
        ),
        (
            refusal_with(Op::Reshape { allow_zero: false }, "6", &[&[2, 0]]),
            "node n (Reshape): shape [2, 0] copies axis 1, which x [6] does not have",
        ),
        (refusal_with(Op::Slice, "6", &[&[0], &[3], &[0], &[0]]), "node n (Slice): step is 0 on axis 0"),
        (
            refusal_with(Op::Slice, "6", &[&[0], &[3], &[i64::MIN]]),
            "node n (Slice): axis -9223372036854775808 is out of range for rank 1",
        ),
        (
            refusal_with(Op::Slice, "6", &[&[0, 1], &[3]]),
            "node n (Slice): ends has 1 entries, starts and ends have 2",
        ),
        (
            refusal_with(Op::Pad { mode: PadMode::Constant }, "6", &[&[i64::MAX, 1]]),
            "node n (Pad): the size of output axis 0 overflows",
        ),
        (
            refusal_with(Op::Pad { mode: PadMode::Constant }, "6", &[&[-4, -3]]),
            "node n (Pad): pads -4 and -3 crop more than the 6 elements of axis 0",
        ),
        (
            refusal_with(Op::Pad { mode: PadMode::Reflect }, "3", &[&[3, 0]]),
            "node n (Pad): pads 3 and 0 on axis 0 must be smaller than the 3 elements that they reflect",
        ),
        (
            refusal_with(Op::Split { axis: 0 }, "6", &[&[5]]),
            "node n (Split): split [5] does not divide 6 elements on axis 0",
        ),
        (
            refusal_with(Op::Gather { axis: 0 }, "6", &[&[2, 6]]),
            "node n (Gather): index 6 is out of range for 6 elements on axis 0 of x [6]",
        ),
        (
            refusal_with(Op::Squeeze, "1,6", &[&[1]]),
            "node n (Squeeze): axis 1 of x [1, 6] has 6 elements, not 1",
        ),
        (refusal_with(Op::Unsqueeze, "6", &[&[0, -3]]), "node n (Unsqueeze): axis -3 is given twice"),
        (
            refusal(
                Op::QuantizeLinear { axis: 1, block_size: 0, output_dtype: None, saturate: true },
                &["N,3,8,8", "4"],
            ),
            "node n (QuantizeLinear): scale has 4 elements, but axis 1 of x [N, 3, 8, 8] has 3",
        ),
        (
            refusal(
                Op::QuantizeLinear { axis: 1, block_size: 4, output_dtype: Some(DType::I4), saturate: true },
                &["2,9", "2,2"],
            ),
            "node n (QuantizeLinear): scale [2, 2] does not cover x [2, 9] in blocks of 4 on axis 1: 2 on axis 1, \
             expected 3",
        ),
        (
            refusal(Op::DequantizeLinear { axis: 1, block_size: 0 }, &["2,9", ""]),
            "node n (DequantizeLinear): x is f32, expected a quantized type or i32",
        ),
        (
            refusal(Op::Binary(BinaryOp::Mul), &["4294967296,2147483648,1", "3"]),
            "node n (Mul): an output of shape [4294967296, 2147483648, 3] is too large",
        ),
    ];
    for (got, want) in cases {
        assert_eq!(got, want);
    }
}

#[test]
fn what_only_data_tells_stays_open() {
    let mut graph = Graph::new("g");
    let x = f32s(&mut graph, "x", "N,4");
    let target = graph.add_input("target", DType::I64, shape("3"));
    let free = graph.add_input("free", DType::I64, shape("K"));
    let y = graph.add_node("fixed", Op::Reshape { allow_zero: false }, &[x, target], "y");
    let z = graph.add_node("any", Op::Reshape { allow_zero: false }, &[x, free], "z");
    let s = graph.add_node("squeeze", Op::Squeeze, &[y], "s");
    let c = graph.add_node("concat", Op::Concat { axis: 0 }, &[y, y], "c");
    let r = graph.add_node("unknown", Op::Binary(BinaryOp::Add), &[z, y], "r");
    graph.outputs.extend([y, z, s, c, r]);
    infer(&mut graph).unwrap();
    let of = |name: &str| graph.value(graph.find_value(name).unwrap()).shape.clone();
    assert_eq!(of("y"), Some(shape("?y.0,?y.1,?y.2")));
    assert_eq!((of("z"), of("s"), of("r")), (None, None, None));
    assert_eq!(of("c").unwrap()[0].to_string(), "2*?y.0");
}

#[test]
fn declared_dimensions_stay_only_where_data_would_tell() {
    let mut graph = Graph::new("g");
    let x = f32s(&mut graph, "x", "N,4");
    let target = graph.add_input("target", DType::I64, shape("2"));
    let y = graph.add_node("reshape", Op::Reshape { allow_zero: false }, &[x, target], "y");
    let z = graph.add_node("flatten", Op::Flatten { axis: 1 }, &[x], "z");
    for v in [y, z] {
        graph.values[v.0].shape = Some(shape("batch,7"));
    }
    graph.outputs.extend([y, z]);
    infer(&mut graph).unwrap();
    assert_eq!(graph.value(y).shape, Some(shape("batch,7")));
    assert_eq!(graph.value(z).shape, Some(shape("N,4")));
}

#[test]
fn types_follow_zero_points_and_scales() {
    let mut graph = Graph::new("g");
    let x = graph.add_input("x", DType::F16, shape("N,4"));
    let scale = graph.add_constant("scale", Tensor::scalar(half::f16::ONE));
    let zero = graph.add_constant("zero", Tensor::scalar(0i8));
    let q = |output_dtype| Op::QuantizeLinear { axis: 1, block_size: 0, output_dtype, saturate: true };
    let a = graph.add_node("a", q(None), &[x, scale, zero], "qa");
    let b = graph.add_node("b", q(None), &[x, scale], "qb");
    let c = graph.add_node("c", q(Some(DType::U4)), &[x, scale], "qc");
    let d = graph.add_node("d", Op::DequantizeLinear { axis: 1, block_size: 0 }, &[a, scale, zero], "dq");
    infer(&mut graph).unwrap();
    let types = [a, b, c, d].map(|v| graph.value(v).dtype.unwrap());
    assert_eq!(types, [DType::I8, DType::U8, DType::U4, DType::F16]);
    graph.add_node("e", q(Some(DType::U8)), &[x, scale, zero], "qe");
    let e = infer(&mut graph).unwrap_err().to_string();
    assert_eq!(e, "node e (QuantizeLinear): zero_point is i8 but output_dtype is u8");
}

#[test]
fn a_graph_reads_line_by_line() {
    let mut graph = Graph::new("two words");
    graph.metadata.insert("producer".into(), "a \"test\"".into());
    let x = f32s(&mut graph, "x", "N,3,H,8");
    let w = graph.add_constant("w", Tensor::new(&[4, 3, 3, 3], vec![0.5f32; 108]).unwrap());
    let y = graph.add_node("conv", conv([2, 2], 1, 1), &[x, w], "y");
    let p = graph.add_node("pool", max_pool(2, 0), &[y], "p");
    let min = graph.add_constant("min", Tensor::scalar(0.0f32));
    let c = graph.add_value("c", None, None);
    graph.nodes.push(tq_graph::Node {
        name: "clip".into(),
        op: Op::Clip,
        inputs: vec![Some(p), None, Some(min)],
        outputs: vec![Some(c)],
    });
    graph.add_value("loose", None, None);
    graph.outputs.push(c);
    infer(&mut graph).unwrap();
    assert_eq!(
        graph.to_string(),
        r#"graph "two words"
metadata producer = "a \"test\""
input x: f32[N, 3, H, 8]
constant w: f32[4, 3, 3, 3]
constant min: f32[]
conv = Conv(strides=[2, 2], dilations=[1, 1], pads=[1, 1]..[1, 1], groups=1) x, w -> y: f32[N, 4, floor((H - 1)/(2)) + 1, 4]
pool = MaxPool(kernel=[2, 2], strides=[2, 2], dilations=[1, 1], pads=[0, 0]..[0, 0]) y -> p: f32[N, 4, floor((floor((H - 1)/(2)) - 1)/(2)) + 1, 2]
clip = Clip p, _, min -> c: f32[N, 4, floor((floor((H - 1)/(2)) - 1)/(2)) + 1, 2]
output c: f32[N, 4, floor((floor((H - 1)/(2)) - 1)/(2)) + 1, 2]
"#
    );
}
