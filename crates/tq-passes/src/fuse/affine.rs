//! Per-channel affine maps (batch normalization, constant factors and terms) into convolutions and linear layers.

use super::edit::{At, Editor};
use tq_graph::op::{BinaryOp, Padding};
use tq_graph::{Op, Tensor, ValueId};

/// `y = mul[c] * x + add[c]` for every channel `c`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ChannelAffine {
    pub(super) mul: Vec<f64>,
    pub(super) add: Vec<f64>,
}

impl ChannelAffine {
    /// The map of a BatchNormalization with constant statistics:
    /// `mul = scale / sqrt(var + epsilon)`, `add = bias - mean * mul`.
    pub(super) fn of_batch_norm(ed: &Editor, at: At) -> Result<Self, String> {
        let node = ed.node(at);
        let Op::BatchNormalization { epsilon } = node.op else {
            return Err("not a batch normalization".into());
        };
        let stat = |i: usize| -> Result<&[f32], String> {
            let v = node.input(i).ok_or_else(|| format!("input {i} is absent"))?;
            ed.constant_f32(v)
                .map(|(data, _)| data)
                .ok_or_else(|| format!("{} is not an f32 constant", ed.name_of(v)))
        };
        let (scale, bias, mean, var) = (stat(1)?, stat(2)?, stat(3)?, stat(4)?);
        let n = scale.len();
        if n == 0 || [bias.len(), mean.len(), var.len()] != [n; 3] {
            return Err("its statistics have different lengths".into());
        }
        let mul: Vec<f64> = scale
            .iter()
            .zip(var)
            .map(|(s, v)| f64::from(*s) / (f64::from(*v) + f64::from(epsilon)).sqrt())
            .collect();
        let add: Vec<f64> = (0..n).map(|c| f64::from(bias[c]) - f64::from(mean[c]) * mul[c]).collect();
        if mul.iter().chain(&add).any(|v| !v.is_finite()) {
            return Err("its statistics do not give finite factors".into());
        }
        Ok(Self { mul, add })
    }

    /// The map of Add, Sub, Mul or Div of `x` and a constant with one value, or one a channel of axis `axis`,
    /// for an `x` of `channels` channels and rank `rank`. Also tells which input is `x`.
    pub(super) fn of_binary(
        ed: &Editor,
        at: At,
        channels: usize,
        rank: usize,
        axis: usize,
    ) -> Option<(ValueId, Self)> {
        let node = ed.node(at);
        let Op::Binary(op) = node.op else { return None };
        let (a, b) = (node.input(0)?, node.input(1)?);
        let (x, c, reversed) = match (ed.graph.constant(a), ed.graph.constant(b)) {
            (None, Some(_)) => (a, b, false),
            (Some(_), None) => (b, a, true),
            _ => return None,
        };
        let (data, dims) = ed.constant_f32(c)?;
        let lead = rank.checked_sub(dims.len())?;
        let per_channel = |(i, d): (usize, &usize)| *d == 1 || (i + lead == axis && *d == channels);
        if data.is_empty() || !dims.iter().enumerate().all(per_channel) {
            return None;
        }
        let value = |i: usize| f64::from(if data.len() == 1 { data[0] } else { data[i] });
        let values: Vec<f64> = (0..channels).map(value).collect();
        let ones = |v: f64| vec![v; channels];
        let (mul, add) = match (op, reversed) {
            (BinaryOp::Add, _) => (ones(1.0), values),
            (BinaryOp::Mul, _) => (values, ones(0.0)),
            (BinaryOp::Sub, false) => (ones(1.0), values.iter().map(|v| -v).collect()),
            (BinaryOp::Sub, true) => (ones(-1.0), values),
            (BinaryOp::Div, false) => (values.iter().map(|v| 1.0 / v).collect(), ones(0.0)),
            _ => return None,
        };
        mul.iter().chain(&add).all(|v| v.is_finite()).then_some((x, Self { mul, add }))
    }

    fn adds_nothing(&self) -> bool {
        self.add.iter().all(|v| *v == 0.0)
    }
}

/// A node with constant weights, taken apart.
pub(super) struct Linear {
    weights: Vec<f32>,
    dims: Vec<usize>,
    /// Axis of the weights that counts output channels, and the one that counts input channels (of a group).
    out_axis: usize,
    in_axis: usize,
    groups: usize,
    /// Whether the first axis counts input channels of all groups, and the second output channels of one.
    transposed: bool,
    /// One value an output channel; empty where there is no bias.
    bias: Vec<f32>,
    /// Factors of product and bias (Gemm's alpha and beta).
    alpha: f64,
    beta: f64,
}

impl Linear {
    /// Takes apart a Conv, Gemm or MatMul of f32 with constant weights and bias.
    pub(super) fn of(ed: &Editor, at: At) -> Result<Self, String> {
        let node = ed.node(at);
        let name = &node.name;
        let (out_axis, in_axis, groups, alpha, beta) = match &node.op {
            Op::Conv(attrs) => (0, 1, attrs.groups, 1.0, 1.0),
            Op::ConvTranspose(attrs) => (1, 0, attrs.groups, 1.0, 1.0),
            Op::Gemm { alpha, beta, trans_b, .. } => {
                let (out, inp) = if *trans_b { (0, 1) } else { (1, 0) };
                (out, inp, 1, f64::from(*alpha), f64::from(*beta))
            }
            Op::MatMul => (1, 0, 1, 1.0, 1.0),
            op => return Err(format!("{name} is a {}, not a convolution or linear layer", op.name())),
        };
        let w = node.input(1).ok_or_else(|| format!("{name} has no weights"))?;
        let (weights, dims) =
            ed.constant_f32(w).ok_or_else(|| format!("the weights of {name} are not an f32 constant"))?;
        let convolves = matches!(node.op, Op::Conv(_) | Op::ConvTranspose(_));
        let rank_fits = if convolves { dims.len() >= 3 } else { dims.len() == 2 };
        if weights.is_empty() || !rank_fits {
            return Err(format!("the weights of {name} have shape {dims:?}"));
        }
        let transposed = matches!(node.op, Op::ConvTranspose(_));
        let channels = if transposed { dims[out_axis].saturating_mul(groups) } else { dims[out_axis] };
        let bias = match node.input(2) {
            None => Vec::new(),
            Some(b) => {
                let (data, bias_dims) =
                    ed.constant_f32(b).ok_or_else(|| format!("the bias of {name} is not an f32 constant"))?;
                let last = bias_dims.last().copied().unwrap_or(1);
                match data.len() {
                    1 => vec![data[0]; channels],
                    n if n == channels && last == channels => data.to_vec(),
                    _ => return Err(format!("the bias of {name} has shape {bias_dims:?}")),
                }
            }
        };
        // Which channels the groups divide is told by the first axis.
        if groups == 0 || dims[0] % groups != 0 {
            return Err(format!("{name} has {groups} groups for {} channels", dims[0]));
        }
        Ok(Self {
            weights: weights.to_vec(),
            dims: dims.to_vec(),
            out_axis,
            in_axis,
            groups,
            transposed,
            bias,
            alpha,
            beta,
        })
    }

    pub(super) fn channels(&self) -> usize {
        self.dims[self.out_axis] * if self.transposed { self.groups } else { 1 }
    }

    pub(super) fn in_channels(&self) -> usize {
        self.dims[self.in_axis] * if self.transposed { 1 } else { self.groups }
    }

    /// The input and the output channel that weight `i` joins.
    fn joins(&self, i: usize) -> (usize, usize) {
        let (out, input) = (self.along(i, self.out_axis), self.along(i, self.in_axis));
        if self.transposed {
            let group = input / (self.in_channels() / self.groups);
            (input, out + group * self.dims[self.out_axis])
        } else {
            let group = out / (self.channels() / self.groups);
            (input + group * self.dims[self.in_axis], out)
        }
    }

    pub(super) fn is_plain(&self) -> bool {
        self.alpha == 1.0 && (self.beta == 1.0 || self.bias.is_empty())
    }

    fn stride(&self, axis: usize) -> usize {
        self.dims[axis + 1..].iter().product()
    }

    /// Index of element `i` along `axis`.
    fn along(&self, i: usize, axis: usize) -> usize {
        (i / self.stride(axis)) % self.dims[axis]
    }

    fn bias_at(&self, c: usize) -> f64 {
        self.bias.get(c).map_or(0.0, |b| f64::from(*b) * self.beta)
    }

    /// Weights and bias with `map` on the outputs; alpha and beta become 1.
    fn then(&self, map: &ChannelAffine) -> (Vec<f64>, Vec<f64>) {
        let weights = (self.weights.iter().enumerate())
            .map(|(i, w)| f64::from(*w) * self.alpha * map.mul[self.joins(i).1])
            .collect();
        let bias = (0..self.channels()).map(|c| self.bias_at(c) * map.mul[c] + map.add[c]).collect();
        (weights, bias)
    }

    /// Weights and bias with `map` on the inputs; alpha and beta become 1.
    fn after(&self, map: &ChannelAffine) -> (Vec<f64>, Vec<f64>) {
        let mut bias: Vec<f64> = (0..self.channels()).map(|c| self.bias_at(c)).collect();
        let weights = (self.weights.iter().enumerate())
            .map(|(i, w)| {
                let (input, out) = self.joins(i);
                let w = f64::from(*w) * self.alpha;
                bias[out] += w * map.add[input];
                w * map.mul[input]
            })
            .collect();
        (weights, bias)
    }

    /// Writes new weights and bias into node `at`; where there was no bias, zeros are one only with `zeros`.
    fn write(
        &self,
        ed: &mut Editor,
        at: At,
        weights: &[f64],
        bias: &[f64],
        zeros: bool,
    ) -> Result<(), String> {
        let name = ed.node(at).name.clone();
        let narrow = |values: &[f64]| -> Result<Vec<f32>, String> {
            let out: Vec<f32> = values.iter().map(|v| *v as f32).collect();
            if out.iter().all(|v| v.is_finite()) {
                Ok(out)
            } else {
                Err(format!("the weights of {name} would not be finite"))
            }
        };
        let (weights, bias) = (narrow(weights)?, narrow(bias)?);
        let tensor = Tensor::new(&self.dims, weights).map_err(|e| e.to_string())?;
        let with_bias = zeros || !self.bias.is_empty() || bias.iter().any(|b| *b != 0.0);
        if let Op::MatMul = ed.node(at).op
            && with_bias
        {
            // A matrix product has no place for a bias; a Gemm of rank 2 has.
            if ed.node(at).input(0).and_then(|v| ed.rank(v)) != Some(2) {
                return Err(format!("{name} is a MatMul whose input is not known to have rank 2"));
            }
        }
        ed.set_constant(at, 1, &format!("{name}_weight"), tensor);
        match &mut ed.graph.nodes[at].op {
            Op::Gemm { alpha, beta, .. } => (*alpha, *beta) = (1.0, 1.0),
            op @ Op::MatMul if with_bias => {
                *op = Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false };
            }
            _ => {}
        }
        if with_bias {
            ed.set_constant(at, 2, &format!("{name}_bias"), Tensor::vector(bias));
        }
        Ok(())
    }
}

/// Checks that `map` has one entry a channel.
fn same_channels(map: &ChannelAffine, channels: usize, name: &str) -> Result<(), String> {
    if map.mul.len() == channels {
        Ok(())
    } else {
        Err(format!("it has {} channels, {name} has {channels}", map.mul.len()))
    }
}

/// Folds `map`, which `at` does to the output of `host`, into `host`.
pub(super) fn fold_after(ed: &mut Editor, host: At, at: At, map: &ChannelAffine) -> Result<(), String> {
    let linear = Linear::of(ed, host)?;
    let name = ed.node(host).name.clone();
    same_channels(map, linear.channels(), &name)?;
    let out = ed.node(host).output(0).ok_or_else(|| format!("{name} has no output"))?;
    ed.read_only_by(out, at)?;
    if matches!(ed.node(host).op, Op::MatMul) && ed.rank(out) != Some(2) && !map.adds_nothing() {
        return Err(format!("{name} is a MatMul whose input is not known to have rank 2"));
    }
    let (weights, bias) = linear.then(map);
    // A normalization that was never trained adds nothing yet. Training that takes it apart again needs the place.
    let is_norm = matches!(ed.node(at).op, Op::BatchNormalization { .. });
    let zeros = is_norm && !matches!(ed.node(host).op, Op::MatMul);
    linear.write(ed, host, &weights, &bias, zeros)?;
    ed.take_output(host, at);
    Ok(())
}

/// Folds `map`, which `at` does to the input of `host`, into `host`.
pub(super) fn fold_before(ed: &mut Editor, at: At, host: At, map: &ChannelAffine) -> Result<(), String> {
    let linear = Linear::of(ed, host)?;
    let name = ed.node(host).name.clone();
    let (x, out) = match (ed.node(at).input(0), ed.node(at).output(0)) {
        (Some(x), Some(out)) => (x, out),
        _ => return Err("it has no input or output".into()),
    };
    ed.read_only_by(out, host)?;
    match &ed.node(host).op {
        Op::Conv(attrs) => {
            let padded = match &attrs.padding {
                Padding::Explicit { begin, end } => begin.iter().chain(end).any(|p| *p > 0),
                _ => true,
            };
            if padded && !map.adds_nothing() {
                return Err(format!("{name}, which follows, pads with zeros that it would shift"));
            }
        }
        // At the edges fewer weights meet a shift than elsewhere.
        Op::ConvTranspose(_) if !map.adds_nothing() => {
            return Err(format!("{name}, which follows, would spread its shift unevenly"));
        }
        Op::ConvTranspose(_) | Op::Gemm { trans_a: false, .. } => {}
        op => return Err(format!("{name}, which follows, is a {}", op.name())),
    }
    if ed.node(host).input(0) != Some(out) {
        return Err(format!("{name}, which follows, does not read it as data"));
    }
    same_channels(map, linear.in_channels(), &name)?;
    let (weights, bias) = linear.after(map);
    linear.write(ed, host, &weights, &bias, false)?;
    ed.set_input(host, 0, Some(x));
    ed.kill(at);
    Ok(())
}

/// Brings a Gemm with other factors than 1 to the plain form; false where it is not possible or not needed.
pub(super) fn make_plain(ed: &mut Editor, at: At) -> bool {
    let Ok(linear) = Linear::of(ed, at) else { return false };
    if linear.is_plain() {
        return false;
    }
    let n = linear.channels();
    let (weights, bias) = linear.then(&ChannelAffine { mul: vec![1.0; n], add: vec![0.0; n] });
    linear.write(ed, at, &weights, &bias, false).is_ok()
}
