//! Operators that have no derivative, or none that training could use.

use crate::case::{Case, Expect, list, values};
use tq_graph::op::{
    ArgAttrs, BitwiseOp, CompareOp, ConvAttrs, Direction, LogicOp, Padding, RecurrentAttrs, RecurrentKind,
    ScatterReduction, UnaryOp,
};
use tq_graph::{Op, Tensor};
use tq_qtypes::{DType, DynamicFormula};

fn nowhere() -> Vec<Case> {
    let x = || values(1, &[3, 4]);
    let flags = || Tensor::vector(vec![true, false, true]);
    let args = ArgAttrs { axis: 1, keep_dims: false, select_last: false };
    let ints = || Tensor::vector(vec![5i32, 6, 7]);
    let mut cases = vec![
        Case::new("", Op::Compare(CompareOp::Less), vec![x(), x()]),
        Case::new("", Op::Logic(LogicOp::And), vec![flags(), flags()]),
        Case::new("", Op::Not, vec![flags()]),
        Case::new("", Op::Bitwise(BitwiseOp::Or), vec![ints(), ints()]),
        Case::new("", Op::BitwiseNot, vec![ints()]),
        Case::new("", Op::IsNaN, vec![x()]),
        Case::new("", Op::IsInf { negative: true, positive: true }, vec![x()]),
        Case::new("", Op::ArgMax(args), vec![x()]),
        Case::new("", Op::ArgMin(args), vec![x()]),
        Case::new("", Op::Shape { start: 0, end: None }, vec![x()]),
        Case::new("", Op::Size, vec![x()]),
        Case::new("", Op::NonZero, vec![x()]),
        Case::new("", Op::EyeLike { dtype: None, k: 0 }, vec![x()]),
        Case::new("", Op::ConstantOfShape { value: Tensor::vector(vec![1.0f32]) }, vec![list(&[2, 2])]),
        Case::new("", Op::Hardmax { axis: 1 }, vec![x()]),
        Case::new(
            "",
            Op::NonMaxSuppression { center_point_box: false },
            vec![values(1, &[1, 3, 4]), values(2, &[1, 1, 3])],
        ),
    ];
    for op in [UnaryOp::Sign, UnaryOp::Floor, UnaryOp::Ceil, UnaryOp::Round] {
        cases.push(Case::new("", Op::Unary(op), vec![x()]));
    }
    cases
}

fn refused() -> Vec<Case> {
    let x = || values(1, &[3, 4]);
    let scatter = |reduction| {
        let inputs = vec![x(), Tensor::new(&[3, 1], vec![0i64, 2, 1]).unwrap(), values(2, &[3, 1])];
        Case::new("", Op::ScatterElements { axis: 1, reduction }, inputs)
    };
    let rows = |reduction| {
        let inputs = vec![x(), Tensor::new(&[1, 1], vec![2i64]).unwrap(), values(2, &[1, 4])];
        Case::new("", Op::ScatterND { reduction }, inputs)
    };
    let attrs = RecurrentAttrs {
        hidden_size: 2,
        direction: Direction::Forward,
        activations: RecurrentKind::Rnn.default_activations().to_vec(),
        clip: None,
        batch_first: false,
        dynamic: Some(DynamicFormula::Onnx),
    };
    let inputs = vec![values(1, &[3, 2, 2]), values(2, &[1, 2, 2]), values(3, &[1, 2, 2])];
    let scale = || Tensor::scalar(0.1f32);
    let zero = || Tensor::scalar(3u8);
    let codes = |dims: &[usize]| {
        let n: usize = dims.iter().product();
        Tensor::new(dims, (0..n).map(|i| i as u8).collect()).unwrap()
    };
    let conv = ConvAttrs {
        strides: vec![1],
        dilations: vec![1],
        padding: Padding::Explicit { begin: vec![0], end: vec![0] },
        groups: 1,
    };
    let quantize = Op::QuantizeLinear { axis: 1, block_size: 0, output_dtype: None, saturate: true };
    let float = |start: f32| Tensor::scalar(start);
    vec![
        scatter(ScatterReduction::Mul),
        scatter(ScatterReduction::Max),
        scatter(ScatterReduction::Min),
        rows(ScatterReduction::Mul),
        Case::new("on codes", Op::Recurrent { kind: RecurrentKind::Rnn, attrs }, inputs),
        Case::new("", Op::Range, vec![float(0.5), float(3.0), float(0.7)]),
        Case::new("", quantize, vec![x(), scale(), zero()]),
        Case::new("", Op::DynamicQuantizeLinear { formula: DynamicFormula::Onnx }, vec![x()]).outputs(3),
        Case::new("", Op::MatMulInteger, vec![codes(&[2, 3]), codes(&[3, 2])]),
        Case::new("", Op::ConvInteger(conv.clone()), vec![codes(&[1, 1, 5]), codes(&[2, 1, 3])]),
        Case::new(
            "",
            Op::QLinearMatMul,
            vec![codes(&[2, 3]), scale(), zero(), codes(&[3, 2]), scale(), zero(), scale(), zero()],
        ),
        Case::new(
            "",
            Op::QLinearConv(conv),
            vec![codes(&[1, 1, 5]), scale(), zero(), codes(&[2, 1, 3]), scale(), zero(), scale(), zero()],
        ),
    ]
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = nowhere().into_iter().map(|c| c.expect(Expect::Nowhere)).collect();
    cases.extend(refused().into_iter().map(|c| c.expect(Expect::Refused)));
    // What becomes an integer is one.
    let whole = Op::Cast { to: DType::I64, saturate: true };
    cases.push(Case::new("to integers", whole, vec![values(1, &[3])]).expect(Expect::Nowhere));
    cases
}
