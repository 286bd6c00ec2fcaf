//! Depthwise convolutions and pools.

use crate::error::StepError;
use crate::frame::{Frame, Step};
use crate::slots::BufferId;
use crate::weights::{Form, Packed};
use std::sync::Arc;
use tq_kernels::{AverageParams, Epilogue, GemmOut, MaxParams, OutputStage, Window2d};

/// A depthwise convolution.
#[derive(Debug)]
pub(crate) struct Depthwise {
    pub(crate) from: BufferId,
    pub(crate) to: BufferId,
    pub(crate) weights: Arc<Packed>,
    pub(crate) window: Window2d,
    pub(crate) zero_point: i32,
    pub(crate) multiplier: Vec<f32>,
    pub(crate) out_zero_point: i32,
    pub(crate) clamp: (i32, i32),
}

impl Step for Depthwise {
    fn run(&self, frame: &mut Frame<'_>) -> Result<(), StepError> {
        let Form::Depthwise(packed) = &self.weights.form else {
            return Err(StepError::Shape("matrix weights in a depthwise convolution".into()));
        };
        frame.write_codes(self.to, |frame, out| {
            let stage = OutputStage::Requantize {
                multiplier: &self.multiplier,
                zero_point: self.out_zero_point,
                clamp: self.clamp,
            };
            let epilogue = Epilogue { lhs_zero_point: self.zero_point, stage };
            let out = GemmOut::U8 { data: out, row_stride: self.weights.channels };
            frame.kernels.depthwise().run(&self.window, frame.codes(self.from)?, packed, &epilogue, out)?;
            Ok(())
        })
    }
}

/// The largest code of each window.
#[derive(Debug)]
pub(crate) struct MaxPool {
    pub(crate) from: BufferId,
    pub(crate) to: BufferId,
    pub(crate) window: Window2d,
    pub(crate) params: MaxParams,
}

impl Step for MaxPool {
    fn run(&self, frame: &mut Frame<'_>) -> Result<(), StepError> {
        frame.write_codes(self.to, |frame, out| {
            Ok(frame.kernels.pool().max(&self.window, &self.params, frame.codes(self.from)?, out)?)
        })
    }
}

/// The average of each window.
#[derive(Debug)]
pub(crate) struct AveragePool {
    pub(crate) from: BufferId,
    pub(crate) to: BufferId,
    pub(crate) window: Window2d,
    pub(crate) params: AverageParams,
}

impl Step for AveragePool {
    fn run(&self, frame: &mut Frame<'_>) -> Result<(), StepError> {
        frame.write_codes(self.to, |frame, out| {
            Ok(frame.kernels.pool().average(&self.window, &self.params, frame.codes(self.from)?, out)?)
        })
    }
}
