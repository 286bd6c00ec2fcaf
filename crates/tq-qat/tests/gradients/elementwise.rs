use crate::case::{Case, between, list, values};
use tq_graph::op::{BinaryOp, ReduceKind, UnaryOp, VariadicOp};
use tq_graph::{Op, Tensor};
use tq_qtypes::DType;

fn unary() -> Vec<Case> {
    // Each where it is defined and bends most.
    let table: [(UnaryOp, f32, f32); 33] = [
        (UnaryOp::Relu, -2.0, 2.0),
        (UnaryOp::LeakyRelu { alpha: 0.1 }, -2.0, 2.0),
        (UnaryOp::ThresholdedRelu { alpha: 0.7 }, -2.0, 2.0),
        (UnaryOp::Elu { alpha: 1.3 }, -3.0, 2.0),
        (UnaryOp::Celu { alpha: 0.8 }, -3.0, 2.0),
        (UnaryOp::Selu { alpha: 1.673_263_2, gamma: 1.050_701 }, -3.0, 2.0),
        (UnaryOp::Sigmoid, -9.0, 9.0),
        (UnaryOp::HardSigmoid { alpha: 0.2, beta: 0.5 }, -4.0, 4.0),
        (UnaryOp::HardSwish, -5.0, 5.0),
        (UnaryOp::Softplus, -9.0, 9.0),
        (UnaryOp::Softsign, -4.0, 4.0),
        (UnaryOp::Mish, -9.0, 9.0),
        (UnaryOp::Gelu { tanh: false }, -4.0, 4.0),
        (UnaryOp::Gelu { tanh: true }, -4.0, 4.0),
        (UnaryOp::Erf, -3.0, 3.0),
        (UnaryOp::Exp, -3.0, 3.0),
        (UnaryOp::Log, 0.1, 4.0),
        (UnaryOp::Sqrt, 0.1, 4.0),
        (UnaryOp::Reciprocal, 0.2, 4.0),
        (UnaryOp::Abs, -2.0, 2.0),
        (UnaryOp::Neg, -2.0, 2.0),
        (UnaryOp::Sin, -7.0, 7.0),
        (UnaryOp::Cos, -7.0, 7.0),
        (UnaryOp::Tan, -1.3, 1.3),
        (UnaryOp::Asin, -0.95, 0.95),
        (UnaryOp::Acos, -0.95, 0.95),
        (UnaryOp::Atan, -4.0, 4.0),
        (UnaryOp::Sinh, -3.0, 3.0),
        (UnaryOp::Cosh, -3.0, 3.0),
        (UnaryOp::Tanh, -4.0, 4.0),
        (UnaryOp::Asinh, -4.0, 4.0),
        (UnaryOp::Acosh, 1.1, 5.0),
        (UnaryOp::Atanh, -0.95, 0.95),
    ];
    table
        .into_iter()
        .enumerate()
        .map(|(i, (op, low, high))| {
            Case::new("", Op::Unary(op), vec![between(i as u64, &[7, 15], low, high)])
        })
        .collect()
}

fn binary() -> Vec<Case> {
    let shapes: [(&[usize], &[usize]); 5] = [
        (&[3, 4], &[3, 4]),
        (&[2, 3, 4], &[4]),
        (&[3, 1], &[2, 1, 4]),
        (&[], &[5]),
        (&[2, 3, 2, 2], &[3, 1, 1]),
    ];
    let mut cases = Vec::new();
    for (i, (a, b)) in shapes.into_iter().enumerate() {
        let (seed, name) = (10 * i as u64, format!("{a:?} {b:?}"));
        let mut with = |op: BinaryOp, x: Tensor, y: Tensor| {
            cases.push(Case::new(&name, Op::Binary(op), vec![x, y]));
        };
        with(BinaryOp::Add, values(seed, a), values(seed + 1, b));
        with(BinaryOp::Sub, values(seed, a), values(seed + 1, b));
        with(BinaryOp::Mul, values(seed, a), values(seed + 1, b));
        with(BinaryOp::Div, values(seed, a), between(seed + 1, b, 0.4, 2.0));
        with(BinaryOp::Div, values(seed, a), between(seed + 1, b, -2.0, -0.4));
        with(BinaryOp::Pow, between(seed, a, 0.3, 2.0), between(seed + 1, b, -2.0, 3.0));
        with(BinaryOp::Mod { fmod: true }, between(seed, a, -4.9, 5.1), between(seed + 1, b, 0.77, 1.13));
    }
    for slope in [&[4, 1, 1][..], &[1], &[4, 3, 2]] {
        let inputs = vec![values(1, &[2, 4, 3, 2]), between(2, slope, -0.5, 0.5)];
        cases.push(Case::new(&format!("{slope:?}"), Op::Binary(BinaryOp::PRelu), inputs));
    }
    // Powers of numbers that have no logarithm: only the base has a derivative.
    let whole = Tensor::vector(vec![0.0f32, 1.0, 2.0, 3.0, -1.0, -2.0]);
    let case =
        Case::new("whole", Op::Binary(BinaryOp::Pow), vec![between(3, &[6], -2.0, -0.5), whole.clone()]);
    cases.push(case.fixed(&[1]));
    let zero = Tensor::vector(vec![0.0f32; 4]);
    let of_zero = vec![zero, Tensor::vector(vec![0.0f32, 1.0, 2.0, 3.0])];
    cases.push(Case::new("of zero", Op::Binary(BinaryOp::Pow), of_zero).fixed(&[1]));
    cases
}

fn choosing() -> Vec<Case> {
    let flags = |dims: &[usize]| {
        let n: usize = dims.iter().product();
        Tensor::new(dims, (0..n).map(|i| i % 3 == 0).collect()).unwrap()
    };
    let mut cases = vec![
        Case::new("same", Op::Where, vec![flags(&[3, 4]), values(1, &[3, 4]), values(2, &[3, 4])]),
        Case::new("broadcast", Op::Where, vec![flags(&[3, 1]), values(1, &[2, 1, 4]), values(2, &[])]),
        Case::new(
            "both",
            Op::Clip,
            vec![values(1, &[4, 5]), Tensor::scalar(-0.7f32), Tensor::scalar(0.9f32)],
        ),
        Case::some("upper", Op::Clip, vec![Some(values(1, &[4, 5])), None, Some(Tensor::scalar(0.9f32))]),
        Case::new("lower", Op::Clip, vec![values(1, &[4, 5]), Tensor::scalar(-0.7f32)]),
        Case::new("none", Op::Clip, vec![values(1, &[4, 5])]),
        Case::new(
            "crossed",
            Op::Clip,
            vec![values(1, &[4, 5]), Tensor::scalar(0.9f32), Tensor::scalar(-0.7f32)],
        ),
    ];
    for op in [VariadicOp::Min, VariadicOp::Max, VariadicOp::Sum, VariadicOp::Mean] {
        for dims in [&[&[3, 4][..]][..], &[&[3, 4], &[4], &[3, 1]], &[&[2, 3], &[2, 3]]] {
            let inputs = dims.iter().enumerate().map(|(i, d)| values(i as u64, d)).collect();
            cases.push(Case::new(&format!("{dims:?}"), Op::Variadic(op), inputs));
        }
    }
    cases
}

fn reductions() -> Vec<Case> {
    let kinds = [
        ReduceKind::Sum,
        ReduceKind::Mean,
        ReduceKind::Prod,
        ReduceKind::Max,
        ReduceKind::Min,
        ReduceKind::L1,
        ReduceKind::L2,
        ReduceKind::SumSquare,
        ReduceKind::LogSum,
        ReduceKind::LogSumExp,
    ];
    let mut cases = Vec::new();
    for kind in kinds {
        let low = if kind == ReduceKind::LogSum { 0.2 } else { -1.5 };
        let x = |seed| between(seed, &[2, 3, 4], low, 1.6);
        let op = |keep_dims, noop_with_empty_axes| Op::Reduce { kind, keep_dims, noop_with_empty_axes };
        cases.extend([
            Case::new("all", op(false, false), vec![x(1)]),
            Case::new("last, kept", op(true, false), vec![x(2), list(&[-1])]),
            Case::new("first", op(false, false), vec![x(3), list(&[0])]),
            Case::new("outer two", op(false, false), vec![x(4), list(&[2, 0])]),
            Case::new("middle", op(true, false), vec![x(5), list(&[1])]),
            Case::new("each by itself", op(false, true), vec![x(6), list(&[])]),
        ]);
    }
    let with_zero = Tensor::vector(vec![1.5f32, 0.0, -2.0, 0.5]);
    let op = Op::Reduce { kind: ReduceKind::Prod, keep_dims: false, noop_with_empty_axes: false };
    cases.push(Case::new("one is zero", op, vec![with_zero]));
    cases
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = unary();
    cases.extend(binary());
    cases.extend(choosing());
    cases.extend(reductions());
    cases.extend([
        Case::new("f16", Op::Cast { to: DType::F32, saturate: true }, vec![values(1, &[3, 4])]),
        Case::new("f32", Op::CastLike { saturate: true }, vec![values(1, &[3, 4]), values(2, &[1])])
            .fixed(&[1]),
        Case::new("", Op::Identity, vec![values(1, &[3, 4])]),
        Case::new("", Op::Dropout, vec![values(1, &[3, 4])]),
        Case::new(
            "forward",
            Op::CumSum { exclusive: false, reverse: false },
            vec![values(1, &[3, 4]), Tensor::scalar(1i64)],
        ),
        Case::new(
            "exclusive",
            Op::CumSum { exclusive: true, reverse: false },
            vec![values(1, &[3, 4]), Tensor::scalar(0i64)],
        ),
        Case::new(
            "reverse",
            Op::CumSum { exclusive: false, reverse: true },
            vec![values(1, &[2, 3, 4]), Tensor::scalar(-2i64)],
        ),
        Case::new(
            "both",
            Op::CumSum { exclusive: true, reverse: true },
            vec![values(1, &[3, 4]), Tensor::scalar(1i64)],
        ),
    ]);
    cases
}
