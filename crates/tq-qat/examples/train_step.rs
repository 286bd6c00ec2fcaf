//! Times training steps of a net of the kind of ResNet-20: 64 pictures of 3x32x32, batch statistics, cross-entropy,
//! plain gradient descent. Tells the seconds of forward, backward and update of every step, one step a line of stdin,
//! so that `benches/peers/qat.py` can take turns with PyTorch.
//!
//! usage: train_step [THREADS]
#![allow(clippy::unwrap_used, missing_docs)]

use std::io::{BufRead, Write};
use std::time::Instant;
use tq_graph::op::{ConvAttrs, Padding, UnaryOp};
use tq_graph::{Op, Tensor};
use tq_qat::{Parameter, QatError, Tape, Var};

const BATCH: usize = 64;
const CLASSES: usize = 10;

struct Random(u64);

impl Random {
    /// Evenly between -1 and 1.
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn tensor(&mut self, dims: &[usize], bound: f32) -> Tensor {
        let n = dims.iter().product();
        Tensor::new(dims, (0..n).map(|_| self.next() * bound).collect::<Vec<f32>>()).unwrap()
    }
}

struct Net {
    parameters: Vec<Parameter>,
    /// Weights, scale and bias of every convolution, its stride and extent.
    layers: Vec<(usize, usize, usize)>,
    last: usize,
}

impl Net {
    fn new(random: &mut Random) -> Self {
        let mut net = Self { parameters: Vec::new(), layers: Vec::new(), last: 0 };
        net.conv(random, 3, 16, 3, 1);
        let mut channels = 16;
        for (stage, width) in [16, 32, 64].into_iter().enumerate() {
            for block in 0..3 {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                net.conv(random, channels, width, 3, stride);
                net.conv(random, width, width, 3, 1);
                if stride == 2 {
                    net.conv(random, channels, width, 1, 2);
                }
                channels = width;
            }
        }
        net.last = net.parameters.len();
        net.parameters.push(Parameter::new("fc.w", random.tensor(&[CLASSES, 64], 0.125)).unwrap());
        net.parameters.push(Parameter::new("fc.b", random.tensor(&[CLASSES], 0.125)).unwrap());
        net
    }

    fn conv(&mut self, random: &mut Random, from: usize, to: usize, kernel: usize, stride: usize) {
        let bound = (6.0 / (from * kernel * kernel) as f32).sqrt();
        let at = self.parameters.len();
        let ones = Tensor::vector(vec![1.0f32; to]);
        let zeros = Tensor::vector(vec![0.0f32; to]);
        for (name, value) in
            [("w", random.tensor(&[to, from, kernel, kernel], bound)), ("scale", ones), ("bias", zeros)]
        {
            self.parameters.push(Parameter::new(format!("{at}.{name}"), value).unwrap());
        }
        self.layers.push((at, stride, kernel));
    }

    fn conv_bn(&self, x: &Var, layer: usize) -> Result<Var, QatError> {
        let tape = x.tape();
        let (at, stride, kernel) = self.layers[layer];
        let pad = vec![kernel / 2; 2];
        let attrs = ConvAttrs {
            strides: vec![stride; 2],
            dilations: vec![1; 2],
            padding: Padding::Explicit { begin: pad.clone(), end: pad },
            groups: 1,
        };
        let [w, scale, bias] = [0, 1, 2].map(|i| tape.parameter(&self.parameters[at + i]));
        let y = tape.apply("conv", &Op::Conv(attrs), &[Some(x), Some(&w)], 1)?.swap_remove(0);
        Ok(tape.batch_norm("bn", &y, &scale, &bias, 1e-5)?.0)
    }

    /// The mean cross-entropy.
    fn loss(&self, tape: &Tape, x: &Tensor, targets: &Tensor) -> Result<Var, QatError> {
        let mut x = self.conv_bn(&tape.constant(x.clone()), 0)?.map(UnaryOp::Relu)?;
        let mut layer = 1;
        for stage in 0..3 {
            for block in 0..3 {
                let y = self.conv_bn(&x, layer)?.map(UnaryOp::Relu)?;
                let y = self.conv_bn(&y, layer + 1)?;
                layer += 2;
                if stage > 0 && block == 0 {
                    x = self.conv_bn(&x, layer)?;
                    layer += 1;
                }
                x = y.add(&x)?.map(UnaryOp::Relu)?;
            }
        }
        let x =
            tape.apply("pool", &Op::GlobalAveragePool, &[Some(&x)], 1)?.swap_remove(0).reshape(&[0, -1])?;
        let gemm = Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
        let [w, b] = [0, 1].map(|i| tape.parameter(&self.parameters[self.last + i]));
        let x = tape.apply("fc", &gemm, &[Some(&x), Some(&w), Some(&b)], 1)?.swap_remove(0);
        let x = tape.apply("log", &Op::LogSoftmax { axis: 1 }, &[Some(&x)], 1)?.swap_remove(0);
        let picked = x.mul(&tape.constant(targets.clone()))?.sum()?;
        picked.mul(&tape.constant(Tensor::scalar(-1.0 / BATCH as f32)))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let threads = std::env::args().nth(1).map_or(Ok(2), |n| n.parse())?;
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global()?;
    let mut random = Random(1);
    let net = Net::new(&mut random);
    let x = random.tensor(&[BATCH, 3, 32, 32], 1.0);
    let mut targets = vec![0.0f32; BATCH * CLASSES];
    (0..BATCH).for_each(|i| targets[i * CLASSES + i % CLASSES] = 1.0);
    let targets = Tensor::new(&[BATCH, CLASSES], targets)?;
    for line in std::io::stdin().lock().lines() {
        line?;
        let start = Instant::now();
        let tape = Tape::new();
        let loss = net.loss(&tape, &x, &targets)?;
        let value = loss.item()?;
        let forward = start.elapsed().as_secs_f64();
        loss.backward()?;
        let backward = start.elapsed().as_secs_f64() - forward;
        for p in &net.parameters {
            p.update(|value, gradient| {
                let gradient = gradient.unwrap_or_default();
                value.iter_mut().zip(gradient).for_each(|(v, g)| *v -= 0.05 * g);
                Ok::<(), QatError>(())
            })?;
            p.zero_grad();
        }
        let all = start.elapsed().as_secs_f64();
        println!("{all:.6} {forward:.6} {backward:.6} {value}");
        std::io::stdout().flush()?;
    }
    Ok(())
}
