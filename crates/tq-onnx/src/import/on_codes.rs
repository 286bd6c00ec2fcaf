//! Operators that only move or pick elements, on codes: Dequantize, the operator, Quantize with the same parameters.
//!
//! ONNX Runtime's operator-oriented files have such operators between those on codes. In the graph's one form every
//! operator computes with real numbers; the runtime moves the codes as they are. Codes survive the way there and back:
//! `(q - z) * s / s` is off from an integer by less than rounding takes away.

use crate::names::Names;
use std::collections::HashMap;
use tq_graph::op::{Op, PadMode};
use tq_graph::{Graph, Node, Tensor, ValueId};
use tq_qtypes::{DType, affine};

/// Scale and zero point of codes: one pair, constant.
#[derive(Clone, Copy)]
struct Params {
    scale: ValueId,
    zero_point: Option<ValueId>,
    dtype: DType,
    /// The same as numbers.
    numbers: (f32, i32),
}

/// Whether the operator gives nothing but elements of its first input, in the same form whatever they stand for.
fn only_moves(op: &Op) -> bool {
    match op {
        Op::MaxPool { .. }
        | Op::Transpose { .. }
        | Op::Reshape { .. }
        | Op::Flatten { .. }
        | Op::Squeeze
        | Op::Unsqueeze
        | Op::Slice
        | Op::Gather { .. }
        | Op::GatherElements { .. }
        | Op::GatherND { .. }
        | Op::Split { .. }
        | Op::Pad { .. }
        | Op::Expand
        | Op::Tile
        | Op::DepthToSpace { .. }
        | Op::SpaceToDepth { .. }
        | Op::Identity => true,
        Op::Resize(attrs) => attrs.only_picks(),
        _ => false,
    }
}

/// Rewrites all such operators whose first input is codes of known parameters. Nodes stay in order.
pub(super) fn rewrite(graph: &mut Graph) {
    let nodes = std::mem::take(&mut graph.nodes);
    let mut rewriter = Rewriter { node_names: Names::default(), value_names: Names::default(), graph };
    for node in &nodes {
        rewriter.node_names.take(&node.name);
    }
    for value in &rewriter.graph.values {
        rewriter.value_names.take(&value.name);
    }
    let mut params: HashMap<ValueId, Params> = HashMap::new();
    for node in nodes {
        if let (Op::QuantizeLinear { .. }, Some(codes)) = (&node.op, node.output(0)) {
            params.extend(rewriter.params_of(&node).map(|found| (codes, found)));
            rewriter.graph.nodes.push(node);
            continue;
        }
        let found = node.input(0).and_then(|x| params.get(&x)).copied();
        match found.filter(|_| only_moves(&node.op) && gives_elements(&node)) {
            Some(found) => {
                params.extend(node.outputs.iter().flatten().map(|codes| (*codes, found)));
                rewriter.wrap(node, found);
            }
            None => rewriter.graph.nodes.push(node),
        }
    }
}

/// Whether every output holds elements: the places of maxima are none.
fn gives_elements(node: &Node) -> bool {
    matches!(node.op, Op::Split { .. }) || node.outputs.iter().skip(1).all(Option::is_none)
}

struct Rewriter<'a> {
    node_names: Names,
    value_names: Names,
    graph: &'a mut Graph,
}

impl Rewriter<'_> {
    /// The parameters of 8-bit codes with one constant scale.
    fn params_of(&self, node: &Node) -> Option<Params> {
        let (codes, scale) = (node.output(0)?, node.input(1)?);
        let dtype = self.graph.value(codes).dtype.filter(|d| matches!(d, DType::I8 | DType::U8))?;
        let [s] = *self.graph.constant(scale)?.as_slice::<f32>().ok()? else { return None };
        let zero_point = node.input(2);
        let z = match zero_point {
            None => 0,
            Some(z) => match *self.graph.constant(z)?.to_i64_vec()? {
                [z] => i32::try_from(z).ok()?,
                _ => return None,
            },
        };
        // Subnormal scales lose the bits that bring a code back.
        (s.is_normal() && s > 0.0).then_some(Params { scale, zero_point, dtype, numbers: (s, z) })
    }

    /// Adds the operator between Dequantize and Quantize.
    fn wrap(&mut self, mut node: Node, params: Params) {
        let Some(codes) = node.input(0) else { return self.graph.nodes.push(node) };
        if matches!(node.op, Op::Pad { mode: PadMode::Constant }) && !self.real_padding(&mut node, params) {
            return self.graph.nodes.push(node);
        }
        let shape = self.graph.value(codes).shape.clone();
        let real = self.value(&format!("{}_x", node.name));
        self.graph.values[real.0].shape = shape;
        let op = Op::DequantizeLinear { axis: 1, block_size: 0 };
        self.border(&format!("{}_dequantize", node.name), op, codes, params, real);
        node.inputs[0] = Some(real);
        let name = node.name.clone();
        let mut results = Vec::new();
        for output in node.outputs.iter_mut().flatten() {
            let shape = self.graph.value(*output).shape.clone();
            let real = self.value(&format!("{}_real", self.graph.value(*output).name));
            self.graph.values[real.0].shape = shape;
            results.push((real, std::mem::replace(output, real)));
        }
        self.graph.nodes.push(node);
        // Without a zero point the type of the codes has to be told.
        let output_dtype = if params.zero_point.is_some() { None } else { Some(params.dtype) };
        let op = Op::QuantizeLinear { axis: 1, block_size: 0, output_dtype, saturate: true };
        for (real, codes) in results {
            self.border(&format!("{name}_quantize"), op.clone(), real, params, codes);
        }
    }

    /// A new real value.
    fn value(&mut self, base: &str) -> ValueId {
        let name = self.value_names.fresh(base);
        self.graph.add_value(name, Some(DType::F32), None)
    }

    /// Adds a Quantize or Dequantize node.
    fn border(&mut self, base: &str, op: Op, from: ValueId, params: Params, to: ValueId) {
        let name = self.node_names.fresh(base);
        let mut inputs = vec![Some(from), Some(params.scale)];
        inputs.extend(params.zero_point.map(Some));
        self.graph.nodes.push(Node { name, op, inputs, outputs: vec![Some(to)] });
    }

    /// Gives a Pad on codes the number that its padding stands for; false where that is not known. Without a value it
    /// pads with the code 0, which is no zero.
    fn real_padding(&mut self, node: &mut Node, params: Params) -> bool {
        let code = match node.input(2) {
            None => Some(0),
            Some(v) => self.graph.constant(v).and_then(Tensor::to_i64_vec).and_then(|v| match *v {
                [code] => i32::try_from(code).ok(),
                _ => None,
            }),
        };
        let Some(code) = code else { return false };
        let (scale, zero_point) = params.numbers;
        let number = Tensor::scalar(affine::dequantize_f32(code, scale, zero_point));
        let name = self.value_names.fresh(&format!("{}_value", node.name));
        let id = self.graph.add_constant(name, number);
        while node.inputs.len() < 3 {
            node.inputs.push(None);
        }
        node.inputs[2] = Some(id);
        true
    }
}
