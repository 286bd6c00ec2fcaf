//! Transposed convolutions.

use crate::error::StepError;
use crate::frame::{Frame, Step};
use crate::requantize::Requantizer;
use crate::slots::BufferId;
use crate::weights::{Form, Packed};
use std::sync::Arc;
use tq_kernels::{Epilogue, GatheredRows, GemmOut, Lhs};

/// A transposed convolution. Its result has the rows of each image in the order of the phases.
#[derive(Debug)]
pub(crate) struct Transposed {
    pub(crate) from: BufferId,
    pub(crate) to: BufferId,
    pub(crate) weights: Arc<Packed>,
    /// Where the outputs of each phase gather their rows, of one image.
    pub(crate) phases: Vec<GatheredRows>,
    /// Images.
    pub(crate) images: usize,
    /// Codes of an image of the input.
    pub(crate) image: usize,
    /// Channels of a group of the input.
    pub(crate) depth: usize,
    pub(crate) zero_point: i32,
    pub(crate) requantizer: Requantizer,
}

impl Step for Transposed {
    fn run(&self, frame: &mut Frame<'_>) -> Result<(), StepError> {
        let outside = || StepError::Shape("a transposed convolution leaves its operands".into());
        let Form::Phases(weights) = &self.weights.form else {
            return Err(StepError::Shape("weights that are not packed for a transposed convolution".into()));
        };
        let width = self.weights.channels;
        frame.write_codes(self.to, |frame, out| {
            let x = frame.codes(self.from)?;
            let gemm = frame.kernels.gemm();
            let mut first_row = 0;
            for image in 0..self.images {
                let data = x.get(image * self.image..(image + 1) * self.image).ok_or_else(outside)?;
                for (phase, groups) in self.phases.iter().zip(weights) {
                    if phase.rows() == 0 {
                        continue;
                    }
                    for (g, rhs) in groups.iter().enumerate() {
                        let lhs = Lhs::Indirect {
                            data: data.get(g * self.depth..).ok_or_else(outside)?,
                            gather: phase,
                            rows: phase.rows(),
                            pad: self.zero_point.clamp(0, 255) as u8,
                        };
                        let column = g * rhs.n();
                        let stage = self.requantizer.stage(column, rhs.n());
                        let epilogue = Epilogue { lhs_zero_point: self.zero_point, stage };
                        let data = out.get_mut(first_row * width + column..).ok_or_else(outside)?;
                        gemm.run(lhs, rhs, &epilogue, GemmOut::U8 { data, row_stride: width })?;
                    }
                    first_row += phase.rows();
                }
            }
            Ok(())
        })
    }
}
