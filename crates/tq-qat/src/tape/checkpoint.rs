//! Segments whose inner values are computed again in the backward pass instead of being kept.

use super::backward::{self, Rule, deliver};
use super::{Source, Tape, Var};
use crate::QatError;
use std::collections::BTreeMap;
use tq_graph::Tensor;

type Function = dyn Fn(&Tape, &[Var]) -> Result<Vec<Var>, QatError> + Send + Sync;

/// A segment, with its inputs.
pub(super) struct Segment {
    node: String,
    inputs: Vec<Tensor>,
    function: Box<Function>,
}

impl Tape {
    /// Computes `segment` of `inputs` and keeps nothing of it but the inputs: the backward pass computes it once more,
    /// on a tape of its own, so that the values of one segment at a time are in memory. Gradients are the same to the
    /// bit.
    ///
    /// The segment takes its parameters from the tape it is given. It must give the same values both times: random
    /// numbers come from a seed, and whatever else it changes stays as it is while [`Tape::is_recomputing`].
    ///
    /// # Errors
    /// What the segment returns; [`QatError::OtherTape`], [`QatError::UsedUp`].
    pub fn checkpoint(
        &self,
        node: &str,
        inputs: &[&Var],
        segment: impl Fn(&Tape, &[Var]) -> Result<Vec<Var>, QatError> + Send + Sync + 'static,
    ) -> Result<Vec<Var>, QatError> {
        let of_inputs: Vec<Option<&Var>> = inputs.iter().map(|v| Some(*v)).collect();
        let sources = self.sources(node, &of_inputs)?;
        let inner = Tape::with(false, self.is_recomputing(), self.0.precise);
        let on_inner: Vec<Var> = inputs.iter().map(|v| inner.constant(v.value().clone())).collect();
        let outputs: Vec<Tensor> = segment(&inner, &on_inner)?.iter().map(|v| v.value().clone()).collect();
        if !self.is_recording() {
            return Ok(self.untracked(node, outputs));
        }
        let inputs = inputs.iter().map(|v| v.value().clone()).collect();
        let segment = Segment { node: node.into(), inputs, function: Box::new(segment) };
        self.record(node, "Checkpoint", &of_inputs, sources, outputs, Rule::Segment(Box::new(segment)))
    }
}

impl Segment {
    /// Computes the segment again, and goes back through it. The gradients that its inputs have got from later users
    /// are taken along, so that all are added in the order in which they would be without a segment.
    pub(super) fn backward(
        self,
        of_outputs: Vec<Option<Tensor>>,
        sources: &[Option<Source>],
        gradients: &mut [Option<Tensor>],
    ) -> Result<(), QatError> {
        let tape = Tape::with(true, true, false);
        // Slots of the inputs come first, one for each slot outside.
        let mut inner_of: BTreeMap<usize, usize> = BTreeMap::new();
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for (value, source) in self.inputs.into_iter().zip(sources) {
            let source = match source {
                Some(Source::Slot(outer)) => {
                    let next = inner_of.len();
                    Some(Source::Slot(*inner_of.entry(*outer).or_insert(next)))
                }
                other => other.clone(),
            };
            inputs.push(Var::new(tape.clone(), &self.node, value, source));
        }
        tape.state().slots = inner_of.len();
        let outputs = (self.function)(&tape, &inputs)?;
        drop(inputs);
        let (records, slots) = {
            let mut state = tape.state();
            state.used_up = true;
            (std::mem::take(&mut state.records), state.slots)
        };
        let mut inner: Vec<Option<Tensor>> = vec![None; slots];
        for (outer, slot) in &inner_of {
            inner[*slot] = gradients[*outer].take();
        }
        for (i, (output, gradient)) in outputs.iter().zip(of_outputs).enumerate() {
            let Some(gradient) = gradient else { continue };
            backward::check_gradient(&gradient, output.shape(), &self.node, || format!("output {i}"))?;
            if let Some(source) = output.source() {
                deliver(gradient, source, &mut inner)?;
            }
        }
        drop(outputs);
        let mut inner = backward::run(records, inner)?;
        for (outer, slot) in inner_of {
            gradients[outer] = inner[slot].take();
        }
        Ok(())
    }
}
