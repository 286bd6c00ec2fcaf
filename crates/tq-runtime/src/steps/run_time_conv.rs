//! Convolutions of data that is quantized while the network runs.

use super::gemm::{Bound, Product};
use super::run_time::parameters;
use crate::error::StepError;
use crate::frame::{Frame, Step};
use crate::requantize::of_channels;
use crate::slots::BufferId;
use crate::weights::{Form, Packed};
use std::sync::Arc;
use tq_graph::ValueId;
use tq_kernels::{Addend, Epilogue, GemmOut, OutputStage, Window3d};

/// How the sums are made.
#[derive(Debug)]
pub(crate) enum Sums {
    /// As products of gathered rows.
    Gathered(Product),
    /// Channel by channel.
    Depthwise { from: BufferId, weights: Arc<Packed>, window: Window3d },
}

/// A convolution of such codes with constant weights, scaled, with its bias: a tensor of shape `dims`, channels first.
#[derive(Debug)]
pub(crate) struct DynamicConvolution {
    pub(crate) sums: Sums,
    pub(crate) scale: ValueId,
    pub(crate) zero_point: ValueId,
    pub(crate) bias: Option<Vec<f32>>,
    pub(crate) to: ValueId,
    pub(crate) dims: Vec<usize>,
    /// Images and positions of the result.
    pub(crate) extent: (usize, usize),
}

impl Sums {
    fn weights(&self) -> &Packed {
        match self {
            Sums::Gathered(product) => &product.weights,
            Sums::Depthwise { weights, .. } => weights,
        }
    }

    /// Exact sums, channels last: each rounded once to f32, times the product of both scales, then plus the bias, as in a linear layer.
    fn write(
        &self,
        frame: &Frame<'_>,
        (lhs_scale, zero_point): (f32, i32),
        bias: Option<&[f32]>,
        out: &mut [f32],
    ) -> Result<(), StepError> {
        let stage = |first: usize, n: usize| OutputStage::Dequantize {
            scale: of_channels(&self.weights().scale, first, n),
            lhs_scale,
            addend: bias
                .map_or(Addend::None, |b| Addend::Columns(b.get(first..first + n).unwrap_or_default())),
        };
        match self {
            Sums::Gathered(product) => {
                let wrap: fn(&mut [f32], usize) -> GemmOut<'_> =
                    |data, row_stride| GemmOut::F32 { data, row_stride };
                product.multiply(frame, zero_point, out, |first, n| Bound { stage: stage(first, n), wrap })
            }
            Sums::Depthwise { from, weights, window } => {
                let Form::Depthwise(packed) = &weights.form else {
                    return Err(StepError::Shape("matrix weights in a depthwise convolution".into()));
                };
                let epilogue = Epilogue { lhs_zero_point: zero_point, stage: stage(0, weights.channels) };
                let out = GemmOut::F32 { data: out, row_stride: weights.channels };
                Ok(frame.kernels.depthwise().run(window, frame.codes(*from)?, packed, &epilogue, out)?)
            }
        }
    }
}

impl Step for DynamicConvolution {
    fn run(&self, frame: &mut Frame<'_>) -> Result<(), StepError> {
        let parameters = parameters(frame, self.scale, self.zero_point)?;
        let ((images, positions), channels) = (self.extent, self.sums.weights().channels);
        let mut sums = std::mem::take(&mut frame.workspace.reals);
        sums.resize(images * positions * channels, 0.0);
        let result = self.sums.write(frame, parameters, self.bias.as_deref(), &mut sums).and_then(|()| {
            frame.write_tensor::<f32>(self.to, &self.dims, |_, out| {
                tq_kernels::layout::channels_last_to_first(&sums, images, channels, positions, out)?;
                Ok(())
            })
        });
        frame.workspace.reals = sums;
        result
    }
}
