//! Operators whose activations are quantized while the network runs.

use super::matching::{Match, Matcher, conv_kind};
use super::{Codes, FloatReason, QOperator, QOutput, RunTime};
use crate::op::{BinaryOp, RecurrentAttrs};
use crate::{Node, NodeId, Op, ValueId};
use tq_qtypes::{AffineParams, DType, Granularity, OperatorKind};

impl Matcher<'_> {
    /// The product that a MatMulInteger or a ConvInteger is the heart of:
    ///
    /// ```text
    /// x ─ DynamicQuantizeLinear ┬ codes ───── MatMulInteger ─ Cast ─ Mul ─ [Add bias] ─ y
    ///                           ├ zero point ──────┘ │               │
    ///                           └ scale ── Mul ──────┼───────────────┘
    ///                        weight scales ──┘       └ weights, their zero points
    /// ```
    ///
    /// Scales and biases of a convolution are columns, `[channels, 1, ..]`.
    pub(super) fn run_time_product(&self, id: NodeId, node: &Node) -> Match<QOperator> {
        let other = |what: &str| FloatReason::Attribute(what.to_owned());
        let not_dynamic = || other("its codes do not come from a DynamicQuantizeLinear");
        let (codes, zero_point) = (node.input(0), node.input(2));
        let source = codes.and_then(|v| self.producer(v)).ok_or_else(not_dynamic)?;
        let Op::DynamicQuantizeLinear { formula } = source.op else { return Err(not_dynamic()) };
        let (Some(codes), Some(scale), Some(real)) = (codes, source.output(1), source.input(0)) else {
            return Err(not_dynamic());
        };
        let Some(zero_point) = zero_point.filter(|z| source.output(2) == Some(*z)) else {
            return Err(not_dynamic());
        };
        if source.output(0) != Some(codes) || self.graph.value(real).dtype != Some(DType::F32) {
            return Err(not_dynamic());
        }
        let w = node.input(1).ok_or(FloatReason::WeightsNotQuantized)?;
        let weights = self.graph.constant(w).ok_or(FloatReason::WeightsNotQuantized)?;
        let dims = weights.dims();
        let (kind, channels, spatial) = match (&node.op, dims) {
            (Op::ConvInteger(attrs), [channels, _, kernel @ ..]) if !kernel.is_empty() => {
                (conv_kind(attrs, dims), *channels, kernel.len())
            }
            (Op::MatMulInteger, [_, channels]) => (OperatorKind::Linear, *channels, 0),
            _ => return Err(other("weights of a rank that its products do not have")),
        };
        if dims.contains(&0) {
            return Err(FloatReason::Attribute(format!("weights of shape {dims:?}")));
        }

        let sums = node.output(0).ok_or(FloatReason::WeightsNotQuantized)?;
        let (cast, cast_node) =
            self.only_reader(sums).ok_or_else(|| other("its sums are read as integers"))?;
        if !matches!(cast_node.op, Op::Cast { to: DType::F32, .. }) {
            return Err(other("its sums are read as integers"));
        }
        let real_sums = cast_node.output(0);
        let scaled = real_sums.and_then(|v| Some((v, self.only_reader(v)?)));
        let Some((real_sums, (scaling, scaling_node))) =
            scaled.filter(|(_, (_, n))| n.op == Op::Binary(BinaryOp::Mul))
        else {
            return Err(other("its sums are not scaled"));
        };
        let factor =
            other_operand(scaling_node, real_sums).ok_or_else(|| other("its sums are not scaled"))?;
        let factor_node = self.producers[factor.0];
        let product = factor_node.map(|n| self.graph.node(n)).filter(|n| {
            n.op == Op::Binary(BinaryOp::Mul) && self.only_reader(factor).is_some_and(|(r, _)| r == scaling)
        });
        let weight_scales =
            product.and_then(|n| other_operand(n, scale)).and_then(|v| self.graph.constant(v));
        let (Some(factor_node), Some(weight_scales)) = (factor_node, weight_scales) else {
            return Err(other("its sums are not scaled by the scales of data and weights"));
        };
        let scales = weight_scales.as_slice::<f32>().ok().map(<[f32]>::to_vec);
        let scales = scales.filter(|_| is_along_channels(weight_scales.dims(), channels, spatial));
        let params = self.product_params(node, weights.dtype(), channels, scales)?;

        let mut absorbed = vec![id, cast, factor_node, scaling];
        let mut out = scaling_node.output(0).ok_or_else(|| other("its product has no name"))?;
        let mut real_bias = None;
        let rank = self.graph.value(real).shape.as_ref().map_or(0, Vec::len);
        if let Some((add, add_node)) = self.only_reader(out)
            && add_node.op == Op::Binary(BinaryOp::Add)
            && let Some(bias) = other_operand(add_node, out).and_then(|v| self.graph.constant(v))
            && bias.rank() <= rank
            && is_along_channels(bias.dims(), channels, spatial)
            && let (Ok(bias), Some(sum)) = (bias.as_slice::<f32>(), add_node.output(0))
        {
            real_bias = Some(if let [one] = *bias { vec![one; channels] } else { bias.to_vec() });
            absorbed.push(add);
            out = sum;
        }
        Ok(QOperator {
            weights: Some(Codes { value: w, real: w, params }),
            real_bias,
            run_time: Some(RunTime { real, formula, reads: vec![codes, scale, zero_point] }),
            outputs: vec![QOutput::Float(out)],
            absorbed,
            ..QOperator::new(id, kind)
        })
    }

    /// Parameters of the weights of a product: one pair, or one a channel.
    fn product_params(
        &self,
        node: &Node,
        dtype: DType,
        channels: usize,
        scales: Option<Vec<f32>>,
    ) -> Match<AffineParams> {
        let wrong = || FloatReason::Granularity(node.name.clone());
        let fits = |n: usize| n == 1 || n == channels;
        let mut scale = scales.filter(|s| fits(s.len())).ok_or_else(wrong)?;
        let mut zero_point = match node.input(3) {
            None => vec![0],
            Some(z) => {
                let z = self.graph.constant(z).filter(|z| z.rank() <= 1).ok_or_else(wrong)?;
                let z = z.to_i64_vec().unwrap_or_default();
                z.into_iter().filter_map(|z| i32::try_from(z).ok()).collect()
            }
        };
        if !fits(zero_point.len()) {
            return Err(wrong());
        }
        let granularity = match (scale.len(), zero_point.len()) {
            (1, 1) => Granularity::PerTensor,
            _ => {
                scale = if let [one] = scale[..] { vec![one; channels] } else { scale };
                zero_point = if let [one] = zero_point[..] { vec![one; channels] } else { zero_point };
                Granularity::PerChannel { axis: usize::from(node.op == Op::MatMulInteger) }
            }
        };
        let (quant_min, quant_max) = dtype.quant_range().ok_or_else(wrong)?;
        let params = AffineParams { dtype, quant_min, quant_max, granularity, scale, zero_point };
        if params.validate().is_ok() { Ok(params) } else { Err(wrong()) }
    }

    /// A recurrent operator on codes: its weights stand behind Dequantize nodes.
    pub(super) fn recurrent(&self, id: NodeId, node: &Node, attrs: &RecurrentAttrs) -> Match<QOperator> {
        let Some(formula) = attrs.dynamic else { return Err(FloatReason::NoIntegerForm(node.op.name())) };
        let real = node.input(0).ok_or_else(|| FloatReason::Attribute("input 0 is absent".into()))?;
        if self.graph.value(real).dtype != Some(DType::F32) {
            return Err(FloatReason::NotReal);
        }
        let (weights, recurrence) = (self.rows(node.input(1))?, self.rows(node.input(2))?);
        let is_weight = |i: usize| i == 1 || i == 2;
        let reads = node.inputs.iter().enumerate().filter(|(i, _)| !is_weight(*i)).filter_map(|(_, v)| *v);
        // The kernels take the codes as they lie: nobody else needs what the Reshape gives.
        let reshapes = [&weights, &recurrence].into_iter().filter_map(|w| {
            let before = self.producers[w.real.0]?;
            let alone = self.only_reader(w.real).is_some_and(|(reader, _)| reader == id);
            (matches!(self.graph.node(before).op, Op::Reshape { .. }) && alone).then_some(before)
        });
        let absorbed = std::iter::once(id).chain(reshapes).collect();
        Ok(QOperator {
            weights: Some(weights),
            recurrence: Some(recurrence),
            run_time: Some(RunTime {
                real,
                formula,
                reads: reads.filter(|v| self.graph.constant(*v).is_none()).collect(),
            }),
            outputs: node.outputs.iter().flatten().map(|v| QOutput::Float(*v)).collect(),
            absorbed,
            ..QOperator::new(id, OperatorKind::Recurrent)
        })
    }

    /// Constant 8-bit weights `[directions, rows, columns]` with one scale, or one a row: codes of that shape, or of
    /// `[directions * rows, columns]` in front of a Reshape. The channel axis of the parameters counts all rows.
    fn rows(&self, v: Option<ValueId>) -> Match<Codes> {
        let v = v.ok_or(FloatReason::WeightsNotQuantized)?;
        let behind = match self.producer(v) {
            Some(n) if matches!(n.op, Op::Reshape { .. }) => n.input(0),
            _ => Some(v),
        };
        let codes =
            behind.and_then(|v| self.dequantized[v.0].clone()).ok_or(FloatReason::WeightsNotQuantized)?;
        let dims = self.graph.constant(codes.value).ok_or(FloatReason::WeightsNotQuantized)?.dims();
        self.check_8_bit(&codes)?;
        let rows = match *dims {
            [directions, rows, columns] if columns > 0 => directions * rows,
            [rows, columns] if columns > 0 => rows,
            _ => return Err(FloatReason::Attribute(format!("weights of shape {dims:?}"))),
        };
        let along_rows = match codes.params.granularity {
            Granularity::PerTensor => true,
            Granularity::PerChannel { axis } => axis + 2 == dims.len() && codes.params.scale.len() == rows,
            Granularity::PerGroup { .. } => false,
        };
        if !along_rows || rows == 0 {
            return Err(FloatReason::Granularity(self.name(codes.value)));
        }
        Ok(Codes { real: v, ..codes })
    }

    fn producer(&self, v: ValueId) -> Option<&Node> {
        self.producers[v.0].map(|id| self.graph.node(id))
    }

    /// The one node that reads `v`, once, where nobody outside the graph does.
    fn only_reader(&self, v: ValueId) -> Option<(NodeId, &Node)> {
        match self.consumers[v.0].as_slice() {
            [id] if !self.is_output[v.0] => {
                let node = self.graph.node(*id);
                (node.inputs.iter().flatten().filter(|i| **i == v).count() == 1).then_some((*id, node))
            }
            _ => None,
        }
    }
}

/// True for the shape of one number, or of one a channel where `spatial` axes follow that of the channels.
fn is_along_channels(dims: &[usize], channels: usize, spatial: usize) -> bool {
    let one = dims.iter().all(|d| *d == 1) && dims.len() <= spatial + 2;
    let Some(at) = dims.len().checked_sub(spatial + 1) else { return one };
    one || (at <= 1 && dims.iter().enumerate().all(|(i, d)| *d == if i == at { channels } else { 1 }))
}

/// The operand of a binary node beside `v`.
fn other_operand(node: &Node, v: ValueId) -> Option<ValueId> {
    match (node.input(0)?, node.input(1)?) {
        (a, b) if a == v && b != v => Some(b),
        (a, b) if b == v && a != v => Some(a),
        _ => None,
    }
}
