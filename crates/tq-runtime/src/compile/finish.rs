//! The last part of compilation: taps, lifetimes, slots.

use super::{Compiler, PlannedStep};
use crate::codes::Held;
use crate::error::RuntimeError;
use crate::frame::Buffer;
use crate::layout::Layout;
use crate::plan::{Parts, Plan};
use crate::slots::{self, Lifetime, Place};
use crate::tap::{OperatorTap, Source};
use tq_graph::ValueId;
use tq_graph::qdq::{Codes, QOperator, QOutput};

impl Compiler<'_> {
    /// Remembers where the codes of an operator that has just been compiled are.
    pub(super) fn tap(&mut self, index: usize, op: &QOperator) {
        let inputs = match &op.run_time {
            None => op.inputs.iter().map(|c| self.source(c)).collect::<Option<Vec<_>>>(),
            Some(run_time) => run_time.reads.iter().map(|v| self.run_time_source(*v)).collect(),
        };
        let outputs = op
            .outputs
            .iter()
            .map(|out| match out {
                QOutput::Codes(c) => self.source(c),
                QOutput::Float(v) => Some(Source::Tensor(*v)),
            })
            .collect::<Option<Vec<_>>>();
        if let (Some(inputs), Some(outputs)) = (inputs, outputs) {
            self.taps.push(OperatorTap { operator: index, after: self.steps.len(), inputs, outputs });
        }
    }

    /// Where a value is that an operator with activations quantized at run time reads.
    fn run_time_source(&self, v: ValueId) -> Option<Source> {
        if self.forms[v.0].iter().any(Option::is_some) {
            return self.codes_source(v, false);
        }
        self.ready[v.0].then_some(Source::Tensor(v))
    }

    fn source(&self, codes: &Codes) -> Option<Source> {
        self.codes_source(codes.value, Held::of(&codes.params)?.signed)
    }

    fn codes_source(&self, v: ValueId, signed: bool) -> Option<Source> {
        let dims = self.dims[v.0].clone()?;
        let (from, layout) = match self.forms[v.0] {
            // The form that was made last is the one that the operator has just read or written.
            [Some(a), Some(b)] if b.0 > a.0 => (b, Layout::Last),
            [Some(a), _] => (a, Layout::First),
            [None, Some(b)] => (b, Layout::Last),
            [None, None] => return None,
        };
        Some(Source::Codes { from, layout, dims, signed })
    }

    pub(super) fn finish(mut self, key: Vec<Vec<usize>>) -> Result<Plan, RuntimeError> {
        let lifetimes = self.lifetimes();
        let (places, slot_sizes) = slots::assign(&lifetimes);
        let buffers: Vec<Buffer> = self
            .buffers
            .iter()
            .zip(places)
            .map(|(b, place)| Buffer { size: b.size, place: b.constant.map_or(place, Place::Constant) })
            .collect();
        self.release_tensors();
        let mut input_of = vec![None; self.graph.values.len()];
        for (i, v) in self.graph.inputs.iter().enumerate() {
            input_of[v.0] = Some(i);
        }
        let order: std::collections::HashMap<&str, usize> =
            self.graph.nodes.iter().enumerate().map(|(i, n)| (n.name.as_str(), i)).collect();
        self.reports.sort_by_key(|r| order.get(r.node.as_str()).copied());
        Ok(Plan::new(Parts {
            key,
            steps: self.steps,
            buffers,
            slot_sizes,
            constants: self.constants,
            folded: self.folded,
            input_of,
            taps: self.taps,
            reports: self.reports,
            graph: self.graph,
            view: self.view,
        }))
    }

    fn lifetimes(&self) -> Vec<Option<Lifetime>> {
        let mut lifetimes: Vec<Option<Lifetime>> = vec![None; self.buffers.len()];
        for (i, step) in self.steps.iter().enumerate() {
            for b in step.writes.iter().filter(|b| self.buffers[b.0].constant.is_none()) {
                lifetimes[b.0] = Some(Lifetime { size: self.buffers[b.0].size, first: i, last: i });
            }
            for b in &step.reads {
                if let Some(life) = &mut lifetimes[b.0] {
                    life.last = i;
                }
            }
        }
        // A tap looks between two steps: what it looks at must not be overwritten by the step before it.
        for tap in &self.taps {
            for buffer in tap.inputs.iter().chain(&tap.outputs).filter_map(Source::buffer) {
                if let Some(life) = &mut lifetimes[buffer.0] {
                    life.last = life.last.max(tap.after.saturating_sub(1));
                }
            }
        }
        lifetimes
    }

    /// Tensors that are made anew in every run go after their last reader.
    fn release_tensors(&mut self) {
        let mut last: Vec<Option<usize>> = vec![None; self.graph.values.len()];
        for (i, step) in self.steps.iter().enumerate() {
            if step.evaluates {
                step.tensor_writes.iter().for_each(|v| last[v.0] = Some(i));
            }
            for v in &step.tensor_reads {
                last[v.0] = last[v.0].map(|_| i);
            }
        }
        // A tap looks after the step, when what that step was the last to read would be gone.
        for tap in &self.taps {
            for source in tap.inputs.iter().chain(&tap.outputs) {
                if let Source::Tensor(v) = source {
                    last[v.0] = last[v.0].map(|l| l.max(tap.after));
                }
            }
        }
        for v in &self.graph.outputs {
            last[v.0] = None;
        }
        for (v, last) in last.into_iter().enumerate() {
            if let Some(step) = last.and_then(|i: usize| self.steps.get_mut(i)) {
                let step: &mut PlannedStep = step;
                step.release.push(ValueId(v));
            }
        }
    }
}
