//! The histogram of PyTorch 2.5's `HistogramObserver`, and its search, to the last bit.
//!
//! Reproduced with their faults: counts are f32 and stay at 2^24 within a batch; when the range grows, the old
//! histogram is spread over bins of a sixteenth and each goes where its middle falls; a first batch of one value is
//! given the weight of the second batch instead of its own; the search counts 2^bits codes although the range may
//! have fewer, and its error model has no code for zero.
//!
//! PyTorch computes tensor by tensor in f32 with a few numbers of Python, which are f64, in between. Every rounding
//! of it stands here as it does there. Sums follow PyTorch's order for vectors of eight floats (AVX2).

use crate::Range;

/// How many parts a bin is cut into before it is given to the bins of a larger range.
const UPSAMPLE: usize = 16;
/// The search moves an end of the range by this share of the mass.
const STEP: f64 = 1e-5;

/// Counts of equal bins over a range.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PyTorchHistogram {
    pub(crate) range: Range,
    pub(crate) counts: Vec<f32>,
}

impl PyTorchHistogram {
    /// The histogram of the first batch; all data finite.
    pub(crate) fn first(data: &[f32], range: Range, bins: usize) -> Self {
        Self { range, counts: histc(data, bins, range) }
    }

    /// Adds a batch of this range; all data finite.
    pub(crate) fn add(&mut self, data: &[f32], range: Range) {
        let union = self.range.union(range);
        let update = histc(data, self.counts.len(), union);
        self.combine(&update, union);
    }

    /// Adds what another observer has counted: its counts are spread over the common range as old counts are.
    pub(crate) fn merge(&mut self, other: &PyTorchHistogram) {
        let union = self.range.union(other.range);
        let update = if other.range == union { other.counts.clone() } else { other.spread(union) };
        if self.range != union {
            self.counts = self.spread(union);
            self.range = union;
        }
        self.counts.iter_mut().zip(&update).for_each(|(a, b)| *a += b);
    }

    /// Adds counts over `union`, which holds this range.
    fn combine(&mut self, update: &[f32], union: Range) {
        let old = if union == self.range {
            std::mem::take(&mut self.counts)
        } else if self.range.min == self.range.max {
            // PyTorch takes the sum of the new counts, not of the old ones, for the value it had seen.
            let mass = sum(update);
            let mut old = histc(&[self.range.min], update.len(), union);
            old.iter_mut().for_each(|c| *c *= mass);
            old
        } else {
            self.spread(union)
        };
        self.counts = update.iter().zip(&old).map(|(u, o)| u + o).collect();
        self.range = union;
    }

    /// These counts over a larger range.
    fn spread(&self, union: Range) -> Vec<f32> {
        let bins = self.counts.len();
        let Range { min, max } = self.range;
        if min == max {
            let mass = sum(&self.counts);
            return histc(&[min], bins, union).into_iter().map(|c| c * mass).collect();
        }
        let parts = bins * UPSAMPLE;
        let part_width = (max - min) / parts as f32;
        let edges: Vec<f32> = (0..=bins).map(|i| linspace(union, bins, i)).collect();
        let mut out = vec![0.0f32; bins];
        for i in 0..parts {
            let middle = linspace(self.range, parts, i) + 0.5 * part_width;
            let bin = edges.partition_point(|e| *e <= middle).saturating_sub(1).min(bins - 1);
            out[bin] += self.counts[i / UPSAMPLE] / UPSAMPLE as f32;
        }
        out
    }

    /// The range that the greedy search settles on; codes of `bits` bits.
    pub(crate) fn search(&self, bits: u32) -> Range {
        let bins = self.counts.len();
        let Range { min, max } = self.range;
        let total = f64::from(sum(&self.counts));
        let mut running = 0.0f64;
        let cumulative: Vec<f32> = self
            .counts
            .iter()
            .map(|c| {
                running += f64::from(*c);
                running as f32
            })
            .collect();
        let (mut alpha, mut beta) = (0.0f64, 1.0f64);
        let (mut start, mut end) = (0, bins - 1);
        let mut norm_min = f32::INFINITY;
        let mut model = ErrorModel::new(self, bits);
        while alpha < beta {
            let (next_alpha, next_beta) = (alpha + STEP, beta - STEP);
            let (left, right) = ((next_alpha * total) as f32, (next_beta * total) as f32);
            let (mut l, mut r) = (start, end);
            while l < end && cumulative[l] < left {
                l += 1;
            }
            while r > start && cumulative[r] > right {
                r -= 1;
            }
            let (mut next_start, mut next_end) = (start, end);
            if l - start > end - r {
                next_start = l;
                alpha = next_alpha;
            } else {
                next_end = r;
                beta = next_beta;
            }
            if (next_start, next_end) == (start, end) {
                continue;
            }
            let norm = model.error(next_start, next_end);
            if norm > norm_min {
                break;
            }
            norm_min = norm;
            (start, end) = (next_start, next_end);
        }
        let width = (max - min) / bins as f32;
        Range { min: min + width * start as f32, max: min + width * (end + 1) as f32 }
    }
}

/// PyTorch's `torch.histc`: equal bins over `range`, values outside left out; for a range of one value, one to each
/// side of it.
fn histc(data: &[f32], bins: usize, range: Range) -> Vec<f32> {
    let Range { mut min, mut max } = range;
    if min == max {
        min -= 1.0;
        max += 1.0;
    }
    let mut counts = vec![0u64; bins];
    for &x in data {
        if !(x >= min && x <= max) {
            continue;
        }
        let position = (x - min) * bins as f32 / (max - min);
        // A width that rounds to zero or to infinity: what PyTorch makes of it on x86 ends in the first bin.
        let bin = if position.is_finite() { position as usize } else { 0 };
        counts[bin.min(bins - 1)] += 1;
    }
    // An f32 that is counted up by one stays at 2^24.
    counts.into_iter().map(|c| c.min(1 << 24) as f32).collect()
}

/// Point `i` of `steps + 1` points from `range.min` to `range.max`, as `torch.linspace` has it: from the nearer end,
/// product and sum rounded once together (PyTorch's build for AVX2 and newer fuses them).
fn linspace(range: Range, steps: usize, i: usize) -> f32 {
    let step = (range.max - range.min) / steps as f32;
    if i < steps.div_ceil(2) {
        step.mul_add(i as f32, range.min)
    } else {
        (-step).mul_add((steps - i) as f32, range.max)
    }
}

/// PyTorch's L2 error of spreading the counts over `2^bits` codes between two bins.
struct ErrorModel<'a> {
    counts: &'a [f32],
    width: f64,
    codes: f64,
    norm: Vec<f32>,
}

impl<'a> ErrorModel<'a> {
    fn new(histogram: &'a PyTorchHistogram, bits: u32) -> Self {
        let Range { min, max } = histogram.range;
        let counts = &histogram.counts;
        let width = (f64::from(max) - f64::from(min)) / counts.len() as f64;
        Self { counts, width, codes: f64::from(bits).exp2(), norm: vec![0.0; counts.len()] }
    }

    /// The integral of the squared distance to the nearest code, over all bins, each of uniform density.
    fn error(&mut self, start: usize, end: usize) -> f32 {
        let code_width = self.width * (end - start + 1) as f64 / self.codes;
        if code_width == 0.0 {
            return 0.0;
        }
        let (width, last) = (self.width as f32, (self.codes - 1.0) as f32);
        let (code_width, half) = (code_width as f32, (code_width / 2.0) as f32);
        let floor = |x: f32| ((f64::from(x) / f64::from(code_width)).floor() as f32).clamp(0.0, last);
        let integral = |from: f32, to: f32| (to * to * to - from * from * from) / 3.0;
        let whole = integral(-half, half);
        for (i, (norm, count)) in self.norm.iter_mut().zip(self.counts).enumerate() {
            let begin = (i as i64 - start as i64) as f32 * width;
            let end = begin + width;
            let (code_of_begin, code_of_end) = (floor(begin), floor(end));
            let density = count / width;
            let from = begin - (code_of_begin + 0.5) * code_width;
            let to = end - (code_of_end * code_width + half);
            let head = density * integral(from, half);
            let between = (code_of_end - code_of_begin - 1.0) * (density * whole);
            let tail = density * integral(-half, to);
            *norm = head + between + tail;
        }
        sum(&self.norm)
    }
}

/// The sum of contiguous f32 values in the order of `torch.sum` on AVX2: vectors of eight, four of them side by side,
/// added up in blocks of blocks.
fn sum(values: &[f32]) -> f32 {
    const LANES: usize = 8;
    const SIDE: usize = 4;
    const LEVELS: usize = 4;
    type Block = [[f32; LANES]; SIDE];
    fn add(to: &mut Block, from: &Block) {
        for (a, b) in to.iter_mut().flatten().zip(from.iter().flatten()) {
            *a += b;
        }
    }
    let (vectors, rest) = values.as_chunks::<LANES>();
    let (blocks, odd) = vectors.as_chunks::<SIDE>();
    let size = blocks.len();
    let power = (size.max(1).next_power_of_two().trailing_zeros() as usize / LEVELS).max(4);
    let step = 1 << power;
    let mut levels = [Block::default(); LEVELS];
    for (i, block) in blocks.iter().enumerate() {
        add(&mut levels[0], block);
        let done = i + 1;
        if done % step != 0 {
            continue;
        }
        for level in 1..LEVELS {
            let below = std::mem::take(&mut levels[level - 1]);
            add(&mut levels[level], &below);
            if done & ((step - 1) << (level * power)) != 0 {
                break;
            }
        }
    }
    let [mut all, upper @ ..] = levels;
    upper.iter().for_each(|level| add(&mut all, level));
    let [mut lanes, sides @ ..] = all;
    let vectors = odd.iter().chain(&sides);
    for vector in vectors {
        lanes.iter_mut().zip(vector).for_each(|(a, b)| *a += b);
    }
    let tail = rest.iter().fold(0.0, |s, v| s + v);
    lanes.iter().fold(tail, |s, v| s + v)
}
