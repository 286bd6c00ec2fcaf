//! Cases as lines of text: `operator|attributes|inputs|outputs`.
//!
//! An input is `type:dims`, with `=elements` when it is a constant, or `_` when it is absent. Outputs are written in
//! the same way, or `!` where the model was refused.

mod elementwise;
mod index;

use std::collections::HashMap;
use tq_graph::op::{ConvAttrs, PadMode, Padding, PoolAttrs};
use tq_graph::{Dim, Graph, Node, Op, Tensor};
use tq_qtypes::DType;

pub(crate) struct Case {
    op: Op,
    inputs: Vec<Option<Input>>,
    outputs: usize,
    pub(crate) want: Option<String>,
}

struct Input {
    dtype: DType,
    dims: Vec<usize>,
    elements: Option<Vec<i64>>,
}

pub(crate) fn numbers<T: std::str::FromStr>(text: &str) -> Vec<T> {
    text.split(',').filter(|s| !s.is_empty()).map(|s| s.parse().ok().unwrap()).collect()
}

fn dtype(name: &str) -> DType {
    use DType::{Bool, F32, I8, I16, I32, I64, U8, U16};
    [F32, I64, I32, U8, I8, U16, I16, Bool]
        .into_iter()
        .find(|d| d.name() == name)
        .unwrap_or_else(|| panic!("type {name}"))
}

struct Attributes<'a>(HashMap<&'a str, &'a str>);

impl Attributes<'_> {
    fn list(&self, key: &str) -> Vec<usize> {
        self.0.get(key).map(|t| numbers(t)).unwrap_or_default()
    }

    fn int(&self, key: &str, default: i64) -> i64 {
        self.0.get(key).map_or(default, |t| t.parse().unwrap())
    }

    fn flag(&self, key: &str) -> bool {
        self.int(key, 0) != 0
    }

    fn padding(&self) -> Padding {
        match self.0.get("auto_pad") {
            Some(&"SAME_UPPER") => Padding::SameUpper,
            Some(_) => Padding::SameLower,
            None => {
                let mut begin = self.list("pads");
                let end = begin.split_off(begin.len() / 2);
                Padding::Explicit { begin, end }
            }
        }
    }

    fn conv(&self) -> ConvAttrs {
        ConvAttrs {
            strides: self.list("strides"),
            dilations: self.list("dilations"),
            padding: self.padding(),
            groups: self.list("group")[0],
        }
    }

    fn pool(&self) -> PoolAttrs {
        PoolAttrs {
            kernel: self.list("kernel_shape"),
            strides: self.list("strides"),
            dilations: self.list("dilations"),
            padding: self.padding(),
            ceil_mode: self.flag("ceil_mode"),
        }
    }

    fn op(&self, name: &str) -> Op {
        let axis = self.int("axis", 0);
        let block_size = usize::try_from(self.int("block_size", 0)).unwrap();
        match name {
            "Conv" => Op::Conv(self.conv()),
            "ConvInteger" => Op::ConvInteger(self.conv()),
            "QLinearConv" => Op::QLinearConv(self.conv()),
            "MaxPool" => Op::MaxPool { attrs: self.pool(), column_major: false },
            "AveragePool" => Op::AveragePool { attrs: self.pool(), count_include_pad: false },
            "GlobalAveragePool" => Op::GlobalAveragePool,
            "Gemm" => {
                Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: self.flag("transA"), trans_b: self.flag("transB") }
            }
            "MatMul" => Op::MatMul,
            "MatMulInteger" => Op::MatMulInteger,
            "Clip" => Op::Clip,
            "BatchNormalization" => Op::BatchNormalization { epsilon: 1e-5 },
            "Softmax" => Op::Softmax { axis },
            "Identity" => Op::Identity,
            "Cast" => Op::Cast { to: dtype(self.0["to"]), saturate: true },
            "Flatten" => Op::Flatten { axis },
            "Reshape" => Op::Reshape { allow_zero: self.flag("allowzero") },
            "Transpose" => Op::Transpose { perm: self.0.contains_key("perm").then(|| self.list("perm")) },
            "Squeeze" => Op::Squeeze,
            "Unsqueeze" => Op::Unsqueeze,
            "Concat" => Op::Concat { axis },
            "Slice" => Op::Slice,
            "Split" => Op::Split { axis },
            "Pad" => Op::Pad {
                mode: match self.0["mode"] {
                    "constant" => PadMode::Constant,
                    "reflect" => PadMode::Reflect,
                    "edge" => PadMode::Edge,
                    _ => PadMode::Wrap,
                },
            },
            "Shape" => {
                Op::Shape { start: self.int("start", 0), end: self.0.get("end").map(|t| t.parse().unwrap()) }
            }
            "Gather" => Op::Gather { axis },
            "ConstantOfShape" => Op::ConstantOfShape { value: Tensor::vector(vec![self.int("value", 0)]) },
            "QuantizeLinear" => Op::QuantizeLinear { axis, block_size, output_dtype: None, saturate: true },
            "DequantizeLinear" => Op::DequantizeLinear { axis, block_size },
            "DynamicQuantizeLinear" => Op::DynamicQuantizeLinear { formula: Default::default() },
            _ => elementwise::op(name, self)
                .or_else(|| index::op(name, self))
                .unwrap_or_else(|| panic!("operator {name}")),
        }
    }
}

pub(crate) fn parse(line: &str) -> Case {
    let [name, attributes, inputs, outputs] = line.split('|').collect::<Vec<_>>()[..] else {
        panic!("{line}")
    };
    let attributes = Attributes(attributes.split(';').filter_map(|a| a.split_once('=')).collect());
    let op = attributes.op(name);
    let inputs = inputs.split(' ').filter(|t| !t.is_empty()).map(|text| {
        let (kind, rest) = text.split_once(':')?;
        let (dims, elements) = match rest.split_once('=') {
            Some((dims, elements)) => (dims, Some(numbers(elements))),
            None => (rest, None),
        };
        Some(Input { dtype: dtype(kind), dims: numbers(dims), elements })
    });
    let inputs = inputs.collect();
    let want = (outputs != "!").then(|| outputs.to_owned());
    let outputs = match (&op, &want) {
        (Op::Split { .. }, _) => attributes.list("n")[0],
        (_, Some(want)) => want.split(' ').count(),
        (Op::DynamicQuantizeLinear { .. }, None) => 3,
        (Op::TopK { .. }, None) => 2,
        _ => 1,
    };
    Case { op, inputs, outputs, want }
}

/// The graph of one case, in which `dim` says how dimensions of inputs that are no constants appear.
pub(crate) fn graph_of(case: &Case, dim: impl Fn(usize) -> Dim) -> Graph {
    let mut graph = Graph::new("case");
    let inputs = case.inputs.iter().enumerate().map(|(i, input)| {
        let input = input.as_ref()?;
        let name = format!("i{i}");
        let Some(elements) = &input.elements else {
            let shape = input.dims.iter().map(|d| dim(*d)).collect();
            return Some(graph.add_input(name, input.dtype, shape));
        };
        let tensor = match input.dtype {
            DType::I32 => {
                Tensor::new(&input.dims, elements.iter().map(|v| i32::try_from(*v).unwrap()).collect())
            }
            DType::U8 => {
                Tensor::new(&input.dims, elements.iter().map(|v| u8::try_from(*v).unwrap()).collect())
            }
            DType::F32 => Tensor::new(&input.dims, elements.iter().map(|v| *v as f32).collect()),
            DType::I8 => {
                Tensor::new(&input.dims, elements.iter().map(|v| i8::try_from(*v).unwrap()).collect())
            }
            DType::I16 => {
                Tensor::new(&input.dims, elements.iter().map(|v| i16::try_from(*v).unwrap()).collect())
            }
            DType::U16 => {
                Tensor::new(&input.dims, elements.iter().map(|v| u16::try_from(*v).unwrap()).collect())
            }
            DType::Bool => Tensor::new(&input.dims, elements.iter().map(|v| *v == 1).collect()),
            _ => Tensor::new(&input.dims, elements.clone()),
        };
        Some(graph.add_constant(name, tensor.unwrap()))
    });
    let inputs = inputs.collect();
    let outputs: Vec<_> =
        (0..case.outputs).map(|i| Some(graph.add_value(format!("o{i}"), None, None))).collect();
    graph.outputs.extend(outputs.iter().flatten());
    graph.nodes.push(Node { name: "node".into(), op: case.op.clone(), inputs, outputs });
    graph
}
