//! A case, and how its gradient is held against differences of the f64 evaluator.

use tq_eval::{Precision, eval_op};
use tq_graph::{Op, Tensor};
use tq_qat::{Parameter, QatError, Tape, Var};
use tq_qtypes::DType;

/// Half the distance of the two points of a central difference: in f64, errors of about 1e-10 remain.
const STEP: f64 = 1e-5;

/// How far a gradient may be off, as part of the largest one of its tensor: values and gradients are f32, so each of
/// the few operations on the way adds up to 6e-8.
const TOLERANCE: f64 = 4e-6;

/// What is expected of an operator.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Expect {
    /// A gradient, that of the operator.
    Gradient,
    /// Results that count as constants.
    Nowhere,
    /// An error when a gradient comes.
    Refused,
}

/// An operator with inputs. All f32 inputs get gradients.
pub(crate) struct Case {
    pub name: String,
    pub op: Op,
    pub inputs: Vec<Option<Tensor>>,
    pub outputs: usize,
    pub expect: Expect,
    /// The operator of which the difference quotient is taken, where that is another one.
    pub reference: Option<Op>,
    /// Inputs that get no gradient though they are f32.
    pub fixed: Vec<usize>,
}

impl Case {
    pub(crate) fn new(name: &str, op: Op, inputs: Vec<Tensor>) -> Self {
        Self::some(name, op, inputs.into_iter().map(Some).collect())
    }

    /// With inputs that may be absent.
    pub(crate) fn some(name: &str, op: Op, inputs: Vec<Option<Tensor>>) -> Self {
        let name = format!("{} {name}", super::names::of(&op).join(", "));
        let fixed = Vec::new();
        Self { name, op, inputs, outputs: 1, expect: Expect::Gradient, reference: None, fixed }
    }

    pub(crate) fn outputs(self, outputs: usize) -> Self {
        Self { outputs, ..self }
    }

    pub(crate) fn expect(self, expect: Expect) -> Self {
        Self { expect, ..self }
    }

    pub(crate) fn reference(self, op: Op) -> Self {
        Self { reference: Some(op), ..self }
    }

    pub(crate) fn fixed(self, fixed: &[usize]) -> Self {
        Self { fixed: fixed.to_vec(), ..self }
    }

    /// Which inputs can get gradients.
    fn trainable(&self) -> Vec<usize> {
        let is = |i: &usize| {
            !self.fixed.contains(i) && self.inputs[*i].as_ref().is_some_and(|t| t.dtype() == DType::F32)
        };
        (0..self.inputs.len()).filter(is).collect()
    }

    /// The outputs on a tape, where these inputs are parameters.
    fn on_tape(&self, trained: &[usize]) -> Result<(Vec<Parameter>, Vec<Var>), QatError> {
        let tape = Tape::new();
        let mut parameters = Vec::new();
        let mut vars = Vec::new();
        for (i, input) in self.inputs.iter().enumerate() {
            let Some(input) = input else {
                vars.push(None);
                continue;
            };
            vars.push(Some(if trained.contains(&i) {
                let parameter = Parameter::new(format!("input {i}"), input.clone())?;
                parameters.push(parameter.clone());
                tape.parameter(&parameter)
            } else {
                tape.constant(input.clone())
            }));
        }
        let vars: Vec<Option<&Var>> = vars.iter().map(Option::as_ref).collect();
        let outputs = tape.apply("the node", &self.op, &vars, self.outputs)?;
        Ok((parameters, outputs))
    }

    /// The gradients of these inputs of a weighted sum of outputs.
    fn gradients(&self, trained: &[usize], used: &[usize]) -> Result<Vec<Vec<f32>>, QatError> {
        let (parameters, outputs) = self.on_tape(trained)?;
        let mut loss: Option<Var> = None;
        for i in used {
            let output = &outputs[*i];
            let weights = weights(*i, output.value().len()).iter().map(|w| *w as f32).collect();
            let weights = output.tape().constant(Tensor::new::<f32>(output.shape(), weights)?);
            let part = output.mul(&weights)?.sum()?;
            loss = Some(match loss {
                Some(sum) => sum.add(&part)?,
                None => part,
            });
        }
        if let Some(loss) = loss {
            loss.backward()?;
        }
        let values = |p: &Parameter| match p.gradient() {
            Some(g) => Ok(g.as_slice::<f32>()?.to_vec()),
            None => Ok(vec![0.0; p.value().len()]),
        };
        parameters.iter().map(values).collect()
    }

    /// The weighted sum in f64.
    fn loss(&self, inputs: &[Option<Tensor>], used: &[usize]) -> Result<f64, String> {
        let inputs: Vec<Option<&Tensor>> = inputs.iter().map(Option::as_ref).collect();
        let op = self.reference.as_ref().unwrap_or(&self.op);
        let outputs = eval_op(op, &inputs, self.outputs, Precision::F64).map_err(|e| e.to_string())?;
        let mut sum = 0.0;
        for i in used {
            let values = outputs[*i].as_slice::<f64>().map_err(|e| e.to_string())?;
            sum += values.iter().zip(weights(*i, values.len())).map(|(v, w)| v * w).sum::<f64>();
        }
        Ok(sum)
    }

    /// Whether the operator does what is expected.
    pub(crate) fn check(&self) -> Result<(), String> {
        let trained = self.trainable();
        let tell = |e: QatError| format!("{}: {e}", self.name);
        let (_, outputs) = self.on_tape(&trained).map_err(tell)?;
        let tracked: Vec<usize> = (0..outputs.len()).filter(|i| outputs[*i].is_tracked()).collect();
        match self.expect {
            Expect::Nowhere if tracked.is_empty() => return Ok(()),
            Expect::Nowhere => return Err(format!("{}: outputs {tracked:?} have a gradient", self.name)),
            Expect::Refused => {
                let Some(output) = outputs.first().filter(|_| !trained.is_empty()) else { return Ok(()) };
                // Codes are led back into floats first.
                let real = Op::Cast { to: DType::F32, saturate: true };
                let back = || {
                    let real = output.tape().apply("cast", &real, &[Some(output)], 1)?;
                    real[0].sum()?.backward()
                };
                return match back() {
                    Err(QatError::NoGradient { node, .. }) if node == "the node" => Ok(()),
                    other => Err(format!("{}: {other:?} instead of a refusal", self.name)),
                };
            }
            Expect::Gradient => {}
        }
        let f32s = |i: &usize| outputs[*i].value().dtype() == DType::F32;
        let float: Vec<usize> = (0..outputs.len()).filter(f32s).collect();
        if trained.is_empty() || float.is_empty() {
            return Err(format!("{}: nothing to compare", self.name));
        }
        // All outputs together, and each by itself: a rule must do with the gradients that are there.
        let mut uses = vec![float.clone()];
        if float.len() > 1 {
            uses.extend(float.iter().map(|i| vec![*i]));
        }
        for used in uses {
            self.compare(&trained, &used)?;
        }
        Ok(())
    }

    fn compare(&self, trained: &[usize], used: &[usize]) -> Result<(), String> {
        let tell = |e: QatError| format!("{}: {e}", self.name);
        let together = self.gradients(trained, used).map_err(tell)?;
        let mut wide: Vec<Option<Tensor>> = Vec::new();
        for input in &self.inputs {
            let promoted = |t: &Tensor| match t.as_slice::<f32>() {
                Ok(values) => Tensor::new(t.dims(), values.iter().map(|v| f64::from(*v)).collect::<Vec<_>>()),
                Err(_) => Ok(t.clone()),
            };
            wide.push(input.as_ref().map(promoted).transpose().map_err(|e| e.to_string())?);
        }
        for (i, gradient) in trained.iter().zip(&together) {
            // What is kept depends on which inputs are trained; what comes out must not.
            let alone = self.gradients(&[*i], used).map_err(tell)?.swap_remove(0);
            let bits = |g: &[f32]| g.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            if bits(&alone) != bits(gradient) {
                return Err(format!("{}: input {i} alone gets {alone:?}, else {gradient:?}", self.name));
            }
            let mut differences = Vec::with_capacity(gradient.len());
            for at in 0..gradient.len() {
                let side = |step: f64| {
                    let mut inputs = wide.clone();
                    if let Some(t) = &mut inputs[*i] {
                        t.as_mut_slice::<f64>().map_err(|e| e.to_string())?[at] += step;
                    }
                    self.loss(&inputs, used)
                };
                differences.push((side(STEP)? - side(-STEP)?) / (2.0 * STEP));
            }
            let scale = differences.iter().fold(1e-2, |m: f64, d| m.max(d.abs()));
            for (at, (g, d)) in gradient.iter().zip(&differences).enumerate() {
                let error = (f64::from(*g) - d).abs();
                if error.is_nan() || error > TOLERANCE * scale {
                    return Err(format!(
                        "{}: outputs {used:?}, input {i}, element {at}: {g}, the difference quotient is {d} (scale {scale})",
                        self.name
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Weights of an output in the sum, all different, exact in f32.
fn weights(output: usize, len: usize) -> Vec<f64> {
    let mut random = Random(77 + output as u64);
    (0..len).map(|_| (random.below(1 << 12) as f64 - 2048.5) / 1024.0).collect()
}

/// Reproducible numbers.
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n
    }
}

/// Values between two numbers, all different, at equal distances in any order: no two are closer than a difference
/// quotient sees, and with these bounds none stands on a corner of a function.
pub(crate) fn between(seed: u64, dims: &[usize], low: f32, high: f32) -> Tensor {
    let n: usize = dims.iter().product();
    let mut order: Vec<usize> = (0..n).collect();
    let mut random = Random(seed);
    for i in (1..n).rev() {
        order.swap(i, random.below(i + 1));
    }
    let shift = 0.3 + 0.4 * (seed % 13) as f32 / 13.0;
    let value = |i: &usize| low + (high - low) * (*i as f32 + shift) / n as f32;
    Tensor::new::<f32>(dims, order.iter().map(value).collect()).unwrap()
}

/// [`between`] -1.5 and 1.5.
pub(crate) fn values(seed: u64, dims: &[usize]) -> Tensor {
    between(seed, dims, -1.5, 1.5)
}

/// A list of i64.
pub(crate) fn list(values: &[i64]) -> Tensor {
    Tensor::vector(values.to_vec())
}
