//! A graph compiled for concrete input shapes.

use crate::compile::PlannedStep;
use crate::error::{RuntimeError, StepError};
use crate::explain::NodeReport;
use crate::frame::{Buffer, Frame, Workspace};
use crate::tap::{OperatorTap, Tap};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tq_graph::qdq::QdqView;
use tq_graph::{Graph, NodeId, Tensor, ValueId};
use tq_kernels::Kernels;
use tq_kernels::buffer::AlignedBuffer;

/// What the compiler hands over.
pub(crate) struct Parts {
    pub(crate) key: Vec<Vec<usize>>,
    pub(crate) steps: Vec<PlannedStep>,
    pub(crate) buffers: Vec<Buffer>,
    pub(crate) slot_sizes: Vec<usize>,
    pub(crate) constants: Vec<Vec<u8>>,
    pub(crate) folded: Vec<Option<Tensor>>,
    pub(crate) input_of: Vec<Option<usize>>,
    pub(crate) taps: Vec<OperatorTap>,
    pub(crate) reports: Vec<NodeReport>,
    pub(crate) graph: Graph,
    pub(crate) view: QdqView,
}

/// Steps with everything they need but the workspace.
pub(crate) struct Plan {
    parts: Parts,
    /// Workspaces that no run uses right now.
    idle: Mutex<Vec<Workspace>>,
}

/// What is looked at while a plan runs.
pub(crate) enum Watch<'w> {
    Nothing,
    /// The codes of every quantized operator.
    Codes(&'w mut dyn FnMut(Tap<'_>)),
    /// How long every step takes: the index of its node, and the time.
    Times(&'w mut Vec<(usize, Duration)>),
}

impl Plan {
    pub(crate) fn new(parts: Parts) -> Self {
        Self { parts, idle: Mutex::new(Vec::new()) }
    }

    /// True when this plan is for inputs of these shapes.
    pub(crate) fn is_for(&self, inputs: &[Tensor]) -> bool {
        self.parts.key.len() == inputs.len()
            && self.parts.key.iter().zip(inputs).all(|(key, t)| key.as_slice() == t.dims())
    }

    pub(crate) fn key(&self) -> &[Vec<usize>] {
        &self.parts.key
    }

    pub(crate) fn graph(&self) -> &Graph {
        &self.parts.graph
    }

    pub(crate) fn reports(&self) -> &[NodeReport] {
        &self.parts.reports
    }

    /// Bytes of codes that one run needs.
    pub(crate) fn arena_bytes(&self) -> usize {
        self.parts.slot_sizes.iter().sum()
    }

    /// Bytes of codes if every array of them had memory of its own.
    pub(crate) fn unshared_bytes(&self) -> usize {
        let slots = self.parts.buffers.iter().filter(|b| matches!(b.place, crate::slots::Place::Slot(_)));
        slots.map(|b| b.size).sum()
    }

    /// Runs and returns the outputs.
    pub(crate) fn run(
        &self,
        kernels: &Kernels,
        inputs: &[Tensor],
        watch: Watch<'_>,
    ) -> Result<Vec<Tensor>, RuntimeError> {
        let mut workspace = self.workspace()?;
        self.execute(kernels, inputs, &mut workspace, watch)?;
        let outputs = self.outputs();
        let mut out = Vec::with_capacity(outputs.len());
        for (i, v) in outputs.iter().enumerate() {
            let tensor = self.frame(kernels, inputs, &mut workspace).tensor(*v).cloned();
            out.push(tensor.map_err(|e| self.output_error(*v, e))?);
            // The caller owns it now: kept here too it would have to be copied in the next run.
            if !outputs[i + 1..].contains(v)
                && let Some(slot) = workspace.tensors.get_mut(v.0)
            {
                *slot = None;
            }
        }
        self.give_back(workspace);
        Ok(out)
    }

    /// Runs and writes the outputs where they fit, else replaces them.
    pub(crate) fn run_into(
        &self,
        kernels: &Kernels,
        inputs: &[Tensor],
        out: &mut [Tensor],
    ) -> Result<(), RuntimeError> {
        let mut workspace = self.workspace()?;
        self.execute(kernels, inputs, &mut workspace, Watch::Nothing)?;
        for (v, out) in self.outputs().iter().zip(out) {
            let frame = self.frame(kernels, inputs, &mut workspace);
            let tensor = frame.tensor(*v).map_err(|e| self.output_error(*v, e))?;
            copy_into(tensor, out);
        }
        self.give_back(workspace);
        Ok(())
    }

    fn outputs(&self) -> &[ValueId] {
        &self.parts.graph.outputs
    }

    fn execute(
        &self,
        kernels: &Kernels,
        inputs: &[Tensor],
        workspace: &mut Workspace,
        mut watch: Watch<'_>,
    ) -> Result<(), RuntimeError> {
        let mut frame = self.frame(kernels, inputs, workspace);
        let mut taps = self.parts.taps.iter().peekable();
        for (i, planned) in self.parts.steps.iter().enumerate() {
            self.tap(&mut taps, i, &frame, &mut watch)?;
            let start = matches!(watch, Watch::Times(_)).then(Instant::now);
            planned.step.run(&mut frame).map_err(|e| self.node_error(planned.node, e))?;
            if let (Watch::Times(times), Some(start)) = (&mut watch, start) {
                times.push((planned.node.0, start.elapsed()));
            }
            for v in &planned.release {
                if let Some(slot) = frame.workspace.tensors.get_mut(v.0) {
                    *slot = None;
                }
            }
        }
        self.tap(&mut taps, self.parts.steps.len(), &frame, &mut watch)
    }

    /// Shows the operators that are complete when `done` steps have run.
    fn tap<'t>(
        &'t self,
        taps: &mut std::iter::Peekable<impl Iterator<Item = &'t OperatorTap>>,
        done: usize,
        frame: &Frame<'_>,
        watch: &mut Watch<'_>,
    ) -> Result<(), RuntimeError> {
        let Watch::Codes(on_tap) = watch else { return Ok(()) };
        while let Some(tap) = taps.next_if(|t| t.after <= done) {
            let Some(operator) = self.parts.view.operators.get(tap.operator) else { continue };
            let tensors = |sources: &[crate::tap::Source]| {
                sources
                    .iter()
                    .map(|s| s.tensor(frame).map_err(|e| self.node_error(operator.node, e)))
                    .collect::<Result<Vec<_>, _>>()
            };
            on_tap(Tap {
                graph: &self.parts.graph,
                operator,
                inputs: tensors(&tap.inputs)?,
                outputs: tensors(&tap.outputs)?,
            });
        }
        Ok(())
    }

    fn frame<'a>(
        &'a self,
        kernels: &'a Kernels,
        inputs: &'a [Tensor],
        workspace: &'a mut Workspace,
    ) -> Frame<'a> {
        Frame {
            kernels,
            graph: &self.parts.graph,
            input_of: &self.parts.input_of,
            inputs,
            buffers: &self.parts.buffers,
            constants: &self.parts.constants,
            folded: &self.parts.folded,
            workspace,
        }
    }

    fn workspace(&self) -> Result<Workspace, RuntimeError> {
        let idle = self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner).pop();
        if let Some(workspace) = idle {
            return Ok(workspace);
        }
        let mut slots = Vec::with_capacity(self.parts.slot_sizes.len());
        for &size in &self.parts.slot_sizes {
            slots.push(AlignedBuffer::try_zeroed(size).ok_or_else(|| self.memory_error(size))?);
        }
        Ok(Workspace { slots, tensors: vec![None; self.parts.graph.values.len()], ..Workspace::default() })
    }

    fn give_back(&self, workspace: Workspace) {
        self.idle.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(workspace);
    }

    fn memory_error(&self, bytes: usize) -> RuntimeError {
        self.node_error(NodeId(0), StepError::Memory { what: "activations", bytes })
    }

    fn node_error(&self, id: NodeId, source: StepError) -> RuntimeError {
        let (node, op) =
            self.parts.graph.nodes.get(id.0).map_or(("", ""), |n| (n.name.as_str(), n.op.name()));
        RuntimeError::Node { node: node.to_owned(), op, source }
    }

    fn output_error(&self, v: ValueId, source: StepError) -> RuntimeError {
        let producer = self.parts.graph.producers().get(v.0).copied().flatten();
        self.node_error(producer.unwrap_or(NodeId(usize::MAX)), source)
    }
}

/// Copies elements where type and shape agree, else shares the tensor.
fn copy_into(from: &Tensor, to: &mut Tensor) {
    use tq_qtypes::DType;
    fn copy<T: tq_graph::Element>(from: &Tensor, to: &mut Tensor) -> bool {
        match (from.as_slice::<T>(), to.as_mut_slice::<T>()) {
            (Ok(from), Ok(to)) => {
                to.copy_from_slice(from);
                true
            }
            _ => false,
        }
    }
    let copied = from.dtype() == to.dtype()
        && from.dims() == to.dims()
        && match from.dtype() {
            DType::F32 => copy::<f32>(from, to),
            DType::U8 => copy::<u8>(from, to),
            DType::I8 => copy::<i8>(from, to),
            DType::I32 => copy::<i32>(from, to),
            DType::I64 => copy::<i64>(from, to),
            _ => false,
        };
    if !copied {
        *to = from.clone();
    }
}
