//! The 4- and 8-bit floats and the MX blocks against readings of their own: the `microfloat` crate, and a search for the
//! nearest value in f64.

#![allow(clippy::unwrap_used)]

use microfloat::{f4e2m1fn, f8e4m3fn, f8e4m3fnuz, f8e5m2, f8e5m2fnuz, f8e8m0fnu};
use proptest::prelude::*;
use tq_qtypes::block_float::{BLOCK_SIZE, SCALE_NAN, scale_value};
use tq_qtypes::{BlockFloatParams, BlockFormat, DType, QTensor, QTypeError, QuantFormat, Rounding, float8};

const FORMATS: [BlockFormat; 4] =
    [BlockFormat::MxFp4, BlockFormat::MxFp8E4M3, BlockFormat::MxFp8E5M2, BlockFormat::MxInt8];

/// f32 numbers of every exponent and sign, with low bits on, near and off the ties of formats of up to 4 significant
/// bits.
fn many_floats() -> impl Iterator<Item = f32> {
    let upper = (0u32..1 << 16).map(|bits| bits << 16);
    upper.flat_map(|bits| [0u32, 1, 0x7FFF, 0x8000, 0xFFFF].map(|low| f32::from_bits(bits | low)))
}

macro_rules! against_microfloat {
    ($dtype:expr, $ty:ty) => {
        for code in 0..=255u8 {
            let (ours, theirs) = (float8::decode(code, $dtype).unwrap(), <$ty>::from_bits(code).to_f64());
            assert!(ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()), "{code:#x}");
        }
        for x in many_floats() {
            // Without saturation, as microfloat; the sign of a NaN is nobody's promise.
            let ours = float8::encode(f64::from(x), $dtype, false).unwrap();
            let theirs = <$ty>::from_f32(x);
            let both_nan = theirs.is_nan() && float8::decode(ours, $dtype).unwrap().is_nan();
            // E4M3FN: 464 is as near to 448 as to what 480 would be. The even one of the two is 448 (0x7E), as ONNX
            // and PyTorch have it; microfloat takes the tie for an overflow.
            let tie = $dtype == DType::F8E4M3FN && x.abs() == 464.0 && ours & 0x7F == 0x7E;
            assert!(ours == theirs.to_bits() || both_nan || tie, "{x:e}: {ours:#x} {theirs:?}");
        }
    };
}

#[test]
fn eight_bit_floats_are_those_of_microfloat() {
    against_microfloat!(DType::F8E4M3FN, f8e4m3fn);
    against_microfloat!(DType::F8E4M3FNUZ, f8e4m3fnuz);
    against_microfloat!(DType::F8E5M2, f8e5m2);
    against_microfloat!(DType::F8E5M2FNUZ, f8e5m2fnuz);
}

#[test]
fn scales_are_those_of_microfloat() {
    for code in 0..=255 {
        let (ours, theirs) = (scale_value(code), f8e8m0fnu::from_bits(code).to_f32());
        assert!(ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()), "{code}");
    }
}

/// A tensor of one axis with one MX block after the other, all with this scale.
fn with_scale(format: BlockFormat, scale: u8, x: &[f32]) -> QTensor {
    let params = BlockFloatParams { format, axis: 0, scale: vec![scale; x.len().div_ceil(BLOCK_SIZE)] };
    QTensor::quantize(x, &[x.len()], &params.into(), Rounding::Divide).unwrap()
}

#[test]
fn four_bit_elements_are_those_of_microfloat() {
    let x: Vec<f32> = many_floats().filter(|x| !x.is_nan()).collect();
    let ours = with_scale(BlockFormat::MxFp4, 127, &x);
    let values = ours.dequantize();
    for ((x, code), y) in x.iter().zip(ours.codes()).zip(values) {
        let theirs = f4e2m1fn::from_f32(*x);
        assert_eq!(code, i32::from(theirs.to_bits()), "{x:e}");
        assert_eq!(y.to_bits(), theirs.to_f32().to_bits(), "{x:e}");
    }
}

/// Values of all codes of an element type that are numbers, from their definitions.
fn element_values(format: BlockFormat) -> Vec<(i32, f64)> {
    let all: Vec<(i32, f64)> = match format {
        BlockFormat::MxFp4 => {
            (0..16).map(|c| (c, f64::from(f4e2m1fn::from_bits(c as u8).to_f32()))).collect()
        }
        BlockFormat::MxFp8E4M3 => (0..256).map(|c| (c, f8e4m3fn::from_bits(c as u8).to_f64())).collect(),
        BlockFormat::MxFp8E5M2 => (0..256).map(|c| (c, f8e5m2::from_bits(c as u8).to_f64())).collect(),
        _ => (-127..128).map(|c| (c, f64::from(c) / 64.0)).collect(),
    };
    all.into_iter().filter(|(_, v)| v.is_finite()).collect()
}

/// A block by the specification, in f64: the exponent of its scale and the values of its elements.
fn reference(format: BlockFormat, block: &[f32]) -> (i32, Vec<f64>) {
    let values = element_values(format);
    let largest = values.iter().fold(0f64, |m, (_, v)| m.max(v.abs()));
    let finite = |x: f32| f64::from(x.clamp(f32::MIN, f32::MAX));
    let amax = block.iter().filter(|x| !x.is_nan()).fold(0f64, |m, x| m.max(finite(*x).abs()));
    // f64 holds the logarithm of every f32 power of two exactly, and `log2` of others is off by far less than to
    // the next integer here; the smallest scale is 2^-127.
    let exponent = (amax.log2().floor() - largest.log2().floor()).max(-127.0) as i32;
    let scale = 2f64.powi(exponent);
    let element = |x: &f32| {
        let v = finite(*x) / scale;
        let near = values.iter().min_by(|(ca, a), (cb, b)| {
            let order = (a - v).abs().total_cmp(&(b - v).abs());
            // Ties go to the even code; -0 and 0 are one value.
            order.then((ca & 1).cmp(&(cb & 1)))
        });
        near.unwrap().1 * scale
    };
    (exponent, block.iter().map(element).collect())
}

/// Finite numbers of all magnitudes, with blocks' worth of like ones.
fn blocks() -> impl Strategy<Value = Vec<f32>> {
    let any_finite = any::<f32>().prop_filter("finite", |x| x.is_finite());
    let special = proptest::sample::select(vec![
        0.0,
        -0.0,
        f32::MAX,
        f32::MIN,
        f32::MIN_POSITIVE,
        f32::from_bits(1),
        f32::from_bits(0x7F_FFFF),
        f32::INFINITY,
        f32::NEG_INFINITY,
        1.0,
        -2.0,
    ]);
    let near = (-20i32..20, proptest::collection::vec(-8.0f32..8.0, 1..80))
        .prop_map(|(e, v)| v.into_iter().map(|x| x * 2f32.powi(e)).collect::<Vec<f32>>());
    let wild = proptest::collection::vec(prop_oneof![3 => any_finite, 1 => special], 1..80);
    let tiny = proptest::collection::vec((0u32..1 << 24).prop_map(f32::from_bits), 1..80);
    prop_oneof![near, wild, tiny]
}

proptest! {
    #[test]
    fn blocks_are_those_of_the_specification(x in blocks()) {
        for format in FORMATS {
            let format_of_data = QuantFormat::BlockFloat { format, axis: 0 };
            let tensor = QTensor::from_data(&x, &[x.len()], format_of_data, Rounding::Divide).unwrap();
            let tq_qtypes::QParams::BlockFloat(params) = tensor.params() else { unreachable!() };
            let values = tensor.dequantize();
            for ((block, got), scale) in x.chunks(32).zip(values.chunks(32)).zip(&params.scale) {
                let (exponent, want) = reference(format, block);
                prop_assert_eq!(i32::from(*scale) - 127, exponent, "{:?} {:?}", format, block);
                for ((x, got), want) in block.iter().zip(got).zip(want) {
                    // -0 keeps its sign in the floating-point elements.
                    prop_assert_eq!(f64::from(*got), f64::from(want as f32), "{:?} {:e} of {:?}", format, x, block);
                }
            }
        }
    }
}

#[test]
fn blocks_lie_along_the_axis_and_the_last_may_be_short() {
    // 40 rows of two columns: each column has a block of 32 and one of 8.
    let x: Vec<f32> = (0..80).map(|i| if i % 2 == 0 { 1.0 } else { 64.0 } * (1 + i / 2) as f32).collect();
    let format = QuantFormat::BlockFloat { format: BlockFormat::MxFp8E4M3, axis: 0 };
    let tensor = QTensor::from_data(&x, &[40, 2], format, Rounding::Divide).unwrap();
    let tq_qtypes::QParams::BlockFloat(params) = tensor.params() else { unreachable!() };
    // The largest are 32 and 2048, then 40 and 2560; 448 is 1.75 * 2^8.
    assert_eq!(params.scale, [5, 11, 5, 11].map(|e| (127 + e - 8) as u8));
    for (x, y) in x.iter().zip(tensor.dequantize()) {
        assert!((x - y).abs() <= x / 16.0, "{x} {y}");
    }
    let wrong = QTensor::from_data(&x, &[80], QuantFormat::nf4(1, 64), Rounding::Divide);
    assert_eq!(wrong, Err(QTypeError::BadAxis { axis: 1, rank: 1 }));
}

#[test]
fn a_nan_is_an_element_where_there_is_one_and_else_the_whole_block() {
    let mut x = [1.0f32; 40];
    x[3] = f32::NAN;
    for format in FORMATS {
        let format_of_data = QuantFormat::BlockFloat { format, axis: 0 };
        let tensor = QTensor::from_data(&x, &[40], format_of_data, Rounding::Divide).unwrap();
        let y = tensor.dequantize();
        let nans = y.iter().filter(|y| y.is_nan()).count();
        let has_nan = matches!(format, BlockFormat::MxFp8E4M3 | BlockFormat::MxFp8E5M2);
        assert_eq!(nans, if has_nan { 1 } else { 32 }, "{format:?}");
        assert!(y[3].is_nan());
        assert_eq!(y[32..], [1.0; 8]);
        // Under a scale that is given.
        let y = with_scale(format, 127, &x).dequantize();
        match format {
            BlockFormat::MxFp4 => assert_eq!((y[3], y[2]), (-6.0, 1.0)),
            BlockFormat::MxInt8 => assert_eq!((y[3], y[2]), (-127.0 / 64.0, 1.0)),
            _ => assert!(y[3].is_nan()),
        }
        assert!(with_scale(format, SCALE_NAN, &x).dequantize().iter().all(|y| y.is_nan()));
    }
}

#[test]
fn the_code_that_int8_blocks_leave_out_is_read_as_minus_two() {
    let params = BlockFloatParams { format: BlockFormat::MxInt8, axis: 0, scale: vec![128] };
    let tensor = QTensor::from_codes(&[-128, 127, 64], &[3], params.into()).unwrap();
    assert_eq!(tensor.dequantize(), [-4.0, 127.0 / 32.0, 2.0]);
}

#[test]
fn given_scales_saturate_and_zeros_stay_zero() {
    for format in FORMATS {
        for scale in [0, 1, 126, 253, 254] {
            let x = [f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 0.0, -0.0];
            let y = with_scale(format, scale, &x).dequantize();
            let largest = element_values(format).iter().fold(0f64, |m, (_, v)| m.max(*v));
            let top = (largest * f64::from(scale_value(scale))) as f32;
            assert_eq!((y[0], y[1]), (top, -top), "{format:?} {scale}");
            assert!(y[2] <= top);
            assert_eq!((y[3], y[4]), (0.0, 0.0));
        }
        let zeros = QTensor::from_data(
            &[0.0; 33],
            &[33],
            QuantFormat::BlockFloat { format, axis: 0 },
            Rounding::Divide,
        );
        assert_eq!(zeros.unwrap().dequantize(), [0.0; 33]);
    }
}
