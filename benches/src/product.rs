//! Matrix products and convolutions.

use crate::{Case, Out, Spec, Work, noise};
use tq_kernels::{
    Depths, Epilogue, GatheredRows, GemmOut, KernelError, Kernels, Lhs, Multipliers, OutputStage, PAD,
    RhsMatrix,
};

/// Rows, inner dimension and columns of a product.
pub type Shape = (usize, usize, usize);

/// How weights are made. The largest of each channel is 127 unless they are all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weights {
    /// Normally distributed.
    Normal,
    /// Normally distributed, and the two of every pair of neighbours that meet in one 16-bit sum shrunk until their
    /// positive parts and their negative parts each come to 128 at most.
    OverflowSafe,
    /// All the same: decides which sequence of instructions runs.
    Same(i8),
}

/// The three modes of every table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Codes up to 127, as ranges reduced by a bit give.
    A1,
    /// Codes up to 255, weights whose pairs cannot saturate.
    A2,
    /// Codes up to 255, any weights.
    B,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::A1, Self::A2, Self::B];

    /// How it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::A1 => "A1",
            Self::A2 => "A2",
            Self::B => "B",
        }
    }
}

/// What becomes of the sums of a [`Product`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Codes, one multiplier for all channels.
    Codes,
    /// Codes, a multiplier a channel.
    CodesByChannel,
    /// Real values.
    Reals,
    /// The sums themselves.
    Sums,
}

/// A product: shape, operands, and what becomes of its sums.
#[derive(Debug, Clone, Copy)]
pub struct Product {
    /// Rows, inner dimension, columns.
    pub shape: Shape,
    /// How the weights are made.
    pub weights: Weights,
    /// The largest code; codes are uniform up to it.
    pub largest: u8,
    /// What is written.
    pub stage: Stage,
}

impl Product {
    /// A product with requantization in one of the modes.
    #[must_use]
    pub fn of_mode(shape: Shape, mode: Mode) -> Self {
        let weights = if mode == Mode::A2 { Weights::OverflowSafe } else { Weights::Normal };
        let largest = if mode == Mode::A1 { 127 } else { 255 };
        Self { shape, weights, largest, stage: Stage::Codes }
    }

    /// It as a case of this name.
    #[must_use]
    pub fn spec(self, name: impl Into<String>) -> Spec {
        let (m, k, n) = self.shape;
        let work = Work::Macs((m * k * n) as u64);
        Spec::new(name, work, move |kernels| self.case(kernels, &self.weights.make(n, k)))
    }

    /// It with weights of somebody else's, channel by channel, in place of those that it would make.
    #[must_use]
    pub fn spec_with(self, name: impl Into<String>, weights: Vec<i8>) -> Spec {
        let (m, k, n) = self.shape;
        Spec::new(name, Work::Macs((m * k * n) as u64), move |kernels| self.case(kernels, &weights))
    }

    /// It with so many copies of its weights, of which every call takes the next: where they are larger than the caches together, the weights come
    /// from memory. The elements of its work are its weights, the bytes that any layout has to read.
    #[must_use]
    pub fn from_memory(self, name: impl Into<String>, copies: usize) -> Spec {
        let (_, k, n) = self.shape;
        let work = Work::Elements((k * n) as u64);
        Spec::new(name, work, move |kernels| self.copied(kernels, &self.weights.make(n, k), copies))
    }

    fn case(self, kernels: &Kernels, rhs: &[i8]) -> Result<Case, KernelError> {
        self.copied(kernels, rhs, 1)
    }

    fn copied(self, kernels: &Kernels, rhs: &[i8], copies: usize) -> Result<Case, KernelError> {
        let (m, k, n) = self.shape;
        let lhs = codes(1, m * k, self.largest);
        let pack = |_| kernels.gemm().pack(&RhsMatrix::new(rhs, n, k));
        let packed = (0..copies.max(1)).map(pack).collect::<Result<Vec<_>, _>>()?;
        let call = std::cell::Cell::new(0);
        let by_channel = self.stage == Stage::CodesByChannel;
        let multiplier = vec![multiplier(k); if by_channel { n } else { 1 }];
        let out = match self.stage {
            Stage::Codes | Stage::CodesByChannel => Out::U8(vec![0; m * n]),
            Stage::Reals => Out::F32(vec![0.0; m * n]),
            Stage::Sums => Out::I32(vec![0; m * n]),
        };
        let kernels = kernels.clone();
        Ok(Case::new(kernels.gemm().name(), out, move |out| {
            let lhs = Lhs::Dense { data: &lhs, rows: m, row_stride: k };
            let (stage, out) = match out {
                Out::U8(data) => (requantize(&multiplier), GemmOut::U8 { data, row_stride: n }),
                Out::F32(data) => {
                    (OutputStage::dequantize(&multiplier), GemmOut::F32 { data, row_stride: n })
                }
                Out::I32(data) => (OutputStage::Accumulators, GemmOut::I32 { data, row_stride: n }),
            };
            call.set(call.get() + 1);
            let packed = &packed[call.get() % packed.len()];
            kernels.gemm().run(lhs, packed, &Epilogue { lhs_zero_point: 0, stage }, out)
        }))
    }

    /// How its products run on these kernels.
    ///
    /// # Errors
    /// Those of packing: none for sizes that fit memory.
    pub fn depths(self, kernels: &Kernels) -> Result<Depths, KernelError> {
        let (_, k, n) = self.shape;
        self.depths_with(kernels, &self.weights.make(n, k))
    }

    /// How its products with these weights run.
    ///
    /// # Errors
    /// Those of packing: a number of weights that is not that of the shape.
    pub fn depths_with(self, kernels: &Kernels, weights: &[i8]) -> Result<Depths, KernelError> {
        let (_, k, n) = self.shape;
        let packed = kernels.gemm().pack(&RhsMatrix::new(weights, n, k))?;
        Ok(kernels.gemm().depths(&packed, self.largest))
    }
}

/// Packing `n` channels of `k` weights: for many runs, or (`once`) for one, into memory that is there.
#[must_use]
pub fn packing(n: usize, k: usize, once: bool) -> Spec {
    let name = if once { "pack-into" } else { "pack" };
    Spec::new(format!("{name}/{k}x{n}"), Work::Elements((n * k) as u64), move |kernels| {
        let rhs = Weights::Normal.make(n, k);
        let packed = std::cell::RefCell::new(kernels.gemm().pack(&RhsMatrix::new(&rhs, n, k))?);
        let kernels = kernels.clone();
        // The layout is the kernel's own; what all layouts share are the sums of the columns.
        Ok(Case::new(kernels.gemm().name(), Out::I32(vec![0; n]), move |out| {
            let (mut packed, matrix) = (packed.borrow_mut(), RhsMatrix::new(&rhs, n, k));
            match once {
                true => kernels.gemm().pack_into(&matrix, &mut packed)?,
                false => *packed = kernels.gemm().pack(&matrix)?,
            }
            if let Out::I32(sums) = out {
                for (sum, &of) in sums.iter_mut().zip(packed.column_sums()) {
                    *sum = i32::try_from(of).unwrap_or(i32::MAX);
                }
            }
            Ok(())
        }))
    })
}

/// A convolution over a square image with a border of padding that keeps the size at stride 1, by the places of its taps.
#[derive(Debug, Clone, Copy)]
pub struct Conv {
    /// Height and width of the image.
    pub side: usize,
    /// Channels in and out.
    pub channels: (usize, usize),
    /// Height and width of the kernel, odd.
    pub kernel: usize,
    /// Step.
    pub stride: usize,
    /// The largest code.
    pub largest: u8,
}

impl Conv {
    /// It as a case of this name.
    #[must_use]
    pub fn spec(self, name: impl Into<String>) -> Spec {
        let taps = self.kernel * self.kernel;
        let macs = self.out_side().pow(2) * taps * self.channels.0 * self.channels.1;
        Spec::new(name, Work::Macs(macs as u64), move |kernels| self.case(kernels))
    }

    /// Height and width of the output.
    fn out_side(self) -> usize {
        self.side.div_ceil(self.stride)
    }

    fn case(self, kernels: &Kernels) -> Result<Case, KernelError> {
        let Self { side, channels: (c, n), kernel, stride, largest } = self;
        let out_side = self.out_side();
        let (rows, taps, border) = (out_side * out_side, kernel * kernel, kernel / 2);
        let (image, rhs) = (codes(1, side * side * c, largest), Weights::Normal.make(n, taps * c));
        let inside = border..border + side;
        let offset = |row: usize, tap: usize| {
            let (y, x) = (row / out_side * stride + tap / kernel, row % out_side * stride + tap % kernel);
            let here = inside.contains(&y) && inside.contains(&x);
            if here { ((y - border) * side + x - border) * c } else { PAD }
        };
        let offsets: Vec<usize> = (0..rows)
            .flat_map(|row| (0..taps).map(move |tap| (row, tap)))
            .map(|(r, t)| offset(r, t))
            .collect();
        let gather = GatheredRows::new(&offsets, rows, taps, c)?;
        let packed = kernels.gemm().pack(&RhsMatrix::new(&rhs, n, taps * c))?;
        let multiplier = [multiplier(taps * c)];
        let kernels = kernels.clone();
        Ok(Case::new(kernels.gemm().name(), Out::U8(vec![0; rows * n]), move |out| {
            let Out::U8(data) = out else { return Ok(()) };
            let lhs = Lhs::Indirect { data: &image, gather: &gather, rows, pad: 0 };
            let epilogue = Epilogue { lhs_zero_point: 0, stage: requantize(&multiplier) };
            kernels.gemm().run(lhs, &packed, &epilogue, GemmOut::U8 { data, row_stride: n })
        }))
    }
}

/// Keeps most outputs between the ends of their range.
pub(crate) fn multiplier(k: usize) -> f32 {
    1.0 / (k as f32 * 64.0)
}

pub(crate) fn requantize(multiplier: &[f32]) -> OutputStage<'_> {
    OutputStage::Requantize { multiplier: Multipliers::Float(multiplier), zero_point: 128, clamp: (0, 255) }
}

/// Codes, uniform up to the largest one.
#[must_use]
pub fn codes(seed: u32, len: usize, largest: u8) -> Vec<u8> {
    noise(seed, len).into_iter().map(|v| ((v >> 7) % (u32::from(largest) + 1)) as u8).collect()
}

impl Weights {
    /// `n` channels of `k` weights.
    #[must_use]
    pub fn make(self, n: usize, k: usize) -> Vec<i8> {
        if let Self::Same(weight) = self {
            return vec![weight; n * k];
        }
        let reals = normal(3, n * k);
        let mut weights: Vec<i8> = reals.chunks_exact(k.max(1)).flat_map(channel).collect();
        if self == Self::OverflowSafe {
            weights.chunks_exact_mut(k.max(1)).flat_map(|row| row.chunks_exact_mut(2)).for_each(shrink);
        }
        weights
    }
}

/// Sums of twelve numbers of 0..1 less 6: nearly normal.
pub(crate) fn normal(seed: u32, len: usize) -> Vec<f32> {
    let noise = noise(seed, 12 * len);
    noise.chunks_exact(12).map(|n| n.iter().map(|&v| v as f32 / u32::MAX as f32).sum::<f32>() - 6.0).collect()
}

fn channel(row: &[f32]) -> Vec<i8> {
    let largest = row.iter().fold(0f32, |most, w| most.max(w.abs()));
    row.iter().map(|w| (w / largest * 127.0).round_ties_even() as i8).collect()
}

/// Brings two weights of one sign to a sum of 128 at most, in their proportion.
fn shrink(pair: &mut [i8]) {
    let [a, b] = pair else { return };
    let sum = i32::from(*a).abs() + i32::from(*b).abs();
    if sum > 128 && (*a < 0) == (*b < 0) {
        let of = |w: i8| (i32::from(w) * 128 / sum) as i8;
        (*a, *b) = (of(*a), of(*b));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_overflow_safe_weights_come_to_128_at_most() {
        let (safe, any) = (Weights::OverflowSafe.make(8, 300), Weights::Normal.make(8, 300));
        let worst = |weights: &[i8]| {
            let sums = weights.chunks_exact(2).map(|pair| {
                let part = |sign: i32| pair.iter().map(|&w| (i32::from(w) * sign).max(0)).sum::<i32>();
                part(1).max(part(-1))
            });
            sums.max().unwrap_or(0)
        };
        assert!(worst(&safe) <= 128 && worst(&any) > 128, "{} {}", worst(&safe), worst(&any));
        let same = safe.iter().zip(&any).filter(|(a, b)| a == b).count();
        assert!(same > any.len() * 9 / 10, "{same} of {} kept", any.len());
    }

    #[test]
    fn equal_weights_take_the_depth_that_they_are_chosen_for() {
        #[cfg(target_arch = "x86_64")]
        if let Some(token) = tq_x86::Avx2::detect() {
            let kernels = Kernels::shared(std::sync::Arc::new(tq_x86::Avx2Library::new(token)));
            let depths = |weight| {
                let (shape, weights) = ((6, 512, 64), Weights::Same(weight));
                let depths = Product { shape, weights, largest: 255, stage: Stage::Codes }.depths(&kernels);
                depths.map(|d| (d.two > 0, d.one > 0, d.plain > 0))
            };
            assert_eq!(depths(crate::TWO_DEEP), Ok((true, false, false)));
            assert_eq!(depths(crate::ONE_DEEP), Ok((false, true, false)));
            assert_eq!(depths(crate::PLAIN), Ok((false, false, true)));
        }
    }
}
