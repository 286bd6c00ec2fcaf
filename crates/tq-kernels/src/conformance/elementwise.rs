//! Binary operators, conversions and tables.

use super::data::Pattern;
use super::{Check, Failure};
use crate::{AffineU8, BinaryOp, BinaryParams, Broadcast, KernelError, Lookup, QBinary, QConvert};
use tq_qtypes::Rounding;
use tq_qtypes::affine::{dequantize_f32, quantize_f32};
use tq_qtypes::requantize::round_clamped;

const OPS: [BinaryOp; 4] = [BinaryOp::Add, BinaryOp::Sub, BinaryOp::ReverseSub, BinaryOp::Mul];

fn affine(check: &mut Check) -> AffineU8 {
    AffineU8 { scale: check.data.scale(), zero_point: check.data.pick(&[0, 7, 128, 255]) }
}

fn binary_params(check: &mut Check, op: BinaryOp) -> BinaryParams {
    let (lhs, rhs, out) = (affine(check), affine(check), affine(check));
    BinaryParams { op, lhs, rhs, out, clamp: check.data.clamp() }
}

fn binary(p: &BinaryParams, a: u8, b: u8) -> u8 {
    let a = dequantize_f32(i32::from(a), p.lhs.scale, p.lhs.zero_point);
    let b = dequantize_f32(i32::from(b), p.rhs.scale, p.rhs.zero_point);
    let real = match p.op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::ReverseSub => b - a,
        BinaryOp::Mul => a * b,
    };
    round_clamped(real / p.out.scale, p.out.zero_point, p.clamp.0, p.clamp.1) as u8
}

pub(super) fn check_binary(kernel: &dyn QBinary, check: &mut Check) -> Result<(), Failure> {
    // All pairs of codes.
    let lhs: Vec<u8> = (0..65_536usize).map(|i| (i / 256) as u8).collect();
    let rhs: Vec<u8> = (0..65_536usize).map(|i| i as u8).collect();
    for op in OPS {
        for _ in 0..6 {
            let params = binary_params(check, op);
            broadcast(kernel, check, &params, &lhs, &rhs, Broadcast::Same, |i| i)?;
        }
    }
    let lens = [0, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 65, 255, 256, 257, 1000];
    for op in OPS {
        for len in lens {
            let lhs = check.data.lhs(Pattern::Random, len);
            let rhs = check.data.lhs(Pattern::Random, len.max(1));
            let params = binary_params(check, op);
            broadcast(kernel, check, &params, &lhs, &rhs[..len], Broadcast::Same, |i| i)?;
            broadcast(kernel, check, &params, &lhs, &rhs[..1], Broadcast::Scalar, |_| 0)?;
        }
        for channels in [1, 3, 16, 17, 100, 256, 300] {
            let (images, positions) = (2, 29);
            let lhs = check.data.lhs(Pattern::Random, images * positions * channels);
            let rhs = check.data.lhs(Pattern::Random, images * channels);
            let params = binary_params(check, op);
            let way = Broadcast::PerChannel { channels };
            broadcast(kernel, check, &params, &lhs, &rhs[..channels], way, |i| i % channels)?;
            let way = Broadcast::PerImage { images, positions, channels };
            broadcast(kernel, check, &params, &lhs, &rhs, way, |i| {
                i / (positions * channels) * channels + i % channels
            })?;
        }
    }
    // Large enough to be split between threads.
    let lhs = check.data.lhs(Pattern::Random, 200_000);
    let params = binary_params(check, BinaryOp::Mul);
    broadcast(kernel, check, &params, &lhs, &rhs[..125], Broadcast::PerChannel { channels: 125 }, |i| {
        i % 125
    })?;

    // Results that are beyond 32 bits, and beyond f32, in steps of the output.
    for (op, scale, out_scale) in [
        (BinaryOp::Add, 1.0, 1e-8),
        (BinaryOp::Sub, 1.0, f32::MIN_POSITIVE),
        (BinaryOp::ReverseSub, 3e38, 1.0),
        (BinaryOp::Mul, 1e20, 1e-20),
        // Reals that leave f32 on the way to results that would not.
        (BinaryOp::Add, 3e38, 3e38),
        (BinaryOp::Sub, 3e38, 3e38),
        (BinaryOp::Mul, 1e19, 1e38),
    ] {
        let mut params = binary_params(check, op);
        (params.lhs.scale, params.rhs.scale, params.out.scale) = (scale, scale, out_scale);
        broadcast(kernel, check, &params, &lhs[..100], &rhs[..100], Broadcast::Same, |i| i)?;
    }

    let params = binary_params(check, BinaryOp::Add);
    let mut out = [0u8; 6];
    let result = kernel.run(&params, &[1; 6], &[1; 4], Broadcast::Same, &mut out);
    check.expect_error(&"lengths that differ", result, |e| matches!(e, KernelError::Length { .. }))?;
    let result = kernel.run(&params, &[1; 6], &[1; 4], Broadcast::PerChannel { channels: 4 }, &mut out);
    check.expect_error(&"ragged rows", result, |e| matches!(e, KernelError::Length { .. }))?;
    let mut bad = params;
    bad.out.scale = 0.0;
    let result = kernel.run(&bad, &[1; 6], &[1; 6], Broadcast::Same, &mut out);
    check.expect_error(&"zero scale", result, |e| matches!(e, KernelError::Scale { .. }))
}

fn broadcast(
    kernel: &dyn QBinary,
    check: &mut Check,
    params: &BinaryParams,
    lhs: &[u8],
    rhs: &[u8],
    way: Broadcast,
    index: impl Fn(usize) -> usize,
) -> Result<(), Failure> {
    let expected: Vec<u8> = lhs.iter().enumerate().map(|(i, &a)| binary(params, a, rhs[index(i)])).collect();
    let case = format!("{params:?} {way:?}, {} codes", lhs.len());
    check.compare(&case, &vec![0xA5; lhs.len()], &expected, |out| kernel.run(params, lhs, rhs, way, out))
}

pub(super) fn check_convert(kernel: &dyn QConvert, check: &mut Check) -> Result<(), Failure> {
    let special = [
        f32::NAN,
        -f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MAX,
        f32::MIN,
        3e9,
        -3e9,
        0.0,
        -0.0,
        f32::MIN_POSITIVE / 4.0,
    ];
    for len in [0usize, 1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 100, 1000, 150_000] {
        for _ in 0..4 {
            let (params, clamp) = (affine(check), check.data.clamp());
            let data = &mut check.data;
            let src: Vec<f32> = (0..len)
                .map(|_| match data.below(4) {
                    0 => data.pick(&special),
                    // Halves of a step: ties.
                    1 => params.scale * (data.int(-600, 600) as f32 / 2.0),
                    2 => data.unit() * 2.0 - 1.0,
                    _ => params.scale * 300.0 * (data.unit() * 2.0 - 1.0),
                })
                .collect();
            let code = |&x: &f32| {
                let (s, z) = (params.scale, params.zero_point);
                quantize_f32(x, s, z, clamp.0, clamp.1, Rounding::Divide) as u8
            };
            let expected: Vec<u8> = src.iter().map(code).collect();
            let case = format!("quantize {len}, {params:?} {clamp:?}");
            check.compare(&case, &vec![0xA5; len], &expected, |out| {
                kernel.quantize(&src, params, clamp, out)
            })?;

            let codes = check.data.lhs(Pattern::Random, len);
            let real = |&q: &u8| dequantize_f32(i32::from(q), params.scale, params.zero_point);
            let expected: Vec<f32> = codes.iter().map(real).collect();
            check.compare(
                &format_args!("dequantize {len}, {params:?}"),
                &vec![-1.5; len],
                &expected,
                |out| kernel.dequantize(&codes, params, out),
            )?;
        }
    }
    range(kernel, check, &special)?;
    let params = affine(check);
    let result = kernel.quantize(&[0.0; 4], params, (0, 255), &mut [0; 3]);
    check.expect_error(&"lengths that differ", result, |e| matches!(e, KernelError::Length { .. }))?;
    let result = kernel.quantize(&[0.0; 4], params, (9, 8), &mut [0; 4]);
    check.expect_error(&"empty clamp", result, |e| matches!(e, KernelError::Clamp { .. }))
}

/// Ranges of values of either sign, with and without what is special, and with one value in every place.
fn range(kernel: &dyn QConvert, check: &mut Check, special: &[f32]) -> Result<(), Failure> {
    // The last is large enough to be split between threads.
    for len in (0..=130).chain([1000, 300_001]) {
        for (low, high) in [(-1.0, 1.0), (0.5, 2.0), (-2.0, -0.5), (-0.0, -0.0)] {
            for share in [0, 1, 4] {
                let data = &mut check.data;
                let values = (0..len).map(|_| match data.below(4) < share {
                    true => data.pick(special),
                    false => low + (high - low) * data.unit(),
                });
                let values: Vec<f32> = values.collect();
                compare_range(kernel, check, &values)?;
            }
        }
    }
    for place in 0..130 {
        for value in [-3.0, 3.0, f32::NEG_INFINITY, f32::INFINITY, f32::NAN, -0.0] {
            let mut values = vec![0.0; 130];
            values[place] = value;
            compare_range(kernel, check, &values)?;
        }
    }
    Ok(())
}

fn compare_range(kernel: &dyn QConvert, check: &mut Check, values: &[f32]) -> Result<(), Failure> {
    let mut expected = [0.0; 2];
    for &v in values {
        // Comparisons with NaN are false, and so is that of two zeros.
        if v < expected[0] {
            expected[0] = v;
        }
        if v > expected[1] {
            expected[1] = v;
        }
    }
    let case = format!("range of {} values", values.len());
    check.compare(&case, &[f32::NAN; 2], &expected, |out| {
        (out[0], out[1]) = kernel.range(values);
        Ok(())
    })
}

pub(super) fn check_lookup(kernel: &dyn Lookup, check: &mut Check) -> Result<(), Failure> {
    for len in (0..=160).chain([255, 256, 257, 1000, 300_000]) {
        let mut table = [0u8; 256];
        table.copy_from_slice(&check.data.lhs(Pattern::Random, 256));
        let mut src = check.data.lhs(Pattern::Random, len);
        if len >= 256 {
            // Every code there is, in no order.
            (0..=255u8).zip(&mut src).for_each(|(code, to)| *to = code.wrapping_mul(59));
        }
        let expected: Vec<u8> = src.iter().map(|&code| table[usize::from(code)]).collect();
        let case = format!("lookup of {len} codes");
        check.compare(&case, &vec![0xA5; len], &expected, |out| kernel.lookup(&table, &src, out))?;
    }
    let result = kernel.lookup(&[0; 256], &[1; 3], &mut [0; 4]);
    check.expect_error(&"lengths that differ", result, |e| matches!(e, KernelError::Length { .. }))
}
