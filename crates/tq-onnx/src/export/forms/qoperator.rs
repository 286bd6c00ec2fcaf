//! Operators on codes instead of float operators between Dequantize and Quantize.

use super::edit::{Edit, numbers, real_name};
use crate::OnnxError;
use std::collections::{HashMap, HashSet};
use tq_graph::op::{BinaryOp, ConvAttrs};
use tq_graph::qdq::{Codes, QOperator, QOutput, QdqView};
use tq_graph::{Node, NodeId, Op, Tensor, ValueId};
use tq_qtypes::{DType, OperatorKind, Rounding, affine};

/// Rewrites every operator that ONNX has a word for.
pub(super) fn rewrite(edit: &mut Edit<'_>) -> Result<(), OnnxError> {
    let view = QdqView::new(edit.graph);
    let producers = edit.graph.producers();
    let mut written: HashMap<NodeId, Vec<Node>> = HashMap::new();
    let mut gone: HashSet<NodeId> = HashSet::new();
    for operator in &view.operators {
        if let Some(nodes) = (Rewriting { edit: &mut *edit, producers: &producers }).operator(operator)? {
            written.insert(operator.node, nodes);
            gone.extend(&operator.absorbed);
        }
    }
    let nodes = std::mem::take(&mut edit.graph.nodes);
    let mut out = Vec::with_capacity(nodes.len());
    for (i, node) in nodes.into_iter().enumerate() {
        out.extend(written.remove(&NodeId(i)).unwrap_or_default());
        if !gone.contains(&NodeId(i)) {
            out.push(node);
        }
    }
    edit.graph.nodes = out;
    Ok(())
}

struct Rewriting<'a, 'g> {
    edit: &'a mut Edit<'g>,
    producers: &'a [Option<NodeId>],
}

impl Rewriting<'_, '_> {
    fn operator(&mut self, o: &QOperator) -> Result<Option<Vec<Node>>, OnnxError> {
        // No operator of ONNX multiplies codes with weights that have scales for groups.
        if o.kind == OperatorKind::GroupWiseLinear {
            return Ok(None);
        }
        let node = self.edit.graph.node(o.node).clone();
        match (&node.op, o.outputs.as_slice()) {
            (Op::Conv(attrs), [QOutput::Codes(y)]) => self.conv(o, &node, attrs, y).map(Some),
            (Op::Conv(attrs), [QOutput::Float(y)]) => {
                self.float_result(o, &node, Op::ConvInteger(attrs.clone()), *y)
            }
            (Op::MatMul | Op::Gemm { .. }, [QOutput::Codes(y)]) if o.bias.is_none() => {
                self.product(o, &node, y).map(Some)
            }
            (Op::MatMul | Op::Gemm { .. }, [QOutput::Float(y)]) => {
                self.float_result(o, &node, Op::MatMulInteger, *y)
            }
            (op, [QOutput::Codes(y)]) if moves_codes(op) && o.bounds.is_none() => Ok(self.moved(o, &node, y)),
            _ => Ok(None),
        }
    }

    /// The constants with scale and zero point of these codes; the node beside `at` has them.
    fn params(&mut self, codes: &Codes, at: ValueId) -> Result<[Option<ValueId>; 2], OnnxError> {
        let node = self.producers[at.0].map(|n| self.edit.graph.node(n));
        let scale = node.and_then(|n| n.input(1));
        let zero = node.and_then(|n| n.input(2));
        let Some(scale) = scale else {
            return Err(OnnxError::Model(format!("{} has no scale", self.edit.name(codes.value))));
        };
        let zero = match zero {
            Some(zero) => zero,
            None => {
                let dims = self.edit.graph.constant(scale).map_or(Vec::new(), |t| t.dims().to_vec());
                let zeros = super::edit::codes(codes.params.dtype, &dims, &codes.params.zero_point)?;
                let name = format!("{}_zero_point", real_name(self.edit.name(codes.value)));
                self.edit.constant(&name, zeros)
            }
        };
        Ok([Some(scale), Some(zero)])
    }

    fn conv(
        &mut self,
        o: &QOperator,
        node: &Node,
        attrs: &ConvAttrs,
        y: &Codes,
    ) -> Result<Vec<Node>, OnnxError> {
        let (Some(x), Some(w)) = (o.inputs.first(), &o.weights) else { return Ok(vec![node.clone()]) };
        let [sx, zx] = self.params(x, x.real)?;
        let [sw, zw] = self.params(w, w.real)?;
        let [sy, zy] = self.params(y, y.value)?;
        let mut inputs = vec![Some(x.value), sx, zx, Some(w.value), sw, zw, sy, zy];
        if let Some(bias) = &o.bias {
            inputs.push(Some(self.bias(node, bias)));
        }
        self.clamped(o, node, Op::QLinearConv(attrs.clone()), inputs, y)
    }

    fn product(&mut self, o: &QOperator, node: &Node, y: &Codes) -> Result<Vec<Node>, OnnxError> {
        let Some(a) = o.inputs.first() else { return Ok(vec![node.clone()]) };
        let Some(b) = o.weights.as_ref().or(o.inputs.get(1)) else { return Ok(vec![node.clone()]) };
        let [sa, za] = self.params(a, a.real)?;
        let [sb, zb] = self.params(b, b.real)?;
        let [sy, zy] = self.params(y, y.value)?;
        let rhs = self.rhs(node, b)?;
        self.clamped(o, node, Op::QLinearMatMul, vec![Some(a.value), sa, za, Some(rhs), sb, zb, sy, zy], y)
    }

    /// The right-hand side as a plain product has it: rows are input features.
    fn rhs(&mut self, node: &Node, b: &Codes) -> Result<ValueId, OnnxError> {
        let Op::Gemm { trans_b: true, .. } = node.op else { return Ok(b.value) };
        let name = self.edit.name(b.value).to_owned();
        let Some(tensor) = self.edit.graph.constant(b.value) else { return Ok(b.value) };
        let (q, dims) = (numbers(tensor, &name)?, tensor.dims().to_vec());
        let [rows, columns] = dims[..] else { return Ok(b.value) };
        let turned: Vec<i32> = (0..columns)
            .flat_map(|c| (0..rows).map(move |r| (r, c)))
            .map(|(r, c)| q[r * columns + c])
            .collect();
        let turned = super::edit::codes(b.params.dtype, &[columns, rows], &turned)?;
        Ok(self.edit.constant(&format!("{name}_transposed"), turned))
    }

    /// The bias as 32-bit codes: the constant that the graph has already, or a new one.
    fn bias(&mut self, node: &Node, bias: &[i32]) -> ValueId {
        let graph = &*self.edit.graph;
        let from = node.input(2).and_then(|v| self.producers[v.0]).and_then(|n| graph.node(n).input(0));
        let same = |v: &ValueId| {
            graph.constant(*v).is_some_and(|t| t.rank() == 1 && t.as_slice::<i32>().is_ok_and(|q| q == bias))
        };
        if let Some(v) = from.filter(same) {
            return v;
        }
        let name = node.input(2).map_or(node.name.as_str(), |v| self.edit.name(v)).to_owned();
        self.edit.constant(&format!("{}_quantized", real_name(&name)), Tensor::vector(bias.to_vec()))
    }

    /// A node that gives codes, and a Clip of these where bounds cut some off: quantization keeps the order, so clamping
    /// codes is quantizing what was clamped.
    fn clamped(
        &mut self,
        o: &QOperator,
        node: &Node,
        op: Op,
        inputs: Vec<Option<ValueId>>,
        y: &Codes,
    ) -> Result<Vec<Node>, OnnxError> {
        let new = |outputs: ValueId, inputs| Node {
            name: node.name.clone(),
            op: op.clone(),
            inputs,
            outputs: vec![Some(outputs)],
        };
        let Some(bounds) = o.bounds.and_then(|(lo, hi)| code_bounds(y, lo, hi)) else {
            return Ok(vec![new(y.value, inputs)]);
        };
        let base = self.edit.name(y.value).to_owned();
        let raw = self.edit.value(&format!("{base}_unclamped"));
        let mut clip = vec![Some(raw)];
        for (bound, what) in bounds.into_iter().zip(["min", "max"]) {
            let bound = super::edit::codes(y.params.dtype, &[], &[bound])?;
            clip.push(Some(self.edit.constant(&format!("{base}_{what}"), bound)));
        }
        let clip = self.edit.node(&format!("{}_Clip", node.name), Op::Clip, clip, y.value);
        Ok(vec![new(raw, inputs), clip])
    }

    /// Integer sums, the bias among them, times the scale: what a session computes too.
    fn float_result(
        &mut self,
        o: &QOperator,
        node: &Node,
        op: Op,
        y: ValueId,
    ) -> Result<Option<Vec<Node>>, OnnxError> {
        let (Some(x), Some(w)) = (o.inputs.first(), o.weights.as_ref().or(o.inputs.get(1))) else {
            return Ok(None);
        };
        // ConvInteger of ONNX Runtime takes u8 data alone; bounds are no part of a float result.
        let conv = matches!(op, Op::ConvInteger(_));
        if o.bounds.is_some() || (conv && x.params.dtype != DType::U8) {
            return Ok(None);
        }
        let Some((sx, _)) = x.params.uniform() else { return Ok(None) };
        let [_, zx] = self.params(x, x.real)?;
        let zw = match w.params.zero_point.as_slice() {
            // ONNX Runtime's ConvInteger takes one zero point for all channels.
            [first, rest @ ..] if conv && rest.iter().all(|z| z == first) => {
                let name = format!("{}_zero_point", real_name(self.edit.name(w.value)));
                Some(self.edit.constant(&name, super::edit::codes(w.params.dtype, &[], &[*first])?))
            }
            _ if conv => return Ok(None),
            _ => self.params(w, w.real)?[1],
        };
        let spatial = match (conv, self.edit.graph.constant(w.value)) {
            (true, Some(weights)) => weights.rank().saturating_sub(2),
            (true, None) => return Ok(None),
            (false, _) => 0,
        };
        // One number a channel, beside which a convolution has its spatial axes.
        let by_channel = |n: usize| -> Vec<usize> {
            let mut dims = if n == 1 { Vec::new() } else { vec![n] };
            if n > 1 {
                dims.extend(std::iter::repeat_n(1, spatial));
            }
            dims
        };
        let rhs = if conv { w.value } else { self.rhs(node, w)? };
        let base = self.edit.name(y).to_owned();
        let sums = self.edit.value(&format!("{base}_sums"));
        let mut nodes = vec![Node {
            name: node.name.clone(),
            op,
            inputs: vec![Some(x.value), Some(rhs), zx, zw],
            outputs: vec![Some(sums)],
        }];
        let mut sums = sums;
        if let Some(bias) = &o.bias {
            let bias = Tensor::new(&by_channel(bias.len()), bias.clone())?;
            let bias = self.edit.constant(&format!("{base}_bias"), bias);
            let with_bias = self.edit.value(&format!("{base}_biased"));
            let op = Op::Binary(BinaryOp::Add);
            nodes.push(self.edit.node(
                &format!("{}_Add", node.name),
                op,
                vec![Some(sums), Some(bias)],
                with_bias,
            ));
            sums = with_bias;
        }
        let real = self.edit.value(&format!("{base}_unscaled"));
        let cast = Op::Cast { to: DType::F32, saturate: true };
        nodes.push(self.edit.node(&format!("{}_Cast", node.name), cast, vec![Some(sums)], real));
        let scales: Vec<f32> = w.params.scale.iter().map(|s| sx * s).collect();
        let scales = Tensor::new(&by_channel(scales.len()), scales)?;
        let scales = self.edit.constant(&format!("{base}_multiplier"), scales);
        let op = Op::Binary(BinaryOp::Mul);
        nodes.push(self.edit.node(&format!("{}_Mul", node.name), op, vec![Some(real), Some(scales)], y));
        Ok(Some(nodes))
    }

    /// The node itself, on codes.
    fn moved(&mut self, o: &QOperator, node: &Node, y: &Codes) -> Option<Vec<Node>> {
        let x = o.inputs.first().filter(|x| x.params == y.params)?;
        if node.outputs.len() != 1 {
            return None;
        }
        let mut node = node.clone();
        node.inputs[0] = Some(x.value);
        node.outputs[0] = Some(y.value);
        Some(vec![node])
    }
}

/// Operators that give some of the elements they read, unchanged.
fn moves_codes(op: &Op) -> bool {
    matches!(
        op,
        Op::MaxPool { .. }
            | Op::Reshape { .. }
            | Op::Flatten { .. }
            | Op::Transpose { .. }
            | Op::Squeeze
            | Op::Unsqueeze
            | Op::Slice
            | Op::Gather { .. }
            | Op::DepthToSpace { .. }
            | Op::SpaceToDepth { .. }
            | Op::Identity
    )
}

/// The codes of the bounds; `None` where they cut nothing off.
fn code_bounds(y: &Codes, lo: f32, hi: f32) -> Option<[i32; 2]> {
    let (scale, zero) = y.params.uniform()?;
    let (qmin, qmax) = (y.params.quant_min, y.params.quant_max);
    let code = |x| affine::quantize_f32(x, scale, zero, qmin, qmax, Rounding::Divide);
    let bounds = [code(lo), code(hi)];
    (bounds != [qmin, qmax]).then_some(bounds)
}
