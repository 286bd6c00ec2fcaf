//! Models that take pictures as they are stored.

use crate::ExportError;
use tq_graph::op::BinaryOp;
use tq_graph::qdq::node_params;
use tq_graph::{Graph, Node, NodeId, Op, Tensor, ValueId, infer};
use tq_qtypes::{DType, Granularity, Rounding, affine};

/// `(stored * scale - mean[c]) / std[c]`, each step rounded to f32.
#[derive(Debug, Clone, PartialEq)]
pub struct InputScaling {
    /// Factor of the stored bytes.
    pub scale: f32,
    /// Subtracted then, one number or one a channel; none means 0.
    pub mean: Vec<f32>,
    /// Divisor then, one number or one a channel; none means 1.
    pub std: Vec<f32>,
    /// Axis of the channels.
    pub channel_axis: usize,
}

impl InputScaling {
    fn of(values: &[f32], channel: usize, default: f32) -> f32 {
        values.get(if values.len() == 1 { 0 } else { channel }).copied().unwrap_or(default)
    }

    /// What a stored byte becomes in a channel.
    fn apply(&self, stored: u8, channel: usize) -> f32 {
        let scaled = f32::from(stored) * self.scale;
        (scaled - Self::of(&self.mean, channel, 0.0)) / Self::of(&self.std, channel, 1.0)
    }
}

/// Puts the scaling into the model, whose float input `name` becomes a u8 one of the same name.
///
/// Where the input is quantized by one Quantize whose codes are the stored bytes themselves, for every byte and channel,
/// that Quantize goes and no float is left; else Cast, Mul, Sub and Div stand before the model. Returns true in the first
/// case.
///
/// # Errors
/// [`ExportError::Input`] when there is no such f32 input, or the numbers do not suit it.
pub fn fold_preprocess(graph: &mut Graph, name: &str, scaling: &InputScaling) -> Result<bool, ExportError> {
    let fail = |message: String| ExportError::Input { name: name.to_owned(), message };
    infer::infer(graph)?;
    let at = graph.inputs.iter().position(|v| graph.value(*v).name == name);
    let at = at.ok_or_else(|| fail("the model has no such input".into()))?;
    let x = graph.inputs[at];
    if graph.value(x).dtype != Some(DType::F32) {
        let dtype = graph.value(x).dtype.map_or("of unknown type".into(), |d| d.to_string());
        return Err(fail(format!("it is {dtype}, not f32")));
    }
    let shape = graph.value(x).shape.clone().ok_or_else(|| fail("its shape is not known".into()))?;
    let InputScaling { scale, mean, std, channel_axis } = scaling;
    let channels = mean.len().max(std.len()).max(1);
    let known = shape.get(*channel_axis).and_then(tq_graph::Dim::known_usize);
    for (what, values) in [("mean", mean), ("std", std)] {
        if let Some(v) = values.iter().find(|v| !v.is_finite() || (what == "std" && **v == 0.0)) {
            return Err(fail(format!("{what} holds {v}")));
        }
        if values.len() > 1 && known != Some(values.len()) {
            let have = known.map_or("a free number of".to_owned(), |n| n.to_string());
            return Err(fail(format!(
                "{} {what} values for {have} channels on axis {channel_axis}",
                values.len()
            )));
        }
    }
    if !scale.is_finite() {
        return Err(fail(format!("scale is {scale}")));
    }
    if let Some(quantize) = bytes_are_codes(graph, x, scaling, channels) {
        let node = graph.nodes.remove(quantize.0);
        let Some(codes) = node.output(0) else { return Ok(false) };
        take_over(graph, at, codes, shape);
        graph.compact();
        infer::infer(graph)?;
        return Ok(true);
    }
    let stored_name = graph.fresh_value_name(&format!("{name}_scaled"));
    graph.values[x.0].name = stored_name;
    let stored = graph.add_value(name, Some(DType::U8), Some(shape.clone()));
    graph.inputs[at] = stored;
    // Numbers by channel stand in the shape that broadcasts along the channel axis.
    let rank = shape.len();
    let by_channel = |values: &[f32]| -> Result<Tensor, ExportError> {
        let mut dims = Vec::new();
        if values.len() > 1 {
            dims = vec![1; rank];
            dims[*channel_axis] = values.len();
        }
        Ok(Tensor::new(&dims, values.to_vec())?)
    };
    let cast = graph.fresh_value_name(&format!("{name}_cast"));
    let mut steps = vec![(Op::Cast { to: DType::F32, saturate: true }, None)];
    let wanted = [
        (BinaryOp::Mul, vec![*scale], 1.0),
        (BinaryOp::Sub, mean.clone(), 0.0),
        (BinaryOp::Div, std.clone(), 1.0),
    ];
    for (op, values, neutral) in wanted {
        if values.iter().any(|v| *v != neutral) {
            steps.push((Op::Binary(op), Some(by_channel(&values)?)));
        }
    }
    let last = steps.len() - 1;
    let (mut from, mut nodes) = (stored, Vec::new());
    for (i, (op, operand)) in steps.into_iter().enumerate() {
        let mut inputs = vec![Some(from)];
        if let Some(operand) = operand {
            let constant = graph.fresh_value_name(&format!("{name}_{}", op.name()));
            inputs.push(Some(graph.add_constant(constant, operand)));
        }
        let out = if i == last { x } else { fresh_value(graph, &cast) };
        let node = graph.fresh_node_name(&format!("{name}_preprocess_{}", op.name()));
        nodes.push(Node { name: node, op, inputs, outputs: vec![Some(out)] });
        from = out;
    }
    graph.nodes.splice(0..0, nodes);
    infer::infer(graph)?;
    Ok(false)
}

fn fresh_value(graph: &mut Graph, base: &str) -> ValueId {
    let name = graph.fresh_value_name(base);
    graph.add_value(name, None, None)
}

/// The codes become the input, under its name.
fn take_over(graph: &mut Graph, at: usize, codes: ValueId, shape: tq_graph::Shape) {
    let x = graph.inputs[at];
    let name = graph.value(x).name.clone();
    let other = graph.fresh_value_name(&format!("{name}_float"));
    graph.values[x.0].name = other;
    let value = &mut graph.values[codes.0];
    (value.name, value.dtype, value.shape) = (name, Some(DType::U8), Some(shape));
    graph.inputs[at] = codes;
}

/// The only reader of `x`, if it is a Quantize that makes every byte of every channel the code of its own number.
fn bytes_are_codes(graph: &Graph, x: ValueId, scaling: &InputScaling, channels: usize) -> Option<NodeId> {
    let readers = &graph.consumers()[x.0];
    let [id] = readers.as_slice() else { return None };
    let node = graph.node(*id);
    if graph.outputs.contains(&x) || !matches!(node.op, Op::QuantizeLinear { .. }) {
        return None;
    }
    let params = node_params(graph, node)?;
    let (scale, zero) = params.uniform()?;
    if params.dtype != DType::U8 || params.granularity != Granularity::PerTensor {
        return None;
    }
    let code = |x| affine::quantize_f32(x, scale, zero, 0, 255, Rounding::Divide);
    let same = |c| (0..=u8::MAX).all(|stored| code(scaling.apply(stored, c)) == i32::from(stored));
    (0..channels).all(same).then_some(*id)
}
