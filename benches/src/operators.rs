//! Sessions of one operator, for what is more than a call of a kernel: concatenations, parameters from the range of a run, the
//! order in which convolutions read and write, products in float32.

use crate::gathered::Transposed;
use crate::models::Error;
use crate::product::{Shape, codes, multiplier};
use crate::rows::SIDE;
use crate::{Weights, reals};
use tq_graph::op::{ConvAttrs, ConvTransposeAttrs, Padding};
use tq_graph::{Dim, Graph, Node, Op, Tensor, ValueId};
use tq_kernels::AffineU8;
use tq_qtypes::{DType, DynamicFormula};

/// A graph of one operator, and what it is run on.
pub struct Operator {
    /// What it does and its shape.
    pub name: String,
    /// Elements of the output; multiply-adds of products in float32.
    pub work: u64,
    /// The graph.
    pub graph: Graph,
    /// One tensor an input.
    pub inputs: Vec<Tensor>,
}

/// Puts a graph together.
struct Build {
    graph: Graph,
    inputs: Vec<Tensor>,
}

impl Build {
    fn new() -> Self {
        Self { graph: Graph::new("operator"), inputs: Vec::new() }
    }

    fn constant(&mut self, tensor: Tensor) -> ValueId {
        let name = self.graph.fresh_value_name("constant");
        self.graph.add_constant(name, tensor)
    }

    fn node(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let (node, value) = (self.graph.fresh_node_name(op.name()), self.graph.fresh_value_name("value"));
        self.graph.add_node(node, op, inputs, value)
    }

    fn input(&mut self, dtype: DType, tensor: Tensor) -> ValueId {
        let shape = tensor.dims().iter().map(|d| Dim::from(*d)).collect();
        self.inputs.push(tensor);
        let name = self.graph.fresh_value_name("x");
        self.graph.add_input(name, dtype, shape)
    }

    /// An input of codes, as reals.
    fn codes(&mut self, dims: &[usize], params: AffineU8) -> Result<ValueId, Error> {
        let seed = 5 + self.inputs.len() as u32;
        let tensor = Tensor::new(dims, codes(seed, dims.iter().product(), 255))?;
        let x = self.input(DType::U8, tensor);
        let (scale, zero) = self.params(params);
        Ok(self.node(Op::DequantizeLinear { axis: 1, block_size: 0 }, &[x, scale, zero]))
    }

    /// Normally distributed weights of scale 1, as reals.
    fn weights(&mut self, dims: &[usize]) -> Result<ValueId, Error> {
        let weights = Weights::Normal.make(dims[0], dims[1..].iter().product());
        let codes = self.constant(Tensor::new(dims, weights)?);
        let (scale, zero) = (self.constant(Tensor::scalar(1f32)), self.constant(Tensor::scalar(0i8)));
        Ok(self.node(Op::DequantizeLinear { axis: 0, block_size: 0 }, &[codes, scale, zero]))
    }

    fn params(&mut self, params: AffineU8) -> (ValueId, ValueId) {
        let scale = self.constant(Tensor::scalar(params.scale));
        (scale, self.constant(Tensor::scalar(params.zero_point as u8)))
    }

    /// The operator that gives codes of `y`.
    fn finish(mut self, name: String, y: ValueId, params: AffineU8, elements: usize) -> Operator {
        let (scale, zero) = self.params(params);
        let op = Op::QuantizeLinear { axis: 1, block_size: 0, output_dtype: None, saturate: true };
        let y = self.node(op, &[y, scale, zero]);
        self.graph.outputs.push(y);
        Operator { name, work: elements as u64, graph: self.graph, inputs: self.inputs }
    }
}

/// Rows of codes of two tensors one after the other, as channels of images lie; with `requantized` those of the second one have
/// other parameters than the output.
///
/// # Errors
/// None: the shapes fit each other.
pub fn concat(rows: usize, widths: (usize, usize), requantized: bool) -> Result<Operator, Error> {
    let mut b = Build::new();
    let other = if requantized { AffineU8 { scale: 0.02, zero_point: 130 } } else { SIDE };
    let (first, second) = (b.codes(&[rows, widths.0], SIDE)?, b.codes(&[rows, widths.1], other)?);
    let y = b.node(Op::Concat { axis: 1 }, &[first, second]);
    let how = if requantized { "requantized" } else { "same" };
    let name = format!("concat/{how}/{rows}x{}+{}", widths.0, widths.1);
    Ok(b.finish(name, y, SIDE, rows * (widths.0 + widths.1)))
}

/// The range of `len` reals, and their codes with the parameters that follow from it.
///
/// # Errors
/// None: the shapes fit each other.
pub fn dynamic_quantize(len: usize) -> Result<Operator, Error> {
    let mut b = Build::new();
    let x = b.input(DType::F32, Tensor::vector(reals(9, len)));
    let outputs = ["codes", "scale", "zero_point"].map(|name| b.graph.add_value(name, None, None));
    b.graph.nodes.push(Node {
        name: "quantize".into(),
        op: Op::DynamicQuantizeLinear { formula: DynamicFormula::Onnx },
        inputs: vec![Some(x)],
        outputs: outputs.map(Some).to_vec(),
    });
    b.graph.outputs.extend(outputs);
    let name = format!("dynamic-quantize/{len}");
    Ok(Operator { name, work: len as u64, graph: b.graph, inputs: b.inputs })
}

/// The first layer of ResNet: of an image whose channels come first, 7 × 7 at stride 2 from 3 channels to 64.
///
/// # Errors
/// None: the shapes fit each other.
pub fn first_layer(side: usize) -> Result<Operator, Error> {
    let mut b = Build::new();
    let (x, w) = (b.codes(&[1, 3, side, side], SIDE)?, b.weights(&[64, 3, 7, 7])?);
    let attrs = ConvAttrs {
        strides: vec![2; 2],
        dilations: vec![1; 2],
        padding: Padding::Explicit { begin: vec![3; 2], end: vec![3; 2] },
        groups: 1,
    };
    let y = b.node(Op::Conv(attrs), &[x, w]);
    let out = AffineU8 { scale: SIDE.scale / multiplier(3 * 7 * 7), zero_point: 128 };
    Ok(b.finish(format!("conv/7x7s2/{side}x{side}x3"), y, out, side.div_ceil(2).pow(2) * 64))
}

/// A transposed convolution, with the phases of its output brought into the order of the image.
///
/// # Errors
/// None: the shapes fit each other.
pub fn transposed(conv: Transposed) -> Result<Operator, Error> {
    let Transposed { side, channels: (c, n), kernel, stride } = conv;
    let mut b = Build::new();
    let (x, w) = (b.codes(&[1, c, side, side], SIDE)?, b.weights(&[c, n, kernel, kernel])?);
    let out_side = side * stride;
    // What the windows cover, less what is cut off at the start and kept at the end.
    let end = (side - 1) * stride + kernel - conv.begin() - out_side;
    let attrs = ConvTransposeAttrs {
        strides: vec![stride; 2],
        dilations: vec![1; 2],
        padding: Padding::Explicit { begin: vec![conv.begin(); 2], end: vec![end; 2] },
        output_padding: vec![0; 2],
        output_shape: None,
        groups: 1,
    };
    let y = b.node(Op::ConvTranspose(attrs), &[x, w]);
    let taps = (kernel * kernel).div_ceil(stride * stride);
    let out = AffineU8 { scale: SIDE.scale / multiplier(taps * c), zero_point: 128 };
    let name = format!("conv-transpose/{kernel}x{kernel}s{stride}/{side}x{side}x{c}");
    Ok(b.finish(name, y, out, out_side * out_side * n))
}

/// A product in float32 of these operands, row by row, as sessions run what is not quantized.
///
/// # Errors
/// When the operands do not have the shape.
pub fn float_product((m, k, n): Shape, lhs: Vec<f32>, rhs: Vec<f32>) -> Result<Operator, Error> {
    let mut b = Build::new();
    let x = b.input(DType::F32, Tensor::new(&[m, k], lhs)?);
    let w = b.constant(Tensor::new(&[k, n], rhs)?);
    let y = b.node(Op::MatMul, &[x, w]);
    b.graph.outputs.push(y);
    Ok(Operator {
        name: format!("float/{m}x{k}x{n}"),
        work: (m * k * n) as u64,
        graph: b.graph,
        inputs: b.inputs,
    })
}

#[cfg(test)]
mod tests {
    use torsh_quantization::prelude::*;
    use tq_runtime::Execution;

    #[test]
    fn every_operator_runs_on_codes() {
        for operator in crate::suite::operators(false).unwrap() {
            let session = Session::new(&operator.graph, SessionOptions::default()).unwrap();
            session.run(&operator.inputs).unwrap();
            for node in session.explain().nodes {
                assert_ne!(node.execution, Execution::Float, "{}: {node:?}", operator.name);
            }
        }
    }
}
