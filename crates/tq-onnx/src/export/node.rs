//! One node of the graph as one or more nodes of the file.

use super::Writer;
use super::recurrent::recurrent;
use super::resize::resize;
use crate::proto::attribute_proto::AttributeType;
use crate::proto::{AttributeProto, NodeProto};
use crate::types::{self, Lack};
use crate::{OnnxError, tensor, versions};
use tq_graph::op::{
    BinaryOp, BitwiseOp, ConvAttrs, ConvTransposeAttrs, Op, PadMode, Padding, PoolAttrs, ScatterReduction,
    UnaryOp,
};
use tq_graph::{Graph, GraphError, Node, Tensor, dim};
use tq_qtypes::{DType, DynamicFormula};

pub(super) fn lack<T>(what: impl Into<String>, needs: i64) -> Result<T, Error> {
    Err(Error::Lack(Lack { what: what.into(), needs }))
}

pub(super) enum Error {
    Lack(Lack),
    Graph(GraphError),
}

impl From<GraphError> for Error {
    fn from(error: GraphError) -> Self {
        Error::Graph(error)
    }
}

impl Writer<'_> {
    /// Writes one node.
    pub(super) fn node(&mut self, node: &Node) -> Result<(), OnnxError> {
        let opset = self.opset;
        let not_expressible = |lack: Lack| OnnxError::NotExpressible {
            node: node.name.clone(),
            op: node.op.name(),
            opset,
            needs: lack.needs,
            what: lack.what,
        };
        let since = versions::since(node.op.name());
        if node.op == Op::Unary(UnaryOp::HardSwish) && opset < since {
            self.hard_swish(node);
            return Ok(());
        }
        if opset < since {
            return Err(not_expressible(Lack { what: "the operator".into(), needs: since }));
        }
        types::check(self.graph, node, opset).map_err(not_expressible)?;
        let mut out = NodeProto {
            name: Some(node.name.clone()),
            op_type: Some(node.op.name().to_owned()),
            ..NodeProto::default()
        };
        match self.attributes(node, &mut out) {
            Ok(()) => {}
            Err(Error::Lack(lack)) => return Err(not_expressible(lack)),
            Err(Error::Graph(error)) => return Err(error.into()),
        }
        // What the attributes took over is already left out of the inputs, what they had to add follows them.
        let added = std::mem::take(&mut out.input);
        let skip = self.inputs_in_attributes(node);
        for v in node.inputs.iter().take(skip) {
            out.input.push(v.map(|v| self.graph.value(v).name.clone()).unwrap_or_default());
            self.used.extend(*v);
        }
        while out.input.last().is_some_and(String::is_empty) {
            out.input.pop();
        }
        out.input.extend(added);
        out.output = node
            .outputs
            .iter()
            .map(|v| v.map(|v| self.graph.value(v).name.clone()).unwrap_or_default())
            .collect();
        while out.output.last().is_some_and(String::is_empty) {
            out.output.pop();
        }
        self.nodes.push(out);
        Ok(())
    }

    /// How many of the node's inputs are inputs in the file too.
    fn inputs_in_attributes(&self, node: &Node) -> usize {
        match node.op {
            Op::GroupNormalization { .. } => 1,
            Op::Reduce { kind, .. } if self.opset < versions::axes_are_input(kind) => 1,
            _ => node.inputs.len(),
        }
    }

    /// `x * HardSigmoid(x; 1/6, 0.5)`, the definition of HardSwish, for operator sets that do not have it.
    fn hard_swish(&mut self, node: &Node) {
        let value =
            |id: Option<tq_graph::ValueId>| id.map(|v| self.graph.value(v).name.clone()).unwrap_or_default();
        let (x, y) = (value(node.input(0)), value(node.output(0)));
        self.used.extend(node.input(0));
        let gate = self.value_names.fresh(&format!("{y}_gate"));
        self.nodes.push(NodeProto {
            name: Some(self.node_names.fresh(&format!("{}_gate", node.name))),
            op_type: Some("HardSigmoid".to_owned()),
            input: vec![x.clone()],
            output: vec![gate.clone()],
            attribute: vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)],
            ..NodeProto::default()
        });
        self.nodes.push(NodeProto {
            name: Some(node.name.clone()),
            op_type: Some("Mul".to_owned()),
            input: vec![x, gate],
            output: vec![y],
            ..NodeProto::default()
        });
    }

    /// Names a constant that only the file has.
    pub(super) fn add(&mut self, base: &str, data: Tensor) -> String {
        let name = self.value_names.fresh(base);
        self.added.push((name.clone(), data));
        name
    }

    /// Fills in the attributes, and into `out.input` inputs to add after the node's own.
    fn attributes(&mut self, node: &Node, out: &mut NodeProto) -> Result<(), Error> {
        let (graph, opset) = (self.graph, self.opset);
        out.attribute = match &node.op {
            Op::Conv(attrs) | Op::ConvInteger(attrs) => conv(graph, node, attrs, 1),
            Op::QLinearConv(attrs) => conv(graph, node, attrs, 3),
            Op::ConvTranspose(attrs) => {
                let ConvTransposeAttrs { strides, dilations, padding, output_padding, output_shape, groups } =
                    attrs.clone();
                let mut list = conv(graph, node, &ConvAttrs { strides, dilations, padding, groups }, 1);
                list.push(ints("output_padding", &output_padding));
                list.extend(output_shape.map(|shape| ints("output_shape", &shape)));
                list
            }
            Op::Gemm { alpha, beta, trans_a, trans_b } => vec![
                float("alpha", *alpha),
                float("beta", *beta),
                int("transA", i64::from(*trans_a)),
                int("transB", i64::from(*trans_b)),
            ],
            Op::Unary(op) => unary(*op),
            Op::Binary(BinaryOp::Mod { fmod }) => vec![int("fmod", i64::from(*fmod))],
            Op::Bitwise(BitwiseOp::Shift { left }) => {
                vec![text("direction", if *left { "LEFT" } else { "RIGHT" })]
            }
            Op::BatchNormalization { epsilon } | Op::InstanceNormalization { epsilon } => {
                vec![float("epsilon", *epsilon)]
            }
            Op::LayerNormalization { axis, epsilon, stash } => {
                vec![int("axis", *axis), float("epsilon", *epsilon), dtype("stash_type", *stash)?]
            }
            Op::GroupNormalization { epsilon, groups } => {
                self.group_parameters(node, *groups, out)?;
                vec![float("epsilon", *epsilon), size("num_groups", *groups)]
            }
            Op::IsInf { negative, positive } => vec![
                int("detect_negative", i64::from(*negative)),
                int("detect_positive", i64::from(*positive)),
            ],
            Op::Einsum(equation) => vec![text("equation", &equation.to_string())],
            Op::NonMaxSuppression { center_point_box } => {
                vec![int("center_point_box", i64::from(*center_point_box))]
            }
            Op::Resize(attrs) => resize(attrs, opset)?,
            Op::Recurrent { kind, attrs } => recurrent(*kind, attrs, opset)?,
            Op::MaxPool { attrs, column_major } => {
                let mut list = pool(attrs);
                list.push(ints("dilations", &attrs.dilations));
                if *column_major {
                    list.push(int("storage_order", 1));
                }
                list
            }
            Op::LpPool { attrs, p } => {
                let mut list = pool(attrs);
                list.push(int("p", i64::from(*p)));
                if opset >= 18 {
                    list.push(ints("dilations", &attrs.dilations));
                } else if attrs.dilations.iter().any(|d| *d != 1) {
                    return lack("dilations", 18);
                } else if attrs.ceil_mode {
                    return lack("ceil_mode", 18);
                } else {
                    list.retain(|a| a.name() != "ceil_mode");
                }
                list
            }
            Op::GlobalLpPool { p } => vec![int("p", i64::from(*p))],
            Op::MeanVarianceNormalization { axes } => vec![int64s("axes", axes.clone())],
            Op::Lrn { size: channels, alpha, beta, bias } => vec![
                float("alpha", *alpha),
                float("beta", *beta),
                float("bias", *bias),
                size("size", *channels),
            ],
            Op::AveragePool { attrs, count_include_pad } => {
                let mut list = pool(attrs);
                // Without padding there is nothing to count, and ONNX Runtime's integer kernel would count the cells
                // by which the last window of a rounded-up size stands over the edge.
                let counts = *count_include_pad && attrs.padding.is_any();
                list.push(int("count_include_pad", i64::from(counts)));
                if attrs.dilations.iter().any(|d| *d != 1) {
                    if opset < 19 {
                        return lack("dilations", 19);
                    }
                    list.push(ints("dilations", &attrs.dilations));
                }
                list
            }
            Op::Reduce { kind, keep_dims, noop_with_empty_axes } => {
                let input = versions::axes_are_input(*kind);
                reduce(graph, node, (opset, input), *keep_dims, *noop_with_empty_axes)?
            }
            Op::ArgMax(a) | Op::ArgMin(a) => vec![
                int("axis", a.axis),
                int("keepdims", i64::from(a.keep_dims)),
                int("select_last_index", i64::from(a.select_last)),
            ],
            Op::TopK { axis, largest, sorted } => {
                vec![
                    int("axis", *axis),
                    int("largest", i64::from(*largest)),
                    int("sorted", i64::from(*sorted)),
                ]
            }
            Op::CumSum { exclusive, reverse } => {
                vec![int("exclusive", i64::from(*exclusive)), int("reverse", i64::from(*reverse))]
            }
            Op::Flatten { axis }
            | Op::Concat { axis }
            | Op::Gather { axis }
            | Op::GatherElements { axis }
            | Op::OneHot { axis }
            | Op::Softmax { axis }
            | Op::LogSoftmax { axis }
            | Op::Hardmax { axis } => vec![int("axis", *axis)],
            Op::GatherND { batch_dims } => vec![size("batch_dims", *batch_dims)],
            Op::ScatterElements { axis, reduction } => {
                let mut list = vec![int("axis", *axis)];
                list.extend(scatter(*reduction, opset)?);
                list
            }
            Op::ScatterND { reduction } => scatter(*reduction, opset)?.into_iter().collect(),
            Op::Trilu { upper } => vec![int("upper", i64::from(*upper))],
            Op::DepthToSpace { block, channel_first } => {
                vec![size("blocksize", *block), text("mode", if *channel_first { "CRD" } else { "DCR" })]
            }
            Op::SpaceToDepth { block } => vec![size("blocksize", *block)],
            Op::EyeLike { dtype: to, k } => {
                let mut list = vec![int("k", *k)];
                if let Some(to) = to {
                    list.push(dtype("dtype", *to)?);
                }
                list
            }
            Op::CastLike { saturate: false } if opset >= 19 => vec![int("saturate", 0)],
            Op::Reshape { allow_zero: false } => Vec::new(),
            Op::Reshape { allow_zero: true } if opset < 14 => return lack("a zero in the shape", 14),
            Op::Reshape { allow_zero: true } => vec![int("allowzero", 1)],
            Op::Transpose { perm } => perm.iter().map(|p| ints("perm", p)).collect(),
            Op::Split { axis } => self.split(node, *axis, out)?,
            Op::Pad { mode } => vec![pad(node, opset, *mode)?],
            Op::Shape { start: 0, end: None } => Vec::new(),
            Op::Shape { .. } if opset < 15 => return lack("start or end", 15),
            Op::Shape { start, end } => {
                let mut list: Vec<_> = end.iter().map(|e| int("end", *e)).collect();
                list.push(int("start", *start));
                list
            }
            Op::Cast { to, saturate } => {
                let mut list = Vec::new();
                if !saturate && opset >= 19 {
                    list.push(int("saturate", 0));
                }
                list.push(dtype("to", *to)?);
                list
            }
            Op::ConstantOfShape { value } => vec![AttributeProto {
                name: Some("value".to_owned()),
                r#type: Some(AttributeType::Tensor as i32),
                t: Some(Box::new(tensor::write(&value.clone().reshape(&[1])?, "value")?)),
                ..AttributeProto::default()
            }],
            Op::QuantizeLinear { axis, block_size, output_dtype, saturate } => {
                let mut list = quantization(*axis, *block_size, opset)?;
                if let Some(to) = output_dtype {
                    self.output_dtype(node, *to, out, &mut list)?;
                }
                if !saturate && opset >= 19 {
                    list.push(int("saturate", 0));
                }
                list
            }
            Op::DynamicQuantizeLinear { formula } if *formula != DynamicFormula::Onnx => {
                let formula = formula.name();
                return lack(format!("quantization at run time by the formula {formula:?}"), types::NEVER);
            }
            Op::DequantizeLinear { axis, block_size } => quantization(*axis, *block_size, opset)?,
            _ => Vec::new(),
        };
        out.attribute.sort_by(|a, b| a.name().cmp(b.name()));
        Ok(())
    }

    /// The type of the codes of a Quantize node. Below opset 21 only a zero point can tell it, so where there is none
    /// and the type is not the default one, a zero point of zeros is added.
    fn output_dtype(
        &mut self,
        node: &Node,
        to: DType,
        out: &mut NodeProto,
        list: &mut Vec<AttributeProto>,
    ) -> Result<(), Error> {
        if self.opset >= 21 {
            list.push(dtype("output_dtype", to)?);
            return Ok(());
        }
        if node.input(2).is_some() || to == DType::U8 {
            return Ok(());
        }
        let scale =
            node.input(1).and_then(|s| self.graph.value(s).shape.as_deref()).and_then(dim::known_shape);
        let Some(scale) = scale else { return lack(format!("output type {to}"), 21) };
        let numel = scale.iter().product();
        let zeros = match to {
            DType::I8 => Tensor::new(&scale, vec![0i8; numel])?,
            DType::F8E4M3FN | DType::F8E4M3FNUZ | DType::F8E5M2 | DType::F8E5M2FNUZ => {
                Tensor::with_dtype(to, &scale, vec![0u8; numel])?
            }
            _ => return lack(format!("output type {to}"), 21),
        };
        out.input.push(self.add(&format!("{}_zero_point", node.name), zeros));
        Ok(())
    }

    /// Below opset 18 a Split without sizes means equal ones, after it the last one may be smaller.
    fn split(&mut self, node: &Node, axis: i64, out: &mut NodeProto) -> Result<Vec<AttributeProto>, Error> {
        let mut list = vec![int("axis", axis)];
        if node.input(1).is_some() {
            return Ok(list);
        }
        let parts = node.outputs.len();
        if self.opset >= 18 {
            list.push(size("num_outputs", parts));
            return Ok(list);
        }
        let shape = node.input(0).and_then(|x| self.graph.value(x).shape.as_ref());
        let at = |rank: usize| {
            let rank = i64::try_from(rank).ok()?;
            usize::try_from(if axis < 0 { axis.checked_add(rank)? } else { axis }).ok()
        };
        let size = shape.and_then(|s| s.get(at(s.len())?)).and_then(tq_graph::Dim::known_usize);
        let Some(size) = size else { return lack("a split of an unknown dimension without sizes", 18) };
        if size.checked_rem(parts).is_some_and(|rest| rest != 0) {
            let part = size.div_ceil(parts);
            let sizes = (0..parts).map(|i| part.min(size.saturating_sub(i.saturating_mul(part))));
            let sizes = sizes.map(|n| i64::try_from(n).unwrap_or(i64::MAX)).collect();
            out.input.push(self.add(&format!("{}_split", node.name), Tensor::vector::<i64>(sizes)));
        }
        Ok(list)
    }
}

pub(super) fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto { name: Some(name.to_owned()), r#type: Some(kind as i32), ..AttributeProto::default() }
}

pub(super) fn int(name: &str, value: i64) -> AttributeProto {
    AttributeProto { i: Some(value), ..attribute(name, AttributeType::Int) }
}

pub(super) fn size(name: &str, value: usize) -> AttributeProto {
    int(name, i64::try_from(value).unwrap_or(i64::MAX))
}

pub(super) fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto { f: Some(value), ..attribute(name, AttributeType::Float) }
}

pub(super) fn text(name: &str, value: &str) -> AttributeProto {
    AttributeProto { s: Some(value.as_bytes().to_vec()), ..attribute(name, AttributeType::String) }
}

pub(super) fn int64s(name: &str, values: Vec<i64>) -> AttributeProto {
    AttributeProto { ints: values, ..attribute(name, AttributeType::Ints) }
}

pub(super) fn ints(name: &str, values: &[usize]) -> AttributeProto {
    int64s(name, values.iter().map(|v| i64::try_from(*v).unwrap_or(i64::MAX)).collect())
}

fn dtype(name: &str, value: DType) -> Result<AttributeProto, Error> {
    match tensor::code_of(value) {
        Some(code) => Ok(int(name, i64::from(code))),
        None => lack(format!("element type {value}"), 0),
    }
}

pub(super) fn padding(padding: &Padding) -> AttributeProto {
    match padding {
        Padding::Explicit { begin, end } => {
            ints("pads", &begin.iter().chain(end).copied().collect::<Vec<usize>>())
        }
        Padding::SameUpper => text("auto_pad", "SAME_UPPER"),
        Padding::SameLower => text("auto_pad", "SAME_LOWER"),
    }
}

fn conv(graph: &Graph, node: &Node, attrs: &ConvAttrs, weight: usize) -> Vec<AttributeProto> {
    let mut list = vec![
        ints("dilations", &attrs.dilations),
        size("group", attrs.groups),
        padding(&attrs.padding),
        ints("strides", &attrs.strides),
    ];
    let dims = node.input(weight).and_then(|w| graph.value(w).shape.as_deref()).and_then(|s| s.get(2..));
    if let Some(kernel) = dims.and_then(dim::known_shape) {
        list.push(ints("kernel_shape", &kernel));
    }
    list
}

fn pool(attrs: &PoolAttrs) -> Vec<AttributeProto> {
    vec![
        int("ceil_mode", i64::from(attrs.ceil_mode)),
        ints("kernel_shape", &attrs.kernel),
        padding(&attrs.padding),
        ints("strides", &attrs.strides),
    ]
}

fn unary(op: UnaryOp) -> Vec<AttributeProto> {
    match op {
        UnaryOp::LeakyRelu { alpha }
        | UnaryOp::ThresholdedRelu { alpha }
        | UnaryOp::Elu { alpha }
        | UnaryOp::Celu { alpha } => vec![float("alpha", alpha)],
        UnaryOp::Selu { alpha, gamma } => vec![float("alpha", alpha), float("gamma", gamma)],
        UnaryOp::HardSigmoid { alpha, beta } => vec![float("alpha", alpha), float("beta", beta)],
        UnaryOp::Gelu { tanh } => vec![text("approximate", if tanh { "tanh" } else { "none" })],
        _ => Vec::new(),
    }
}

/// Below opset `input` the axes are an attribute, so they must be known.
fn reduce(
    graph: &Graph,
    node: &Node,
    (opset, input): (i64, i64),
    keep_dims: bool,
    noop: bool,
) -> Result<Vec<AttributeProto>, Error> {
    let mut list = vec![int("keepdims", i64::from(keep_dims))];
    if opset >= input {
        if noop {
            list.push(int("noop_with_empty_axes", 1));
        }
        return Ok(list);
    }
    let axes = match node.input(1) {
        None => Vec::new(),
        Some(_) => match graph.const_input(node, 1).and_then(Tensor::to_i64_vec) {
            Some(axes) => axes,
            None => return lack("axes that are not constant", input),
        },
    };
    if !axes.is_empty() {
        list.push(int64s("axes", axes));
    } else if noop {
        return lack("noop_with_empty_axes", input);
    }
    Ok(list)
}

fn scatter(reduction: ScatterReduction, opset: i64) -> Result<Option<AttributeProto>, Error> {
    let (name, needs) = match reduction {
        ScatterReduction::None => return Ok(None),
        ScatterReduction::Add => ("add", 16),
        ScatterReduction::Mul => ("mul", 16),
        ScatterReduction::Max => ("max", 18),
        ScatterReduction::Min => ("min", 18),
    };
    if opset < needs { lack(format!("reduction {name}"), needs) } else { Ok(Some(text("reduction", name))) }
}

fn pad(node: &Node, opset: i64, mode: PadMode) -> Result<AttributeProto, Error> {
    if node.input(3).is_some() && opset < 18 {
        return lack("axes", 18);
    }
    Ok(text(
        "mode",
        match mode {
            PadMode::Constant => "constant",
            PadMode::Reflect => "reflect",
            PadMode::Edge => "edge",
            PadMode::Wrap if opset < 19 => return lack("mode wrap", 19),
            PadMode::Wrap => "wrap",
        },
    ))
}

fn quantization(axis: i64, block_size: usize, opset: i64) -> Result<Vec<AttributeProto>, Error> {
    let mut list = vec![int("axis", axis)];
    if block_size > 0 {
        if opset < 21 {
            return lack(format!("block_size {block_size}"), 21);
        }
        list.push(size("block_size", block_size));
    }
    Ok(list)
}
