//! Products with 4-bit weights in groups.

use crate::error::StepError;
use crate::frame::{Frame, Step};
use crate::slots::BufferId;
use crate::weights::{Form, Packed};
use std::sync::Arc;
use tq_graph::ValueId;
use tq_kernels::{AffineU8, GroupWiseLhs};

/// What becomes of the products.
#[derive(Debug)]
pub(crate) enum Finish {
    /// They become codes of these parameters, within a clamp.
    Codes { to: BufferId, params: AffineU8, clamp: (i32, i32) },
    /// They become real numbers: a tensor of shape `dims`.
    Reals { to: ValueId, dims: Vec<usize> },
}

/// Rows of codes, one after the other, times weights whose scales are shared by groups of input features.
#[derive(Debug)]
pub(crate) struct GroupWise {
    pub(crate) from: BufferId,
    pub(crate) lhs: AffineU8,
    pub(crate) rows: usize,
    pub(crate) weights: Arc<Packed>,
    pub(crate) finish: Finish,
}

impl Step for GroupWise {
    fn run(&self, frame: &mut Frame<'_>) -> Result<(), StepError> {
        match &self.finish {
            Finish::Reals { to, dims } => {
                frame.write_tensor::<f32>(*to, dims, |frame, out| self.multiply(frame, out))
            }
            Finish::Codes { to, params, clamp } => {
                let mut reals = std::mem::take(&mut frame.workspace.reals);
                reals.resize(self.rows * self.weights.channels, 0.0);
                let result = self.multiply(frame, &mut reals).and_then(|()| {
                    frame.write_codes(*to, |frame, out| {
                        Ok(frame.kernels.convert().quantize(&reals, *params, *clamp, out)?)
                    })
                });
                frame.workspace.reals = reals;
                result
            }
        }
    }
}

impl GroupWise {
    fn multiply(&self, frame: &Frame<'_>, out: &mut [f32]) -> Result<(), StepError> {
        let Form::GroupWise(rhs) = &self.weights.form else {
            return Err(StepError::Shape("weights of another operator".into()));
        };
        let AffineU8 { scale, zero_point } = self.lhs;
        let data = frame.codes(self.from)?;
        let lhs = GroupWiseLhs { data, rows: self.rows, row_stride: rhs.k(), scale, zero_point };
        Ok(frame.kernels.group_wise().run(&lhs, rhs, out, rhs.n())?)
    }
}
