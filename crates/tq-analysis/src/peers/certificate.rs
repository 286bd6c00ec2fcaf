//! Facts about the weights of a layer: which sums fit which width.

use super::matrix::Matrix;
use super::sums::may_saturate;
use serde::Serialize;
use tq_graph::Graph;
use tq_graph::qdq::QdqView;
use tq_kernels::accumulator_bound;

/// Pairs of neighbouring weights, which `vpmaddubsw` multiplies and adds in 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PairCounts {
    /// Pairs in all.
    pub all: u64,
    /// Pairs whose sum may leave 16 bits for codes of 0 to 255.
    pub overflowing_255: u64,
    /// Pairs whose sum may leave 16 bits for codes of 0 to 127. No pair of 8-bit weights does.
    pub overflowing_127: u64,
}

impl PairCounts {
    /// Percent of pairs that fit 16 bits for every code of 0 to 255.
    #[must_use]
    pub fn fitting(&self) -> f64 {
        100.0 * (self.all - self.overflowing_255) as f64 / self.all.max(1) as f64
    }
}

/// What is proved of the sums of one layer, from its weights alone and for every input.
///
/// Our kernels add products in 16 bits only where packing has proved that they fit, and elsewhere in 32; a channel whose
/// accumulator may leave 32 bits accumulates in 64. So their sums are exact whatever stands here. Kernels of others on processors
/// without VNNI add pairs in 16 bits and saturate: [`PairCounts`] says for how many pairs that may happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OverflowCertificate {
    /// Name of the node.
    pub node: String,
    /// Its operator, as ONNX names it.
    pub op: String,
    /// Products that an accumulator sums up.
    pub depth: usize,
    /// Output channels.
    pub channels: usize,
    /// The largest magnitude that an accumulator of any channel may reach, corrections for zero points and the bias included:
    /// [`accumulator_bound`].
    pub largest_accumulator: u64,
    /// Channels for which that is beyond 32 bits; they accumulate in 64.
    pub wide_channels: usize,
    /// Pairs of weights; none where kernels do not work by pairs: depthwise and transposed convolutions, and weights
    /// without a sign.
    pub pairs: Option<PairCounts>,
}

/// A certificate for every convolution and product with constant weights that runs in integers, in the order of the nodes.
/// Recurrent layers have none, and neither have products with 4-bit weights in groups, which nothing can overflow.
#[must_use]
pub fn overflow_certificates(quantized: &Graph) -> Vec<OverflowCertificate> {
    let view = QdqView::new(quantized);
    let mut out = Vec::new();
    for op in &view.operators {
        let Some(matrix) = Matrix::of(quantized, op) else { continue };
        let node = quantized.node(op.node);
        let bounds: Vec<u64> = (0..matrix.channels()).map(|c| bound(&matrix, c)).collect();
        let transposed = matches!(node.op, tq_graph::Op::ConvTranspose(_));
        let paired = matrix.signed && !matrix.depthwise && !transposed;
        out.push(OverflowCertificate {
            node: node.name.clone(),
            op: node.op.name().to_owned(),
            depth: matrix.depth,
            channels: matrix.channels(),
            largest_accumulator: bounds.iter().copied().max().unwrap_or(0),
            wide_channels: bounds.iter().filter(|b| **b > i32::MAX as u64).count(),
            pairs: paired.then(|| pairs(&matrix)),
        });
    }
    out
}

/// The bound of one channel, its codes as the kernels hold them: signed, bytes shifted by 128.
fn bound(matrix: &Matrix, channel: usize) -> u64 {
    let shift = matrix.shift;
    let held: Vec<i8> = matrix.row(channel).iter().map(|w| (w - shift) as i8).collect();
    accumulator_bound(&held, matrix.zero_point[channel] - i32::from(shift), matrix.bias[channel])
}

fn pairs(matrix: &Matrix) -> PairCounts {
    let mut counts = PairCounts { all: 0, overflowing_255: 0, overflowing_127: 0 };
    for pair in (0..matrix.channels()).flat_map(|c| matrix.row(c).chunks(2)) {
        counts.all += 1;
        counts.overflowing_255 += u64::from(may_saturate(pair, 255));
        counts.overflowing_127 += u64::from(may_saturate(pair, 127));
    }
    counts
}
