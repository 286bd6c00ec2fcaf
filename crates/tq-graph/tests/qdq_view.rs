//! The view of QDQ graphs as quantized operators.

use tq_graph::op::{BinaryOp, ConvAttrs, Padding, UnaryOp};
use tq_graph::qdq::{FloatReason, QOutput, QdqView};
use tq_graph::{Dim, Graph, Op, Tensor, ValueId};
use tq_qtypes::{DType, OperatorKind};

fn quantize_op() -> Op {
    Op::QuantizeLinear { axis: 1, block_size: 0, output_dtype: None, saturate: true }
}

fn dequantize_op(axis: i64) -> Op {
    Op::DequantizeLinear { axis, block_size: 0 }
}

struct Build {
    g: Graph,
    n: usize,
}

impl Build {
    fn new() -> Self {
        Self { g: Graph::new("test"), n: 0 }
    }
    fn name(&mut self, what: &str) -> String {
        self.n += 1;
        format!("{what}{}", self.n)
    }
    fn constant(&mut self, t: Tensor) -> ValueId {
        let name = self.name("const");
        self.g.add_constant(name, t)
    }
    fn node(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let (node, out) = (self.name("node"), self.name("value"));
        self.g.add_node(node, op, inputs, out)
    }
    /// Quantize and dequantize with u8 parameters.
    fn qdq(&mut self, x: ValueId, scale: f32, zero: u8) -> ValueId {
        let s = self.constant(Tensor::scalar(scale));
        let z = self.constant(Tensor::scalar(zero));
        let q = self.node(quantize_op(), &[x, s, z]);
        self.node(dequantize_op(1), &[q, s, z])
    }
    fn dq(&mut self, codes: Tensor, scale: Vec<f32>, axis: i64) -> ValueId {
        let zero = match codes.dtype() {
            DType::I32 => Tensor::vector(vec![0i32; scale.len()]),
            _ => Tensor::vector(vec![0i8; scale.len()]),
        };
        let c = self.constant(codes);
        let s = self.constant(Tensor::vector(scale));
        let z = self.constant(zero);
        self.node(dequantize_op(axis), &[c, s, z])
    }
    fn input(&mut self) -> ValueId {
        let shape = vec![Dim::symbol("N"), Dim::from(2usize), Dim::from(4usize), Dim::from(4usize)];
        self.g.add_input("x", DType::F32, shape)
    }
}

fn conv_attrs(groups: usize) -> ConvAttrs {
    ConvAttrs {
        strides: vec![1, 1],
        dilations: vec![1, 1],
        padding: Padding::Explicit { begin: vec![0, 0], end: vec![0, 0] },
        groups,
    }
}

#[test]
fn conv_with_bias_and_relu_is_one_operator() {
    let mut b = Build::new();
    let x = b.input();
    let xq = b.qdq(x, 0.5, 3);
    let w = b.dq(Tensor::new(&[2, 2, 1, 1], vec![1i8, -2, 3, -4]).unwrap(), vec![0.25, 0.125], 0);
    let bias = b.dq(Tensor::vector(vec![7i32, -9]), vec![0.125, 0.0625], 0);
    let y = b.node(Op::Conv(conv_attrs(1)), &[xq, w, bias]);
    let r = b.node(Op::Unary(UnaryOp::Relu), &[y]);
    let out = b.qdq(r, 1.0, 0);
    b.g.outputs.push(out);
    let view = QdqView::new(&b.g);
    assert!(view.floats.is_empty(), "{:?}", view.floats);
    let [op] = view.operators.as_slice() else { panic!("{:?}", view.operators) };
    assert_eq!(op.kind, OperatorKind::Conv);
    assert_eq!(op.bias, Some(vec![7, -9]));
    assert_eq!(op.bounds, Some((0.0, f32::INFINITY)));
    assert_eq!(op.absorbed.len(), 3);
    assert_eq!(op.output_codes(0).unwrap().params.uniform(), Some((1.0, 0)));
}

#[test]
fn a_bias_at_another_scale_is_requantized_and_one_too_large_is_refused() {
    for (scale, expected) in [(0.25f32, Some(vec![2, -4])), (1e9, None)] {
        let mut b = Build::new();
        let x = b.input();
        let xq = b.qdq(x, 0.5, 0);
        let w = b.dq(Tensor::new(&[2, 2, 1, 1], vec![1i8; 4]).unwrap(), vec![0.25], 0);
        let bias = b.dq(Tensor::vector(vec![1i32, -2]), vec![scale], 0);
        let y = b.node(Op::Conv(conv_attrs(1)), &[xq, w, bias]);
        b.g.outputs.push(y);
        let view = QdqView::new(&b.g);
        match expected {
            Some(e) => {
                assert_eq!(view.operators[0].bias, Some(e));
                assert_eq!(view.operators[0].outputs, vec![QOutput::Float(y)]);
            }
            None => assert_eq!(view.floats[0].reason, FloatReason::BiasOverflow { channel: 0 }),
        }
    }
}

#[test]
fn depthwise_is_told_from_grouped() {
    for (dims, groups, kind) in [
        ([2usize, 1, 1, 1], 2, OperatorKind::DepthwiseConv),
        ([4, 1, 1, 1], 2, OperatorKind::Conv),
        ([2, 2, 1, 1], 1, OperatorKind::Conv),
    ] {
        let mut b = Build::new();
        let x = b.input();
        let xq = b.qdq(x, 0.5, 0);
        let w = b.dq(Tensor::new(&dims, vec![1i8; dims.iter().product()]).unwrap(), vec![0.25], 0);
        let y = b.node(Op::Conv(conv_attrs(groups)), &[xq, w]);
        let out = b.qdq(y, 1.0, 0);
        b.g.outputs.push(out);
        assert_eq!(QdqView::new(&b.g).operators[0].kind, kind, "{dims:?}");
    }
}

#[test]
fn a_result_that_others_read_in_float_stays_float() {
    let mut b = Build::new();
    let x = b.input();
    let xq = b.qdq(x, 0.5, 0);
    let y = b.node(Op::Binary(BinaryOp::Add), &[xq, xq]);
    let out = b.qdq(y, 1.0, 0);
    b.g.outputs = vec![out, y];
    let view = QdqView::new(&b.g);
    assert!(view.operators.is_empty());
    assert!(matches!(view.floats[0].reason, FloatReason::OutputNotQuantized(_)));
    assert!(view.floats[0].reason.to_string().contains("is not quantized"));
}

#[test]
fn an_operator_with_a_number_is_a_table_and_with_a_tensor_is_not() {
    let mut b = Build::new();
    let x = b.input();
    let xq = b.qdq(x, 0.5, 0);
    let six = b.constant(Tensor::scalar(6.0f32));
    let d = b.node(Op::Binary(BinaryOp::Div), &[xq, six]);
    let dq = b.qdq(d, 0.1, 0);
    let p = b.node(Op::Binary(BinaryOp::Mul), &[xq, dq]);
    let pq = b.qdq(p, 0.1, 0);
    let q = b.node(Op::Binary(BinaryOp::Div), &[xq, pq]);
    let out = b.qdq(q, 0.1, 0);
    b.g.outputs.push(out);
    let view = QdqView::new(&b.g);
    let kinds: Vec<_> = view.operators.iter().map(|o| o.kind).collect();
    assert_eq!(kinds, [OperatorKind::Lookup, OperatorKind::Mul]);
    assert_eq!(view.floats[0].reason, FloatReason::NoIntegerForm("Div"));
}

#[test]
fn codes_that_change_parameters_are_a_table() {
    let mut b = Build::new();
    let x = b.input();
    let xq = b.qdq(x, 0.5, 0);
    let out = b.qdq(xq, 0.25, 1);
    b.g.outputs.push(out);
    let view = QdqView::new(&b.g);
    assert_eq!(view.operators.len(), 1);
    assert_eq!(view.operators[0].kind, OperatorKind::Lookup);
}

#[test]
fn a_count_of_scales_that_does_not_fit_the_weights_is_refused() {
    let mut b = Build::new();
    let x = b.input();
    let xq = b.qdq(x, 0.5, 0);
    let w = b.dq(Tensor::new(&[2, 2, 1, 1], vec![1i8; 4]).unwrap(), vec![0.25; 3], 0);
    let y = b.node(Op::Conv(conv_attrs(1)), &[xq, w]);
    b.g.outputs.push(y);
    assert!(matches!(QdqView::new(&b.g).floats[0].reason, FloatReason::Granularity(_)));
}

#[test]
fn a_bias_of_one_element_a_row_is_no_bias_a_channel() {
    for (dims, integer) in [([4usize, 1], false), ([1, 4], true), ([1, 1], true)] {
        for codes in [false, true] {
            let mut b = Build::new();
            let x = b.g.add_input("x", DType::F32, vec![Dim::from(4usize), Dim::from(3usize)]);
            let xq = b.qdq(x, 0.5, 3);
            let w = b.dq(Tensor::new(&[3, 4], vec![1i8; 12]).unwrap(), vec![0.25], 1);
            let n = dims.iter().product();
            let bias = if codes {
                b.dq(Tensor::new(&dims, vec![8i32; n]).unwrap(), vec![0.125], 0)
            } else {
                b.constant(Tensor::new(&dims, vec![1.0f32; n]).unwrap())
            };
            let gemm = Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false };
            let y = b.node(gemm, &[xq, w, bias]);
            b.g.outputs.push(y);
            tq_graph::infer::infer(&mut b.g).unwrap();
            let view = QdqView::new(&b.g);
            match view.operators.as_slice() {
                [op] if integer => assert_eq!(op.bias, Some(vec![8; 4])),
                [] if !integer => assert!(matches!(view.floats[0].reason, FloatReason::Attribute(_))),
                other => panic!("{dims:?} {codes}: {other:?}"),
            }
        }
    }
}

#[test]
fn weights_without_elements_are_no_weights() {
    // As many channels as a file likes to claim, for no byte of data.
    let mut b = Build::new();
    let shape = vec![Dim::from(1usize), Dim::from(0usize), Dim::from(4usize), Dim::from(4usize)];
    let x = b.g.add_input("x", DType::F32, shape);
    let xq = b.qdq(x, 0.5, 3);
    let w = b.dq(Tensor::new(&[1 << 40, 0, 1, 1], Vec::<i8>::new()).unwrap(), vec![0.25], 0);
    let y = b.node(Op::Conv(conv_attrs(1)), &[xq, w]);
    b.g.outputs.push(y);
    let view = QdqView::new(&b.g);
    assert!(view.operators.is_empty());
    assert!(matches!(view.floats[0].reason, FloatReason::Attribute(_)), "{:?}", view.floats);
}

#[test]
fn rank_one_takes_its_only_axis_whatever_the_attribute_says() {
    let mut b = Build::new();
    let x = b.input();
    let xq = b.qdq(x, 0.5, 3);
    let w = b.dq(Tensor::new(&[2, 2, 1, 1], vec![1i8, -2, 3, -4]).unwrap(), vec![0.25, 0.125], 0);
    // The default axis of DequantizeLinear is 1, which a bias does not have.
    let bias = b.dq(Tensor::vector(vec![7i32, -9]), vec![0.125, 0.0625], 1);
    let y = b.node(Op::Conv(conv_attrs(1)), &[xq, w, bias]);
    b.g.outputs.push(y);
    tq_graph::infer::infer(&mut b.g).unwrap();
    assert_eq!(QdqView::new(&b.g).operators[0].bias, Some(vec![7, -9]));
}
