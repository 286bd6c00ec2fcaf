//! Inner loops over contiguous rows of codes, shared by all families.
//!
//! Every method has a scalar body, which is the definition. A backend overrides those that it can vectorise
//! without changing one bit.

use crate::binary::{BinaryOp, BinaryParams};
use crate::buffer::AlignedBuffer;
use crate::depthwise::DepthwiseRun;
use std::fmt::Debug;
use tq_qtypes::Rounding;
use tq_qtypes::affine::{dequantize_f32, quantize_f32};
use tq_qtypes::fixed_point;
use tq_qtypes::requantize::{requantize, round_clamped};

/// Per-tensor affine parameters of `u8` codes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AffineU8 {
    /// Real value of one step.
    pub scale: f32,
    /// Code of real zero, 0..=255.
    pub zero_point: i32,
}

/// The parts of a requantization that all channels share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requantize {
    /// Output code of real zero, 0..=255.
    pub zero_point: i32,
    /// Smallest and largest output code, 0..=255: a fused ReLU or clamp.
    pub clamp: (i32, i32),
}

/// Multipliers of a requantization, one a column.
#[derive(Debug, Clone, Copy)]
pub enum RowMultipliers<'a> {
    /// [`fn@tq_qtypes::requantize::requantize`].
    Float(&'a [f32]),
    /// [`fn@tq_qtypes::fixed_point::requantize`]: the parts of
    /// [`FixedPointMultiplier`](tq_qtypes::fixed_point::FixedPointMultiplier)s.
    FixedPoint {
        /// Fractions in units of `2^-31`.
        multiplier: &'a [i32],
        /// Powers of two; what is beyond -31 and 31 counts as these.
        shift: &'a [i32],
    },
}

impl<'a> RowMultipliers<'a> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            RowMultipliers::Float(m) => m.len(),
            RowMultipliers::FixedPoint { multiplier, shift } => multiplier.len().min(shift.len()),
        }
    }

    /// True where there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those from `first` on. Panics where there are fewer.
    #[must_use]
    pub fn from(self, first: usize) -> RowMultipliers<'a> {
        match self {
            RowMultipliers::Float(m) => RowMultipliers::Float(&m[first..]),
            RowMultipliers::FixedPoint { multiplier, shift } => {
                RowMultipliers::FixedPoint { multiplier: &multiplier[first..], shift: &shift[first..] }
            }
        }
    }
}

/// What is added to real outputs.
#[derive(Debug, Clone, Copy)]
pub enum Addend<'a> {
    /// Nothing.
    None,
    /// A bias, one a column.
    Columns(&'a [f32]),
    /// What the output holds.
    Output,
}

impl<'a> Addend<'a> {
    /// That of the columns from `first` on. Panics where there are fewer.
    #[must_use]
    pub fn from(self, first: usize) -> Addend<'a> {
        match self {
            Addend::Columns(bias) => Addend::Columns(&bias[first..]),
            other => other,
        }
    }
}

/// Names of the kernels that one [`RowKernel`] makes, as shown by explain, in errors and in benches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowNames {
    /// Depthwise convolution.
    pub depthwise: &'static str,
    /// Elementwise binary operators.
    pub binary: &'static str,
    /// Pooling.
    pub pool: &'static str,
    /// Quantize and dequantize.
    pub convert: &'static str,
    /// Lookup tables.
    pub lookup: &'static str,
}

/// One tap of a depthwise window over a run of output positions.
#[derive(Debug, Clone, Copy)]
pub struct Tap<'a> {
    /// The codes under the tap, from the first position and channel on.
    pub codes: &'a [u8],
    /// Codes from one position to the next; 0 for padding, which every position shares.
    pub step: usize,
}

/// The inner loops of one instruction-set level.
///
/// Slices that correspond element by element have equal lengths; implementations go by the shortest, so that no
/// argument can make them read or write outside a slice.
pub trait RowKernel: Copy + Send + Sync + Debug + 'static {
    /// Names of the kernels built on these loops.
    fn row_names(&self) -> RowNames;

    /// Codes of a tile of accumulators: for each row `r` and column `c < offset.len()`,
    /// `out[r * out_stride + c] = requantize(acc[r * acc_stride + c] + offset[c], multipliers[c])`.
    ///
    /// The sum does not overflow: the caller has proved it.
    #[allow(clippy::too_many_arguments, reason = "one tile: two strided matrices and two vectors")]
    fn requantize_tile(
        &self,
        rows: usize,
        acc: &[i32],
        acc_stride: usize,
        offset: &[i32],
        multipliers: RowMultipliers,
        params: Requantize,
        out: &mut [u8],
        out_stride: usize,
    ) {
        for r in 0..rows {
            let (acc, out) = (&acc[r * acc_stride..], &mut out[r * out_stride..]);
            requantize_row(acc, offset, multipliers, params, out);
        }
    }

    /// Real values of a tile of accumulators: for each row `r` and column `c < offset.len()`,
    /// `out[r * out_stride + c] = (acc[r * acc_stride + c] + offset[c]) as f32 * scale[c] + addend`, the conversion and every
    /// operation on reals rounded once.
    ///
    /// The sum of integers does not overflow: the caller has proved it. An addend of columns is as long as the scales, or this panics.
    #[allow(clippy::too_many_arguments, reason = "one tile: two strided matrices and three vectors")]
    fn dequantize_tile(
        &self,
        rows: usize,
        acc: &[i32],
        acc_stride: usize,
        offset: &[i32],
        scale: &[f32],
        addend: Addend,
        out: &mut [f32],
        out_stride: usize,
    ) {
        // Eight at a time, a number that vectors of all widths divide: rows are too short for a loop that finds out how it is best
        // walked.
        const LANES: usize = 8;
        let n = offset.len().min(scale.len());
        let whole = n / LANES * LANES;
        let columns = offset.as_chunks::<LANES>().0.iter().zip(scale.as_chunks::<LANES>().0);
        for (c, (offset, scale)) in columns.enumerate() {
            let (c, addend) = (c * LANES, addend.from(c * LANES));
            for r in 0..rows {
                let (acc, out) =
                    (&acc[r * acc_stride + c..][..LANES], &mut out[r * out_stride + c..][..LANES]);
                dequantize_row(acc, offset, scale, addend, out);
            }
        }
        if whole < n {
            for r in 0..rows {
                let (acc, out) = (&acc[r * acc_stride + whole..], &mut out[r * out_stride + whole..]);
                dequantize_row(acc, &offset[whole..], &scale[whole..], addend.from(whole), out);
            }
        }
    }

    /// `acc[p * channels + c] += Σ_t taps[t].codes[p * taps[t].step + c] * weights[t * weight_stride + c]` for
    /// `p < positions` and `c < channels`.
    ///
    /// Weights are in -255..=255.
    fn depthwise(
        &self,
        positions: usize,
        channels: usize,
        taps: &[Tap],
        weights: &[i16],
        weight_stride: usize,
        acc: &mut [i32],
    ) {
        depthwise_channels(0, positions, channels, taps, weights, weight_stride, acc);
    }

    /// Depthwise weights `[taps][channels]`, each in -255..=255, for [`RowKernel::depthwise_codes`]; empty where that has no
    /// loop for them.
    fn pack_depthwise(&self, channels: usize, weights: &[i16]) -> AlignedBuffer {
        let _ = (channels, weights);
        AlignedBuffer::default()
    }

    /// Codes of a run of depthwise windows in one go; asked only with what [`RowKernel::pack_depthwise`] packed.
    ///
    /// For each position `p < positions` and channel `c < channels`, with the weights `w` that were packed:
    /// `out[p * out_stride + c] = requantize(Σ_t taps[t][p * step + c] * w[t][c] + offset[c], multipliers[c])`.
    fn depthwise_codes(&self, run: &DepthwiseRun, out: &mut [u8], out_stride: usize) {
        let _ = (run, out, out_stride);
    }

    /// `acc[c] = max(acc[c], row[c])`.
    fn max_row(&self, acc: &mut [u8], row: &[u8]) {
        for (acc, &a) in acc.iter_mut().zip(row) {
            *acc = (*acc).max(a);
        }
    }

    /// `acc[c] += row[c]`. The caller bounds the number of rows.
    fn sum_row(&self, acc: &mut [i32], row: &[u8]) {
        for (acc, &a) in acc.iter_mut().zip(row) {
            *acc += i32::from(a);
        }
    }

    /// The binary operator on codes of equal length.
    fn binary(&self, params: &BinaryParams, lhs: &[u8], rhs: &[u8], out: &mut [u8]) {
        binary_row(params, lhs, rhs, out);
    }

    /// Codes of real values: `clamp(round_half_even(x / scale) + zero_point)`, NaN giving the lower bound.
    fn quantize(&self, src: &[f32], params: AffineU8, clamp: (i32, i32), dst: &mut [u8]) {
        quantize_row(src, params, clamp, dst);
    }

    /// Real values of codes: `scale * (code - zero_point)`.
    fn dequantize(&self, src: &[u8], params: AffineU8, dst: &mut [f32]) {
        for (d, &q) in dst.iter_mut().zip(src) {
            *d = dequantize_f32(i32::from(q), params.scale, params.zero_point);
        }
    }

    /// Smallest and largest of the values and zero, NaN passed over; a zero at either end is positive.
    fn real_range(&self, src: &[f32]) -> (f32, f32) {
        real_range_row(src)
    }

    /// `dst[i] = table[src[i]]`.
    fn lookup(&self, table: &[u8; 256], src: &[u8], dst: &mut [u8]) {
        lookup_row(table, src, dst);
    }
}

/// [`RowKernel::depthwise`] for channels from `first` on, also the remainder loop of vector versions.
pub fn depthwise_channels(
    first: usize,
    positions: usize,
    channels: usize,
    taps: &[Tap],
    weights: &[i16],
    weight_stride: usize,
    acc: &mut [i32],
) {
    if first >= channels {
        return;
    }
    for (p, acc) in acc.chunks_exact_mut(channels).take(positions).enumerate() {
        let acc = &mut acc[first..];
        for (t, tap) in taps.iter().enumerate() {
            let (codes, weights) =
                (&tap.codes[p * tap.step + first..], &weights[t * weight_stride + first..]);
            for ((acc, &a), &w) in acc.iter_mut().zip(codes).zip(weights) {
                *acc += i32::from(i16::from(a)) * i32::from(w);
            }
        }
    }
}

/// One row of [`RowKernel::requantize_tile`], also the remainder loop of vector versions.
pub fn requantize_row(
    acc: &[i32],
    offset: &[i32],
    multipliers: RowMultipliers,
    params: Requantize,
    out: &mut [u8],
) {
    let Requantize { zero_point, clamp: (min, max) } = params;
    let sums = out.iter_mut().zip(acc.iter().zip(offset).map(|(acc, offset)| acc + offset));
    match multipliers {
        RowMultipliers::Float(multiplier) => {
            for ((out, acc), &m) in sums.zip(multiplier) {
                *out = requantize(acc, m, zero_point, min, max) as u8;
            }
        }
        RowMultipliers::FixedPoint { multiplier, shift } => {
            for ((out, acc), (&m, &shift)) in sums.zip(multiplier.iter().zip(shift)) {
                *out = fixed_point::requantize(acc, m, shift, zero_point, min, max) as u8;
            }
        }
    }
}

/// One row of [`RowKernel::dequantize_tile`], also the remainder loop of vector versions.
#[inline(always)]
pub fn dequantize_row(acc: &[i32], offset: &[i32], scale: &[f32], addend: Addend, out: &mut [f32]) {
    let sums = acc.iter().zip(offset).map(|(acc, offset)| (acc + offset) as f32);
    let products = out.iter_mut().zip(sums.zip(scale).map(|(sum, scale)| sum * scale));
    match addend {
        Addend::None => products.for_each(|(out, product)| *out = product),
        Addend::Columns(bias) => products.zip(bias).for_each(|((out, product), bias)| *out = product + bias),
        Addend::Output => products.for_each(|(out, product)| *out += product),
    }
}

/// [`RowKernel::binary`] one element at a time, also the remainder loop of vector versions.
pub fn binary_row(params: &BinaryParams, lhs: &[u8], rhs: &[u8], out: &mut [u8]) {
    // One loop per operator: the branch stays outside.
    match params.op {
        BinaryOp::Add => binary_row_by(params, lhs, rhs, out, |a, b| a + b),
        BinaryOp::Sub => binary_row_by(params, lhs, rhs, out, |a, b| a - b),
        BinaryOp::ReverseSub => binary_row_by(params, lhs, rhs, out, |a, b| b - a),
        BinaryOp::Mul => binary_row_by(params, lhs, rhs, out, |a, b| a * b),
    }
}

fn binary_row_by(p: &BinaryParams, lhs: &[u8], rhs: &[u8], out: &mut [u8], f: impl Fn(f32, f32) -> f32) {
    for ((out, &a), &b) in out.iter_mut().zip(lhs).zip(rhs) {
        let a = dequantize_f32(i32::from(a), p.lhs.scale, p.lhs.zero_point);
        let b = dequantize_f32(i32::from(b), p.rhs.scale, p.rhs.zero_point);
        *out = round_clamped(f(a, b) / p.out.scale, p.out.zero_point, p.clamp.0, p.clamp.1) as u8;
    }
}

/// [`RowKernel::quantize`] one element at a time, also the remainder loop of vector versions.
pub fn quantize_row(src: &[f32], params: AffineU8, clamp: (i32, i32), dst: &mut [u8]) {
    for (d, &x) in dst.iter_mut().zip(src) {
        *d = quantize_f32(x, params.scale, params.zero_point, clamp.0, clamp.1, Rounding::Divide) as u8;
    }
}

/// [`RowKernel::real_range`] in portable Rust, also the remainder loop of vector versions.
#[must_use]
pub fn real_range_row(src: &[f32]) -> (f32, f32) {
    // Each lane has its own ends: compilers make vectors of them, but not of one fold.
    let (blocks, rest) = src.as_chunks::<16>();
    let (mut low, mut high) = ([0.0; 16], [0.0; 16]);
    for block in blocks {
        for ((low, high), &x) in low.iter_mut().zip(&mut high).zip(block) {
            (*low, *high) = wider((*low, *high), (x, x));
        }
    }
    let lanes = low.into_iter().zip(high);
    rest.iter().map(|&x| (x, x)).chain(lanes).fold((0.0, 0.0), wider)
}

/// The range that has both, where `range` is one and the ends of `other` may be NaN, which counts for nothing.
///
/// An end moves only for what is beyond it, so zeros stay as they are, whatever sign that of `other` has.
#[inline]
pub(crate) fn wider(range: (f32, f32), other: (f32, f32)) -> (f32, f32) {
    (if other.0 < range.0 { other.0 } else { range.0 }, if other.1 > range.1 { other.1 } else { range.1 })
}

/// [`RowKernel::lookup`] one code at a time, also for rows shorter than a vector.
pub fn lookup_row(table: &[u8; 256], src: &[u8], dst: &mut [u8]) {
    for (d, &s) in dst.iter_mut().zip(src) {
        *d = table[usize::from(s)];
    }
}
