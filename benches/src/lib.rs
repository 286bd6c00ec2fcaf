//! What the benches share: shapes, data, calls of kernels that are ready to be repeated, and the models that they run.
#![forbid(unsafe_code)]

mod case;
pub mod gathered;
pub mod group_wise;
pub mod models;
pub mod operators;
pub mod product;
pub mod rows;
pub mod suite;

pub use case::{Case, Out, Spec, Work};
pub use group_wise::GroupWise;
pub use product::{Mode, Product, Shape, Stage, Weights};

use tq_graph::op::{ConvAttrs, Padding};
use tq_graph::{Dim, Graph, Op, Tensor};

/// A weight that, all of them being the same, can be added two deep in 16 bits whatever the codes.
pub const TWO_DEEP: i8 = 32;

/// A weight that can be added one deep and no deeper when codes are up to 255.
pub const ONE_DEEP: i8 = 64;

/// A weight that no proof covers when codes are up to 255.
pub const PLAIN: i8 = 65;

/// A convolution of ResNet: channels in and out, height and width, kernel, stride.
#[derive(Debug, Clone, Copy)]
pub struct ConvShape {
    /// Name in the report.
    pub name: &'static str,
    /// Input channels.
    pub channels_in: usize,
    /// Output channels.
    pub channels_out: usize,
    /// Height and width of the input.
    pub size: usize,
    /// Height and width of the kernel.
    pub kernel: usize,
    /// Step.
    pub stride: usize,
}

/// The convolutions of ResNet that are timed: one of each stage, and the pointwise ones of the deep variants.
pub const CONV_SHAPES: [ConvShape; 6] = [
    ConvShape { name: "3x3-64-56", channels_in: 64, channels_out: 64, size: 56, kernel: 3, stride: 1 },
    ConvShape { name: "3x3-128-28", channels_in: 128, channels_out: 128, size: 28, kernel: 3, stride: 1 },
    ConvShape { name: "3x3-256-14", channels_in: 256, channels_out: 256, size: 14, kernel: 3, stride: 1 },
    ConvShape { name: "3x3-512-7", channels_in: 512, channels_out: 512, size: 7, kernel: 3, stride: 1 },
    ConvShape { name: "1x1-256-56", channels_in: 256, channels_out: 64, size: 56, kernel: 1, stride: 1 },
    ConvShape { name: "3x3-128-56-s2", channels_in: 128, channels_out: 128, size: 56, kernel: 3, stride: 2 },
];

/// Limits the program to one thread, whatever the machine has.
///
/// # Panics
/// When threads were started before.
pub fn one_thread() {
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("no thread runs yet");
}

/// Numbers that look random and are the same on every machine: xorshift, full range.
#[must_use]
pub fn noise(seed: u32, len: usize) -> Vec<u32> {
    let mut x = seed | 1;
    (0..len)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            x
        })
        .collect()
}

/// Real numbers in -1..1.
#[must_use]
pub fn reals(seed: u32, len: usize) -> Vec<f32> {
    noise(seed, len).into_iter().map(|v| (v >> 8) as f32 / (1u32 << 23) as f32 - 1.0).collect()
}

/// A float model of one convolution with bias, and its input.
///
/// # Panics
/// Never for the shapes of this crate: the data is made to fit.
#[must_use]
pub fn conv_model(shape: &ConvShape) -> (Graph, Tensor) {
    let mut graph = Graph::new(shape.name);
    let dims = [1, shape.channels_in, shape.size, shape.size];
    let x = graph.add_input("x", tq_qtypes::DType::F32, dims.iter().map(|d| Dim::from(*d)).collect());
    let w_dims = [shape.channels_out, shape.channels_in, shape.kernel, shape.kernel];
    let fan_in = (shape.channels_in * shape.kernel * shape.kernel) as f32;
    let w: Vec<f32> = reals(7, w_dims.iter().product()).iter().map(|v| v / fan_in.sqrt()).collect();
    let w = graph.add_constant("w", tensor(&w_dims, w));
    let b = graph.add_constant("b", tensor(&[shape.channels_out], reals(9, shape.channels_out)));
    let pad = shape.kernel / 2;
    let attrs = ConvAttrs {
        strides: vec![shape.stride; 2],
        dilations: vec![1; 2],
        padding: Padding::Explicit { begin: vec![pad; 2], end: vec![pad; 2] },
        groups: 1,
    };
    let y = graph.add_node("conv", Op::Conv(attrs), &[x, w, b], "y");
    graph.outputs.push(y);
    (graph, tensor(&dims, reals(3, dims.iter().product())))
}

fn tensor(dims: &[usize], data: Vec<f32>) -> Tensor {
    Tensor::new(dims, data).expect("the data is made to fit the shape")
}
