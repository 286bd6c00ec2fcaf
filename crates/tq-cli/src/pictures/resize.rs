//! Resizing by a triangle filter that widens with the reduction ("antialiased bilinear").
//!
//! Pillow, and so torchvision on Pillow's pictures, computes it in fixed point, columns first, with bytes in between:
//! so it is done here, and the results are the same bytes.

use super::decode::Pixels;

/// Fractional bits of the weights.
const BITS: u32 = 22;

/// The picture at another size; neither side may be 0.
pub(super) fn resize(picture: &Pixels, height: usize, width: usize) -> Pixels {
    let mut out = picture.clone();
    if width != picture.width {
        out = columns(&out, width);
    }
    if height != picture.height {
        out = rows(&out, height);
    }
    out
}

/// Which samples make one sample of the result, and how much of each.
struct Taps {
    start: usize,
    weights: Vec<i64>,
}

/// The taps of every sample of the result.
fn taps(from: usize, to: usize) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let support = scale.max(1.0);
    let narrowing = 1.0 / support;
    (0..to)
        .map(|i| {
            let centre = (i as f64 + 0.5) * scale;
            // A conversion to an integer cuts off the fraction and takes what is below zero as zero.
            let start = (centre - support + 0.5) as usize;
            let end = ((centre + support + 0.5) as usize).min(from);
            let triangle = |x: usize| (1.0 - ((x as f64 - centre + 0.5) * narrowing).abs()).max(0.0);
            let weights: Vec<f64> = (start..end).map(triangle).collect();
            let sum: f64 = weights.iter().sum();
            let fixed = |w: &f64| (0.5 + w / sum * f64::from(1u32 << BITS)) as i64;
            Taps { start, weights: weights.iter().map(fixed).collect() }
        })
        .collect()
}

/// Weighted sum of samples that are `stride` apart.
fn filter(samples: &[u8], stride: usize, weights: &[i64]) -> u8 {
    let products = samples.iter().step_by(stride).zip(weights).map(|(s, w)| i64::from(*s) * w);
    let sum = (1i64 << (BITS - 1)) + products.sum::<i64>();
    u8::try_from((sum >> BITS).clamp(0, 255)).unwrap_or(u8::MAX)
}

fn columns(picture: &Pixels, width: usize) -> Pixels {
    let channels = picture.channels;
    let taps = taps(picture.width, width);
    let mut data = Vec::with_capacity(picture.height * width * channels);
    for row in picture.data.chunks_exact(picture.width * channels) {
        for tap in &taps {
            data.extend(
                (0..channels).map(|c| filter(&row[tap.start * channels + c..], channels, &tap.weights)),
            );
        }
    }
    Pixels { width, data, ..*picture }
}

fn rows(picture: &Pixels, height: usize) -> Pixels {
    let stride = picture.width * picture.channels;
    let mut data = Vec::with_capacity(height * stride);
    for tap in taps(picture.height, height) {
        data.extend(
            (0..stride).map(|x| filter(&picture.data[tap.start * stride + x..], stride, &tap.weights)),
        );
    }
    Pixels { height, data, ..*picture }
}
