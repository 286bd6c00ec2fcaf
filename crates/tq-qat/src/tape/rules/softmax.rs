//! Softmax and its logarithm.

use super::{Call, Gradient, Gradients};
use crate::parallel::{self, CHUNK};
use tq_eval::OpError;
use tq_graph::Tensor;

/// Softmax along an axis, or its logarithm.
pub(super) struct Softmax {
    pub(super) axis: i64,
    pub(super) log: bool,
}

impl Gradient for Softmax {
    fn keeps_output(&self, _: usize) -> bool {
        true
    }

    fn backward(&self, mut call: Call<'_>) -> Gradients {
        let mut gradient = call.gradient()?;
        let y = call.output_f32s(0)?;
        let dims = gradient.dims().to_vec();
        let rank = dims.len() as i64;
        let axis = usize::try_from(if self.axis < 0 { self.axis + rank } else { self.axis })
            .ok()
            .filter(|a| *a < dims.len())
            .ok_or_else(|| OpError::Attribute(format!("axis {} of rank {rank}", self.axis)))?;
        let len = dims[axis];
        let inner: usize = dims[axis + 1..].iter().product();
        let block = len * inner;
        let log = self.log;
        if let Some(blocks) = CHUNK.checked_div(block) {
            let blocks = blocks.max(1);
            parallel::chunks(gradient.as_mut_slice::<f32>()?, blocks * block, &|i, out| {
                let y = &y[i * blocks * block..];
                for (out, y) in out.chunks_mut(block).zip(y.chunks(block)) {
                    for at in 0..inner {
                        let lane = || (at..block).step_by(inner);
                        let weight = |i: usize| if log { 1.0 } else { f64::from(y[i]) };
                        let sum: f64 = lane().map(|i| f64::from(out[i]) * weight(i)).sum();
                        for i in lane() {
                            let g = f64::from(out[i]);
                            out[i] = if log {
                                (g - f64::from(libm::expf(y[i])) * sum) as f32
                            } else {
                                (f64::from(y[i]) * (g - sum)) as f32
                            };
                        }
                    }
                }
            });
        }
        let gradient: Tensor = gradient;
        call.first(gradient)
    }
}
