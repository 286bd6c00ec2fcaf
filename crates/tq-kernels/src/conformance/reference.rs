//! Naive references: plain loops, 64-bit sums, nothing shared with the drivers.

use crate::{Addend, Epilogue, Multipliers, OutputStage, Window2d, Window3d};
use tq_qtypes::requantize::requantize_wide;

/// What a channel adds around the sum of products.
#[derive(Clone, Copy)]
pub(super) struct Channel<'a> {
    pub(super) zero_points: &'a [i32],
    pub(super) bias: Option<&'a [i32]>,
}

impl Channel<'_> {
    fn zero_point(&self, n: usize) -> i64 {
        i64::from(if self.zero_points.len() == 1 { self.zero_points[0] } else { self.zero_points[n] })
    }

    fn bias(&self, n: usize) -> i64 {
        self.bias.map_or(0, |bias| i64::from(bias[n]))
    }
}

/// `[rows][n]` accumulators of `lhs` `[rows][k]` and `rhs` `[n][k]`.
pub(super) fn gemm(
    lhs: &[u8],
    rhs: &[i8],
    (rows, n, k): (usize, usize, usize),
    lhs_zero_point: i32,
    channel: Channel,
) -> Vec<i64> {
    let mut acc = Vec::with_capacity(rows * n);
    for r in 0..rows {
        for c in 0..n {
            let mut sum = channel.bias(c);
            for i in 0..k {
                let a = i64::from(lhs[r * k + i]) - i64::from(lhs_zero_point);
                sum += a * (i64::from(rhs[c * k + i]) - channel.zero_point(c));
            }
            acc.push(sum);
        }
    }
    acc
}

/// `[positions][channels]` accumulators of a depthwise convolution; `rhs` is `[channels][taps]`.
pub(super) fn depthwise(
    w: &Window3d,
    input: &[u8],
    rhs: &[i8],
    lhs_zero_point: i32,
    channel: Channel,
) -> Vec<i64> {
    let mut acc = Vec::new();
    let image = Window2d { batch: 1, ..w.plane };
    let planes = (0..w.plane.batch).flat_map(|n| (0..w.depth.output).map(move |z| (n, z)));
    for ((n, z), (_, y, x)) in planes.flat_map(|plane| positions(&image).map(move |at| (plane, at))) {
        for c in 0..w.plane.channels {
            let mut sum = channel.bias(c);
            for (tap, code) in volume_taps(w, input, (n, z, y, x), c).into_iter().enumerate() {
                if let Some(code) = code {
                    let weight = i64::from(rhs[c * w.taps() + tap]) - channel.zero_point(c);
                    sum += (i64::from(code) - i64::from(lhs_zero_point)) * weight;
                }
            }
            acc.push(sum);
        }
    }
    acc
}

/// Codes under the window over three axes at one position and channel; `None` outside the volume.
fn volume_taps(
    w: &Window3d,
    input: &[u8],
    (n, z, y, x): (usize, usize, usize, usize),
    c: usize,
) -> Vec<Option<u8>> {
    let mut codes = Vec::with_capacity(w.taps());
    for kz in 0..w.depth.kernel {
        let iz = (z * w.depth.stride + kz * w.depth.dilation) as i64 - w.depth.pads.0 as i64;
        if (0..w.depth.input as i64).contains(&iz) {
            codes.extend(taps(&w.plane, input, n * w.depth.input + iz as usize, y, x, c));
        } else {
            codes.extend(vec![None; w.plane.taps()]);
        }
    }
    codes
}

/// All output positions: image, row, column.
pub(super) fn positions(w: &Window2d) -> impl Iterator<Item = (usize, usize, usize)> {
    let (batch, out_h, out_w) = (w.batch, w.out_h, w.out_w);
    (0..batch).flat_map(move |n| (0..out_h).flat_map(move |y| (0..out_w).map(move |x| (n, y, x))))
}

/// Codes under the window at one position and channel; `None` outside the image.
pub(super) fn taps(w: &Window2d, input: &[u8], n: usize, y: usize, x: usize, c: usize) -> Vec<Option<u8>> {
    let mut codes = Vec::with_capacity(w.taps());
    for ky in 0..w.kernel.0 {
        for kx in 0..w.kernel.1 {
            let iy = (y * w.stride.0 + ky * w.dilation.0) as i64 - w.pads[0] as i64;
            let ix = (x * w.stride.1 + kx * w.dilation.1) as i64 - w.pads[1] as i64;
            let inside = (0..w.in_h as i64).contains(&iy) && (0..w.in_w as i64).contains(&ix);
            codes.push(
                inside.then(|| input[((n * w.in_h + iy as usize) * w.in_w + ix as usize) * w.channels + c]),
            );
        }
    }
    codes
}

fn factor<T: Copy>(factors: &[T], c: usize) -> T {
    if factors.len() == 1 { factors[0] } else { factors[c] }
}

/// Codes of a requantizing epilogue, or nothing for other stages.
pub(super) fn codes(acc: &[i64], n: usize, epilogue: &Epilogue) -> Vec<u8> {
    let OutputStage::Requantize { multiplier, zero_point, clamp: (min, max) } = epilogue.stage else {
        return Vec::new();
    };
    let code = |(i, &acc): (usize, &i64)| match multiplier {
        Multipliers::Float(m) => requantize_wide(acc, factor(m, i % n), zero_point, min, max) as u8,
        Multipliers::FixedPoint(m) => factor(m, i % n).requantize_wide(acc, zero_point, min, max) as u8,
    };
    acc.iter().enumerate().map(code).collect()
}

/// What an output holds that is added to: another value in every place, so that one that is read elsewhere shows.
pub(super) fn held(len: usize) -> Vec<f32> {
    (0..len).map(|i| i as f32 * 0.375 - 5.0).collect()
}

/// Real values of a dequantizing epilogue, or nothing for other stages. An output that is added to has rows `stride` apart in
/// `before`.
pub(super) fn reals(acc: &[i64], n: usize, epilogue: &Epilogue, before: &[f32], stride: usize) -> Vec<f32> {
    let OutputStage::Dequantize { scale, lhs_scale, addend } = epilogue.stage else {
        return Vec::new();
    };
    let real = |(i, &acc): (usize, &i64)| {
        let product = acc as f32 * (lhs_scale * factor(scale, i % n));
        match addend {
            Addend::None => product,
            Addend::Columns(bias) => product + bias[i % n],
            Addend::Output => before[i / n * stride + i % n] + product,
        }
    };
    acc.iter().enumerate().map(real).collect()
}

/// Rows of `n` elements spread `stride` apart over `fill`.
pub(super) fn spread<T: Copy>(rows: &[T], n: usize, stride: usize, fill: &[T]) -> Vec<T> {
    let mut out = fill.to_vec();
    if n > 0 {
        for (r, row) in rows.chunks_exact(n).enumerate() {
            out[r * stride..][..n].copy_from_slice(row);
        }
    }
    out
}
