//! One convolution or product with constant weights, on codes.

use super::interpreter::Arithmetic;
use super::matrix::Matrix;
use super::sums::{exact, saturating};
use crate::AnalysisError;
use rayon::prelude::*;
use tq_eval::window::Window;
use tq_graph::op::ConvAttrs;
use tq_graph::qdq::{Codes, QOperator, QOutput};
use tq_graph::{Graph, NodeId, Op, Tensor, ValueId};
use tq_qtypes::requantize::Multiplier;
use tq_qtypes::{AffineParams, DType, OperatorKind, Requantization, Rounding, affine};

/// Products that are summed up in 32 bits: 2^15 of the largest bytes fit.
const CHUNK: usize = 1 << 15;

/// Results of a product that are not the exact ones.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Differences {
    /// Results in all.
    pub(crate) results: u64,
    /// Those that differ.
    pub(crate) changed: u64,
    /// The most that a code differs by; 0 where results are no codes.
    pub(crate) most: u32,
}

impl Differences {
    fn union(self, other: Self) -> Self {
        Self {
            results: self.results + other.results,
            changed: self.changed + other.changed,
            most: self.most.max(other.most),
        }
    }
}

/// Codes of 8 bits with one scale, those of the input as kernels hold them: unsigned.
#[derive(Debug, Clone, Copy)]
struct Grid {
    scale: f32,
    zero_point: i32,
    range: (i32, i32),
    signed: bool,
}

impl Grid {
    fn new(params: &AffineParams) -> Option<Self> {
        let (scale, zero_point) = params.uniform()?;
        let signed = match params.dtype {
            DType::U8 => false,
            DType::I8 => true,
            _ => return None,
        };
        Some(Self { scale, zero_point, range: (params.quant_min, params.quant_max), signed })
    }
}

/// Where a product's results go.
#[derive(Debug)]
enum Target {
    /// To codes, within these bounds of them.
    Codes {
        grid: Grid,
        bounds: (i32, i32),
        /// What a session multiplies sums by.
        own: Vec<Multiplier>,
        /// What fixed point multiplies them by.
        fixed: Vec<Multiplier>,
    },
    /// To real numbers.
    Real,
}

/// A convolution or a product with constant weights, with all that it needs.
#[derive(Debug)]
pub(crate) struct Product {
    name: String,
    core: NodeId,
    matrix: Matrix,
    /// `Σ (w - zw)` of each channel: what a step of the input's zero point takes away.
    column_sums: Vec<i64>,
    input: ValueId,
    from: Grid,
    output: ValueId,
    target: Target,
    /// Attributes and kernel of a convolution.
    window: Option<(ConvAttrs, Vec<usize>)>,
}

impl Product {
    /// The product that `op` is; none for operators that are none, or are quantized at run time.
    pub(crate) fn new(graph: &Graph, op: &QOperator) -> Option<Self> {
        let fits = matches!(op.kind, OperatorKind::Conv | OperatorKind::DepthwiseConv | OperatorKind::Linear);
        let ([input], [output], None, true) = (&op.inputs[..], &op.outputs[..], &op.run_time, fits) else {
            return None;
        };
        let matrix = Matrix::of(graph, op)?;
        let from = Grid::new(&input.params)?;
        let window = match (&graph.node(op.node).op, &op.weights) {
            (Op::Conv(attrs), Some(Codes { value, .. })) => {
                Some((attrs.clone(), graph.constant(*value)?.dims().get(2..)?.to_vec()))
            }
            (Op::Gemm { .. } | Op::MatMul, _) => None,
            _ => return None,
        };
        let (output, target) = match output {
            QOutput::Float(v) => (*v, Target::Real),
            QOutput::Codes(codes) => {
                let grid = Grid::new(&codes.params)?;
                let code = |x| {
                    let (low, high) = grid.range;
                    affine::quantize_f32(x, grid.scale, grid.zero_point, low, high, Rounding::Divide)
                };
                let (low, high) = op.bounds.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
                let by = |way: Requantization| {
                    matrix.scale.iter().map(|sw| way.multiplier(from.scale, *sw, grid.scale)).collect()
                };
                let (own, fixed) = (by(graph.requantization), by(Requantization::FixedPoint));
                (codes.value, Target::Codes { grid, bounds: (code(low), code(high)), own, fixed })
            }
        };
        let total = |c: usize| {
            let sum: i64 = matrix.row(c).iter().map(|w| i64::from(*w)).sum();
            sum - matrix.depth as i64 * i64::from(matrix.zero_point[c])
        };
        Some(Self {
            name: graph.node(op.node).name.clone(),
            core: op.node,
            column_sums: (0..matrix.channels()).map(total).collect(),
            input: input.value,
            from,
            output,
            target,
            window,
            matrix,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn core(&self) -> NodeId {
        self.core
    }

    pub(crate) fn input(&self) -> ValueId {
        self.input
    }

    pub(crate) fn output(&self) -> ValueId {
        self.output
    }

    /// Whether pairs of its products are added in 16 bits by kernels that do so.
    pub(crate) fn is_paired(&self) -> bool {
        self.matrix.signed && !self.matrix.depthwise
    }

    /// Its result for codes.
    pub(crate) fn run(
        &self,
        codes: &Tensor,
        arithmetic: Arithmetic,
        differences: &mut Differences,
    ) -> Result<Tensor, AnalysisError> {
        let held: Vec<u8> = match self.from.signed {
            true => codes.as_slice::<i8>()?.iter().map(|c| *c as u8 ^ 0x80).collect(),
            false => codes.as_slice::<u8>()?.to_vec(),
        };
        let wrong = || AnalysisError::Output {
            name: self.name.clone(),
            message: format!("its weights do not fit codes of shape {:?}", codes.dims()),
        };
        let (depth, channels) = (self.matrix.depth, self.matrix.channels());
        let Some((attrs, kernel)) = &self.window else {
            let dims = codes.dims();
            let rows = held.len() / depth;
            if dims.last() != Some(&depth) {
                return Err(wrong());
            }
            let mut out_dims = dims.to_vec();
            out_dims.iter_mut().last().into_iter().for_each(|d| *d = channels);
            let results = self.results(rows, arithmetic, differences, |row, codes| {
                codes.copy_from_slice(&held[row * depth..][..depth]);
            });
            return self.tensor(&out_dims, results);
        };
        let [images, inputs, spatial @ ..] = codes.dims() else { return Err(wrong()) };
        let node = |source| tq_eval::EvalError::Node { node: self.name.clone(), op: "Conv", source };
        let window = Window::new(spatial, kernel, &attrs.strides, &attrs.dilations, &attrs.padding, false)
            .map_err(node)?;
        let taps = window.kernel_len();
        let each = depth / taps;
        if each * taps != depth || each * attrs.groups != *inputs {
            return Err(wrong());
        }
        let (plane, positions) = (window.input_len(), window.output_len());
        let zero = self.zero_point() as u8;
        // Channels last: the codes of one position lie together.
        let mut last = vec![0u8; held.len()];
        for (i, code) in held.iter().enumerate() {
            let (image, channel, at) = (i / (plane * inputs), i / plane % inputs, i % plane);
            last[(image * plane + at) * inputs + channel] = *code;
        }
        let offsets = offsets(&window);
        let rows = images * positions * attrs.groups;
        let results = self.results(rows, arithmetic, differences, |row, codes| {
            let (group, row) = (row % attrs.groups, row / attrs.groups);
            let (image, position) = (row / positions, row % positions);
            for (tap, codes) in codes.chunks_exact_mut(each).enumerate() {
                match offsets[position * taps + tap] {
                    Some(at) => {
                        let from = (image * plane + at) * inputs + group * each;
                        codes.copy_from_slice(&last[from..from + each]);
                    }
                    None => codes.fill(zero),
                }
            }
        });
        // Rows are those of images, positions and groups; each has the channels of its group.
        let mut first = vec![0f32; results.len()];
        for (i, value) in results.into_iter().enumerate() {
            let (row, channel) = (i / channels, i % channels);
            first[(row / positions * channels + channel) * positions + row % positions] = value;
        }
        let out_dims = [&[*images, channels], &window.output_dims()[..]].concat();
        self.tensor(&out_dims, first)
    }

    /// The zero point of the input's codes as they are held.
    fn zero_point(&self) -> i32 {
        self.from.zero_point + if self.from.signed { 128 } else { 0 }
    }

    /// The results of all rows, `[row][channel of the row's group]`: codes or real numbers. `gather` writes the codes of a
    /// row, which stand for the groups in turn.
    fn results(
        &self,
        rows: usize,
        arithmetic: Arithmetic,
        differences: &mut Differences,
        gather: impl Fn(usize, &mut [u8]) + Sync,
    ) -> Vec<f32> {
        let groups = self.matrix.groups;
        let each = self.matrix.channels() / groups;
        let mut out = vec![0f32; rows * each];
        let row = |codes: &mut Vec<u8>, (i, out): (usize, &mut [f32])| {
            codes.resize(self.matrix.depth, 0);
            gather(i, codes);
            let sum: i64 = codes.iter().map(|c| i64::from(*c)).sum();
            let mut found = Differences { results: each as u64, ..Differences::default() };
            for (n, out) in out.iter_mut().enumerate() {
                let channel = i % groups * each + n;
                let right = self.accumulator(codes, sum, channel, exact);
                let code = self.finish(right, channel, Arithmetic::Exact);
                *out = match arithmetic {
                    Arithmetic::Exact => code,
                    Arithmetic::SaturatingPairs if !self.is_paired() => code,
                    Arithmetic::SaturatingPairs => {
                        let peer = self.accumulator(codes, sum, channel, saturating);
                        self.finish(peer, channel, Arithmetic::Exact)
                    }
                    Arithmetic::FixedPoint => self.finish(right, channel, Arithmetic::FixedPoint),
                };
                if *out != code {
                    found.changed += 1;
                    if matches!(self.target, Target::Codes { .. }) {
                        found.most = found.most.max((*out - code).abs() as u32);
                    }
                }
            }
            found
        };
        let found = out
            .par_chunks_mut(each)
            .enumerate()
            .map_init(Vec::new, row)
            .reduce(Differences::default, Differences::union);
        *differences = differences.union(found);
        out
    }

    /// The accumulator of a channel, corrected for zero points, with the bias.
    fn accumulator(&self, codes: &[u8], sum: i64, channel: usize, products: fn(&[u8], &[i16]) -> i32) -> i64 {
        let m = &self.matrix;
        let parts = codes.chunks(CHUNK).zip(m.row(channel).chunks(CHUNK));
        let raw: i64 = parts.map(|(a, w)| i64::from(products(a, w))).sum();
        raw - i64::from(self.zero_point()) * self.column_sums[channel]
            - i64::from(m.zero_point[channel]) * sum
            + i64::from(m.bias[channel])
    }

    fn finish(&self, acc: i64, channel: usize, arithmetic: Arithmetic) -> f32 {
        let scale = self.matrix.scale[channel];
        match &self.target {
            Target::Real => acc as f32 * (self.from.scale * scale),
            Target::Codes { grid, bounds: (low, high), own, fixed } => {
                let multipliers = if arithmetic == Arithmetic::FixedPoint { fixed } else { own };
                multipliers[channel].requantize(acc, grid.zero_point, *low, *high) as f32
            }
        }
    }

    fn tensor(&self, dims: &[usize], results: Vec<f32>) -> Result<Tensor, AnalysisError> {
        Ok(match &self.target {
            Target::Real => Tensor::new(dims, results)?,
            Target::Codes { grid, .. } if grid.signed => {
                Tensor::new(dims, results.into_iter().map(|c| c as i8).collect())?
            }
            Target::Codes { .. } => Tensor::new(dims, results.into_iter().map(|c| c as u8).collect())?,
        })
    }
}

/// For every position and kernel element the place of the input that it reads, unless that is padding.
fn offsets(window: &Window) -> Vec<Option<usize>> {
    let [z, y, x] = &window.axes;
    let mut out = Vec::with_capacity(window.output_len() * window.kernel_len());
    for p in 0..window.output_len() {
        let at = [p / (y.output * x.output), p / x.output % y.output, p % x.output];
        for k in 0..window.kernel_len() {
            let tap = [k / (y.kernel * x.kernel), k / x.kernel % y.kernel, k % x.kernel];
            let places = (z.position(at[0], tap[0]), y.position(at[1], tap[1]), x.position(at[2], tap[2]));
            out.push(match places {
                (Some(a), Some(b), Some(c)) => Some((a * y.input + b) * x.input + c),
                _ => None,
            });
        }
    }
    out
}
