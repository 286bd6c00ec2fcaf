//! Constant weights as the matrices that kernels multiply with.

use tq_graph::qdq::QOperator;
use tq_graph::{Graph, Op};
use tq_qtypes::{DType, OperatorKind};

/// The weights of an operator, one row of products an output channel.
///
/// A row of a convolution has its kernel elements first and the channels of each together, as kernels for channels-last
/// data have it, ONNX Runtime's among them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Matrix {
    /// Products an accumulator.
    pub(crate) depth: usize,
    /// Groups of channels, each of which reads its own input channels.
    pub(crate) groups: usize,
    /// `[channel][depth]`, codes as the graph has them.
    pub(crate) rows: Vec<i16>,
    /// One a channel.
    pub(crate) zero_point: Vec<i32>,
    /// One a channel.
    pub(crate) scale: Vec<f32>,
    /// One a channel, in units of the accumulator.
    pub(crate) bias: Vec<i32>,
    /// Whether the codes are signed.
    pub(crate) signed: bool,
    /// What kernels take from each code to hold it as a signed byte.
    pub(crate) shift: i16,
    /// Whether a row belongs to one input channel alone.
    pub(crate) depthwise: bool,
}

impl Matrix {
    /// The weights of a convolution or of a product with constant weights, recurrent layers and weights with a scale for every
    /// group left out; none for all others
    /// and for weights that are laid out in no way that these have.
    pub(crate) fn of(graph: &Graph, op: &QOperator) -> Option<Self> {
        let weights = op.weights.as_ref().filter(|_| op.kind != OperatorKind::GroupWiseLinear)?;
        let tensor = graph.constant(weights.value)?;
        let codes = tensor.to_i64_vec()?;
        let dims = tensor.dims();
        let (channels, groups, depth, at): (_, _, _, Box<dyn Fn(usize, usize) -> usize>) =
            match (&graph.node(op.node).op, dims) {
                (Op::Conv(a) | Op::ConvInteger(a), [n, depth, kernel @ ..]) => {
                    let (depth, taps) = (*depth, kernel.iter().product::<usize>());
                    let at = move |n: usize, k: usize| (n * depth + k % depth) * taps + k / depth;
                    (*n, a.groups, depth * taps, Box::new(at))
                }
                (Op::ConvTranspose(a), [inputs, each, kernel @ ..]) => {
                    let taps = kernel.iter().product::<usize>();
                    let (each, depth) = (*each, inputs.checked_div(a.groups)?);
                    let at = move |n: usize, k: usize| {
                        ((n / each * depth + k % depth) * each + n % each) * taps + k / depth
                    };
                    (each * a.groups, a.groups, depth * taps, Box::new(at))
                }
                (Op::Recurrent { .. }, _) => return None,
                (Op::Gemm { trans_b: true, .. }, [n, k]) => {
                    let k = *k;
                    (*n, 1, k, Box::new(move |n: usize, i: usize| n * k + i))
                }
                (_, [k, n]) => {
                    let columns = *n;
                    (columns, 1, *k, Box::new(move |n: usize, i: usize| i * columns + n))
                }
                _ => return None,
            };
        if groups == 0 || channels == 0 || depth == 0 || !channels.is_multiple_of(groups) {
            return None;
        }
        let each = channels / groups;
        // Scales along axis 1 of a transposed convolution serve the channels of the same place in every group.
        let spread = |n: usize, len: usize| if len == 1 { 0 } else { n % len.max(1) };
        let zero_point = &weights.params.zero_point;
        let scale = &weights.params.scale;
        if ![1, each, channels].contains(&scale.len()) || zero_point.len() != scale.len() {
            return None;
        }
        let mut rows = Vec::with_capacity(channels * depth);
        for n in 0..channels {
            for k in 0..depth {
                rows.push(i16::try_from(*codes.get(at(n, k))?).ok()?);
            }
        }
        let bias = op.bias.clone().unwrap_or_else(|| vec![0; channels]);
        (bias.len() == channels).then(|| Self {
            depth,
            groups,
            rows,
            zero_point: (0..channels).map(|n| zero_point[spread(n, zero_point.len())]).collect(),
            scale: (0..channels).map(|n| scale[spread(n, scale.len())]).collect(),
            bias,
            signed: !matches!(tensor.dtype(), DType::U8 | DType::U4 | DType::U2),
            shift: if tensor.dtype() == DType::U8 { 128 } else { 0 },
            depthwise: op.kind == OperatorKind::DepthwiseConv,
        })
    }

    /// Output channels.
    pub(crate) fn channels(&self) -> usize {
        self.bias.len()
    }

    /// The weights of a channel.
    pub(crate) fn row(&self, channel: usize) -> &[i16] {
        &self.rows[channel * self.depth..][..self.depth]
    }
}
