//! Training steps of a ResNet-20 for 32 by 32 images, for `benches/peers/qat.py`, which starts this program and lets it
//! take turns with PyTorch.
//!
//! `resnet_step FOLDER BATCH [qat]` reads `weights.f32`, `x.f32` and `labels.i64` (little-endian numbers and nothing else) from
//! the folder. Then it does what the lines of its standard input say, and answers each with one line:
//!
//! * `gradients`: one forward and backward pass; the gradients go to `gradients.f32`, the answer is the loss.
//! * `steps N`: N training steps with SGD; the answer is the seconds that they took.
//! * `profile N`: as `steps`, and tells on standard error what the time went to.
//!
//! With `qat` the net has the fake quantizers of PyTorch's `default_qat_qconfig` for fbgemm, at the same places: after every
//! fused layer and addition one for the tensor, codes 0 to 127, whose range is a moving average; and one with a scale a
//! channel for weights, which are first multiplied with what batch normalization will multiply them with, as its running
//! statistics tell; the result of the convolution is divided by it.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::BufRead;
use std::path::Path;
use std::time::{Duration, Instant};
use tq_graph::op::{BinaryOp, ConvAttrs, Padding, ReduceKind, UnaryOp};
use tq_graph::{Op, Tensor};
use tq_observers::{MovingAverageMinMaxObserver, MovingAveragePerChannelMinMaxObserver, ObserverConfig};
use tq_qat::fake::{FakeQuantize, Quantizer, QuantizerConfig};
use tq_qat::{Parameter, QatError, Tape, Var};
use tq_qtypes::{DType, Granularity, QuantSpec, Rounding};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

/// Hands out parameters in the order of the file, and times what is done by the name of the operator.
struct Net {
    parameters: Vec<Parameter>,
    velocities: Vec<Vec<f32>>,
    clock: BTreeMap<String, Duration>,
    quantization: Option<Quantization>,
}

/// Fake quantizers, in the order in which they come in the forward pass, and running variances of the convolutions.
#[derive(Default)]
struct Quantization {
    activations: Vec<Quantizer>,
    weights: Vec<Quantizer>,
    variances: Vec<Vec<f32>>,
    /// How many of the activations' have had their turn.
    used: usize,
}

impl Quantization {
    fn new() -> Result<Self> {
        let constant = 0.01;
        let quantizer = |name: String, observer: ObserverConfig| -> Result<Quantizer> {
            let config: QuantizerConfig = FakeQuantize::new(observer).into();
            Ok(config.build(name)?.with_rounding(Rounding::Reciprocal))
        };
        let mut all = Self::default();
        let reduced = QuantSpec { quant_max: 127, ..QuantSpec::u8_affine() };
        // The input, all convolutions, all additions, and the last layer.
        for i in 0..1 + layers().len() + 9 + 1 {
            let observer = MovingAverageMinMaxObserver::new(reduced, f32::EPSILON, constant)?;
            all.activations.push(quantizer(format!("activation{i}"), observer.into())?);
        }
        let channels = QuantSpec {
            dtype: DType::I8,
            quant_min: -128,
            quant_max: 127,
            ..QuantSpec::i8_symmetric(Granularity::PerChannel { axis: 0 })
        };
        for (name, out, ..) in layers() {
            let observer =
                MovingAveragePerChannelMinMaxObserver::with_spec(channels, f32::EPSILON, constant)?;
            all.weights.push(quantizer(name, observer.into())?);
            all.variances.push(vec![1.0; out]);
        }
        let observer = MovingAveragePerChannelMinMaxObserver::with_spec(channels, f32::EPSILON, constant)?;
        all.weights.push(quantizer("fc".into(), observer.into())?);
        Ok(all)
    }
}

impl Net {
    fn new(mut weights: &[f32], quantization: Option<Quantization>) -> Result<Self> {
        let mut parameters = Vec::new();
        let mut take = |name: String, dims: &[usize]| -> Result<()> {
            let (now, later) = weights.split_at_checked(dims.iter().product()).ok_or("too few weights")?;
            weights = later;
            parameters.push(Parameter::new(name, Tensor::new(dims, now.to_vec())?)?);
            Ok(())
        };
        for (name, out, input, kernel) in layers() {
            take(format!("{name}.weight"), &[out, input, kernel, kernel])?;
            take(format!("{name}.scale"), &[out])?;
            take(format!("{name}.bias"), &[out])?;
        }
        take("fc.weight".into(), &[10, 64])?;
        take("fc.bias".into(), &[10])?;
        if !weights.is_empty() {
            return Err("too many weights".into());
        }
        let velocities = parameters.iter().map(|p| vec![0.0; p.value().len()]).collect();
        Ok(Self { parameters, velocities, clock: BTreeMap::new(), quantization })
    }

    fn timed<T>(&mut self, what: &str, work: impl FnOnce(&mut Self) -> T) -> T {
        let start = Instant::now();
        let out = work(self);
        *self.clock.entry(what.to_owned()).or_default() += start.elapsed();
        out
    }

    fn apply(&mut self, op: Op, inputs: &[&Var]) -> Result<Var, QatError> {
        let tape = inputs[0].tape().clone();
        let inputs: Vec<Option<&Var>> = inputs.iter().copied().map(Some).collect();
        self.timed(op.name(), |_| Ok(tape.apply(op.name(), &op, &inputs, 1)?.swap_remove(0)))
    }

    /// The next fake quantizer of an activation.
    fn quantized(&mut self, x: Var) -> Result<Var, QatError> {
        self.timed("FakeQuantize", |net| match &mut net.quantization {
            Some(q) => {
                q.used += 1;
                q.activations[q.used - 1].forward(&x)
            }
            None => Ok(x),
        })
    }

    /// The fake quantizer of the weights of layer `at`.
    fn quantized_weights(&mut self, at: usize, w: &Var) -> Result<Var, QatError> {
        self.timed("FakeQuantize, weights", |net| match &net.quantization {
            Some(q) => q.weights[at].forward(w),
            None => Ok(w.clone()),
        })
    }

    /// Convolution and batch normalization; `at` counts layers.
    fn conv(&mut self, at: usize, x: &Var, stride: usize) -> Result<Var> {
        const EPSILON: f32 = 1e-5;
        let tape = x.tape().clone();
        let [mut w, scale, bias] = [0, 1, 2].map(|i| tape.parameter(&self.parameters[3 * at + i]));
        let pad = w.shape()[2] / 2;
        let attrs = ConvAttrs {
            strides: vec![stride; 2],
            dilations: vec![1; 2],
            padding: Padding::Explicit { begin: vec![pad; 2], end: vec![pad; 2] },
            groups: 1,
        };
        let mut factor = None;
        if let Some(q) = &self.quantization {
            let deviations = q.variances[at].iter().map(|v| (v + EPSILON).sqrt()).collect();
            let divisor = tape.constant(Tensor::vector::<f32>(deviations));
            let channels = scale.shape()[0] as i64;
            let ratio = self.apply(Op::Binary(BinaryOp::Div), &[&scale, &divisor])?;
            w = self.apply(Op::Binary(BinaryOp::Mul), &[&w, &ratio.reshape(&[channels, 1, 1, 1])?])?;
            w = self.quantized_weights(at, &w)?;
            factor = Some(ratio.reshape(&[1, channels, 1, 1])?);
        }
        let mut y = self.apply(Op::Conv(attrs), &[x, &w])?;
        if let Some(factor) = factor {
            y = self.apply(Op::Binary(BinaryOp::Div), &[&y, &factor])?;
        }
        let normalized =
            self.timed("BatchNormalization", |_| tape.batch_norm("bn", &y, &scale, &bias, EPSILON));
        let (y, statistics) = normalized?;
        if let Some(q) = &mut self.quantization {
            let unbiased = statistics.count as f32 / (statistics.count - 1) as f32;
            let all = q.variances[at].iter_mut().zip(&statistics.variance);
            all.for_each(|(running, v)| *running = 0.9 * *running + 0.1 * unbiased * v);
        }
        Ok(y)
    }

    fn relu(&mut self, x: &Var) -> Result<Var, QatError> {
        let y = self.apply(Op::Unary(UnaryOp::Relu), &[x])?;
        self.quantized(y)
    }

    fn loss(&mut self, x: &Tensor, labels: &Tensor) -> Result<Var> {
        let tape = Tape::new();
        let mut at = 0;
        let mut next = || {
            at += 1;
            at - 1
        };
        if let Some(q) = &mut self.quantization {
            q.used = 0;
        }
        let x = self.quantized(tape.constant(x.clone()))?;
        let mut x = self.conv(next(), &x, 1)?;
        x = self.relu(&x)?;
        for (stage, block) in (0..9).map(|i| (i / 3, i % 3)) {
            let first = stage > 0 && block == 0;
            let y = self.conv(next(), &x, 1 + usize::from(first))?;
            let y = self.relu(&y)?;
            let y = self.conv(next(), &y, 1)?;
            let y = self.quantized(y)?;
            let beside = if first {
                let beside = self.conv(next(), &x, 2)?;
                self.quantized(beside)?
            } else {
                x
            };
            let sum = self.apply(Op::Binary(BinaryOp::Add), &[&y, &beside])?;
            x = self.relu(&sum)?;
        }
        let x = self.apply(Op::GlobalAveragePool, &[&x])?;
        let x = self.apply(Op::Flatten { axis: 1 }, &[&x])?;
        let [w, b] = [2, 1].map(|i| tape.parameter(&self.parameters[self.parameters.len() - i]));
        let gemm = Op::Gemm { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: true };
        let w = self.quantized_weights(layers().len(), &w)?;
        let x = self.apply(gemm, &[&x, &w, &b])?;
        let x = self.quantized(x)?;
        let x = self.apply(Op::LogSoftmax { axis: 1 }, &[&x])?;
        let x = self.apply(Op::GatherElements { axis: 1 }, &[&x, &tape.constant(labels.clone())])?;
        let x = self.apply(Op::Unary(UnaryOp::Neg), &[&x])?;
        let mean = Op::Reduce { kind: ReduceKind::Mean, keep_dims: false, noop_with_empty_axes: false };
        Ok(self.apply(mean, &[&x])?)
    }

    /// One step of SGD with momentum and weight decay, as PyTorch has it.
    fn step(&mut self, x: &Tensor, labels: &Tensor) -> Result<()> {
        self.parameters.iter().for_each(Parameter::zero_grad);
        let loss = self.loss(x, labels)?;
        self.timed("backward", |_| loss.backward())?;
        self.timed("optimizer", |net| {
            for (parameter, velocity) in net.parameters.iter().zip(&mut net.velocities) {
                parameter.update::<QatError>(|value, gradient| {
                    for ((w, g), v) in value.iter_mut().zip(gradient.unwrap_or_default()).zip(velocity) {
                        *v = 0.9 * *v + (g + 1e-4 * *w);
                        *w -= 0.01 * *v;
                    }
                    Ok(())
                })?;
            }
            Ok(())
        })
    }
}

/// Name, output channels, input channels and kernel of every convolution.
fn layers() -> Vec<(String, usize, usize, usize)> {
    let mut layers = vec![("stem".to_owned(), 16, 3, 3)];
    let mut width = 16;
    for (stage, block) in (0..9).map(|i| (i / 3, i % 3)) {
        let out = 16 << stage;
        layers.push((format!("block{stage}.{block}.conv1"), out, width, 3));
        layers.push((format!("block{stage}.{block}.conv2"), out, out, 3));
        if width != out {
            layers.push((format!("block{stage}.{block}.short"), out, width, 1));
        }
        width = out;
    }
    layers
}

fn floats(path: &Path) -> Result<Vec<f32>> {
    let bytes = std::fs::read(path)?;
    Ok(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let (folder, batch, quantization) = match arguments.as_slice() {
        [_, folder, batch] => (folder, batch, None),
        [_, folder, batch, word] if word == "qat" => (folder, batch, Some(Quantization::new()?)),
        _ => return Err("FOLDER BATCH [qat]".into()),
    };
    let (folder, batch) = (Path::new(folder), batch.parse::<usize>()?);
    let mut net = Net::new(&floats(&folder.join("weights.f32"))?, quantization)?;
    let x = Tensor::new(&[batch, 3, 32, 32], floats(&folder.join("x.f32"))?)?;
    let labels = std::fs::read(folder.join("labels.i64"))?;
    let labels = labels.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect::<Vec<_>>();
    let labels = Tensor::new(&[batch, 1], labels)?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["gradients"] => {
                net.parameters.iter().for_each(Parameter::zero_grad);
                let loss = net.loss(&x, &labels)?;
                loss.backward()?;
                let mut bytes = Vec::new();
                for p in &net.parameters {
                    let gradient = p.gradient().ok_or_else(|| format!("{} has no gradient", p.name()))?;
                    bytes.extend(gradient.as_slice::<f32>()?.iter().flat_map(|v| v.to_le_bytes()));
                }
                std::fs::write(folder.join("gradients.f32"), bytes)?;
                println!("{}", loss.item()?);
            }
            [what @ ("steps" | "profile"), n] => {
                net.clock.clear();
                let start = Instant::now();
                for _ in 0..n.parse::<usize>()? {
                    net.step(&x, &labels)?;
                }
                println!("{}", start.elapsed().as_secs_f64());
                if what == "profile" {
                    net.clock
                        .iter()
                        .for_each(|(name, time)| eprintln!("{name:24} {:.4} s", time.as_secs_f64()));
                }
            }
            _ => return Err(format!("unknown line {line:?}").into()),
        }
    }
    Ok(())
}
