//! Finding the quantized operators of a graph.

use super::{Codes, FloatNode, FloatReason, QOperator, QOutput, QdqView, params};
use crate::op::{BinaryOp, ConvAttrs, PadMode, ReduceKind, UnaryOp};
use crate::{Graph, Node, NodeId, Op, ValueId};
use std::collections::HashMap;
use tq_qtypes::{AffineParams, DType, Granularity, OperatorKind, affine, requantize};

pub(super) type Match<T> = Result<T, FloatReason>;

pub(super) struct Matcher<'g> {
    pub(super) graph: &'g Graph,
    pub(super) consumers: Vec<Vec<NodeId>>,
    pub(super) producers: Vec<Option<NodeId>>,
    pub(super) is_output: Vec<bool>,
    /// For every real value that a Dequantize node gives: the codes behind it.
    pub(super) dequantized: Vec<Option<Codes>>,
    /// For every Quantize node: the codes it gives.
    quantized: Vec<Option<Codes>>,
}

impl<'g> Matcher<'g> {
    pub(super) fn new(graph: &'g Graph) -> Self {
        let mut is_output = vec![false; graph.values.len()];
        for v in &graph.outputs {
            is_output[v.0] = true;
        }
        let mut dequantized = vec![None; graph.values.len()];
        let mut quantized = vec![None; graph.nodes.len()];
        for (id, node) in graph.iter_nodes() {
            let (Some(from), Some(to)) = (node.input(0), node.output(0)) else { continue };
            match node.op {
                Op::DequantizeLinear { .. } => {
                    dequantized[to.0] =
                        params::of_node(graph, node).map(|params| Codes { value: from, real: to, params });
                }
                Op::QuantizeLinear { .. } => {
                    quantized[id.0] =
                        params::of_node(graph, node).map(|params| Codes { value: to, real: from, params });
                }
                _ => {}
            }
        }
        Self {
            graph,
            consumers: graph.consumers(),
            producers: graph.producers(),
            is_output,
            dequantized,
            quantized,
        }
    }

    pub(super) fn view(&self) -> QdqView {
        let mut view = QdqView { operators: Vec::new(), floats: Vec::new() };
        let mut taken = vec![false; self.graph.nodes.len()];
        // Parts of these may stand before the node at their heart.
        let mut products: HashMap<NodeId, QOperator> = HashMap::new();
        for (id, node) in self.graph.iter_nodes() {
            let found = match &node.op {
                Op::MatMulInteger | Op::ConvInteger(_) => self.run_time_product(id, node),
                Op::Recurrent { attrs, .. } => self.recurrent(id, node, attrs),
                _ => continue,
            };
            if let Ok(op) = found {
                op.absorbed.iter().for_each(|n| taken[n.0] = true);
                products.insert(id, op);
            }
        }
        for (id, node) in self.graph.iter_nodes() {
            if let Some(op) = products.remove(&id) {
                view.operators.push(op);
                continue;
            }
            let is_border = matches!(node.op, Op::DequantizeLinear { .. } | Op::DynamicQuantizeLinear { .. });
            if taken[id.0] || is_border {
                continue;
            }
            if matches!(node.op, Op::QuantizeLinear { .. }) {
                if let Some(op) = self.bare_requantize(id, node) {
                    view.operators.push(op);
                }
                continue;
            }
            match self.operator(id, node) {
                Ok(op) => {
                    for n in &op.absorbed {
                        taken[n.0] = true;
                    }
                    view.operators.push(op);
                }
                Err(reason) => view.floats.push(FloatNode { node: id, reason }),
            }
        }
        view
    }

    pub(super) fn name(&self, v: ValueId) -> String {
        self.graph.value(v).name.clone()
    }

    /// Codes of a type and granularity that 8-bit kernels take as activations.
    pub(super) fn activation(&self, node: &Node, i: usize) -> Match<Codes> {
        let v = node.input(i).ok_or_else(|| FloatReason::Attribute(format!("input {i} is absent")))?;
        let codes =
            self.dequantized[v.0].clone().ok_or_else(|| FloatReason::InputNotQuantized(self.name(v)))?;
        self.check_8_bit(&codes)?;
        if codes.params.granularity != Granularity::PerTensor {
            return Err(FloatReason::Granularity(self.name(v)));
        }
        Ok(codes)
    }

    pub(super) fn check_8_bit(&self, codes: &Codes) -> Match<()> {
        match codes.params.dtype {
            DType::U8 | DType::I8 => Ok(()),
            dtype => Err(FloatReason::Type { value: self.name(codes.value), dtype }),
        }
    }

    /// Constant codes of at most 8 bits of rank `rank` with one scale, or one for each index of `channel_axis`.
    pub(super) fn weights(&self, node: &Node, i: usize, channel_axis: usize) -> Match<Codes> {
        let codes = node
            .input(i)
            .and_then(|v| self.dequantized[v.0].clone())
            .filter(|c| self.graph.constant(c.value).is_some())
            .ok_or(FloatReason::WeightsNotQuantized)?;
        let dtype = codes.params.dtype;
        if !dtype.fits_8_bits() {
            return Err(FloatReason::Type { value: self.name(codes.value), dtype });
        }
        let dims = self.weight_dims(&codes);
        // Axes without elements hide others of any length: nothing may be packed by those.
        if dims.contains(&0) {
            return Err(FloatReason::Attribute(format!("weights of shape {dims:?}")));
        }
        let channels = dims.get(channel_axis).copied();
        match codes.params.granularity {
            Granularity::PerTensor if channels.is_some() => Ok(codes),
            Granularity::PerChannel { axis }
                if axis == channel_axis && channels == Some(codes.params.scale.len()) =>
            {
                Ok(codes)
            }
            _ => Err(FloatReason::Granularity(self.name(codes.value))),
        }
    }

    pub(super) fn weight_dims(&self, weights: &Codes) -> &[usize] {
        self.graph.constant(weights.value).map_or(&[], |t| t.dims())
    }

    /// The bias in units of the accumulator: constant floats, or constant i32 codes at any scale. `scale` is that of the
    /// weights, one or one a channel.
    pub(super) fn bias(
        &self,
        node: &Node,
        i: usize,
        x: &Codes,
        scale: &[f32],
        channels: usize,
    ) -> Match<Option<Vec<i32>>> {
        let Some(v) = self.channel_bias(node, i, channels)? else { return Ok(None) };
        let not_constant = || FloatReason::InputNotQuantized(self.name(v));
        let (sx, _) = x.params.uniform().ok_or_else(|| FloatReason::Granularity(self.name(x.real)))?;
        if let Some(codes) = &self.dequantized[v.0]
            && let Some(tensor) = self.graph.constant(codes.value)
            && codes.params.dtype == DType::I32
            && tensor.len() == channels
            && matches!(codes.params.scale.len(), n if n == 1 || n == channels)
            && codes.params.zero_point.iter().all(|z| *z == 0)
            && (0..channels).all(|c| per_channel(&codes.params.scale, c) == sx * per_channel(scale, c))
        {
            return tensor.as_slice::<i32>().map(|b| Some(b.to_vec())).map_err(|_| not_constant());
        }
        let Some(real) = self.real_bias(node, i, channels)? else { return Ok(None) };
        let q = requantize::quantize_bias(&real, sx, scale);
        match q.saturated.first() {
            Some(channel) => Err(FloatReason::BiasOverflow { channel: *channel }),
            None => Ok(Some(q.values)),
        }
    }

    /// The bias in real numbers, one a channel.
    fn real_bias(&self, node: &Node, i: usize, channels: usize) -> Match<Option<Vec<f32>>> {
        let Some(v) = self.channel_bias(node, i, channels)? else { return Ok(None) };
        let real = self.constant_reals(v).ok_or_else(|| FloatReason::InputNotQuantized(self.name(v)))?;
        Ok(Some(if let [one] = real[..] { vec![one; channels] } else { real }))
    }

    /// The value of a constant bias with one element, or one for each channel.
    fn channel_bias(&self, node: &Node, i: usize, channels: usize) -> Match<Option<ValueId>> {
        let Some(v) = node.input(i) else { return Ok(None) };
        let dims = self.constant_dims(v).ok_or_else(|| FloatReason::InputNotQuantized(self.name(v)))?;
        // As many elements as channels are not enough: a Gemm may add a column, one element a row.
        let fits = match dims.iter().product() {
            1usize => true,
            n => n == channels && dims.last() == Some(&channels),
        };
        if !fits {
            return Err(FloatReason::Attribute(format!("a bias of shape {dims:?} for {channels} channels")));
        }
        Ok(Some(v))
    }

    /// Shape of a constant, or of constant codes behind a Dequantize node.
    pub(super) fn constant_dims(&self, v: ValueId) -> Option<&[usize]> {
        let codes = || self.graph.constant(self.dequantized[v.0].as_ref()?.value);
        self.graph.constant(v).or_else(codes).map(|t| t.dims())
    }

    /// The real numbers of a float constant, or of constant codes behind a Dequantize node.
    fn constant_reals(&self, v: ValueId) -> Option<Vec<f32>> {
        if let Some(t) = self.graph.constant(v) {
            return t.to_f32_vec();
        }
        let codes = self.dequantized[v.0].as_ref()?;
        let tensor = self.graph.constant(codes.value)?;
        let q: Vec<i32> =
            tensor.to_i64_vec()?.into_iter().map(|v| i32::try_from(v).ok()).collect::<Option<_>>()?;
        affine::dequantize(&q, tensor.dims(), &codes.params).ok()
    }

    /// The Quantize node that alone reads `v`.
    fn quantize_after(&self, v: ValueId) -> Option<(NodeId, Codes)> {
        match self.consumers[v.0].as_slice() {
            [id] if !self.is_output[v.0] => {
                let codes = self.quantized[id.0].clone()?;
                (codes.real == v && codes.params.granularity == Granularity::PerTensor)
                    .then_some((*id, codes))
            }
            _ => None,
        }
    }

    /// The 8-bit Quantize node that alone reads `v`, or why there is none.
    fn codes_after(&self, v: ValueId) -> Match<(NodeId, Codes)> {
        let (id, codes) =
            self.quantize_after(v).ok_or_else(|| FloatReason::OutputNotQuantized(self.name(v)))?;
        self.check_8_bit(&codes)?;
        Ok((id, codes))
    }

    /// Bounds of a Relu or of a Clip with constant ones.
    fn bounds_of(&self, node: &Node) -> Option<(f32, f32)> {
        let bound = |i: usize, absent: f32| match node.input(i) {
            None => Some(absent),
            Some(v) => match self.constant_reals(v)?.as_slice() {
                [b] if !b.is_nan() => Some(*b),
                _ => None,
            },
        };
        match node.op {
            Op::Unary(UnaryOp::Relu) => Some((0.0, f32::INFINITY)),
            Op::Clip => {
                let (lo, hi) = (bound(1, f32::NEG_INFINITY)?, bound(2, f32::INFINITY)?);
                (lo <= hi).then_some((lo, hi))
            }
            _ => None,
        }
    }

    fn operator(&self, id: NodeId, node: &Node) -> Match<QOperator> {
        match &node.op {
            Op::Recurrent { attrs, .. } => return self.recurrent(id, node, attrs),
            Op::MatMulInteger | Op::ConvInteger(_) => return self.run_time_product(id, node),
            _ => {}
        }
        let out = node.output(0).ok_or_else(|| FloatReason::OutputNotQuantized(node.name.clone()))?;
        let mut op = self.core(id, node)?;
        op.absorbed.push(id);
        if node.outputs.len() > 1 {
            for v in node.outputs.iter().flatten() {
                let (q, codes) = self.codes_after(*v)?;
                op.absorbed.push(q);
                op.outputs.push(QOutput::Codes(codes));
            }
            return Ok(op);
        }
        // A Relu or Clip between the operator and its Quantize node becomes bounds on the result.
        if op.kind != OperatorKind::Movement
            && !self.is_output[out.0]
            && let [next] = self.consumers[out.0].as_slice()
            && let Some(bounds) = self.bounds_of(self.graph.node(*next))
            && let Some(clipped) = self.graph.node(*next).output(0)
            && let Some((q, codes)) = self.quantize_after(clipped)
            && self.check_8_bit(&codes).is_ok()
        {
            op.bounds = Some(bounds);
            op.absorbed.extend([*next, q]);
            op.outputs.push(QOutput::Codes(codes));
            return Ok(op);
        }
        match self.codes_after(out) {
            Ok((q, codes)) => {
                op.absorbed.push(q);
                op.outputs.push(QOutput::Codes(codes));
            }
            Err(_) if leaves_reals(op.kind) => {
                op.outputs.push(QOutput::Float(out));
            }
            Err(reason) => return Err(reason),
        }
        Ok(op)
    }

    /// Kind, inputs, weights and bias of a node; outputs are still to be matched.
    fn core(&self, id: NodeId, node: &Node) -> Match<QOperator> {
        let base = |kind, inputs| QOperator { inputs, ..QOperator::new(id, kind) };
        let one = |kind| Ok(base(kind, vec![self.activation(node, 0)?]));
        if !self.is_real(node) {
            return Err(FloatReason::NotReal);
        }
        match &node.op {
            Op::Conv(attrs) => {
                let x = self.activation(node, 0)?;
                let w = self.weights(node, 1, 0)?;
                let channels = self.weight_dims(&w).first().copied().unwrap_or(0);
                let bias = self.bias(node, 2, &x, &w.params.scale, channels)?;
                let kind = conv_kind(attrs, self.weight_dims(&w));
                Ok(QOperator { weights: Some(w), bias, ..base(kind, vec![x]) })
            }
            Op::Gemm { alpha, beta, trans_a, trans_b } => {
                if *trans_a || *alpha != 1.0 || (*beta != 1.0 && node.input(2).is_some()) {
                    return Err(FloatReason::Attribute(format!(
                        "alpha {alpha}, beta {beta}, transposed lhs {trans_a}: only plain products are integer"
                    )));
                }
                let x = self.activation(node, 0)?;
                let channel_axis = if *trans_b { 0 } else { 1 };
                if let Some(w) = self.grouped_weights(node, 1, channel_axis) {
                    let real_bias = self.real_bias(node, 2, self.weight_dims(&w)[channel_axis])?;
                    let base = base(OperatorKind::GroupWiseLinear, vec![x]);
                    return Ok(QOperator { weights: Some(w), real_bias, ..base });
                }
                let w = self.weights(node, 1, channel_axis)?;
                let channels = self.weight_dims(&w).get(channel_axis).copied().unwrap_or(0);
                let bias = self.bias(node, 2, &x, &w.params.scale, channels)?;
                Ok(QOperator { weights: Some(w), bias, ..base(OperatorKind::Linear, vec![x]) })
            }
            Op::ConvTranspose(attrs) => {
                let (x, w, bias) = self.conv_transpose(node, attrs)?;
                Ok(QOperator { weights: Some(w), bias, ..base(OperatorKind::ConvTranspose, vec![x]) })
            }
            Op::MatMul if self.multiplies_codes(node) => {
                let operands = vec![self.activation(node, 0)?, self.activation(node, 1)?];
                Ok(base(OperatorKind::MatMul, operands))
            }
            Op::MatMul => {
                let x = self.activation(node, 0)?;
                if let Some(w) = self.grouped_weights(node, 1, 1) {
                    return Ok(QOperator {
                        weights: Some(w),
                        ..base(OperatorKind::GroupWiseLinear, vec![x])
                    });
                }
                let w = self.weights(node, 1, 1)?;
                if self.weight_dims(&w).len() != 2 {
                    return Err(FloatReason::Attribute("weights of a rank other than 2".into()));
                }
                Ok(QOperator { weights: Some(w), ..base(OperatorKind::Linear, vec![x]) })
            }
            Op::Binary(b) => self.binary(node, *b).map(|(kind, inputs)| base(kind, inputs)),
            Op::Concat { .. } => {
                let inputs =
                    (0..node.inputs.len()).map(|i| self.activation(node, i)).collect::<Match<Vec<_>>>()?;
                Ok(base(OperatorKind::Concat, inputs))
            }
            Op::MaxPool { .. } if node.output(1).is_some() => {
                Err(FloatReason::Attribute("the indices of the maxima are asked for".into()))
            }
            Op::MaxPool { .. } | Op::GlobalMaxPool => one(OperatorKind::MaxPool),
            Op::AveragePool { .. } | Op::GlobalAveragePool => one(OperatorKind::AveragePool),
            Op::Reduce { kind: ReduceKind::Mean, noop_with_empty_axes, .. } => {
                self.spatial_mean(node, *noop_with_empty_axes)?;
                one(OperatorKind::AveragePool)
            }
            Op::Unary(_) => one(OperatorKind::Lookup),
            Op::Clip => match self.bounds_of(node) {
                Some(_) => one(OperatorKind::Lookup),
                None => Err(FloatReason::Attribute("bounds that are not constant".into())),
            },
            Op::Pad { mode } => {
                self.zero_padding(node, *mode)?;
                one(OperatorKind::Movement)
            }
            Op::Gather { .. } if self.picks_rows(node) => Err(FloatReason::Table),
            Op::Flatten { .. }
            | Op::Reshape { .. }
            | Op::Transpose { .. }
            | Op::Squeeze
            | Op::Unsqueeze
            | Op::Slice
            | Op::Split { .. }
            | Op::Gather { .. }
            | Op::GatherElements { .. }
            | Op::GatherND { .. }
            | Op::Expand
            | Op::Tile
            | Op::DepthToSpace { .. }
            | Op::SpaceToDepth { .. }
            | Op::Identity => one(OperatorKind::Movement),
            Op::Resize(attrs) if attrs.only_picks() => one(OperatorKind::Movement),
            Op::Dropout if node.output(1).is_none() => one(OperatorKind::Movement),
            op => Err(FloatReason::NoIntegerForm(op.name())),
        }
    }

    /// True when the first input is a float tensor (or of unknown type).
    fn is_real(&self, node: &Node) -> bool {
        let dtype = node.input(0).and_then(|v| self.graph.value(v).dtype);
        dtype.is_none_or(|d| d.is_float() || d.is_float8())
    }

    /// Two tensors of codes; or one, and a constant number that makes it a function of one code.
    fn binary(&self, node: &Node, b: BinaryOp) -> Match<(OperatorKind, Vec<Codes>)> {
        let both = [self.activation(node, 0), self.activation(node, 1)];
        // An exponent may be a constant of any type.
        let len = |i: usize| {
            let v = node.input(i)?;
            self.constant_dims(v).map(|dims| dims.iter().product::<usize>())
        };
        let is_constant = |i: usize| len(i).is_some();
        let is_number = |i: usize| len(i) == Some(1);
        let kind = match b {
            BinaryOp::Add => Some(OperatorKind::Add),
            BinaryOp::Sub => Some(OperatorKind::Sub),
            BinaryOp::Mul => Some(OperatorKind::Mul),
            _ => None,
        };
        match (both, kind) {
            ([Ok(x), _], _) if is_number(1) && !is_constant(0) => Ok((OperatorKind::Lookup, vec![x])),
            ([_, Ok(x)], _) if is_number(0) && !is_constant(1) => Ok((OperatorKind::Lookup, vec![x])),
            ([Ok(x), _], _) if b == BinaryOp::PRelu && self.has_slope_a_channel(node) => {
                Ok((OperatorKind::Lookup, vec![x]))
            }
            ([Ok(a), Ok(b)], Some(kind)) => Ok((kind, vec![a, b])),
            ([Err(e), _] | [_, Err(e)], _) => Err(e),
            (_, None) => Err(FloatReason::NoIntegerForm(node.op.name())),
        }
    }

    /// True where the second operand is constant, with one element for each index of axis 1 of the first.
    fn has_slope_a_channel(&self, node: &Node) -> bool {
        let (Some(x), Some(slope)) = (node.input(0), node.input(1)) else { return false };
        let (Some(shape), Some(slope)) = (&self.graph.value(x).shape, self.constant_dims(slope)) else {
            return false;
        };
        is_along_channels(slope, shape)
    }

    /// Checks that a mean is over all axes but the first two, whatever the order in which they are named.
    fn spatial_mean(&self, node: &Node, noop_with_empty_axes: bool) -> Match<()> {
        let other = || FloatReason::Attribute("a mean over other axes than the spatial ones".into());
        let shape = node.input(0).and_then(|v| self.graph.value(v).shape.as_ref()).ok_or_else(other)?;
        let rank = i64::try_from(shape.len()).map_err(|_| other())?;
        let axes = self.graph.const_input(node, 1).and_then(|t| t.to_i64_vec()).ok_or_else(other)?;
        if axes.is_empty() && !noop_with_empty_axes {
            return Err(other());
        }
        let mut axes: Vec<i64> = axes.into_iter().map(|a| if a < 0 { a + rank } else { a }).collect();
        axes.sort_unstable();
        if rank > 2 && axes == (2..rank).collect::<Vec<_>>() { Ok(()) } else { Err(other()) }
    }

    fn zero_padding(&self, node: &Node, mode: PadMode) -> Match<()> {
        if mode != PadMode::Constant {
            return Ok(());
        }
        let zero = match node.input(2) {
            None => true,
            Some(v) => self.constant_reals(v).is_some_and(|r| r == [0.0]),
        };
        if zero { Ok(()) } else { Err(FloatReason::Attribute("padding with a value other than zero".into())) }
    }

    /// Codes that become codes of other parameters with nothing between: a table of 256 entries.
    fn bare_requantize(&self, id: NodeId, node: &Node) -> Option<QOperator> {
        let to = self.quantized[id.0].clone().filter(|c| is_plain_8_bit(&c.params))?;
        let from = self.dequantized[node.input(0)?.0].clone().filter(|c| is_plain_8_bit(&c.params))?;
        Some(QOperator {
            inputs: vec![from],
            outputs: vec![QOutput::Codes(to)],
            absorbed: vec![id],
            ..QOperator::new(id, OperatorKind::Lookup)
        })
    }
}

/// True for a constant of dimensions `dims` that has, broadcast over `shape`, one element for each index of axis 1.
#[must_use]
pub fn is_along_channels(dims: &[usize], shape: &[crate::Dim]) -> bool {
    let channels = shape.get(1).and_then(|d| d.known_usize());
    let Some(at) = (dims.len() + 1).checked_sub(shape.len()).filter(|at| *at <= 1) else { return false };
    channels.is_some()
        && dims.iter().enumerate().all(|(i, d)| if i == at { Some(*d) == channels } else { *d == 1 })
}

/// True for operators whose result may leave as real numbers.
fn leaves_reals(kind: OperatorKind) -> bool {
    use OperatorKind as Kind;
    matches!(kind, Kind::Linear | Kind::GroupWiseLinear | Kind::Conv | Kind::MatMul)
}

fn is_plain_8_bit(params: &AffineParams) -> bool {
    params.granularity == Granularity::PerTensor && matches!(params.dtype, DType::U8 | DType::I8)
}

fn per_channel(scales: &[f32], c: usize) -> f32 {
    if scales.len() == 1 { scales[0] } else { scales[c] }
}

pub(super) fn conv_kind(attrs: &ConvAttrs, weight_dims: &[usize]) -> OperatorKind {
    match weight_dims {
        [out, 1, ..] if attrs.groups > 1 && *out == attrs.groups => OperatorKind::DepthwiseConv,
        _ => OperatorKind::Conv,
    }
}
