//! Convolutions of data that is quantized while the network runs.

use super::gemm::{Bound, Product};
use super::run_time::parameters;
use crate::error::StepError;
use crate::frame::{Frame, Step};
use crate::slots::BufferId;
use crate::weights::{Form, Packed};
use std::sync::Arc;
use tq_graph::ValueId;
use tq_kernels::{Epilogue, GemmOut, OutputStage, Window3d};

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

    /// Exact sums, each rounded once to f32, channels last. The scales follow outside, as in a linear layer.
    fn write(&self, frame: &Frame<'_>, zero_point: i32, out: &mut [f32]) -> Result<(), StepError> {
        let stage = OutputStage::Dequantize { scale: &[1.0] };
        match self {
            Sums::Gathered(product) => {
                let wrap: fn(&mut [f32], usize) -> GemmOut<'_> =
                    |data, row_stride| GemmOut::F32 { data, row_stride };
                product.multiply(frame, zero_point, out, |_, _| Bound { stage, wrap })
            }
            Sums::Depthwise { from, weights, window } => {
                let Form::Depthwise(packed) = &weights.form else {
                    return Err(StepError::Shape("matrix weights in a depthwise convolution".into()));
                };
                let epilogue = Epilogue { lhs_zero_point: zero_point, stage };
                let out = GemmOut::F32 { data: out, row_stride: weights.channels };
                Ok(frame.kernels.depthwise().run(window, frame.codes(*from)?, packed, &epilogue, out)?)
            }
        }
    }
}

impl Step for DynamicConvolution {
    fn run(&self, frame: &mut Frame<'_>) -> Result<(), StepError> {
        let (scale, zero_point) = parameters(frame, self.scale, self.zero_point)?;
        let ((images, positions), weights) = (self.extent, self.sums.weights());
        let channels = weights.channels;
        let mut sums = std::mem::take(&mut frame.workspace.reals);
        sums.resize(images * positions * channels, 0.0);
        let result = self.sums.write(frame, zero_point, &mut sums).and_then(|()| {
            frame.write_tensor::<f32>(self.to, &self.dims, |_, out| {
                tq_kernels::layout::channels_last_to_first(&sums, images, channels, positions, out)?;
                let w = &weights.scale;
                for (i, plane) in out.chunks_exact_mut(positions.max(1)).enumerate() {
                    let c = i % channels;
                    // As the graph writes it: times the product of both scales, then plus the bias.
                    let factor = scale * if w.len() == 1 { w[0] } else { w[c] };
                    plane.iter_mut().for_each(|v| *v *= factor);
                    if let Some(bias) = &self.bias {
                        plane.iter_mut().for_each(|v| *v += bias[c]);
                    }
                }
                Ok(())
            })
        });
        frame.workspace.reals = sums;
        result
    }
}
