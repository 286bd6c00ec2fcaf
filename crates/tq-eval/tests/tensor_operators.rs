//! What the ONNX node cases leave open: numbers at the edge of their types, NaN, ties, nothing at all, and too much.

#![allow(clippy::unwrap_used)]

use tq_eval::{Evaluator, OpError, Precision, eval_op};
use tq_graph::op::{
    ArgAttrs, BinaryOp, BitwiseOp, CompareOp, Op, ReduceKind, ScatterReduction, UnaryOp, VariadicOp,
};
use tq_graph::{Element, Graph, Node, Tensor};
use tq_qtypes::DType;

fn try_run(op: &Op, inputs: &[&Tensor]) -> Result<Tensor, OpError> {
    let inputs: Vec<Option<&Tensor>> = inputs.iter().map(|t| Some(*t)).collect();
    eval_op(op, &inputs, op.output_arity().0, Precision::F32).map(|mut out| out.remove(0))
}

fn run<T: Element>(op: &Op, inputs: &[&Tensor]) -> Vec<T> {
    try_run(op, inputs).unwrap().as_slice::<T>().unwrap().to_vec()
}

fn vector<T: Element>(values: &[T]) -> Tensor {
    Tensor::vector(values.to_vec())
}

fn reduce(kind: ReduceKind) -> Op {
    Op::Reduce { kind, keep_dims: false, noop_with_empty_axes: false }
}

#[test]
fn integers_wrap_truncate_and_refuse_zero_divisors() {
    let (pow, modulo) = (Op::Binary(BinaryOp::Pow), Op::Binary(BinaryOp::Mod { fmod: false }));
    assert_eq!(run::<i32>(&pow, &[&vector(&[3i32, -2, 2, 0]), &vector(&[4u8, 3, 40, 0])]), [81, -8, 0, 1]);
    assert_eq!(
        run::<i64>(&pow, &[&vector(&[1i64, -1, -1, 5]), &vector(&[-7i32, -3, -2, -1])]),
        [1, -1, 1, 0]
    );
    assert_eq!(run::<i32>(&pow, &[&vector(&[2i32, 10]), &vector(&[0.5f32, 1.9])]), [1, 79]);
    let error = try_run(&pow, &[&vector(&[0i32]), &vector(&[-1i32])]).unwrap_err();
    assert_eq!(error, OpError::DivisionByZero);
    let (a, b) = (vector(&[7i32, -7, 7, -7, i32::MIN]), vector(&[3i32, 3, -3, -3, -1]));
    assert_eq!(run::<i32>(&modulo, &[&a, &b]), [1, 2, -2, -1, 0]);
    let fmod = Op::Binary(BinaryOp::Mod { fmod: true });
    assert_eq!(run::<i32>(&fmod, &[&a, &b]), [1, -1, 1, -1, 0]);
    assert_eq!(
        run::<f32>(&fmod, &[&vector(&[-7.5f32, 1e30]), &vector(&[2.0f32, f32::INFINITY])]),
        [-1.5, 1e30]
    );
    assert_eq!(try_run(&modulo, &[&a, &vector(&[0i32])]).unwrap_err(), OpError::DivisionByZero);
    assert_eq!(run::<i8>(&Op::Unary(UnaryOp::Abs), &[&vector(&[i8::MIN, -1])]), [i8::MIN, 1]);
    assert!(try_run(&Op::Unary(UnaryOp::Neg), &[&vector(&[1u8])]).is_err());
    let left = Op::Bitwise(BitwiseOp::Shift { left: true });
    assert_eq!(run::<u8>(&left, &[&vector(&[255u8, 255, 255]), &vector(&[1u8, 8, 255])]), [254, 0, 0]);
    assert_eq!(run::<i32>(&reduce(ReduceKind::Sum), &[&vector(&[i32::MAX, 1])]), [i32::MIN]);
    assert_eq!(run::<i64>(&reduce(ReduceKind::L2), &[&vector(&[3i64, 3])]), [4]);
}

#[test]
fn nan_is_neither_lost_nor_equal() {
    let x = vector(&[1.0f32, f32::NAN, 3.0]);
    for op in [VariadicOp::Min, VariadicOp::Max] {
        let y = run::<f32>(&Op::Variadic(op), &[&x, &vector(&[2.0f32])]);
        assert!(y[1].is_nan() && !y[0].is_nan(), "{op:?}: {y:?}");
        let y = run::<f32>(&Op::Variadic(op), &[&vector(&[2.0f32]), &x]);
        assert!(y[1].is_nan(), "{op:?}: {y:?}");
    }
    for kind in [ReduceKind::Max, ReduceKind::Min, ReduceKind::Sum, ReduceKind::LogSumExp] {
        assert!(run::<f32>(&reduce(kind), &[&x])[0].is_nan(), "{kind:?}");
    }
    for op in [CompareOp::Equal, CompareOp::GreaterOrEqual, CompareOp::LessOrEqual] {
        assert_eq!(run::<bool>(&Op::Compare(op), &[&x, &x]), [true, false, true]);
    }
    let arg = ArgAttrs { axis: 0, keep_dims: false, select_last: false };
    assert_eq!(run::<i64>(&Op::ArgMax(arg), &[&x]), [1]);
    assert_eq!(run::<i64>(&Op::ArgMin(arg), &[&x]), [1]);
}

#[test]
fn activations_hold_far_from_zero() {
    let x = vector(&[-200.0f32, -20.0, -8.0, 20.0, 200.0]);
    let of = |op| run::<f32>(&Op::Unary(op), &[&x]);
    assert_eq!(of(UnaryOp::Softplus), [0.0, 2.061_153_6e-9, 3.354_063_7e-4, 20.0, 200.0]);
    assert_eq!(of(UnaryOp::Mish)[3..], [20.0, 200.0]);
    // Where `1 + erf` has lost every digit the tail is still there: `-4 * erfc(8 / sqrt(2))`.
    let gelu = of(UnaryOp::Gelu { tanh: false });
    assert!((gelu[2] / -4.976_768_5e-15 - 1.0).abs() < 1e-5, "{gelu:?}");
    assert_eq!((gelu[0], gelu[4]), (0.0, 200.0));
    assert_eq!(of(UnaryOp::Gelu { tanh: true })[0], 0.0);
    assert_eq!(of(UnaryOp::Selu { alpha: 1.5, gamma: 2.0 })[0], -3.0);
    let round = run::<f32>(&Op::Unary(UnaryOp::Round), &[&vector(&[0.5f32, 1.5, -2.5, 2.500_000_2])]);
    assert_eq!(round, [0.0, 2.0, -2.0, 3.0]);
}

#[test]
fn reductions_of_nothing_and_without_axes() {
    let none = Tensor::new::<f32>(&[0], vec![]).unwrap();
    let of = |kind| run::<f32>(&reduce(kind), &[&none])[0];
    assert_eq!((of(ReduceKind::Sum), of(ReduceKind::Prod)), (0.0, 1.0));
    assert_eq!((of(ReduceKind::Max), of(ReduceKind::Min)), (f32::NEG_INFINITY, f32::INFINITY));
    assert_eq!(of(ReduceKind::LogSumExp), f32::NEG_INFINITY);
    assert!(of(ReduceKind::Mean).is_nan());
    let noop = |kind| Op::Reduce { kind, keep_dims: true, noop_with_empty_axes: true };
    let x = vector(&[-2.0f32, 3.0]);
    assert_eq!(run::<f32>(&noop(ReduceKind::Sum), &[&x]), [-2.0, 3.0]);
    // As later versions of ONNX put it in words: no reduction, but the rest of the function.
    assert_eq!(run::<f32>(&noop(ReduceKind::SumSquare), &[&x]), [4.0, 9.0]);
    let truths = vector(&[true, false]);
    assert_eq!(run::<bool>(&reduce(ReduceKind::Max), &[&truths]), [true]);
    assert_eq!(run::<bool>(&reduce(ReduceKind::Min), &[&truths]), [false]);
}

#[test]
fn of_equal_elements_the_first_counts_and_of_updates_the_last() {
    let x = vector(&[2i32, 5, 5, 2]);
    let k = vector(&[4i64]);
    let top = |largest| {
        let op = Op::TopK { axis: 0, largest, sorted: true };
        let out = eval_op(&op, &[Some(&x), Some(&k)], 2, Precision::F32).unwrap();
        out[1].as_slice::<i64>().unwrap().to_vec()
    };
    assert_eq!((top(true), top(false)), (vec![1, 2, 0, 3], vec![0, 3, 1, 2]));
    let hard = run::<f32>(&Op::Hardmax { axis: 0 }, &[&vector(&[1.0f32, 4.0, 4.0])]);
    assert_eq!(hard, [0.0, 1.0, 0.0]);
    let (i, u) = (vector(&[1i64, -3, 1]), vector(&[7i32, 8, 9]));
    let scatter = |reduction| run::<i32>(&Op::ScatterElements { axis: 0, reduction }, &[&x, &i, &u]);
    assert_eq!(scatter(ScatterReduction::None), [2, 9, 5, 2]);
    assert_eq!(scatter(ScatterReduction::Add), [2, 29, 5, 2]);
    assert_eq!(scatter(ScatterReduction::Min), [2, 5, 5, 2]);
    let outside = try_run(&Op::GatherElements { axis: 0 }, &[&x, &vector(&[4i64])]).unwrap_err();
    assert_eq!(outside, OpError::Index { index: 4, axis: 0, len: 4 });
}

#[test]
fn ranges_count_without_rounding_errors() {
    let range = |s, l, d| {
        run::<i64>(&Op::Range, &[&Tensor::scalar::<i64>(s), &Tensor::scalar(l), &Tensor::scalar(d)])
    };
    assert_eq!(range(10, 3, -3), [10, 7, 4]);
    assert_eq!(range(0, 0, 5), [0i64; 0]);
    assert_eq!(range(i64::MAX - 2, i64::MAX, 1), [i64::MAX - 2, i64::MAX - 1]);
    assert_eq!(range(i64::MIN, i64::MAX, i64::MAX), [i64::MIN, -1, i64::MAX - 1]);
    let reals =
        run::<f32>(&Op::Range, &[&Tensor::scalar(0.0f32), &Tensor::scalar(1.0f32), &Tensor::scalar(0.1f32)]);
    assert_eq!(reals.len(), 10);
    assert_eq!(reals[7], 7.0 * f64::from(0.1f32) as f32);
    for delta in [0.0f32, f32::NAN] {
        let none =
            try_run(&Op::Range, &[&Tensor::scalar(0.0f32), &Tensor::scalar(1.0f32), &Tensor::scalar(delta)]);
        assert!(none.is_err(), "{delta}");
    }
}

/// The sizes of these operators are values: a few bytes could ask for all the memory there is.
#[test]
fn what_would_be_too_large_is_refused_before_it_is_made() {
    let big = 1i64 << 40;
    let (x, one) = (vector(&[1.0f32]), Tensor::scalar(1i64));
    let cases: Vec<(Op, Vec<Tensor>)> = vec![
        (Op::Expand, vec![x.clone(), vector(&[big])]),
        (Op::Expand, vec![x.clone(), vector(&[i64::MAX, i64::MAX])]),
        (Op::Tile, vec![x.clone(), vector(&[big])]),
        (Op::Tile, vec![Tensor::new(&[1, 1], vec![1u8]).unwrap(), vector(&[1i64 << 62, 1 << 62])]),
        (Op::Range, vec![Tensor::scalar(0i64), Tensor::scalar(i64::MAX), one.clone()]),
        (Op::Range, vec![Tensor::scalar(0.0f64), Tensor::scalar(1e300f64), Tensor::scalar(1e-300f64)]),
        (Op::OneHot { axis: 0 }, vec![vector(&[1i64]), Tensor::scalar(big), vector(&[0u8, 1])]),
        (Op::OneHot { axis: 0 }, vec![vector(&[1i64]), Tensor::scalar(f32::INFINITY), vector(&[0u8, 1])]),
        (Op::GatherND { batch_dims: 0 }, vec![x.clone(), Tensor::new::<i64>(&[1 << 40, 0], vec![]).unwrap()]),
        (reduce(ReduceKind::Sum), vec![Tensor::new::<f32>(&[1 << 40, 0], vec![]).unwrap(), vector(&[1i64])]),
    ];
    for (op, inputs) in cases {
        let mut graph = Graph::new("big");
        let inputs = inputs.into_iter().map(|t| Some(graph.add_constant("c", t))).collect();
        let y = graph.add_value("y", None, None);
        graph.nodes.push(Node { name: "n".into(), op: op.clone(), inputs, outputs: vec![Some(y)] });
        graph.outputs = vec![y];
        for (i, v) in graph.values.iter_mut().enumerate() {
            v.name = format!("v{i}");
        }
        for precision in [Precision::F32, Precision::F64] {
            let evaluator = Evaluator::new(&graph, precision).unwrap().max_tensor_bytes(1 << 20);
            assert!(evaluator.run(&[]).is_err(), "{op}");
        }
    }
    // Nothing at all may be asked for in any number.
    let empty = Tensor::new::<f32>(&[0, 1 << 40], vec![]).unwrap();
    let tiled = try_run(&Op::Tile, &[&empty, &vector(&[1i64 << 40, 1])]).unwrap();
    assert_eq!(tiled.dims(), [0, 1 << 40]);
    let eye = try_run(
        &Op::EyeLike { dtype: Some(DType::F32), k: 0 },
        &[&Tensor::new::<f32>(&[1 << 40, 0], vec![]).unwrap()],
    );
    assert_eq!(eye.unwrap().dims(), [1 << 40, 0]);
}
