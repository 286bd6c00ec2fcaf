//! Between tensors and codes.

use crate::codes::{FLIP, Held};
use crate::error::StepError;
use crate::frame::{Frame, Step};
use crate::slots::BufferId;
use tq_graph::ValueId;
use tq_kernels::AffineU8;

impl Held {
    pub(crate) fn affine(&self) -> AffineU8 {
        AffineU8 { scale: self.scale, zero_point: self.zero_point }
    }
}

fn same_len(expected: usize, got: usize) -> Result<(), StepError> {
    if expected == got {
        Ok(())
    } else {
        Err(StepError::Shape(format!("{got} elements, expected {expected}")))
    }
}

/// Codes of a float tensor, in the tensor's order.
#[derive(Debug)]
pub(crate) struct Quantize {
    pub(crate) from: ValueId,
    pub(crate) to: BufferId,
    pub(crate) held: Held,
}

impl Step for Quantize {
    fn run(&self, frame: &mut Frame<'_>) -> Result<(), StepError> {
        frame.write_codes(self.to, |frame, out| {
            let x = frame.tensor(self.from)?.as_slice::<f32>()?;
            Ok(frame.kernels.convert().quantize(x, self.held.affine(), self.held.range, out)?)
        })
    }
}

/// Real numbers of codes in the graph's order, as a tensor.
#[derive(Debug)]
pub(crate) struct Dequantize {
    pub(crate) from: BufferId,
    pub(crate) to: ValueId,
    pub(crate) held: Held,
    pub(crate) dims: Vec<usize>,
}

impl Step for Dequantize {
    fn run(&self, frame: &mut Frame<'_>) -> Result<(), StepError> {
        frame.write_tensor::<f32>(self.to, &self.dims, |frame, out| {
            Ok(frame.kernels.convert().dequantize(frame.codes(self.from)?, self.held.affine(), out)?)
        })
    }
}

/// A tensor of codes, as held.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) from: ValueId,
    pub(crate) to: BufferId,
    pub(crate) signed: bool,
}

impl Step for Load {
    fn run(&self, frame: &mut Frame<'_>) -> Result<(), StepError> {
        frame.write_codes(self.to, |frame, out| {
            let tensor = frame.tensor(self.from)?;
            same_len(out.len(), tensor.len())?;
            if self.signed {
                for (out, code) in out.iter_mut().zip(tensor.as_slice::<i8>()?) {
                    *out = (*code as u8) ^ FLIP;
                }
            } else {
                out.copy_from_slice(tensor.as_slice::<u8>()?);
            }
            Ok(())
        })
    }
}

/// Codes in the graph's order, as a tensor of the graph's own type.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) from: BufferId,
    pub(crate) to: ValueId,
    pub(crate) signed: bool,
    pub(crate) dims: Vec<usize>,
}

impl Step for Store {
    fn run(&self, frame: &mut Frame<'_>) -> Result<(), StepError> {
        if self.signed {
            frame.write_tensor::<i8>(self.to, &self.dims, |frame, out| {
                let codes = frame.codes(self.from)?;
                same_len(out.len(), codes.len())?;
                for (out, code) in out.iter_mut().zip(codes) {
                    *out = (*code ^ FLIP) as i8;
                }
                Ok(())
            })
        } else {
            frame.write_tensor::<u8>(self.to, &self.dims, |frame, out| {
                let codes = frame.codes(self.from)?;
                same_len(out.len(), codes.len())?;
                out.copy_from_slice(codes);
                Ok(())
            })
        }
    }
}
