//! Operators against values computed by numpy and by the loops that define them: what the ONNX cases leave out.

#![allow(clippy::unwrap_used)]

use half::{bf16, f16};
use proptest::prelude::*;
use tq_eval::{OpError, Precision, eval_op};
use tq_graph::op::{BinaryOp, ConvAttrs, PadMode, Padding, ReduceKind, UnaryOp};
use tq_graph::{Element, Op, Tensor};
use tq_qtypes::DType;

fn run(op: &Op, inputs: &[&Tensor]) -> Result<Tensor, OpError> {
    let inputs: Vec<Option<&Tensor>> = inputs.iter().map(|t| Some(*t)).collect();
    eval_op(op, &inputs, 1, Precision::F32).map(|mut t| t.remove(0))
}

fn tensor<T: Element>(dims: &[usize], data: &[T]) -> Tensor {
    Tensor::new(dims, data.to_vec()).unwrap()
}

fn vector<T: Element>(data: &[T]) -> Tensor {
    tensor(&[data.len()], data)
}

fn iota(dims: &[usize]) -> Tensor {
    Tensor::new(dims, (0..dims.iter().product::<usize>()).map(|v| v as i32).collect()).unwrap()
}

fn binary<T: Element>(op: BinaryOp, a: &[T], b: &[T]) -> Result<Tensor, OpError> {
    run(&Op::Binary(op), &[&vector(a), &vector(b)])
}

#[test]
fn integers_wrap_as_in_numpy() {
    assert_eq!(binary(BinaryOp::Add, &[127i8, -128], &[1, -1]), Ok(vector(&[-128i8, 127])));
    assert_eq!(binary(BinaryOp::Mul, &[200u8], &[3]), Ok(vector(&[88u8])));
    assert_eq!(binary(BinaryOp::Sub, &[0u64], &[1]), Ok(vector(&[u64::MAX])));
    assert_eq!(binary(BinaryOp::Div, &[7i64, -7, i64::MIN], &[2, 2, -1]), Ok(vector(&[3i64, -3, i64::MIN])));
    assert_eq!(binary(BinaryOp::Add, &[i16::MAX], &[1]), Ok(vector(&[i16::MIN])));
    assert_eq!(binary(BinaryOp::Div, &[u16::MAX], &[2]), Ok(vector(&[32_767u16])));
    assert_eq!(binary(BinaryOp::Mul, &[u32::MAX], &[2]), Ok(vector(&[u32::MAX - 1])));
    assert_eq!(binary(BinaryOp::Div, &[1i32], &[0]), Err(OpError::DivisionByZero));
    assert!(binary(BinaryOp::Add, &[true], &[false]).is_err());
    let mixed = run(&Op::Binary(BinaryOp::Add), &[&vector(&[1i32]), &vector(&[1i64])]);
    assert!(matches!(mixed, Err(OpError::DType { .. })));
}

#[test]
fn a_zero_divisor_matters_only_where_it_divides() {
    let none = run(&Op::Binary(BinaryOp::Div), &[&tensor::<i32>(&[0, 1], &[]), &vector(&[0i32])]);
    assert_eq!(none.unwrap().dims(), [0, 1]);
    let x = binary(BinaryOp::Div, &[1.0f64, 0.0], &[0.0, 0.0]).unwrap();
    let x = x.as_slice::<f64>().unwrap();
    assert!(x[0] == f64::INFINITY && x[1].is_nan());
}

#[test]
fn sixteen_bit_floats_round_once_an_operator() {
    // 1 + 2^-11 is a tie: the sum is made in f32 and rounded to the even neighbour.
    let (one, tiny) = (f16::ONE, f16::from_f32(2f32.powi(-11)));
    assert_eq!(binary(BinaryOp::Add, &[one], &[tiny]), Ok(vector(&[one])));
    // In f16 the largest value times two overflows.
    assert_eq!(binary(BinaryOp::Mul, &[f16::MAX], &[f16::from_f32(2.0)]), Ok(vector(&[f16::INFINITY])));
    let x = vector(&[bf16::from_f32(-1.0), bf16::from_f32(3.0)]);
    assert_eq!(run(&Op::Unary(UnaryOp::Relu), &[&x]), Ok(vector(&[bf16::ZERO, bf16::from_f32(3.0)])));
    // A sum of 1,000 ones with 2048 in front: f16 sums would stick at 2048, the f32 sum does not.
    let a = tensor(&[1, 1001], &[&[f16::from_f32(2048.0)], &[one; 1000][..]].concat());
    let b = tensor(&[1001, 1], &[one; 1001]);
    assert_eq!(run(&Op::MatMul, &[&a, &b]), Ok(tensor(&[1, 1], &[f16::from_f32(3048.0)])));
}

#[test]
fn activations_at_their_ends() {
    let eval = |op, x: f32| run(&Op::Unary(op), &[&Tensor::scalar(x)]).unwrap().as_slice::<f32>().unwrap()[0];
    for op in [
        UnaryOp::Relu,
        UnaryOp::Sigmoid,
        UnaryOp::Elu { alpha: 1.0 },
        UnaryOp::HardSwish,
        UnaryOp::HardSigmoid { alpha: 0.2, beta: 0.5 },
    ] {
        assert!(eval(op, f32::NAN).is_nan(), "{op:?}");
    }
    assert_eq!((eval(UnaryOp::Sigmoid, 1e4), eval(UnaryOp::Sigmoid, -1e4)), (1.0, 0.0));
    assert_eq!(eval(UnaryOp::Sigmoid, f32::NEG_INFINITY), 0.0);
    assert_eq!(eval(UnaryOp::Elu { alpha: 2.0 }, f32::NEG_INFINITY), -2.0);
    assert_eq!((eval(UnaryOp::HardSwish, -3.0), eval(UnaryOp::HardSwish, 3.0)), (0.0, 3.0));
    let x = vector(&[i64::MIN, 0, 5]);
    assert_eq!(run(&Op::Unary(UnaryOp::Relu), &[&x]), Ok(vector(&[0i64, 0, 5])));
    assert!(run(&Op::Unary(UnaryOp::Sigmoid), &[&x]).is_err());
}

#[test]
fn clip_follows_numpy() {
    let clip = |x: &[f32], lo: Option<f32>, hi: Option<f32>| {
        let (x, lo, hi) = (vector(x), lo.map(Tensor::scalar), hi.map(Tensor::scalar));
        let y = eval_op(&Op::Clip, &[Some(&x), lo.as_ref(), hi.as_ref()], 1, Precision::F32).unwrap();
        y[0].to_f32_vec().unwrap()
    };
    // With the ends exchanged everything becomes the upper one.
    assert_eq!(clip(&[-5.0, 1.5, 5.0], Some(2.0), Some(1.0)), [1.0, 1.0, 1.0]);
    assert_eq!(clip(&[-5.0, 5.0], Some(0.0), None), [0.0, 5.0]);
    assert_eq!(clip(&[-5.0, 5.0], None, Some(0.0)), [-5.0, 0.0]);
    assert!(clip(&[f32::NAN], Some(0.0), Some(1.0))[0].is_nan());
    assert!(clip(&[0.5], Some(f32::NAN), Some(1.0))[0].is_nan());
    assert!(clip(&[0.5], Some(0.0), Some(f32::NAN))[0].is_nan());
    let x = vector(&[0u8, 100, 255]);
    assert_eq!(
        run(&Op::Clip, &[&x, &Tensor::scalar(7u8), &Tensor::scalar(200u8)]),
        Ok(vector(&[7u8, 100, 200]))
    );
    assert!(run(&Op::Clip, &[&x, &vector(&[7u8, 8])]).is_err());
    assert!(run(&Op::Clip, &[&x, &Tensor::scalar(7i8)]).is_err());
}

#[test]
fn pads_go_round_and_mirror_as_often_as_asked() {
    let x = tensor(&[2, 3], &[1i32, 2, 3, 4, 5, 6]);
    let pads = vector(&[1i64, 4, 2, 3]);
    let pad = |mode| run(&Op::Pad { mode }, &[&x, &pads]).unwrap();
    let rows = |a: [i32; 10], b: [i32; 10]| tensor(&[5, 10], &[b, a, b, a, b].concat());
    let (a, b) = ([1, 2, 3, 2, 1, 2, 3, 2, 1, 2], [4, 5, 6, 5, 4, 5, 6, 5, 4, 5]);
    assert_eq!(pad(PadMode::Reflect), rows(a, b));
    let (a, b) = ([3, 1, 2, 3, 1, 2, 3, 1, 2, 3], [6, 4, 5, 6, 4, 5, 6, 4, 5, 6]);
    assert_eq!(pad(PadMode::Wrap), rows(a, b));
    let (a, b) = ([1, 1, 1, 1, 1, 2, 3, 3, 3, 3], [4, 4, 4, 4, 4, 5, 6, 6, 6, 6]);
    assert_eq!(pad(PadMode::Edge), tensor(&[5, 10], &[a, a, b, b, b].concat()));
    let far =
        |mode, n: i64, m: i64, x: &[i32]| run(&Op::Pad { mode }, &[&vector(x), &vector(&[n, m])]).unwrap();
    assert_eq!(
        far(PadMode::Reflect, 7, 8, &[0, 1, 2]),
        vector(&[1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2])
    );
    assert_eq!(
        far(PadMode::Wrap, 7, 8, &[0, 1, 2]),
        vector(&[2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1])
    );
    assert_eq!(far(PadMode::Reflect, 2, 3, &[5]), vector(&[5; 6]));
    // Cropping, with and without padding at the other end.
    assert_eq!(far(PadMode::Constant, -1, 2, &[1, 2, 3]), vector(&[2, 3, 0, 0]));
    assert_eq!(far(PadMode::Edge, 1, -1, &[1, 2, 3]), vector(&[1, 1, 2]));
    let bad =
        |mode, n: i64, m: i64, x: &[i32]| run(&Op::Pad { mode }, &[&vector(x), &vector(&[n, m])]).is_err();
    assert!(bad(PadMode::Constant, -2, -2, &[1, 2, 3]));
    assert!(bad(PadMode::Edge, 1, 0, &[]));
    assert!(bad(PadMode::Constant, i64::MAX, i64::MAX, &[1]));
    assert!(bad(PadMode::Constant, i64::MIN, 0, &[1]));
    assert!(bad(PadMode::Constant, 1 << 40, 0, &[1]));
}

#[test]
fn shapes_are_copied_and_filled_in() {
    let reshape = |dims: &[usize], shape: &[i64], allow_zero| {
        run(&Op::Reshape { allow_zero }, &[&iota(dims), &vector(shape)]).map(|t| t.dims().to_vec())
    };
    assert_eq!(reshape(&[2, 3, 4], &[0, -1], false), Ok(vec![2, 12]));
    assert_eq!(reshape(&[0, 3], &[0, -1], false), Ok(vec![0, 3]));
    assert_eq!(reshape(&[0, 3], &[3, 0], true), Ok(vec![3, 0]));
    assert_eq!(reshape(&[1], &[], false), Ok(vec![]));
    assert!(reshape(&[0, 3], &[0, -1], true).is_err());
    for bad in [&[-1, -1][..], &[5, -1], &[7], &[-2, 3], &[0, 0, 0, 0], &[i64::MAX, i64::MAX]] {
        assert!(reshape(&[2, 3], bad, false).is_err(), "{bad:?}");
    }
}

#[test]
fn shape_reports_the_axes_asked_for() {
    let shape = |start, end| run(&Op::Shape { start, end }, &[&iota(&[2, 3, 0])]).unwrap();
    assert_eq!(shape(0, None), vector(&[2i64, 3, 0]));
    assert_eq!(shape(1, Some(2)), vector(&[3i64]));
    assert_eq!(shape(-1, None), vector(&[0i64]));
    assert_eq!(shape(-9, Some(-1)), vector(&[2i64, 3]));
    assert_eq!(shape(2, Some(1)), vector::<i64>(&[]));
    assert_eq!(shape(i64::MIN, Some(i64::MAX)), vector(&[2i64, 3, 0]));
    assert_eq!(run(&Op::Shape { start: 0, end: None }, &[&Tensor::scalar(1u8)]), Ok(vector::<i64>(&[])));
}

#[test]
fn indices_outside_are_errors() {
    let x = iota(&[3, 2]);
    let gather = |axis, at: &Tensor| run(&Op::Gather { axis }, &[&x, at]);
    assert_eq!(gather(0, &tensor(&[1, 2], &[-1i64, 0])), Ok(tensor(&[1, 2, 2], &[4, 5, 0, 1])));
    assert_eq!(gather(-1, &Tensor::scalar(-2i32)), Ok(vector(&[0, 2, 4])));
    assert_eq!(gather(0, &Tensor::scalar(3i64)), Err(OpError::Index { index: 3, axis: 0, len: 3 }));
    assert_eq!(
        gather(0, &Tensor::scalar(i64::MIN)),
        Err(OpError::Index { index: i64::MIN, axis: 0, len: 3 })
    );
    assert!(gather(2, &Tensor::scalar(0i64)).is_err());
    assert_eq!(gather(0, &tensor::<i64>(&[0], &[])).unwrap().dims(), [0, 2]);
}

#[test]
fn four_bit_and_eight_bit_float_codes_move_like_any_others() {
    let x = Tensor::with_dtype(DType::I4, &[2, 2], vec![-8i8, 7, 1, -1]).unwrap();
    let y = run(&Op::Transpose { perm: None }, &[&x]).unwrap();
    assert_eq!(y, Tensor::with_dtype(DType::I4, &[2, 2], vec![-8i8, 1, 7, -1]).unwrap());
    let x = Tensor::with_dtype(DType::F8E4M3FN, &[3], vec![1u8, 2, 3]).unwrap();
    let y =
        run(&Op::Slice, &[&x, &vector(&[-1i64]), &vector(&[i64::MIN]), &vector(&[0i64]), &vector(&[-2i64])]);
    assert_eq!(y, Ok(Tensor::with_dtype(DType::F8E4M3FN, &[2], vec![3u8, 1]).unwrap()));
    // The judge promotes floats, and leaves codes alone.
    let y = eval_op(&Op::Identity, &[Some(&x)], 1, Precision::F64).unwrap();
    assert_eq!(y[0].dtype(), DType::F8E4M3FN);
}

#[test]
fn parts_and_wholes() {
    let split = |x: &Tensor, lengths: Option<&[i64]>, n, axis| {
        let lengths = lengths.map(vector);
        eval_op(&Op::Split { axis }, &[Some(x), lengths.as_ref()], n, Precision::F32)
    };
    let x = iota(&[2, 5]);
    let parts = split(&x, None, 3, -1).unwrap();
    assert_eq!(parts.iter().map(|t| t.dims()[1]).collect::<Vec<_>>(), [2, 2, 1]);
    assert_eq!(parts[2], tensor(&[2, 1], &[4, 9]));
    assert_eq!(run(&Op::Concat { axis: 1 }, &parts.iter().collect::<Vec<_>>()), Ok(x.clone()));
    assert_eq!(split(&x, Some(&[0, 5]), 2, 1).unwrap()[0].dims(), [2, 0]);
    assert!(split(&x, None, 4, 1).is_err());
    assert!(split(&x, Some(&[2, 2]), 2, 1).is_err());
    assert!(split(&x, Some(&[-1, 6]), 2, 1).is_err());
    assert!(split(&x, Some(&[5]), 2, 1).is_err());
    assert!(split(&x, Some(&[i64::MAX, i64::MAX]), 2, 1).is_err());
    assert!(run(&Op::Concat { axis: 0 }, &[&x, &iota(&[1, 4])]).is_err());
    assert!(run(&Op::Concat { axis: 0 }, &[&Tensor::scalar(1i32)]).is_err());
}

#[test]
fn means_of_integers_truncate_and_means_of_nothing() {
    let mean = |x: &Tensor, axes: &[i64], keep_dims| {
        run(
            &Op::Reduce { kind: ReduceKind::Mean, keep_dims, noop_with_empty_axes: false },
            &[x, &vector(axes)],
        )
    };
    let x = tensor(&[2, 2], &[7i32, -8, 3, -3]);
    assert_eq!(mean(&x, &[0], false), Ok(vector(&[5, -5])));
    assert_eq!(mean(&x, &[], true), Ok(tensor(&[1, 1], &[0])));
    assert!(mean(&x, &[0, -2], true).is_err());
    assert_eq!(mean(&tensor::<i32>(&[0], &[]), &[0], false), Err(OpError::DivisionByZero));
    let empty = mean(&tensor::<f32>(&[2, 0], &[]), &[1], true).unwrap();
    assert!(empty.dims() == [2, 1] && empty.as_slice::<f32>().unwrap().iter().all(|v| v.is_nan()));
    // The middle axis, whose elements are not neighbours.
    let x = Tensor::new(&[2, 2, 2], (0..8).map(f64::from).collect()).unwrap();
    assert_eq!(mean(&x, &[1], false), Ok(tensor(&[2, 2], &[1.0f64, 2.0, 5.0, 6.0])));
    let noop = Op::Reduce { kind: ReduceKind::Mean, keep_dims: true, noop_with_empty_axes: true };
    assert_eq!(run(&noop, &[&x]), Ok(x));
}

#[test]
fn softmax_in_f64_and_at_large_arguments() {
    let x = tensor(&[2, 3], &[1.0f64, 2.0, 3.0, 1e3, 1e3, -1e3]);
    let y = run(&Op::Softmax { axis: -1 }, &[&x]).unwrap();
    let want = [0.090_030_573_170_380_46, 0.244_728_471_054_797_64, 0.665_240_955_774_821_8, 0.5, 0.5, 0.0];
    for (g, w) in y.as_slice::<f64>().unwrap().iter().zip(want) {
        assert!((g - w).abs() < 1e-15);
    }
}

#[test]
fn gemm_of_integers_wants_integral_factors() {
    let gemm = |alpha, beta| {
        let op = Op::Gemm { alpha, beta, trans_a: true, trans_b: false };
        run(&op, &[&tensor(&[2, 1], &[2i32, 3]), &tensor(&[2, 2], &[1, 2, 3, 4]), &Tensor::scalar(1i32)])
    };
    assert_eq!(gemm(2.0, -1.0), Ok(tensor(&[1, 2], &[21, 31])));
    assert!(gemm(0.5, 1.0).is_err());
    assert!(gemm(1.0, f32::NAN).is_err());
}

#[test]
fn batch_normalization_takes_statistics_of_another_type() {
    let x = tensor(&[1, 2, 2], &[1.0f32, 2.0, 3.0, 4.0].map(f16::from_f32));
    let p = |a: f32, b: f32| vector(&[a, b]);
    let op = Op::BatchNormalization { epsilon: 0.0 };
    let y = run(&op, &[&x, &p(1.0, 2.0), &p(0.0, 1.0), &p(1.0, 3.0), &p(1.0, 4.0)]).unwrap();
    assert_eq!(y, tensor(&[1, 2, 2], &[0.0f32, 1.0, 1.0, 2.0].map(f16::from_f32)));
    assert!(run(&op, &[&x, &p(1.0, 2.0), &p(0.0, 1.0), &vector(&[1.0f32]), &p(1.0, 4.0)]).is_err());
}

#[test]
fn arities_are_checked() {
    let x = Tensor::scalar(1.0f32);
    assert_eq!(
        eval_op(&Op::MatMul, &[Some(&x)], 1, Precision::F32),
        Err(OpError::InputCount { min: 2, max: 2, got: 1 })
    );
    let absent = eval_op(&Op::MatMul, &[Some(&x), None], 1, Precision::F32);
    assert_eq!(absent, Err(OpError::MissingInput { index: 1 }));
    assert!(matches!(
        eval_op(&Op::Identity, &[Some(&x)], 2, Precision::F32),
        Err(OpError::OutputCount { .. })
    ));
    assert!(run(&Op::MatMul, &[&x, &x]).is_err());
}

/// Index of each element of `dims` in a tensor of shape `own` that broadcasts to it.
fn broadcast_index(own: &[usize], dims: &[usize], index: usize) -> usize {
    let (mut rest, mut place, mut stride) = (index, 0, 1);
    for i in (0..dims.len()).rev() {
        let at = rest % dims[i];
        rest /= dims[i];
        if let Some(j) = (i + own.len()).checked_sub(dims.len()) {
            place += if own[j] == 1 { 0 } else { at * stride };
            stride *= own[j];
        }
    }
    place
}

proptest! {
    #[test]
    fn broadcasting_repeats_elements(
        dims in prop::collection::vec(1usize..5, 0..5), masks in prop::array::uniform2(0u8..32), drops in prop::array::uniform2(0usize..5)
    ) {
        let side = |n: usize| -> Vec<usize> {
            let all = dims.iter().enumerate().map(|(i, d)| if masks[n] >> i & 1 == 1 { 1 } else { *d });
            all.skip(drops[n].min(dims.len())).collect()
        };
        let (a, b) = (side(0), side(1));
        let out: Vec<usize> = (0..a.len().max(b.len()))
            .map(|i| {
                let at = |s: &[usize]| (i + s.len()).checked_sub(a.len().max(b.len())).map_or(1, |j| s[j]);
                at(&a).max(at(&b))
            })
            .collect();
        let y = run(&Op::Binary(BinaryOp::Sub), &[&iota(&a), &iota(&b)]).unwrap();
        prop_assert_eq!(y.dims(), &out[..]);
        for (i, v) in y.as_slice::<i32>().unwrap().iter().enumerate() {
            prop_assert_eq!(*v, broadcast_index(&a, &out, i) as i32 - broadcast_index(&b, &out, i) as i32);
        }
    }

    #[test]
    fn transposing_moves_every_element(dims in prop::collection::vec(0usize..5, 0..5), seed: u64) {
        let mut perm: Vec<usize> = (0..dims.len()).collect();
        let mut state = seed;
        for i in (1..perm.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            perm.swap(i, (state >> 33) as usize % (i + 1));
        }
        let y = run(&Op::Transpose { perm: Some(perm.clone()) }, &[&iota(&dims)]).unwrap();
        let want = iota(&dims).view::<i32>().unwrap().to_owned().permuted_axes(perm);
        prop_assert_eq!(y, Tensor::from_array(want));
    }

    #[test]
    fn matrix_products_are_sums(
        batch in prop::collection::vec(1usize..4, 0..3), m in 0usize..5, k in 0usize..9, n in 0usize..5, shared: bool, seed in 0i64..100
    ) {
        let a_dims: Vec<usize> = batch.iter().copied().chain([m, k]).collect();
        let b_batch: &[usize] = if shared { &[] } else { &batch };
        let b_dims: Vec<usize> = b_batch.iter().copied().chain([k, n]).collect();
        let fill = |dims: &[usize]| -> Vec<i64> { (0..dims.iter().product::<usize>()).map(|i| (i as i64 * 7 + seed) % 11 - 5).collect() };
        let (a, b) = (fill(&a_dims), fill(&b_dims));
        let batches: usize = batch.iter().product();
        let mut want = Vec::new();
        for i in 0..batches {
            let j = if shared { 0 } else { i };
            for row in 0..m {
                for column in 0..n {
                    want.push((0..k).map(|t| a[(i * m + row) * k + t] * b[(j * k + t) * n + column]).sum::<i64>());
                }
            }
        }
        let dims: Vec<usize> = batch.iter().copied().chain([m, n]).collect();
        let got = run(&Op::MatMul, &[&tensor(&a_dims, &a), &tensor(&b_dims, &b)]).unwrap();
        prop_assert_eq!(&got, &tensor(&dims, &want));
        // Small integers are exact in f32 too, whatever the order.
        let float = |dims: &[usize], v: &[i64]| tensor(dims, &v.iter().map(|v| *v as f32).collect::<Vec<_>>());
        let got = run(&Op::MatMul, &[&float(&a_dims, &a), &float(&b_dims, &b)]).unwrap();
        prop_assert_eq!(&got, &float(&dims, &want));
    }
}

#[test]
fn large_products_and_vectors_are_exact_on_small_integers() {
    // Beyond the sizes from which work is cut into tasks, by rows and by columns, and one row.
    for (m, k, n) in [(300, 70, 90), (5, 300, 900), (1, 2000, 900), (900, 2000, 1)] {
        let a: Vec<f32> = (0..m * k).map(|i| (i % 7) as f32 - 3.0).collect();
        let b: Vec<f32> = (0..k * n).map(|i| (i % 5) as f32 - 2.0).collect();
        let mut want = vec![0.0f32; m * n];
        for i in 0..m {
            for t in 0..k {
                for j in 0..n {
                    want[i * n + j] += a[i * k + t] * b[t * n + j];
                }
            }
        }
        assert_eq!(
            run(&Op::MatMul, &[&tensor(&[m, k], &a), &tensor(&[k, n], &b)]),
            Ok(tensor(&[m, n], &want))
        );
        // The same with the right-hand side kept transposed, as linear layers are.
        let mut transposed = vec![0.0f32; k * n];
        for t in 0..k {
            for j in 0..n {
                transposed[j * k + t] = b[t * n + j];
            }
        }
        let op = Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
        assert_eq!(
            run(&op, &[&tensor(&[m, k], &a), &tensor(&[n, k], &transposed)]),
            Ok(tensor(&[m, n], &want))
        );
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let noise = |dims: &[usize]| {
        let n = dims.iter().product::<usize>() as u32;
        let value = |i: u32| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0;
        Tensor::new(dims, (0..n).map(value).collect()).unwrap()
    };
    let conv = |groups| {
        let padding = Padding::Explicit { begin: vec![1, 1], end: vec![1, 1] };
        Op::Conv(ConvAttrs { strides: vec![1, 1], dilations: vec![1, 1], padding, groups })
    };
    let mean = Op::Reduce { kind: ReduceKind::Mean, keep_dims: false, noop_with_empty_axes: false };
    let (x, axes) = (noise(&[2, 16, 33, 47]), vector(&[0i64, 2, 3]));
    let work = [
        (conv(1), vec![x.clone(), noise(&[40, 16, 3, 3])]),
        (conv(16), vec![x.clone(), noise(&[16, 1, 3, 3])]),
        (Op::MatMul, vec![noise(&[300, 257]), noise(&[257, 129])]),
        (Op::MatMul, vec![noise(&[5, 700]), noise(&[700, 600])]),
        (mean, vec![x.clone(), axes]),
        (Op::Softmax { axis: 1 }, vec![x.clone()]),
        (Op::Unary(UnaryOp::Sigmoid), vec![x]),
    ];
    for (op, inputs) in work {
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        let answers = [1, 2, 5].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| run(&op, &inputs)).unwrap()
        });
        assert!(answers.iter().all(|a| *a == answers[0]), "{}", op.name());
    }
}
