//! A small network and data for it, made from a fixed sequence of numbers so that every run is the same.

use torsh_quantization::model::op::{ConvAttrs, Op, Padding, UnaryOp};
use torsh_quantization::model::{DType, Dim, Graph, GraphError, Tensor};

/// Numbers between -1 and 1.
fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// Images `[rows, 3, 8, 8]`.
pub(crate) fn images(seed: u64, rows: usize) -> Result<Tensor, GraphError> {
    Tensor::new(&[rows, 3, 8, 8], noise(seed, rows * 192))
}

/// Two convolutions, a mean over the image, and a linear layer with five classes.
pub(crate) fn model() -> Result<Graph, GraphError> {
    let mut g = Graph::new("small");
    let mut x =
        g.add_input("image", DType::F32, vec![Dim::symbol("N"), 3usize.into(), 8usize.into(), 8usize.into()]);
    for (i, (channels_in, channels)) in [(3, 8), (8, 16)].into_iter().enumerate() {
        let shape = [channels, channels_in, 3, 3];
        let w = noise(i as u64, channels * channels_in * 9).iter().map(|v| v * 0.3).collect();
        let w = g.add_constant(format!("conv{i}.weight"), Tensor::new(&shape, w)?);
        let b = g.add_constant(format!("conv{i}.bias"), Tensor::vector(noise(7, channels)));
        let conv = Op::Conv(ConvAttrs {
            strides: vec![1, 1],
            dilations: vec![1, 1],
            padding: Padding::Explicit { begin: vec![1, 1], end: vec![1, 1] },
            groups: 1,
        });
        let y = g.add_node(format!("conv{i}"), conv, &[x, w, b], format!("conv{i}.out"));
        x = g.add_node(format!("relu{i}"), Op::Unary(UnaryOp::Relu), &[y], format!("relu{i}.out"));
    }
    let pooled = g.add_node("pool", Op::GlobalAveragePool, &[x], "pool.out");
    let flat = g.add_node("flatten", Op::Flatten { axis: 1 }, &[pooled], "flat");
    let w = g.add_constant("classifier.weight", Tensor::new(&[16, 5], noise(3, 80))?);
    let logits = g.add_node("classifier", Op::MatMul, &[flat, w], "logits");
    g.outputs.push(logits);
    Ok(g)
}
