//! Matrix products of a few shapes on every library that this machine runs.

use super::{Rate, SequencePeak, chosen, repeat};
use crate::session::natives;
use serde::Serialize;
use std::time::Duration;
use tq_kernels::parallel::serially;
use tq_kernels::{Epilogue, GemmOut, KernelError, Kernels, Lhs, Multipliers, OutputStage, RhsMatrix};

/// Rows, inner dimension and columns: a square product, a convolution, a linear layer, and one row of a large one.
const SHAPES: [(usize, usize, usize); 4] =
    [(256, 256, 256), (784, 1152, 128), (16, 768, 3072), (1, 4096, 4096)];

/// What a product reached.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProductFigures {
    /// Rows, inner dimension, columns.
    pub shape: (usize, usize, usize),
    /// The largest code on the left.
    pub largest_code: u8,
    /// The kernel.
    pub kernel: &'static str,
    /// Whether sessions use it.
    pub chosen: bool,
    /// 10⁹ multiply-adds a second, of one thread.
    pub gmacs: Rate,
    /// Its best repetition over the best of the fastest sequence of its level, where there is one. `None` too where it comes to more: the
    /// peak was measured on a busy machine then.
    pub of_peak: Option<f64>,
}

/// Every library of this processor that `TQ_ISA` allows, the scalar one last.
fn libraries() -> impl Iterator<Item = Kernels> {
    natives().map(|library| Kernels::new(Some(library))).chain([Kernels::scalar()])
}

pub(super) fn measure(peaks: &[SequencePeak], each: Duration) -> Result<Vec<ProductFigures>, KernelError> {
    let chosen = chosen().gemm().name();
    let mut figures = Vec::new();
    for shape in SHAPES {
        let (m, k, n) = shape;
        let rhs = weights(n, k);
        let noise = noise(m * k);
        for largest_code in [127u8, 255] {
            let lhs: Vec<u8> = noise.iter().map(|v| (v % (u32::from(largest_code) + 1)) as u8).collect();
            for kernels in libraries() {
                let gemm = kernels.gemm();
                // Portable loops are for comparison, which one shape serves.
                if kernels.library().isa() == tq_kernels::Isa::Scalar
                    && shape != SHAPES[0]
                    && gemm.name() != chosen
                {
                    continue;
                }
                let packed = gemm.pack(&RhsMatrix::new(&rhs, n, k))?;
                let mut out = vec![0u8; m * n];
                let stage = OutputStage::Requantize {
                    multiplier: Multipliers::Float(&[1e-4]),
                    zero_point: 128,
                    clamp: (0, 255),
                };
                let epilogue = Epilogue { lhs_zero_point: 0, stage };
                let mut result = Ok(());
                let seconds = serially(|| {
                    repeat(each, || {
                        let lhs = Lhs::Dense { data: &lhs, rows: m, row_stride: k };
                        let out = GemmOut::U8 { data: &mut out, row_stride: n };
                        let run = gemm.run(lhs, &packed, &epilogue, out);
                        if result.is_ok() {
                            result = run;
                        }
                    })
                });
                result?;
                let gmacs = Rate::of((m * k * n) as f64, seconds);
                let isa = kernels.library().isa().name();
                let peak = peaks.iter().filter(|p| p.isa == isa).map(|p| p.gmacs.best).max_by(f64::total_cmp);
                figures.push(ProductFigures {
                    shape,
                    largest_code,
                    kernel: gemm.name(),
                    chosen: gemm.name() == chosen,
                    gmacs,
                    // A product that beats the peak shows that something else ran while the peak was measured.
                    of_peak: peak.map(|peak| gmacs.best / peak).filter(|share| *share <= 1.02),
                });
            }
        }
    }
    Ok(figures)
}

/// Numbers of 31 bits that look random (xorshift).
fn noise(len: usize) -> Vec<u32> {
    let mut x = 0x9E37_79B9u32;
    let next = || {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x >> 1
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// `n` channels of `k` weights, near enough normally distributed (sums of four), the largest near 127.
fn weights(n: usize, k: usize) -> Vec<i8> {
    let sum = |v: u32| (0..4).map(|i| (v >> (7 * i) & 127) as i32).sum::<i32>() / 2 - 127;
    noise(n * k).into_iter().map(|v| sum(v) as i8).collect()
}
