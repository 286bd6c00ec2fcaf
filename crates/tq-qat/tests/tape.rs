//! The tape itself: who gets gradients, what is refused, segments that are computed again, threads, memory.

#![allow(clippy::unwrap_used)]

use tq_graph::op::{BinaryOp, ConvAttrs, Padding, ReduceKind, UnaryOp};
use tq_graph::{Op, Tensor};
use tq_qat::{Parameter, QatError, Tape, Var};

fn values(seed: u64, dims: &[usize]) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    Tensor::new(dims, (0..dims.iter().product()).map(|_| next()).collect::<Vec<f32>>()).unwrap()
}

fn parameter(name: &str, seed: u64, dims: &[usize]) -> Parameter {
    Parameter::new(name, values(seed, dims)).unwrap()
}

fn gradient(p: &Parameter) -> Vec<f32> {
    p.gradient().unwrap().as_slice::<f32>().unwrap().to_vec()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn gradients_add_up_until_they_are_forgotten() {
    let w = parameter("w", 1, &[3]);
    for _ in 0..2 {
        let tape = Tape::new();
        tape.parameter(&w).sum().unwrap().backward().unwrap();
    }
    assert_eq!(gradient(&w), [2.0; 3]);
    w.zero_grad();
    assert!(w.gradient().is_none());
    w.set_requires_grad(false);
    let sum = Tape::new().parameter(&w).sum().unwrap();
    assert!(matches!(sum.backward(), Err(QatError::NotTracked { .. })));
}

#[test]
fn what_the_tape_holds_does_not_change_when_a_parameter_does() {
    let w = parameter("w", 1, &[3]);
    let before = w.value();
    let tape = Tape::new();
    let v = tape.parameter(&w);
    let loss = v.mul(&v).unwrap().sum().unwrap();
    w.update(|value, _| {
        value.fill(100.0);
        Ok::<(), QatError>(())
    })
    .unwrap();
    loss.backward().unwrap();
    let expected: Vec<f32> = before.as_slice::<f32>().unwrap().iter().map(|v| 2.0 * v).collect();
    assert_eq!(gradient(&w), expected);
}

#[test]
fn misuse_is_told() {
    let w = parameter("w", 1, &[2]);
    let (one, other) = (Tape::new(), Tape::new());
    let (a, b) = (one.parameter(&w), other.parameter(&w));
    assert!(matches!(a.add(&b), Err(QatError::OtherTape { index: 1, .. })));
    assert!(matches!(a.map(UnaryOp::Exp).unwrap().backward(), Err(QatError::NotScalar { .. })));
    let sum = a.sum().unwrap();
    sum.backward().unwrap();
    assert!(matches!(sum.backward(), Err(QatError::UsedUp { .. })));
    assert!(matches!(a.sum(), Err(QatError::UsedUp { .. })));
    let wrong = b.sum().unwrap().backward_with(Tensor::vector(vec![1.0f32, 2.0]));
    assert!(matches!(wrong, Err(QatError::GradientShape { .. })));
    let error = w.add_gradient(Tensor::vector(vec![1.0f32])).unwrap_err();
    assert_eq!(error.to_string(), "parameter w has shape [2], not [1]");
    assert!(matches!(Parameter::new("i", Tensor::vector(vec![1i64])), Err(QatError::ParameterType { .. })));
    let tape = Tape::new();
    let error = tape.apply("product", &Op::MatMul, &[Some(&tape.parameter(&w)); 1], 1).unwrap_err();
    assert!(error.to_string().starts_with("node product (MatMul)"), "{error}");
}

#[test]
fn a_tape_without_gradients_records_nothing() {
    let w = parameter("w", 1, &[2]);
    let tape = Tape::without_gradients();
    let v = tape.parameter(&w);
    assert!(!v.sum().unwrap().is_tracked());
    assert_eq!(format!("{tape:?}"), "Tape(0 records, 0 values)");
}

/// Batch normalization of the whole batch in f64, as a plain formula.
fn batch_norm_f64(x: &[f64], scale: &[f64], bias: &[f64], inner: usize, weights: &[f64]) -> f64 {
    let channels = scale.len();
    let mut sum = 0.0;
    for c in 0..channels {
        let at: Vec<usize> = (0..x.len()).filter(|i| i / inner % channels == c).collect();
        let n = at.len() as f64;
        let mean = at.iter().map(|i| x[*i]).sum::<f64>() / n;
        let variance = at.iter().map(|i| (x[*i] - mean).powi(2)).sum::<f64>() / n;
        for i in at {
            sum += weights[i] * ((x[i] - mean) / (variance + 1e-3).sqrt() * scale[c] + bias[c]);
        }
    }
    sum
}

#[test]
fn batch_norm_differentiates_through_its_statistics() {
    for dims in [vec![4, 3], vec![2, 3, 5], vec![3, 2, 3, 4], vec![1, 1, 9], vec![2, 2, 2, 2, 3]] {
        let (n, channels) = (dims.iter().product::<usize>(), dims[1]);
        let inner: usize = dims[2..].iter().product();
        let parts =
            [parameter("x", 1, &dims), parameter("scale", 2, &[channels]), parameter("bias", 3, &[channels])];
        let weights = values(4, &dims);
        let tape = Tape::new();
        let [x, scale, bias] = [0, 1, 2].map(|i| tape.parameter(&parts[i]));
        let (y, statistics) = tape.batch_norm("bn", &x, &scale, &bias, 1e-3).unwrap();
        assert_eq!(statistics.count, n / channels);
        y.mul(&tape.constant(weights.clone())).unwrap().sum().unwrap().backward().unwrap();
        let wide =
            |t: &Tensor| t.as_slice::<f32>().unwrap().iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
        let inputs = [0, 1, 2].map(|i| wide(&parts[i].value()));
        let weights = wide(&weights);
        for i in 0..3 {
            for (at, got) in gradient(&parts[i]).into_iter().enumerate() {
                let side = |step: f64| {
                    let mut moved = inputs.clone();
                    moved[i][at] += step;
                    batch_norm_f64(&moved[0], &moved[1], &moved[2], inner, &weights)
                };
                let expected = (side(1e-5) - side(-1e-5)) / 2e-5;
                assert!((f64::from(got) - expected).abs() < 2e-5, "{dims:?} {i} {at}: {got} {expected}");
            }
        }
    }
    let tape = Tape::new();
    let empty = tape.constant(values(1, &[0, 2]));
    let one = tape.constant(values(1, &[2]));
    assert!(tape.batch_norm("bn", &empty, &one, &one, 1e-3).is_err());
    assert!(tape.batch_norm("bn", &one, &one, &one, 1e-3).is_err());
}

/// A norm that is written as the root of a sum of squares has a gradient of zero where all is zero, not NaN.
#[test]
fn a_root_of_zero_passes_no_gradient() {
    let x = Parameter::new("x", Tensor::vector(vec![0.0f32, 3.0])).unwrap();
    let y = Parameter::new("y", Tensor::vector(vec![0.0f32, 4.0])).unwrap();
    let tape = Tape::new();
    let square = |p: &Parameter| tape.parameter(p).mul(&tape.parameter(p)).unwrap();
    let norm = square(&x).add(&square(&y)).unwrap().map(UnaryOp::Sqrt).unwrap();
    norm.sum().unwrap().backward().unwrap();
    assert_eq!((gradient(&x), gradient(&y)), (vec![0.0, 0.6], vec![0.0, 0.8]));
}

#[test]
fn dropout_keeps_sums_and_takes_the_same_way_back() {
    let w = Parameter::new("w", Tensor::vector(vec![1.0f32; 100_000])).unwrap();
    let tape = Tape::new();
    let y = tape.dropout("drop", &tape.parameter(&w), 0.25, 7).unwrap();
    let out = y.value().as_slice::<f32>().unwrap().to_vec();
    y.sum().unwrap().backward().unwrap();
    assert_eq!(out, gradient(&w));
    let lost = out.iter().filter(|v| **v == 0.0).count() as f64;
    // Five standard deviations of a binomial distribution.
    assert!((lost - 25_000.0).abs() < 5.0 * (100_000.0f64 * 0.25 * 0.75).sqrt());
    assert!(out.iter().all(|v| *v == 0.0 || *v == 1.0 / 0.75));
    let other = tape_of(&w, 8);
    assert_ne!(out, other);
    let tape = Tape::new();
    assert!(tape.dropout("drop", &tape.parameter(&w), 1.0, 7).is_err());
}

fn tape_of(w: &Parameter, seed: u64) -> Vec<f32> {
    let tape = Tape::new();
    let y = tape.dropout("drop", &tape.parameter(w), 0.25, seed).unwrap();
    y.value().as_slice::<f32>().unwrap().to_vec()
}

fn conv(tape: &Tape, x: &Var, w: &Parameter, groups: usize) -> Result<Var, QatError> {
    let attrs = ConvAttrs {
        strides: vec![1, 1],
        dilations: vec![1, 1],
        padding: Padding::Explicit { begin: vec![1, 1], end: vec![1, 1] },
        groups,
    };
    let y = tape.apply(w.name(), &Op::Conv(attrs), &[Some(x), Some(&tape.parameter(w))], 1)?;
    Ok(y[0].clone())
}

struct Block {
    w: Parameter,
    scale: Parameter,
    bias: Parameter,
}

impl Block {
    fn new(i: u64) -> Self {
        Self {
            w: parameter(&format!("w{i}"), i, &[8, 8, 3, 3]),
            scale: parameter(&format!("scale{i}"), i + 100, &[8]),
            bias: parameter(&format!("bias{i}"), i + 200, &[8]),
        }
    }

    /// A residual block, which uses its input twice.
    fn forward(&self, tape: &Tape, x: &Var) -> Result<Var, QatError> {
        let y = conv(tape, x, &self.w, 1)?;
        let (y, _) =
            tape.batch_norm("bn", &y, &tape.parameter(&self.scale), &tape.parameter(&self.bias), 1e-5)?;
        let y = tape.dropout("drop", &y, 0.1, 3)?;
        y.map(UnaryOp::Relu)?.add(x)
    }
}

/// The gradients of a net of residual blocks, computed in segments of so many blocks (0 for none).
fn net(blocks: &std::sync::Arc<Vec<Block>>, x: &Tensor, segment: usize) -> (f32, Vec<Vec<f32>>) {
    let tape = Tape::new();
    let stem = &blocks[0].w;
    // The stem's weights come again in the first block.
    let mut x = conv(&tape, &tape.constant(x.clone()), stem, 1).unwrap();
    if segment == 0 {
        for block in blocks.iter() {
            x = block.forward(&tape, &x).unwrap();
        }
    } else {
        for first in (0..blocks.len()).step_by(segment) {
            let shared = std::sync::Arc::clone(blocks);
            let run = move |tape: &Tape, inputs: &[Var]| {
                let mut x = inputs[0].clone();
                for block in &shared[first..shared.len().min(first + segment)] {
                    x = block.forward(tape, &x)?;
                }
                Ok(vec![x])
            };
            x = tape.checkpoint("segment", &[&x], run).unwrap().swap_remove(0);
        }
    }
    let loss = x.mul(&x).unwrap().mean().unwrap();
    drop(x);
    let value = loss.item().unwrap();
    loss.backward().unwrap();
    let all = blocks.iter().flat_map(|b| [&b.w, &b.scale, &b.bias]);
    let gradients = all
        .map(|p| {
            let g = gradient(p);
            p.zero_grad();
            g
        })
        .collect();
    (value, gradients)
}

#[test]
fn segments_need_less_memory_and_give_the_same_bits() {
    let blocks = std::sync::Arc::new((0..9).map(Block::new).collect::<Vec<_>>());
    let x = values(50, &[2, 8, 32, 32]);
    net(&blocks, &x, 0);
    let mut results = Vec::new();
    let mut peaks = Vec::new();
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build().unwrap();
    for segment in [0, 3] {
        // Allocations of this thread are counted: all work is done on it.
        let info = allocation_counter::measure(|| results.push(one.install(|| net(&blocks, &x, segment))));
        peaks.push(info.bytes_max);
    }
    assert_eq!(results[0].0.to_bits(), results[1].0.to_bits());
    for (a, b) in results[0].1.iter().zip(&results[1].1) {
        assert_eq!(bits(a), bits(b));
    }
    assert!((peaks[1] as f64) < 0.65 * peaks[0] as f64, "{peaks:?}");
}

#[test]
fn a_segment_knows_that_it_is_computed_again() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let (first, again) = (std::sync::Arc::new(AtomicUsize::new(0)), std::sync::Arc::new(AtomicUsize::new(0)));
    let w = parameter("w", 1, &[3]);
    let (counts, inner) = ((first.clone(), again.clone()), w.clone());
    let tape = Tape::new();
    let run = move |tape: &Tape, _: &[Var]| {
        if tape.is_recomputing() { &counts.1 } else { &counts.0 }.fetch_add(1, Ordering::Relaxed);
        Ok(vec![tape.parameter(&inner).sum()?])
    };
    let out = tape.checkpoint("segment", &[], run).unwrap();
    out[0].backward().unwrap();
    assert_eq!((first.load(Ordering::Relaxed), again.load(Ordering::Relaxed)), (1, 1));
    assert_eq!(gradient(&w), [1.0; 3]);
}

/// A step through the operators whose work is split.
fn step(threads: usize) -> Vec<Vec<u32>> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let (a, b) = (parameter("a", 1, &[16, 8, 3, 3]), parameter("b", 2, &[16, 1, 3, 3]));
        let (scale, bias) = (parameter("s", 3, &[16]), parameter("t", 4, &[16]));
        let (w, c) = (parameter("w", 5, &[16, 10]), parameter("c", 6, &[10]));
        let x = parameter("x", 7, &[33, 8, 19, 17]);
        let tape = Tape::new();
        let y = conv(&tape, &tape.parameter(&x), &a, 1).unwrap();
        let y = conv(&tape, &y, &b, 16).unwrap();
        let (y, _) =
            tape.batch_norm("bn", &y, &tape.parameter(&scale), &tape.parameter(&bias), 1e-5).unwrap();
        let y = y.map(UnaryOp::Mish).unwrap();
        let y = tape.apply("pool", &Op::GlobalAveragePool, &[Some(&y)], 1).unwrap().swap_remove(0);
        let y = y.reshape(&[0, -1]).unwrap().matmul(&tape.parameter(&w)).unwrap();
        let y = y.add(&tape.parameter(&c)).unwrap();
        let y = tape.apply("soft", &Op::LogSoftmax { axis: 1 }, &[Some(&y)], 1).unwrap().swap_remove(0);
        let y =
            tape.apply("pow", &Op::Binary(BinaryOp::Mul), &[Some(&y), Some(&y)], 1).unwrap().swap_remove(0);
        let reduce = Op::Reduce { kind: ReduceKind::L2, keep_dims: false, noop_with_empty_axes: false };
        let loss = tape.apply("loss", &reduce, &[Some(&y)], 1).unwrap().swap_remove(0);
        loss.backward().unwrap();
        let mut out: Vec<Vec<u32>> =
            [&a, &b, &scale, &bias, &w, &c, &x].iter().map(|p| bits(&gradient(p))).collect();
        out.push(bits(&[loss.item().unwrap()]));
        out
    })
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let one = step(1);
    assert!(one.iter().flatten().any(|b| *b != 0));
    assert_eq!(one, step(4));
    assert_eq!(one, step(3));
}

#[test]
fn a_gradient_that_must_flow_through_codes_is_an_error() {
    let w = parameter("w", 1, &[4]);
    let tape = Tape::new();
    let scale = tape.constant(Tensor::scalar(0.1f32));
    let zero = tape.constant(Tensor::scalar(0i8));
    let quantize = Op::QuantizeLinear { axis: 1, block_size: 0, output_dtype: None, saturate: true };
    let inputs = [Some(&tape.parameter(&w)), Some(&scale), Some(&zero)];
    let codes = tape.apply("the quantizer", &quantize, &inputs, 1).unwrap().swap_remove(0);
    // What only moves codes keeps the way.
    let moved = codes.reshape(&[2, 2]).unwrap();
    let dequantize = Op::DequantizeLinear { axis: 1, block_size: 0 };
    let y = tape.apply("back", &dequantize, &[Some(&moved), Some(&scale), Some(&zero)], 1).unwrap();
    let error = y[0].sum().unwrap().backward().unwrap_err();
    assert!(error.to_string().contains("node the quantizer (QuantizeLinear)"), "{error}");
}
