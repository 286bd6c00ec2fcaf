//! One pass through a model in training.

use super::QatModel;
use super::bias::fake_bias;
use super::exact::Exact;
use crate::fake::straight_through;
use crate::{QatError, Tape, Var};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use tq_graph::{Graph, NodeId, Op, Tensor, ValueId};
use tq_passes::training::InputForm;
use tq_qtypes::{AffineParams, DType, Rounding};

/// For every value the last node that reads it.
pub(super) fn last_reads(graph: &Graph) -> HashMap<ValueId, NodeId> {
    let mut last = HashMap::new();
    for (id, node) in graph.iter_nodes() {
        for v in node.inputs.iter().flatten() {
            last.insert(*v, id);
        }
    }
    for v in &graph.outputs {
        last.remove(v);
    }
    last
}

/// One pass through the model.
pub(super) struct Run<'r> {
    pub(super) model: &'r QatModel,
    tape: &'r Tape,
    pub(super) values: HashMap<ValueId, Var>,
    /// What values are after rounding to codes, by their group.
    codes: HashMap<ValueId, Var>,
    /// What values are before they are rounded to codes, where they were computed as a session computes them.
    pub(super) exact: HashMap<ValueId, Exact>,
    last: HashMap<ValueId, NodeId>,
    /// Whether to compute as a session does: no gradient is asked for, and nothing that training alone does is done.
    evaluates: bool,
}

impl<'r> Run<'r> {
    /// A pass that begins with these inputs.
    pub(super) fn new(
        model: &'r QatModel,
        tape: &'r Tape,
        last: HashMap<ValueId, NodeId>,
        inputs: &[Tensor],
    ) -> Self {
        let graph = model.prepared.graph();
        let both = graph.inputs.iter().zip(inputs);
        let values = both.map(|(v, tensor)| (*v, tape.constant(tensor.clone()))).collect();
        let evaluates = tape.is_precise() && !model.training.load(Ordering::Relaxed);
        Self { model, tape, values, codes: HashMap::new(), exact: HashMap::new(), last, evaluates }
    }

    pub(super) fn node(&mut self, id: NodeId) -> Result<(), QatError> {
        let graph = self.model.prepared.graph();
        let node = graph.node(id);
        let norm = self.model.norms.get(&id);
        let folded = norm.map(|norm| norm.folded_weight(self.tape)).transpose()?;
        let of_batch = self.model.training.load(Ordering::Relaxed)
            && self.model.batch_statistics.load(Ordering::Relaxed);
        let mut inputs: Vec<Option<Var>> = Vec::with_capacity(node.inputs.len());
        let mut bias = None;
        for (slot, form) in self.model.forms[id.0].iter().enumerate() {
            let Some(v) = node.input(slot).filter(|_| *form != InputForm::Absent) else {
                inputs.push(None);
                continue;
            };
            let var = match (norm, &folded, slot) {
                (Some(_), Some((weight, _)), 1) => weight.clone(),
                // The normalization that follows brings it along.
                (Some(_), Some(_), 2) if of_batch => {
                    inputs.push(None);
                    continue;
                }
                (Some(norm), Some((_, factor)), 2) => norm.folded_bias(self.tape, factor)?,
                _ => self.value(v)?,
            };
            inputs.push(Some(match form {
                InputForm::Weights { .. } => match self.model.weights.get(&id) {
                    Some(quantizer) => quantizer.forward(&var)?,
                    None => var,
                },
                InputForm::Bias { group } => {
                    bias = Some(var.clone());
                    self.rounded_bias(id, var, *group, &node.name)?
                }
                form => self.read(v, var, form)?,
            }));
        }
        let exact = match self.evaluates {
            true => self.exactly(id, &inputs, bias.as_ref())?,
            false => None,
        };
        let inputs: Vec<Option<&Var>> = inputs.iter().map(Option::as_ref).collect();
        let mut outputs = match &exact {
            Some(exact) => vec![self.tape.constant(exact.real()?)],
            None => {
                // What a session computes in float it sums in f32.
                let precise = self.tape.is_precise()
                    && !(self.evaluates && self.model.placements[id.0].float_reason().is_some());
                self.tape.apply_as(&node.name, &node.op, &inputs, node.outputs.len(), precise)?
            }
        };
        let exact = match exact {
            None if self.evaluates => self.clamp_of(id)?,
            exact => exact,
        };
        if let (Some(exact), Some(out)) = (exact, node.output(0)) {
            self.exact.insert(out, exact);
        }
        if let (Some(norm), Some((_, factor)), true) = (norm, &folded, of_batch) {
            outputs[0] = norm.normalized(&outputs[0], factor)?;
        }
        for (v, var) in node.outputs.iter().zip(outputs) {
            if let Some(v) = v {
                self.values.insert(*v, var);
            }
        }
        for v in node.inputs.iter().flatten().filter(|v| self.last.get(v) == Some(&id)) {
            self.values.remove(v);
            self.codes.remove(v);
            self.exact.remove(v);
        }
        Ok(())
    }

    /// A value as it is.
    pub(super) fn value(&self, v: ValueId) -> Result<Var, QatError> {
        if let Some(var) = self.values.get(&v) {
            return Ok(var.clone());
        }
        let graph = self.model.prepared.graph();
        match (self.model.parameters.get(&v), graph.constant(v)) {
            (Some(parameter), _) => Ok(self.tape.parameter(parameter)),
            (None, Some(tensor)) => Ok(self.tape.constant(tensor.clone())),
            (None, None) => {
                let message = format!("value {} is read before it is computed", graph.value(v).name);
                Err(tq_graph::GraphError::Structure(message).into())
            }
        }
    }

    /// A value as a node reads it; `var` is what it is.
    pub(super) fn read(&mut self, v: ValueId, var: Var, form: &InputForm) -> Result<Var, QatError> {
        match form {
            InputForm::Codes { group } => {
                if let Some(codes) = self.codes.get(&v) {
                    return Ok(codes.clone());
                }
                let quantizer = &self.model.activations[*group];
                let exact = match self.exact.get(&v) {
                    Some(exact) if quantizer.is_quantizing() => exact.rounded(&quantizer.qparams()?)?,
                    _ => None,
                };
                let codes = match exact {
                    Some(codes) => self.tape.constant(codes),
                    None => quantizer.forward(&var)?,
                };
                self.codes.insert(v, codes.clone());
                Ok(codes)
            }
            InputForm::Operand { group, spec } => {
                let params = match group {
                    Some(group) => self.model.activations[*group].qparams()?,
                    None => AffineParams::from_data(var.value().as_slice::<f32>()?, var.shape(), spec)?,
                };
                let value = straight_through::forward(var.value(), &params.into(), Rounding::Divide)?;
                Ok(self.tape.constant(value))
            }
            InputForm::Half(dtype) => {
                let op = |to| Op::Cast { to, saturate: true };
                let name = var.name().to_owned();
                let mut half = self.tape.apply(&name, &op(*dtype), &[Some(&var)], 1)?;
                let mut wide = self.tape.apply(&name, &op(DType::F32), &[Some(&half.swap_remove(0))], 1)?;
                Ok(wide.swap_remove(0))
            }
            _ => Ok(var),
        }
    }

    /// A bias as it is after rounding to units of the accumulator.
    fn rounded_bias(&self, id: NodeId, bias: Var, group: usize, node: &str) -> Result<Var, QatError> {
        let (input, weights) = (&self.model.activations[group], self.model.weights.get(&id));
        let Some(weights) = weights.filter(|w| w.is_quantizing() && input.is_quantizing()) else {
            return Ok(bias);
        };
        let Some((input, _)) = input.qparams()?.uniform() else { return Ok(bias) };
        fake_bias(node, &bias, input, &weights.qparams()?.scale)
    }
}
