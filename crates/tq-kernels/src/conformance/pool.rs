//! Pools.

use super::data::Pattern;
use super::reference::{positions, taps};
use super::{Check, Failure};
use crate::{
    AffineU8, AverageParams, GatheredAverage, GatheredWindows, KernelError, MaxParams, PAD, QPool, Window2d,
};
use tq_qtypes::requantize::round_clamped;

pub(super) fn check(pool: &dyn QPool, check: &mut Check) -> Result<(), Failure> {
    let geometries = [
        ((6, 7), (3, 3), (2, 2), (1, 1), [1, 1, 1, 1]),
        ((8, 8), (2, 2), (2, 2), (1, 1), [0, 0, 0, 0]),
        ((9, 5), (3, 2), (1, 3), (2, 1), [2, 0, 1, 1]),
        ((1, 17), (1, 5), (1, 2), (1, 3), [0, 4, 0, 2]),
        ((7, 7), (7, 7), (1, 1), (1, 1), [0, 0, 0, 0]),
        ((40, 40), (3, 3), (1, 1), (1, 1), [1, 1, 1, 1]),
        ((5, 23), (2, 2), (7, 7), (1, 1), [0, 0, 0, 0]),
        ((1, 2), (1, 40), (1, 1), (1, 1), [0, 39, 0, 39]),
    ];
    for (size, kernel, stride, dilation, pads) in geometries {
        for channels in [1, 3, 15, 16, 17, 31, 32, 33, 64, 100, 300] {
            let window = Window2d::new(1 + channels % 2, size, channels, kernel, stride, dilation, pads)
                .map_err(|error| check.failure(&"setting up", error.to_string()))?;
            windows(pool, check, &window)?;
        }
    }
    // Rounding up: the last windows reach beyond the padded image.
    let window = Window2d::new(2, (6, 6), 19, (3, 3), (2, 2), (1, 1), [0; 4])
        .map_err(|error| check.failure(&"setting up", error.to_string()))?;
    windows(pool, check, &Window2d { out_h: 3, out_w: 3, ..window })?;
    let padded = Window2d::new(2, (7, 8), 16, (3, 3), (2, 2), (2, 1), [1; 4])
        .map_err(|error| check.failure(&"setting up", error.to_string()))?;
    windows(pool, check, &Window2d { out_h: padded.out_h + 1, out_w: padded.out_w + 1, ..padded })?;
    for channels in [1, 7, 16, 33, 300] {
        lists(pool, check, channels)?;
    }
    bad_lists(pool, check)?;
    bad_arguments(pool, check, window)
}

fn windows(pool: &dyn QPool, check: &mut Check, w: &Window2d) -> Result<(), Failure> {
    for pattern in [Pattern::Random, Pattern::Ends] {
        let input = check.data.lhs(pattern, w.batch * w.in_h * w.in_w * w.channels);
        let params = MaxParams { clamp: check.data.clamp() };
        let (min, max) = (params.clamp.0 as u8, params.clamp.1 as u8);
        let mut expected = Vec::new();
        for (n, y, x) in positions(w) {
            for c in 0..w.channels {
                let largest = taps(w, &input, n, y, x, c).into_iter().flatten().max().unwrap_or(0);
                expected.push(largest.clamp(min, max));
            }
        }
        let fill = vec![0xA5u8; expected.len()];
        check
            .compare(&format_args!("{w:?} max"), &fill, &expected, |out| pool.max(w, &params, &input, out))?;

        for count_include_pad in [false, true] {
            let data = &mut check.data;
            let params = AverageParams {
                input: AffineU8 { scale: data.scale(), zero_point: data.int(0, 255) },
                out: AffineU8 { scale: data.scale(), zero_point: data.int(0, 255) },
                count_include_pad,
                clamp: data.clamp(),
            };
            let mut expected = Vec::new();
            for (n, y, x) in positions(w) {
                for c in 0..w.channels {
                    expected.push(average(w, &params, &taps(w, &input, n, y, x, c), y, x));
                }
            }
            check.compare(&format_args!("{w:?} {params:?}"), &fill, &expected, |out| {
                pool.average(w, &params, &input, out)
            })?;
        }
    }
    Ok(())
}

fn average(w: &Window2d, params: &AverageParams, codes: &[Option<u8>], y: usize, x: usize) -> u8 {
    let zero_point = i64::from(params.input.zero_point);
    let sum: i64 = codes.iter().flatten().map(|&code| i64::from(code) - zero_point).sum();
    let mut count = codes.iter().flatten().count();
    if params.count_include_pad {
        count = 0;
        for ky in 0..w.kernel.0 {
            for kx in 0..w.kernel.1 {
                let (py, px) = (y * w.stride.0 + ky * w.dilation.0, x * w.stride.1 + kx * w.dilation.1);
                let inside = py < w.in_h + w.pads[0] + w.pads[2] && px < w.in_w + w.pads[1] + w.pads[3];
                count += usize::from(inside);
            }
        }
    }
    let multiplier = f64::from(params.input.scale) / (f64::from(params.out.scale) * count as f64);
    let real = sum as f32 * multiplier as f32;
    round_clamped(real, params.out.zero_point, params.clamp.0, params.clamp.1) as u8
}

fn bad_arguments(pool: &dyn QPool, check: &mut Check, window: Window2d) -> Result<(), Failure> {
    let input = vec![1u8; 2 * 6 * 6 * 19];
    let len = 2 * 2 * 2 * 19;
    let params = MaxParams::default();
    let mut out = vec![0u8; len];
    let result = pool.max(&window, &params, &input[1..], &mut out);
    check.expect_error(&"short input", result, |_| true)?;
    let result = pool.max(&window, &params, &input, &mut out[1..]);
    check.expect_error(&"short output", result, |_| true)?;
    let padded = Window2d { pads: [3, 0, 0, 0], ..window };
    let result = pool.max(&padded, &params, &input, &mut out);
    check.expect_error(&"empty window", result, |e| matches!(e, KernelError::EmptyWindow { .. }))
}

/// Lists of random places, some of them none, over two images.
fn lists(pool: &dyn QPool, check: &mut Check, channels: usize) -> Result<(), Failure> {
    let (images, places, rows, taps) = (2, 24, 10, 9);
    let mut offsets = Vec::new();
    for row in 0..rows {
        for tap in 0..taps {
            let place = usize::try_from(check.data.int(0, places as i32 - 1)).unwrap_or(0);
            let none = tap > 0 && (tap + row) % 4 == 0;
            offsets.push(if none { PAD } else { place * channels });
        }
    }
    offsets.shrink_to_fit();
    let image = places * channels;
    let w = GatheredWindows { images, image, channels, rows, taps, offsets: &offsets };
    let divisors: Vec<usize> = (0..rows).map(|r| 1 + r).collect();
    for pattern in [Pattern::Random, Pattern::Ends] {
        let input = check.data.lhs(pattern, images * image);
        let data = &mut check.data;
        let params = GatheredAverage {
            divisors: &divisors,
            input: AffineU8 { scale: data.scale(), zero_point: data.int(0, 255) },
            out: AffineU8 { scale: data.scale(), zero_point: data.int(0, 255) },
            clamp: data.clamp(),
        };
        let (lo, hi) = params.clamp;
        let (mut largest, mut average) = (Vec::new(), Vec::new());
        for n in 0..images {
            for (row, &divisor) in divisors.iter().enumerate() {
                for c in 0..channels {
                    let places = offsets[row * taps..][..taps].iter().filter(|o| **o != PAD);
                    let codes: Vec<u8> = places.map(|o| input[n * image + o + c]).collect();
                    largest.push(codes.iter().max().copied().unwrap_or(0).clamp(lo as u8, hi as u8));
                    let zero_point = i64::from(params.input.zero_point);
                    let sum: i64 = codes.iter().map(|&code| i64::from(code) - zero_point).sum();
                    let multiplier =
                        f64::from(params.input.scale) / (f64::from(params.out.scale) * divisor as f64);
                    let real = sum as f32 * multiplier as f32;
                    average.push(round_clamped(real, params.out.zero_point, lo, hi) as u8);
                }
            }
        }
        let fill = vec![0xA5u8; largest.len()];
        let clamp = MaxParams { clamp: params.clamp };
        check.compare(&format_args!("max of lists, {channels} channels"), &fill, &largest, |out| {
            pool.gathered_max(&w, &clamp, &input, out)
        })?;
        check.compare(&format_args!("average of lists, {params:?}"), &fill, &average, |out| {
            pool.gathered_average(&w, &params, &input, out)
        })?;
    }
    Ok(())
}

fn bad_lists(pool: &dyn QPool, check: &mut Check) -> Result<(), Failure> {
    let w = GatheredWindows { images: 1, image: 6, channels: 2, rows: 2, taps: 1, offsets: &[0, 4] };
    let (input, mut out) = ([1u8; 6], [0u8; 4]);
    let params = MaxParams::default();
    let outside = GatheredWindows { offsets: &[0, 5], ..w };
    let result = pool.gathered_max(&outside, &params, &input, &mut out);
    check.expect_error(&"a place outside", result, |e| matches!(e, KernelError::Offset { index: 1, .. }))?;
    let empty = GatheredWindows { offsets: &[0, PAD], ..w };
    let result = pool.gathered_max(&empty, &params, &input, &mut out);
    check.expect_error(&"an empty list", result, |e| matches!(e, KernelError::EmptyWindow { .. }))?;
    let result = pool.gathered_max(&w, &params, &input[1..], &mut out);
    check.expect_error(&"short input of lists", result, |_| true)?;
    let side = AffineU8 { scale: 1.0, zero_point: 0 };
    let zero = GatheredAverage { divisors: &[1, 0], input: side, out: side, clamp: (0, 255) };
    let result = pool.gathered_average(&w, &zero, &input, &mut out);
    check.expect_error(&"a divisor of zero", result, |e| matches!(e, KernelError::Zero { .. }))
}
