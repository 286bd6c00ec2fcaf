//! Transposed convolutions, which are several gathered products each.

use crate::product::{codes, multiplier, requantize};
use crate::{Case, Out, Spec, Weights, Work};
use tq_kernels::{Epilogue, GatheredRows, GemmOut, KernelError, Kernels, Lhs, PAD, PackedRhs, RhsMatrix};

/// A transposed convolution over a square image, whose output is `stride` times as high and as wide.
///
/// Outputs that agree in their remainder by the stride meet the same taps of the kernel. Each such phase is a product of its own,
/// and its rows are written one after the other, as sessions have them before they bring them into the order of the image.
#[derive(Debug, Clone, Copy)]
pub struct Transposed {
    /// Height and width of the image.
    pub side: usize,
    /// Channels in and out.
    pub channels: (usize, usize),
    /// Height and width of the kernel, no smaller than the stride.
    pub kernel: usize,
    /// Distance in the output of what two neighbours of the image give.
    pub stride: usize,
}

/// The product of one phase.
struct Phase {
    gather: GatheredRows,
    packed: PackedRhs,
    multiplier: [f32; 1],
}

impl Transposed {
    /// It as a case.
    #[must_use]
    pub fn spec(self) -> Spec {
        let Self { side, channels: (c, n), kernel, stride } = self;
        // Every place of the image meets every tap once.
        let macs = side * side * kernel * kernel * c * n;
        let name = format!("conv/transposed-{kernel}x{kernel}s{stride}/{side}x{side}x{c}");
        Spec::new(name, Work::Macs(macs as u64), move |kernels| self.case(kernels))
    }

    /// What is cut off the start of each axis, so that the output has its size.
    pub(crate) fn begin(self) -> usize {
        (self.kernel - self.stride).div_ceil(2)
    }

    fn case(self, kernels: &Kernels) -> Result<Case, KernelError> {
        let Self { side, channels: (c, n), stride, .. } = self;
        let phases = (0..stride * stride).map(|phase| self.phase(kernels, phase / stride, phase % stride));
        let phases = phases.collect::<Result<Vec<_>, _>>()?;
        let (image, rows) = (codes(1, side * side * c, 255), side * side);
        let kernels = kernels.clone();
        let out = Out::U8(vec![0; phases.len() * rows * n]);
        Ok(Case::new(kernels.gemm().name(), out, move |out| {
            let Out::U8(out) = out else { return Ok(()) };
            for (phase, data) in phases.iter().zip(out.chunks_exact_mut(rows * n)) {
                let Phase { gather, packed, multiplier } = phase;
                let lhs = Lhs::Indirect { data: &image, gather, rows, pad: 3 };
                let epilogue = Epilogue { lhs_zero_point: 3, stage: requantize(multiplier) };
                kernels.gemm().run(lhs, packed, &epilogue, GemmOut::U8 { data, row_stride: n })?;
            }
            Ok(())
        }))
    }

    /// The outputs with these remainders by the stride, down and across, counted before anything is cut off.
    fn phase(self, kernels: &Kernels, down: usize, across: usize) -> Result<Phase, KernelError> {
        let Self { side, channels: (c, n), kernel, stride } = self;
        let begin = self.begin();
        // For each output along one axis the places that its taps read.
        let along = |remainder: usize| -> Vec<Vec<Option<usize>>> {
            let outputs = (begin..begin + side * stride).filter(|o| o % stride == remainder);
            let taps = (remainder..kernel).step_by(stride);
            let place = |o: usize, k: usize| o.checked_sub(k).map(|o| o / stride).filter(|p| *p < side);
            outputs.map(|o| taps.clone().map(|k| place(o, k)).collect()).collect()
        };
        let (rows, columns) = (along(down), along(across));
        let mut offsets = Vec::new();
        for (ys, xs) in rows.iter().flat_map(|ys| columns.iter().map(move |xs| (ys, xs))) {
            let taps = ys.iter().flat_map(|y| xs.iter().map(move |x| y.zip(*x)));
            offsets.extend(taps.map(|tap| tap.map_or(PAD, |(y, x)| (y * side + x) * c)));
        }
        let taps = offsets.len() / (side * side);
        let packed = kernels.gemm().pack(&RhsMatrix::new(&Weights::Normal.make(n, taps * c), n, taps * c))?;
        let gather = GatheredRows::new(&offsets, side * side, taps, c)?;
        Ok(Phase { gather, packed, multiplier: [multiplier(taps * c)] })
    }
}
