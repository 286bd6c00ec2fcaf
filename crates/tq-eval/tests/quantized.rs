//! Quantizing operators against the formulas of their documentation, over every type of codes and granularity.

#![allow(clippy::unwrap_used)]

use half::{bf16, f16};
use proptest::prelude::*;
use tq_eval::{OpError, Precision, eval_op};
use tq_graph::{Op, Tensor};
use tq_qtypes::{DType, DynamicFormula, float8};

const DYNAMIC: Op = Op::DynamicQuantizeLinear { formula: DynamicFormula::Onnx };

const CODES: [DType; 8] =
    [DType::I2, DType::U2, DType::I4, DType::U4, DType::I8, DType::U8, DType::I16, DType::U16];

fn codes(dtype: DType, dims: &[usize], values: &[i64]) -> Tensor {
    let v = values.iter();
    match dtype {
        DType::I2 | DType::I4 | DType::I8 => Tensor::with_dtype(dtype, dims, v.map(|v| *v as i8).collect()),
        DType::U2 | DType::U4 | DType::U8 => Tensor::with_dtype(dtype, dims, v.map(|v| *v as u8).collect()),
        DType::I16 => Tensor::new(dims, v.map(|v| *v as i16).collect()),
        DType::U16 => Tensor::new(dims, v.map(|v| *v as u16).collect()),
        _ => Tensor::new(dims, v.map(|v| *v as i32).collect()),
    }
    .unwrap()
}

fn floats(dims: &[usize], values: &[f32]) -> Tensor {
    Tensor::new(dims, values.to_vec()).unwrap()
}

fn quantize_op(axis: i64, block_size: usize, output_dtype: Option<DType>) -> Op {
    Op::QuantizeLinear { axis, block_size, output_dtype, saturate: true }
}

fn run(op: &Op, inputs: &[&Tensor], precision: Precision) -> Result<Tensor, OpError> {
    let inputs: Vec<Option<&Tensor>> = inputs.iter().map(|t| Some(*t)).collect();
    eval_op(op, &inputs, 1, precision).map(|mut t| t.remove(0))
}

/// Which scale each element of a tensor of shape `dims` uses, for one scale a tensor, an index or a block.
fn parameters(
    dims: [usize; 3],
    axis: usize,
    block: Option<usize>,
    per_axis: bool,
) -> (Vec<usize>, Vec<usize>) {
    let mut shape = dims.to_vec();
    match block {
        Some(b) => shape[axis] = dims[axis].div_ceil(b),
        None if per_axis => shape = vec![dims[axis]],
        None => shape = vec![],
    }
    let mut places = Vec::new();
    for i in 0..dims[0] {
        for j in 0..dims[1] {
            for k in 0..dims[2] {
                let mut at = [i, j, k];
                places.push(match block {
                    Some(b) => {
                        at[axis] /= b;
                        (at[0] * shape[1] + at[1]) * shape[2] + at[2]
                    }
                    None if per_axis => at[axis],
                    None => 0,
                });
            }
        }
    }
    (shape, places)
}

proptest! {
    #[test]
    fn codes_are_the_rounded_quotients_and_back(
        dims in prop::array::uniform3(1usize..6), axis in 0usize..3, block in prop::option::of(1usize..4),
        per_axis: bool, dtype in prop::sample::select(CODES.to_vec()), seed: u64, judge: bool
    ) {
        let (shape, places) = parameters(dims, axis, block, per_axis);
        let n: usize = dims.iter().product();
        let count: usize = shape.iter().product();
        let (lo, hi) = dtype.quant_range().map(|(a, b)| (i64::from(a), i64::from(b))).unwrap();
        let mix = |i: usize, salt: u64| (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15 ^ seed.rotate_left(salt as u32)) >> 20;
        let scale: Vec<f32> = (0..count).map(|i| 0.01 + (mix(i, 1) % 1000) as f32 * 0.001).collect();
        let zero: Vec<i64> = (0..count).map(|i| lo + (mix(i, 9) % (hi - lo + 1) as u64) as i64).collect();
        let span = (hi - lo) as f32;
        // Beyond both ends too.
        let x: Vec<f32> = (0..n)
            .map(|i| ((mix(i, 17) % 4001) as f32 / 2000.0 - 1.0) * span * scale[places[i]] * 1.2)
            .collect();
        let (tx, ts, tz) = (floats(&dims, &x), floats(&shape, &scale), codes(dtype, &shape, &zero));
        let precision = if judge { Precision::F64 } else { Precision::F32 };
        let axis = if seed % 2 == 0 { axis as i64 } else { axis as i64 - 3 };
        let q = run(&quantize_op(axis, block.unwrap_or(0), None), &[&tx, &ts, &tz], precision).unwrap();
        let want: Vec<i64> = x.iter().zip(&places).map(|(x, p)| {
            let rounded = if judge {
                (f64::from(*x) / f64::from(scale[*p])).round_ties_even() as i64
            } else {
                (*x / scale[*p]).round_ties_even() as i64
            };
            (rounded + zero[*p]).clamp(lo, hi)
        }).collect();
        prop_assert_eq!(&q, &codes(dtype, &dims, &want));

        let op = Op::DequantizeLinear { axis, block_size: block.unwrap_or(0) };
        let y = run(&op, &[&q, &ts, &tz], precision).unwrap();
        for ((y, q), p) in y.to_f64_vec().unwrap().iter().zip(&want).zip(&places) {
            let steps = q - zero[*p];
            let exact = if judge {
                steps as f64 * f64::from(scale[*p])
            } else {
                f64::from(steps as f32 * scale[*p])
            };
            prop_assert_eq!(*y, exact);
        }
    }

    #[test]
    fn matrix_products_of_codes_are_exact(
        m in 1usize..5, k in 0usize..40, n in 1usize..5, a_signed: bool, b_signed: bool,
        per_row: bool, per_column: bool, batched: bool, seed: u64
    ) {
        let mix = |i: usize, salt: u64| (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15 ^ seed.rotate_left(salt as u32)) >> 20;
        // Mostly the ends of the range.
        let code = |i: usize, salt: u64, signed: bool| {
            let v = match mix(i, salt) % 4 { 0 => 0, 1 => 255, _ => (mix(i, salt + 1) % 256) as i64 };
            if signed { v - 128 } else { v }
        };
        let kind = |signed: bool| if signed { DType::I8 } else { DType::U8 };
        let batch = if batched { 2 } else { 1 };
        let a: Vec<i64> = (0..batch * m * k).map(|i| code(i, 1, a_signed)).collect();
        let b: Vec<i64> = (0..k * n).map(|i| code(i, 5, b_signed)).collect();
        let za: Vec<i64> = (0..if per_row { m } else { 1 }).map(|i| code(i, 9, a_signed)).collect();
        let zb: Vec<i64> = (0..if per_column { n } else { 1 }).map(|i| code(i, 13, b_signed)).collect();
        let mut sums = Vec::new();
        for i in 0..batch * m {
            for j in 0..n {
                let (za, zb) = (za[i % m % za.len()], zb[j % zb.len()]);
                sums.push((0..k).map(|t| (a[i * k + t] - za) * (b[t * n + j] - zb)).sum::<i64>());
            }
        }
        let prefix: &[usize] = if batched { &[2] } else { &[] };
        let dims = [prefix, &[m, n]].concat();
        let ta = codes(kind(a_signed), &[prefix, &[m, k]].concat(), &a);
        let tb = codes(kind(b_signed), &[k, n], &b);
        let scalar_or = |d: DType, v: &[i64]| if v.len() == 1 { codes(d, &[], v) } else { codes(d, &[v.len()], v) };
        let (tza, tzb) = (scalar_or(kind(a_signed), &za), scalar_or(kind(b_signed), &zb));
        let got = run(&Op::MatMulInteger, &[&ta, &tb, &tza, &tzb], Precision::F32).unwrap();
        prop_assert_eq!(&got, &codes(DType::I32, &dims, &sums));

        let sa: Vec<f32> = (0..za.len()).map(|i| 0.01 + 0.002 * i as f32).collect();
        let sb: Vec<f32> = (0..zb.len()).map(|i| 0.03 + 0.005 * i as f32).collect();
        let want: Vec<i64> = sums.iter().enumerate().map(|(i, sum)| {
            let multiplier = (sa[i / n % m % sa.len()] * sb[i % n % sb.len()]) / 1.7f32;
            ((*sum as f32 * multiplier).clamp(-128.0 - 5.0, 127.0 - 5.0).round_ties_even() as i64) + 5
        }).collect();
        let float = |v: &[f32]| if v.len() == 1 { Tensor::scalar(v[0]) } else { floats(&[v.len()], v) };
        let (tsa, tsb, tsy, tzy) = (float(&sa), float(&sb), Tensor::scalar(1.7f32), Tensor::scalar(5i8));
        for precision in [Precision::F32, Precision::F64] {
            let inputs = [&ta, &tsa, &tza, &tb, &tsb, &tzb, &tsy, &tzy];
            let got = run(&Op::QLinearMatMul, &inputs, precision).unwrap();
            prop_assert_eq!(&got, &codes(DType::I8, &dims, &want));
        }
    }
}

#[test]
fn special_values_have_codes() {
    let x = floats(&[6], &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30, -1e30, 0.0]);
    for dtype in CODES {
        let (lo, hi) = dtype.quant_range().map(|(a, b)| (i64::from(a), i64::from(b))).unwrap();
        // A zero point off the middle, that two bits hold as well.
        let zero_point = hi.min(3);
        let z = codes(dtype, &[], &[zero_point]);
        for precision in [Precision::F32, Precision::F64] {
            let q = run(&quantize_op(1, 0, None), &[&x, &Tensor::scalar(0.5f32), &z], precision).unwrap();
            assert_eq!(q, codes(dtype, &[6], &[lo, hi, lo, hi, lo, zero_point]), "{dtype}");
        }
    }
    // Scales that make no sense give codes, not panics.
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let q = run(&quantize_op(1, 0, None), &[&x, &Tensor::scalar(scale)], Precision::F32).unwrap();
        assert_eq!((q.dtype(), q.dims()), (DType::U8, &[6][..]));
    }
}

#[test]
fn the_type_of_the_codes_comes_from_the_zero_point_or_the_attribute() {
    let (x, s) = (floats(&[1], &[-3.0]), Tensor::scalar(1.0f32));
    let dtype = |z: Option<&Tensor>, attr| {
        eval_op(&quantize_op(1, 0, attr), &[Some(&x), Some(&s), z], 1, Precision::F32).map(|t| t[0].dtype())
    };
    assert_eq!(dtype(None, None), Ok(DType::U8));
    assert_eq!(dtype(None, Some(DType::I4)), Ok(DType::I4));
    assert_eq!(dtype(Some(&Tensor::scalar(0i16)), None), Ok(DType::I16));
    assert!(dtype(Some(&Tensor::scalar(0i16)), Some(DType::I8)).is_err());
    assert!(dtype(None, Some(DType::I64)).is_err());
    assert!(dtype(Some(&Tensor::vector(vec![0i8, 0])), None).is_err());
}

#[test]
fn parameters_that_do_not_fit_are_errors() {
    let x = floats(&[2, 3], &[0.0; 6]);
    let q = |scale: &[usize], axis, block| {
        let s = floats(scale, &vec![1.0; scale.iter().product()]);
        run(&quantize_op(axis, block, None), &[&x, &s], Precision::F32)
    };
    assert!(q(&[3], 1, 0).is_ok());
    assert!(q(&[3], 0, 0).is_err());
    assert!(q(&[3], 2, 0).is_err());
    assert!(q(&[2, 2], 1, 2).is_ok());
    assert!(q(&[2, 3], 1, 2).is_err());
    assert!(q(&[2, 3], 1, 0).is_err());
    assert!(q(&[2, 1], 1, usize::MAX).is_ok());
    let ints = run(&quantize_op(1, 0, None), &[&x, &Tensor::scalar(1i32)], Precision::F32);
    assert!(matches!(ints, Err(OpError::DType { .. })));
    let empty =
        run(&quantize_op(0, 0, None), &[&floats(&[2, 0], &[]), &floats(&[2], &[1.0; 2])], Precision::F32);
    assert_eq!(empty.unwrap().dims(), [2, 0]);
    let op = Op::DequantizeLinear { axis: 1, block_size: 0 };
    let mixed = [&codes(DType::U8, &[1], &[1]), &Tensor::scalar(1.0f32), &Tensor::scalar(0i8)];
    assert!(run(&op, &mixed, Precision::F32).is_err());
}

#[test]
fn sixteen_bit_scales_give_sixteen_bit_values() {
    let q = codes(DType::I32, &[2], &[100_000, -7]);
    let op = Op::DequantizeLinear { axis: 1, block_size: 0 };
    let s = Tensor::scalar(f16::from_f32(0.1));
    let y = run(&op, &[&q, &s], Precision::F32).unwrap();
    let scale = f16::from_f32(0.1).to_f32();
    assert_eq!(y, Tensor::vector(vec![f16::from_f32(100_000.0 * scale), f16::from_f32(-7.0 * scale)]));
    let y = run(&op, &[&q, &s], Precision::F64).unwrap();
    assert_eq!(y, Tensor::vector(vec![100_000.0 * f64::from(scale), -7.0 * f64::from(scale)]));
    let x = Tensor::vector(vec![bf16::from_f32(2.5)]);
    let codes = run(&quantize_op(1, 0, None), &[&x, &Tensor::scalar(bf16::ONE)], Precision::F32).unwrap();
    assert_eq!(codes, Tensor::vector(vec![2u8]));
}

#[test]
fn integers_are_quantized_without_rounding_twice() {
    // 2^24 + 1 is no f32: as one it would become even and change the code.
    let x = Tensor::vector(vec![(1i32 << 24) + 1, -3]);
    let s = Tensor::scalar((1i32 << 24) as f32 / 100.5);
    let q = run(&quantize_op(1, 0, Some(DType::I8)), &[&x, &s], Precision::F32).unwrap();
    assert_eq!(q, Tensor::vector(vec![101i8, 0]));
}

#[test]
fn eight_bit_floats_keep_the_sign_of_zero_and_saturate_when_asked() {
    for dtype in [DType::F8E4M3FN, DType::F8E4M3FNUZ, DType::F8E5M2, DType::F8E5M2FNUZ] {
        let x: Vec<f32> = vec![-0.0, 1.0, -1e6, 3.3, f32::NAN];
        let z = Tensor::with_dtype(dtype, &[], vec![0u8]).unwrap();
        for saturate in [true, false] {
            let op = Op::QuantizeLinear { axis: 1, block_size: 0, output_dtype: None, saturate };
            let got = run(&op, &[&floats(&[5], &x), &Tensor::scalar(2.0f32), &z], Precision::F32).unwrap();
            let want =
                x.iter().map(|v| float8::encode(f64::from(v / 2.0), dtype, saturate).unwrap()).collect();
            assert_eq!(got, Tensor::with_dtype(dtype, &[5], want).unwrap(), "{dtype} {saturate}");
        }
        let q = Tensor::with_dtype(dtype, &[2], vec![0x38u8, 0xB8]).unwrap();
        let op = Op::DequantizeLinear { axis: 1, block_size: 0 };
        let y = run(&op, &[&q, &Tensor::scalar(3.0f32), &z], Precision::F32).unwrap();
        let value = float8::decode(0x38, dtype).unwrap() as f32 * 3.0;
        assert_eq!(y.as_slice::<f32>().unwrap(), [value, -value]);
    }
}

#[test]
fn dynamic_quantization_of_anything() {
    let dynamic = |x: &[f32]| {
        let x = floats(&[x.len()], x);
        let mut out = eval_op(&DYNAMIC, &[Some(&x)], 3, Precision::F32).unwrap();
        let (z, s, q) = (out.remove(2), out.remove(1), out.remove(0));
        (q, s.as_slice::<f32>().unwrap()[0], z.as_slice::<u8>().unwrap()[0])
    };
    assert_eq!(dynamic(&[]), (Tensor::vector(Vec::<u8>::new()), 1.0, 0));
    assert_eq!(dynamic(&[0.0, 0.0]), (Tensor::vector(vec![0u8, 0]), 1.0, 0));
    let (q, s, z) = dynamic(&[-1.0, 0.0, 4.0]);
    assert_eq!((q, s, z), (Tensor::vector(vec![0u8, 51, 255]), 5.0 / 255.0, 51));
    // NaN does not reach the range; an infinite range has codes all the same.
    assert_eq!(dynamic(&[f32::NAN, 255.0]).1, 1.0);
    dynamic(&[f32::INFINITY, f32::NEG_INFINITY, 1.0]);
    let x = Tensor::vector(vec![1i32]);
    assert!(eval_op(&DYNAMIC, &[Some(&x)], 3, Precision::F32).is_err());
}

/// What ONNX's own cases expect wrongly: they let int8 wrap. These are ONNX Runtime's answers.
#[test]
fn matrix_products_saturate() {
    let s = |v: f32| floats(&[1], &[v]);
    let z = |v| codes(DType::I8, &[1], &[v]);
    let a = codes(DType::I8, &[2, 4], &[81, 109, -127, 111, -124, 87, -128, -98]);
    let b = codes(DType::I8, &[4, 3], &[25, -76, 117, -67, -101, -128, -127, 0, 119, 0, 127, 120]);
    for (zb, want) in [(-13, [41, -12, -9, 1, -75, -128]), (114, [-86, -128, -128, 115, 39, -121])] {
        let inputs = [&a, &s(0.0066), &z(-14), &b, &s(0.00705), &z(zb), &s(0.0107), &z(-9)];
        let y = run(&Op::QLinearMatMul, &inputs, Precision::F32).unwrap();
        assert_eq!(y, codes(DType::I8, &[2, 3], &want));
    }
}

#[test]
fn sums_beyond_32_bits_requantize_without_wrapping() {
    // 70,000 products of 255 * 127 exceed i32.
    let k = 70_000;
    let a = Tensor::new(&[1, k], vec![255u8; k]).unwrap();
    let b = Tensor::new(&[k, 1], vec![127i8; k]).unwrap();
    let (one, tiny) = (Tensor::scalar(1.0f32), Tensor::scalar(1.0f32 / (255.0 * 127.0 * 700.0)));
    let (za, zb) = (Tensor::scalar(0u8), Tensor::scalar(0i8));
    let y = run(&Op::QLinearMatMul, &[&a, &tiny, &za, &b, &one, &zb, &one, &za], Precision::F32).unwrap();
    assert_eq!(y, Tensor::new(&[1, 1], vec![100u8]).unwrap());
    // MatMulInteger's i32 wraps, as ONNX's does.
    let y = run(&Op::MatMulInteger, &[&a, &b], Precision::F32).unwrap();
    assert_eq!(y, Tensor::new(&[1, 1], vec![(255i64 * 127 * k as i64) as i32]).unwrap());
}

#[test]
fn integer_operators_refuse_other_parameters() {
    let a = codes(DType::U8, &[2, 3], &[1; 6]);
    let b = codes(DType::I8, &[3, 2], &[1; 6]);
    let try_zero = |za: &Tensor, zb: &Tensor| run(&Op::MatMulInteger, &[&a, &b, za, zb], Precision::F32);
    let (z2, z3) = (codes(DType::U8, &[2], &[1; 2]), codes(DType::U8, &[3], &[1; 3]));
    let (w2, w3) = (codes(DType::I8, &[2], &[1; 2]), codes(DType::I8, &[3], &[1; 3]));
    assert!(try_zero(&z2, &w2).is_ok());
    assert!(try_zero(&z3, &w2).is_err());
    assert!(try_zero(&z2, &w3).is_err());
    assert!(try_zero(&w2, &w2).is_err());
    assert!(run(&Op::MatMulInteger, &[&floats(&[2, 3], &[1.0; 6]), &b], Precision::F32).is_err());
    assert!(run(&Op::MatMulInteger, &[&a, &codes(DType::I8, &[2, 2], &[1; 4])], Precision::F32).is_err());
}
