//! What the steps of one run read and write.

use crate::error::StepError;
use crate::slots::{BufferId, Place};
use crate::steps::matmul::ProductSpace;
use std::fmt::Debug;
use tq_graph::{Graph, Tensor, ValueId};
use tq_kernels::Kernels;
use tq_kernels::buffer::AlignedBuffer;

/// One step of a plan.
pub(crate) trait Step: Send + Sync + Debug {
    /// Does the step's work.
    fn run(&self, frame: &mut Frame<'_>) -> Result<(), StepError>;
}

/// An array of codes of a plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Buffer {
    /// Bytes.
    pub(crate) size: usize,
    /// Where it lives.
    pub(crate) place: Place,
}

/// Memory that one run uses and leaves to the next.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    /// Codes, which begin on cache lines.
    pub(crate) slots: Vec<AlignedBuffer>,
    /// Tensors, by value: those that integer steps write stay, the others go after their last reader.
    pub(crate) tensors: Vec<Option<Tensor>>,
    /// Real numbers of one step, between the kernel that makes them and their own order of axes.
    pub(crate) reals: Vec<f32>,
    /// Right-hand sides of products of two activations.
    pub(crate) product: ProductSpace,
}

/// A run in progress.
pub(crate) struct Frame<'a> {
    pub(crate) kernels: &'a Kernels,
    pub(crate) graph: &'a Graph,
    /// For each value the graph input it is, if it is one.
    pub(crate) input_of: &'a [Option<usize>],
    pub(crate) inputs: &'a [Tensor],
    pub(crate) buffers: &'a [Buffer],
    pub(crate) constants: &'a [Vec<u8>],
    pub(crate) folded: &'a [Option<Tensor>],
    pub(crate) workspace: &'a mut Workspace,
}

impl Frame<'_> {
    fn name(&self, v: ValueId) -> StepError {
        StepError::NoData(self.graph.values.get(v.0).map_or_else(String::new, |v| v.name.clone()))
    }

    /// The codes of `id`.
    pub(crate) fn codes(&self, id: BufferId) -> Result<&[u8], StepError> {
        let missing = || StepError::NoData(format!("buffer {}", id.0));
        let buffer = self.buffers.get(id.0).ok_or_else(missing)?;
        match buffer.place {
            Place::Constant(i) => self.constants.get(i).map(Vec::as_slice),
            Place::Slot(i) => self.workspace.slots.get(i).and_then(|s| s.as_slice().get(..buffer.size)),
            Place::Nowhere => None,
        }
        .ok_or_else(missing)
    }

    /// Lets `f` write the codes of `id`, which it does not read.
    pub(crate) fn write_codes(
        &mut self,
        id: BufferId,
        f: impl FnOnce(&Self, &mut [u8]) -> Result<(), StepError>,
    ) -> Result<(), StepError> {
        let missing = || StepError::NoData(format!("buffer {}", id.0));
        let buffer = *self.buffers.get(id.0).ok_or_else(missing)?;
        let Place::Slot(i) = buffer.place else { return Err(missing()) };
        // The slot leaves the workspace while it is written, so that the rest can be read.
        let mut slot = std::mem::take(self.workspace.slots.get_mut(i).ok_or_else(missing)?);
        let result = match slot.as_mut_slice().get_mut(..buffer.size) {
            Some(out) => f(self, out),
            None => Err(missing()),
        };
        self.workspace.slots[i] = slot;
        result
    }

    /// The tensor of `v`.
    pub(crate) fn tensor(&self, v: ValueId) -> Result<&Tensor, StepError> {
        if let Some(Some(i)) = self.input_of.get(v.0) {
            return self.inputs.get(*i).ok_or_else(|| self.name(v));
        }
        self.graph
            .constant(v)
            .or_else(|| self.folded.get(v.0).and_then(Option::as_ref))
            .or_else(|| self.workspace.tensors.get(v.0).and_then(Option::as_ref))
            .ok_or_else(|| self.name(v))
    }

    /// Makes `tensor` the tensor of `v`.
    pub(crate) fn set_tensor(&mut self, v: ValueId, tensor: Tensor) {
        if let Some(slot) = self.workspace.tensors.get_mut(v.0) {
            *slot = Some(tensor);
        }
    }

    /// Lets `f` write the elements of `v`, in the memory of the last run where that is still there.
    pub(crate) fn write_tensor<T: tq_graph::Element>(
        &mut self,
        v: ValueId,
        dims: &[usize],
        f: impl FnOnce(&Self, &mut [T]) -> Result<(), StepError>,
    ) -> Result<(), StepError> {
        let old = self.workspace.tensors.get_mut(v.0).and_then(Option::take);
        let mut tensor = match old {
            Some(t) if t.dtype() == T::DTYPE && t.dims() == dims => t,
            _ => Tensor::new(dims, vec![T::default(); dims.iter().product()])?,
        };
        f(self, tensor.as_mut_slice::<T>()?)?;
        self.set_tensor(v, tensor);
        Ok(())
    }
}
