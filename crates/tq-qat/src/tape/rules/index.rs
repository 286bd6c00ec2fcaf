//! Gathering and scattering along an axis.

use super::reduce::eval;
use super::{Call, Gradient, Gradients};
use tq_eval::OpError;
use tq_graph::op::ScatterReduction;
use tq_graph::{Op, Tensor};

/// Gather, which is an embedding where the axis is the first: every line gets the sum of the gradients of its copies.
pub(super) struct Gather(pub(super) i64);

impl Gradient for Gather {
    fn keeps_input(&self, i: usize, _: &[bool]) -> bool {
        i == 1
    }

    fn backward(&self, mut call: Call<'_>) -> Gradients {
        let gradient = call.gradient()?;
        let dims = &call.input_dims[0];
        let rank = dims.len() as i64;
        let axis = usize::try_from(if self.0 < 0 { self.0 + rank } else { self.0 })
            .ok()
            .filter(|a| *a < dims.len())
            .ok_or_else(|| OpError::Attribute(format!("axis {} of rank {rank}", self.0)))?;
        let indices = call.input(1)?.to_i64_vec().unwrap_or_default();
        let len = dims[axis];
        let inner: usize = dims[axis + 1..].iter().product();
        let mut out = vec![0.0f32; dims.iter().product()];
        let g = gradient.as_slice::<f32>()?;
        if !g.is_empty() {
            let rows = g.chunks(indices.len() * inner);
            for (out, g) in out.chunks_mut((len * inner).max(1)).zip(rows) {
                for (index, g) in indices.iter().zip(g.chunks(inner)) {
                    let at = if *index < 0 { *index + len as i64 } else { *index };
                    let to = usize::try_from(at).ok().filter(|at| *at < len);
                    let at = to.ok_or(OpError::Index { index: *index, axis, len })?;
                    out[at * inner..][..inner].iter_mut().zip(g).for_each(|(o, g)| *o += g);
                }
            }
        }
        call.first(Tensor::new(dims, out)?)
    }
}

/// GatherElements: scattered back.
pub(super) struct GatherElements(pub(super) i64);

impl Gradient for GatherElements {
    fn keeps_input(&self, i: usize, _: &[bool]) -> bool {
        i == 1
    }

    fn backward(&self, mut call: Call<'_>) -> Gradients {
        let gradient = call.gradient()?;
        call.first(scattered(&call.input_dims[0], self.0, call.input(1)?, &gradient)?)
    }
}

/// TopK: the values go back to where they were.
pub(super) struct TopK(pub(super) i64);

impl Gradient for TopK {
    fn keeps_output(&self, i: usize) -> bool {
        i == 1
    }

    fn backward(&self, mut call: Call<'_>) -> Gradients {
        let gradient = call.gradient()?;
        let positions = call.outputs.get(1).and_then(Option::as_ref);
        let positions = positions.ok_or(OpError::OutputCount { min: 2, max: 2, got: 1 })?;
        call.first(scattered(&call.input_dims[0], self.0, positions, &gradient)?)
    }
}

/// Zeros with the elements of `updates` added where `indices` say.
fn scattered(dims: &[usize], axis: i64, indices: &Tensor, updates: &Tensor) -> Result<Tensor, OpError> {
    let zeros = Tensor::new(dims, vec![0.0f32; dims.iter().product()])?;
    let op = Op::ScatterElements { axis, reduction: ScatterReduction::Add };
    eval(&op, &[Some(&zeros), Some(indices), Some(updates)])
}

/// ScatterElements and ScatterND that add: what was there and what was added have the same gradient. `gather` reads
/// what the operator writes.
pub(super) struct ScatterAdd {
    pub(super) gather: Op,
}

impl Gradient for ScatterAdd {
    fn keeps_input(&self, i: usize, _: &[bool]) -> bool {
        i == 1
    }

    fn backward(&self, mut call: Call<'_>) -> Gradients {
        let gradient = call.gradient()?;
        let mut out = call.nothing();
        if call.needs(2) {
            let updates = eval(&self.gather, &[Some(&gradient), Some(call.input(1)?)])?;
            out[2] = Some(updates.reshape(&call.input_dims[2])?);
        }
        out[0] = Some(gradient);
        Ok(out)
    }
}

/// CumSum: running sums in the other direction.
pub(super) struct CumSum {
    pub(super) exclusive: bool,
    pub(super) reverse: bool,
}

impl Gradient for CumSum {
    fn keeps_input(&self, i: usize, _: &[bool]) -> bool {
        i == 1
    }

    fn backward(&self, mut call: Call<'_>) -> Gradients {
        let gradient = call.gradient()?;
        let op = Op::CumSum { exclusive: self.exclusive, reverse: !self.reverse };
        call.first(eval(&op, &[Some(&gradient), Some(call.input(1)?)])?)
    }
}
