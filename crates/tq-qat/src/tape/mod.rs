//! Tape autograd: what was computed is recorded, and gone back through for gradients.
//!
//! A [`Tape`] serves one forward and one backward pass. Values are computed at once, by [`tq_eval`]; beside them stands
//! what the backward pass will need, and nothing else. Records are dropped as the backward pass uses them up.

mod backward;
mod batch_norm;
mod checkpoint;
mod custom;
mod dropout;
mod operators;
mod rules;
mod var;

pub(crate) use backward::add_gradients;
pub use batch_norm::BatchStatistics;
pub use custom::CustomRule;
pub use var::Var;

use crate::{Parameter, QatError};
use backward::{OpRule, Record, Rule};
use rules::Derivative;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tq_eval::{Precision, eval_op};
use tq_graph::{Op, Tensor};

/// A record of computations. Cloning gives another handle to the same tape.
#[derive(Clone)]
pub struct Tape(Arc<Shared>);

struct Shared {
    recording: bool,
    /// Whether sums are made in f64 and rounded once.
    precise: bool,
    recomputing: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    records: Vec<Record>,
    /// How many values that depend on parameters there are.
    slots: usize,
    used_up: bool,
}

/// Where the gradient of a value goes.
#[derive(Clone)]
enum Source {
    Parameter(Parameter),
    Slot(usize),
}

/// Operators that add many numbers up.
fn is_sum(op: &Op) -> bool {
    matches!(
        op,
        Op::Conv(_)
            | Op::ConvTranspose(_)
            | Op::Gemm { .. }
            | Op::MatMul
            | Op::AveragePool { .. }
            | Op::GlobalAveragePool
    )
}

/// Results in f64 as f32.
fn rounded_once(outputs: Vec<Tensor>) -> Result<Vec<Tensor>, QatError> {
    let narrow = |t: Tensor| match t.as_slice::<f64>() {
        Ok(wide) => Ok(Tensor::new(t.dims(), wide.iter().map(|v| *v as f32).collect::<Vec<f32>>())?),
        Err(_) => Ok(t),
    };
    outputs.into_iter().map(narrow).collect()
}

impl Tape {
    /// An empty tape.
    #[must_use]
    pub fn new() -> Self {
        Self::with(true, false, false)
    }

    /// A tape that records nothing, for computations that no gradient is asked of. Products and means are summed in f64 there
    /// and rounded once: what a model of codes sums exactly is met more often than by sums in f32.
    #[must_use]
    pub fn without_gradients() -> Self {
        Self::with(false, false, true)
    }

    fn with(recording: bool, recomputing: bool, precise: bool) -> Self {
        Self(Arc::new(Shared { recording, precise, recomputing, state: Mutex::default() }))
    }

    /// Whether sums are made in f64 and rounded once.
    pub(crate) fn is_precise(&self) -> bool {
        self.0.precise
    }

    /// Whether computations are recorded.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        self.0.recording
    }

    /// True within a backward pass, when a segment of [`Tape::checkpoint`] runs once more. What a forward pass changes
    /// besides (running statistics, observers) must stay as it is then.
    #[must_use]
    pub fn is_recomputing(&self) -> bool {
        self.0.recomputing
    }

    /// A value without a gradient.
    #[must_use]
    pub fn constant(&self, value: Tensor) -> Var {
        Var::new(self.clone(), "constant", value, None)
    }

    /// The present value of a parameter, whose gradient the backward pass adds up in the parameter.
    #[must_use]
    pub fn parameter(&self, parameter: &Parameter) -> Var {
        let tracked = self.0.recording && parameter.requires_grad();
        let source = tracked.then(|| Source::Parameter(parameter.clone()));
        Var::new(self.clone(), parameter.name(), parameter.value(), source)
    }

    /// Computes one node: `inputs` in the operator's order, absent optional ones as `None`; `n_outputs` outputs come
    /// back. `node` is the name that errors tell.
    ///
    /// # Errors
    /// [`QatError::Forward`] where the evaluator refuses the node, [`QatError::OtherTape`], [`QatError::UsedUp`].
    pub fn apply(
        &self,
        node: &str,
        op: &Op,
        inputs: &[Option<&Var>],
        n_outputs: usize,
    ) -> Result<Vec<Var>, QatError> {
        self.apply_as(node, op, inputs, n_outputs, self.0.precise)
    }

    /// [`Tape::apply`], with sums in f64 that are rounded once, or in f32.
    pub(crate) fn apply_as(
        &self,
        node: &str,
        op: &Op,
        inputs: &[Option<&Var>],
        n_outputs: usize,
        precise: bool,
    ) -> Result<Vec<Var>, QatError> {
        let tensors: Vec<Option<&Tensor>> = inputs.iter().map(|v| v.map(Var::value)).collect();
        let failed = |source| QatError::Forward { node: node.into(), op: op.name(), source };
        let outputs = match precise && is_sum(op) {
            true => rounded_once(eval_op(op, &tensors, n_outputs, Precision::F64).map_err(failed)?)?,
            false => eval_op(op, &tensors, n_outputs, Precision::F32).map_err(failed)?,
        };
        let sources = self.sources(node, inputs)?;
        let needs: Vec<bool> = sources.iter().map(Option::is_some).collect();
        if !needs.contains(&true) {
            return Ok(self.untracked(node, outputs));
        }
        let rule = match rules::derivative(op) {
            Derivative::Nowhere => return Ok(self.untracked(node, outputs)),
            Derivative::Refused(reason) => Rule::Refused(reason),
            Derivative::Flows(gradient) => {
                let keep = |(i, t): (usize, &Option<&Tensor>)| {
                    t.filter(|_| gradient.keeps_input(i, &needs)).cloned()
                };
                let kept_inputs = tensors.iter().enumerate().map(keep).collect();
                let keep = |(i, t): (usize, &Tensor)| gradient.keeps_output(i).then(|| t.clone());
                let kept_outputs = outputs.iter().enumerate().map(keep).collect();
                let dims = tensors.iter().map(|t| t.map_or_else(Vec::new, |t| t.dims().to_vec())).collect();
                Rule::Op(Box::new(OpRule {
                    op: op.clone(),
                    inputs: kept_inputs,
                    outputs: kept_outputs,
                    input_dims: dims,
                }))
            }
        };
        self.record(node, op.name(), inputs, sources, outputs, rule)
    }

    /// Puts `value`, computed from `inputs` by the caller, on the tape, with the rule for its gradient.
    ///
    /// # Errors
    /// [`QatError::OtherTape`], [`QatError::UsedUp`].
    pub fn custom(
        &self,
        node: &str,
        value: Tensor,
        inputs: &[&Var],
        rule: impl CustomRule + 'static,
    ) -> Result<Var, QatError> {
        let inputs: Vec<Option<&Var>> = inputs.iter().map(|v| Some(*v)).collect();
        let sources = self.sources(node, &inputs)?;
        if !sources.iter().any(Option::is_some) {
            return Ok(Var::new(self.clone(), node, value, None));
        }
        let name = rule.name();
        let rule = Rule::Custom(Box::new(rule));
        let outputs = self.record(node, name, &inputs, sources, vec![value.clone()], rule)?;
        Ok(outputs.into_iter().next().unwrap_or_else(|| self.constant(value)))
    }

    fn untracked(&self, node: &str, outputs: Vec<Tensor>) -> Vec<Var> {
        outputs.into_iter().map(|value| Var::new(self.clone(), node, value, None)).collect()
    }

    /// Where the gradients of the inputs go.
    fn sources(&self, node: &str, inputs: &[Option<&Var>]) -> Result<Vec<Option<Source>>, QatError> {
        let other = |index| QatError::OtherTape { node: node.into(), index };
        let source = |(i, v): (usize, &Option<&Var>)| match v {
            Some(v) if !Arc::ptr_eq(&v.tape().0, &self.0) => Err(other(i)),
            Some(v) => Ok(v.source().cloned()),
            None => Ok(None),
        };
        inputs.iter().enumerate().map(source).collect()
    }

    /// Appends a record; float outputs get a slot. So do codes that depend on parameters, though no gradient reaches them:
    /// where one should, the operator that made them refuses it, and nothing is lost silently.
    fn record(
        &self,
        node: &str,
        op: &'static str,
        inputs: &[Option<&Var>],
        sources: Vec<Option<Source>>,
        outputs: Vec<Tensor>,
        rule: Rule,
    ) -> Result<Vec<Var>, QatError> {
        let input_dims = inputs.iter().map(|v| v.map_or_else(Vec::new, |v| v.shape().to_vec())).collect();
        let output_dims = outputs.iter().map(|t| t.dims().to_vec()).collect();
        let codes = |(v, s): (&Option<&Var>, &Option<Source>)| {
            s.is_some() && v.is_some_and(|v| !v.value().dtype().is_float())
        };
        let all = matches!(rule, Rule::Refused(_)) || inputs.iter().zip(&sources).any(codes);
        let mut state = self.state();
        if state.used_up {
            return Err(QatError::UsedUp { name: node.into() });
        }
        let mut vars = Vec::with_capacity(outputs.len());
        let mut slots = Vec::with_capacity(outputs.len());
        for value in outputs {
            let slot = (all || value.dtype().is_float()).then_some(state.slots);
            state.slots += usize::from(slot.is_some());
            slots.push(slot);
            vars.push(Var::new(self.clone(), node, value, slot.map(Source::Slot)));
        }
        let node = node.to_owned();
        state.records.push(Record { node, op, sources, input_dims, output_dims, slots, rule });
        Ok(vars)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Tape {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        write!(f, "Tape({} records, {} values)", state.records.len(), state.slots)
    }
}
