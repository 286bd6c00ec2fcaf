//! Codes that TensorFlow Lite's reference kernels gave (`tests/data/make_fixed_point.py`).

#![allow(clippy::unwrap_used)]

use serde::Deserialize;
use tq_qtypes::fixed_point::FixedPointMultiplier;

#[derive(Deserialize)]
struct Case {
    product_scale_bits: u32,
    out_scale_bits: u32,
    multiplier: i32,
    shift: i32,
    zero_point: i32,
    acc: Vec<i32>,
    codes: Vec<i32>,
}

#[derive(Deserialize)]
struct File {
    cases: Vec<Case>,
}

#[test]
fn codes_are_those_of_tensorflow_lite() {
    let File { cases } = serde_json::from_str(include_str!("data/fixed_point.json")).unwrap();
    let (mut left, mut right, mut wide_ends) = (0, 0, 0);
    for case in &cases {
        let scales = (f32::from_bits(case.product_scale_bits), f32::from_bits(case.out_scale_bits));
        let fixed = FixedPointMultiplier::of_scales(scales.0, 1.0, scales.1);
        assert_eq!((fixed.multiplier(), fixed.shift()), (case.multiplier, case.shift), "{scales:?}");
        assert_eq!(case.acc.len(), case.codes.len());
        left += usize::from(case.shift > 0);
        right += usize::from(case.shift < 0);
        wide_ends += case.acc.iter().filter(|a| [i32::MIN, i32::MAX].contains(a)).count();
        for (&acc, &code) in case.acc.iter().zip(&case.codes) {
            assert_eq!(fixed.requantize(acc, case.zero_point, -128, 127), code, "{acc} times {scales:?}");
            let wide = fixed.requantize_wide(i64::from(acc), case.zero_point, -128, 127);
            assert_eq!(wide, code, "{acc} of 64 bits times {scales:?}");
        }
    }
    assert!(left > 5 && right > 20 && wide_ends > 40, "{left} {right} {wide_ends}");
}

#[test]
fn rounding_twice_is_not_rounding_once() {
    // 2.4999 is nearer to 2; the first rounding makes it 2.5, and the second one 3.
    let fixed = FixedPointMultiplier::new(0.249_99);
    let tied = (0..100_000).find(|acc| {
        let real = f64::from(*acc) * 0.249_99;
        f64::from(fixed.requantize(*acc, 0, 0, 1 << 20)) > real + 0.5
    });
    assert!(tied.is_some());
}
