//! The network of the demo, before training: one of each kind of layer that quantization treats in a way of its own.

use super::random::Random;
use torsh_quantization::model::op::{BinaryOp, ConvAttrs, Padding, PoolAttrs, UnaryOp};
use torsh_quantization::model::{DType, Dim, Graph, Op, Tensor, ValueId, infer};

const EPSILON: f32 = 1e-5;

/// Layers one after the other, with random weights.
struct Layers<'r> {
    graph: Graph,
    random: &'r mut Random,
}

impl Layers<'_> {
    /// Uniform within one over the square root of how many values a result is the sum of, as PyTorch begins.
    fn weights(&mut self, name: &str, dims: &[usize], fan_in: usize) -> ValueId {
        let bound = 1.0 / (fan_in as f32).sqrt();
        let n = dims.iter().product();
        let values = (0..n).map(|_| self.random.between(-bound, bound)).collect();
        self.graph.add_constant(name, Tensor::new(dims, values).unwrap())
    }

    fn node(&mut self, name: &str, op: Op, inputs: &[ValueId]) -> ValueId {
        self.graph.add_node(name, op, inputs, format!("{name}_output_0"))
    }

    fn conv(&mut self, layer: &str, x: ValueId, dims: [usize; 4], stride: usize, groups: usize) -> ValueId {
        let w = self.weights(&format!("{layer}.0.weight"), &dims, dims[1..].iter().product());
        let pad = vec![dims[2] / 2; 2];
        let op = Op::Conv(ConvAttrs {
            strides: vec![stride; 2],
            dilations: vec![1; 2],
            padding: Padding::Explicit { begin: pad.clone(), end: pad },
            groups,
        });
        let y = self.node(&format!("/{layer}/{layer}.0/Conv"), op, &[x, w]);
        let node = format!("/{layer}/{layer}.1/BatchNormalization");
        self.batch_norm(&node, &format!("{layer}.1"), y, dims[0])
    }

    fn batch_norm(&mut self, node: &str, name: &str, x: ValueId, channels: usize) -> ValueId {
        let parts = [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)];
        let constants = parts.map(|(part, value): (_, f32)| {
            self.graph.add_constant(format!("{name}.{part}"), Tensor::vector(vec![value; channels]))
        });
        let inputs = [&[x], &constants[..]].concat();
        self.node(node, Op::BatchNormalization { epsilon: EPSILON }, &inputs)
    }

    fn linear(&mut self, name: &str, x: ValueId, from: usize, to: usize) -> ValueId {
        let w = self.weights(&format!("{name}.weight"), &[to, from], from);
        let b = self.weights(&format!("{name}.bias"), &[to], from);
        let op = Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
        self.node(&format!("/{name}/Gemm"), op, &[x, w, b])
    }
}

fn window(size: usize) -> PoolAttrs {
    PoolAttrs {
        kernel: vec![size; 2],
        strides: vec![2; 2],
        dilations: vec![1; 2],
        padding: Padding::Explicit { begin: vec![0; 2], end: vec![0; 2] },
        ceil_mode: false,
    }
}

/// Convolutions a to e, the third of them depthwise, the last beside a shortcut; linear layers f and g.
pub(crate) fn network(random: &mut Random) -> Graph {
    let mut l = Layers { graph: Graph::new("digits"), random };
    let dims = vec![Dim::symbol("N"), 1usize.into(), 28usize.into(), 28usize.into()];
    let x = l.graph.add_input("input", DType::F32, dims);
    let x = l.conv("a", x, [16, 1, 3, 3], 1, 1);
    let x = l.node("/Relu", Op::Unary(UnaryOp::Relu), &[x]);
    let x = l.node("/MaxPool", Op::MaxPool { attrs: window(2), column_major: false }, &[x]);
    let x = l.conv("b", x, [32, 16, 3, 3], 2, 1);
    let x = l.node("/Mul", Op::Unary(UnaryOp::HardSwish), &[x]);
    let x = l.conv("c", x, [32, 1, 3, 3], 1, 32);
    let low = l.graph.add_constant("/Constant_output_0", Tensor::scalar(0.0f32));
    let high = l.graph.add_constant("/Constant_1_output_0", Tensor::scalar(6.0f32));
    let x = l.node("/Clip", Op::Clip, &[x, low, high]);
    let x = l.conv("d", x, [48, 32, 1, 1], 1, 1);
    let shortcut = l.node("/Elu", Op::Unary(UnaryOp::Elu { alpha: 1.0 }), &[x]);
    let x = l.conv("e", shortcut, [48, 48, 3, 3], 1, 1);
    let x = l.node("/Add", Op::Binary(BinaryOp::Add), &[x, shortcut]);
    let x = l.node("/Relu_1", Op::Unary(UnaryOp::Relu), &[x]);
    let x = l.node("/AveragePool", Op::AveragePool { attrs: window(3), count_include_pad: false }, &[x]);
    let x = l.node("/Flatten", Op::Flatten { axis: 1 }, &[x]);
    let x = l.linear("f", x, 432, 64);
    let x = l.batch_norm("/bn/BatchNormalization", "bn", x, 64);
    let x = l.node("/Relu_2", Op::Unary(UnaryOp::Relu), &[x]);
    let y = l.linear("g", x, 64, 10);
    l.graph.values[y.0].name = "logits".to_owned();
    l.graph.outputs.push(y);
    infer::infer(&mut l.graph).unwrap();
    l.graph
}
