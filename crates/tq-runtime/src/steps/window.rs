//! Depthwise convolutions and pools.

use crate::error::StepError;
use crate::frame::{Frame, Step};
use crate::requantize::Requantizer;
use crate::slots::BufferId;
use crate::weights::{Form, Packed};
use std::sync::Arc;
use tq_kernels::{
    AverageParams, Epilogue, GatheredAverage, GatheredWindows, GemmOut, MaxParams, Window2d, Window3d,
};

/// A depthwise convolution.
#[derive(Debug)]
pub(crate) struct Depthwise {
    pub(crate) from: BufferId,
    pub(crate) to: BufferId,
    pub(crate) weights: Arc<Packed>,
    pub(crate) window: Window3d,
    pub(crate) zero_point: i32,
    pub(crate) requantizer: Requantizer,
}

impl Step for Depthwise {
    fn run(&self, frame: &mut Frame<'_>) -> Result<(), StepError> {
        let Form::Depthwise(packed) = &self.weights.form else {
            return Err(StepError::Shape("matrix weights in a depthwise convolution".into()));
        };
        frame.write_codes(self.to, |frame, out| {
            let stage = self.requantizer.stage(0, self.weights.channels);
            let epilogue = Epilogue { lhs_zero_point: self.zero_point, stage };
            let out = GemmOut::U8 { data: out, row_stride: self.weights.channels };
            frame.kernels.depthwise().run(&self.window, frame.codes(self.from)?, packed, &epilogue, out)?;
            Ok(())
        })
    }
}

/// Where the windows of a pool lie.
#[derive(Debug)]
pub(crate) enum Windows {
    /// They slide over up to two axes.
    Slid(Window2d),
    /// They are lists of places.
    Listed(Places),
}

/// Windows as lists of places, the same in every image.
#[derive(Debug)]
pub(crate) struct Places {
    /// Images.
    pub(crate) images: usize,
    /// Codes of an image.
    pub(crate) image: usize,
    pub(crate) channels: usize,
    /// Windows an image.
    pub(crate) rows: usize,
    /// Places a window.
    pub(crate) taps: usize,
    pub(crate) offsets: Vec<usize>,
}

impl Places {
    fn windows(&self) -> GatheredWindows<'_> {
        let Places { images, image, channels, rows, taps, ref offsets } = *self;
        GatheredWindows { images, image, channels, rows, taps, offsets }
    }
}

/// The largest code of each window.
#[derive(Debug)]
pub(crate) struct MaxPool {
    pub(crate) from: BufferId,
    pub(crate) to: BufferId,
    pub(crate) windows: Windows,
    pub(crate) params: MaxParams,
}

impl Step for MaxPool {
    fn run(&self, frame: &mut Frame<'_>) -> Result<(), StepError> {
        frame.write_codes(self.to, |frame, out| {
            let (pool, codes) = (frame.kernels.pool(), frame.codes(self.from)?);
            match &self.windows {
                Windows::Slid(window) => pool.max(window, &self.params, codes, out)?,
                Windows::Listed(places) => pool.gathered_max(&places.windows(), &self.params, codes, out)?,
            }
            Ok(())
        })
    }
}

/// The average of each window.
#[derive(Debug)]
pub(crate) struct AveragePool {
    pub(crate) from: BufferId,
    pub(crate) to: BufferId,
    pub(crate) windows: Windows,
    pub(crate) params: AverageParams,
    /// For windows that are lists: what their sums are divided by.
    pub(crate) divisors: Vec<usize>,
}

impl Step for AveragePool {
    fn run(&self, frame: &mut Frame<'_>) -> Result<(), StepError> {
        frame.write_codes(self.to, |frame, out| {
            let (pool, codes) = (frame.kernels.pool(), frame.codes(self.from)?);
            match &self.windows {
                Windows::Slid(window) => pool.average(window, &self.params, codes, out)?,
                Windows::Listed(places) => {
                    let AverageParams { input, out: to, clamp, .. } = self.params;
                    let params = GatheredAverage { divisors: &self.divisors, input, out: to, clamp };
                    pool.gathered_average(&places.windows(), &params, codes, out)?;
                }
            }
            Ok(())
        })
    }
}
