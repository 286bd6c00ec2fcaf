//! Matrix products, and convolutions as such.

use crate::error::StepError;
use crate::frame::{Frame, Step};
use crate::requantize::{Requantizer, of_channels};
use crate::slots::BufferId;
use crate::weights::Packed;
use std::sync::Arc;
use tq_graph::ValueId;
use tq_kernels::{Epilogue, GatheredRows, GemmOut, Lhs, OutputStage, PackedRhs};

/// Where the rows of the left-hand side come from.
#[derive(Debug)]
pub(crate) enum Rows {
    /// They lie one after the other.
    Dense {
        /// Rows.
        rows: usize,
        /// Codes from one row to the next.
        stride: usize,
    },
    /// They are gathered: a convolution.
    Indirect {
        /// What the rows of `batch` images are made of.
        gather: GatheredRows,
        /// Rows an image.
        rows: usize,
        /// Images.
        images: usize,
        /// Images done at a time.
        batch: usize,
        /// Codes of an image.
        image: usize,
    },
}

/// What becomes of the products.
#[derive(Debug)]
pub(crate) enum Finish {
    /// They become codes.
    Codes { to: BufferId, requantizer: Requantizer },
    /// They become real numbers: a tensor of shape `dims`, which is channels-first.
    Reals {
        to: ValueId,
        dims: Vec<usize>,
        scale: Vec<f32>,
        /// Images and positions where channels have to be brought to the front.
        unswap: Option<(usize, usize)>,
    },
}

/// A product with packed weights, whatever becomes of it.
#[derive(Debug)]
pub(crate) struct Product {
    pub(crate) from: BufferId,
    pub(crate) weights: Arc<Packed>,
    pub(crate) groups: Vec<Group>,
    pub(crate) rows: Rows,
}

/// A product of codes whose parameters are known.
#[derive(Debug)]
pub(crate) struct Gemm {
    pub(crate) product: Product,
    pub(crate) zero_point: i32,
    pub(crate) finish: Finish,
}

/// The columns of one group of a convolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Group {
    /// First channel read.
    pub(crate) first_in: usize,
    /// First channel written.
    pub(crate) first_out: usize,
}

impl Step for Gemm {
    fn run(&self, frame: &mut Frame<'_>) -> Result<(), StepError> {
        match &self.finish {
            Finish::Codes { to, requantizer } => frame.write_codes(*to, |frame, out| {
                self.product.multiply(frame, self.zero_point, out, |first, n| Bound {
                    stage: requantizer.stage(first, n),
                    wrap: |data, row_stride| GemmOut::U8 { data, row_stride },
                })
            }),
            Finish::Reals { to, dims, scale, unswap } => {
                let multiply = |frame: &Frame<'_>, out: &mut [f32]| {
                    self.product.multiply(frame, self.zero_point, out, |range, n| Bound {
                        stage: OutputStage::dequantize(of_channels(scale, range, n)),
                        wrap: |data, row_stride| GemmOut::F32 { data, row_stride },
                    })
                };
                let Some((images, positions)) = *unswap else {
                    return frame.write_tensor::<f32>(*to, dims, multiply);
                };
                let mut reals = std::mem::take(&mut frame.workspace.reals);
                reals.resize(images * positions * self.product.weights.channels, 0.0);
                let result = multiply(frame, &mut reals).and_then(|()| {
                    frame.write_tensor::<f32>(*to, dims, |_, out| {
                        tq_kernels::layout::channels_last_to_first(
                            &reals,
                            images,
                            self.product.weights.channels,
                            positions,
                            out,
                        )?;
                        Ok(())
                    })
                });
                frame.workspace.reals = reals;
                result
            }
        }
    }
}

/// An output stage with the output it writes to.
pub(crate) struct Bound<'a, T> {
    pub(crate) stage: OutputStage<'a>,
    pub(crate) wrap: fn(&mut [T], usize) -> GemmOut<'_>,
}

impl Product {
    /// Multiplies codes of this zero point into `out`. `bind` tells what becomes of a number of channels from the first.
    pub(crate) fn multiply<'s, T>(
        &self,
        frame: &Frame<'_>,
        zero_point: i32,
        out: &mut [T],
        bind: impl Fn(usize, usize) -> Bound<'s, T>,
    ) -> Result<(), StepError> {
        let x = frame.codes(self.from)?;
        let gemm = frame.kernels.gemm();
        let crate::weights::Form::Matrices(packed) = &self.weights.form else {
            return Err(StepError::Shape("depthwise weights in a matrix product".into()));
        };
        let width = self.weights.channels;
        let outside = || StepError::Shape("a product leaves its operands".into());
        let mut one = |lhs: Lhs<'_>, rhs: &PackedRhs, group: Group, first_row: usize| {
            let bound = bind(group.first_out, rhs.n());
            let out = out.get_mut(first_row * width + group.first_out..).ok_or_else(outside)?;
            let epilogue = Epilogue { lhs_zero_point: zero_point, stage: bound.stage };
            gemm.run(lhs, rhs, &epilogue, (bound.wrap)(out, width))?;
            Ok::<(), StepError>(())
        };
        match &self.rows {
            Rows::Dense { rows, stride } => {
                for (rhs, group) in packed.iter().zip(&self.groups) {
                    let data = x.get(group.first_in..).ok_or_else(outside)?;
                    one(Lhs::Dense { data, rows: *rows, row_stride: *stride }, rhs, *group, 0)?;
                }
            }
            Rows::Indirect { gather, rows, images, batch, image } => {
                for first in (0..*images).step_by((*batch).max(1)) {
                    let count = (images - first).min(*batch);
                    let data = x.get(first * image..(first + count) * image).ok_or_else(outside)?;
                    for (rhs, group) in packed.iter().zip(&self.groups) {
                        let lhs = Lhs::Indirect {
                            data: data.get(group.first_in..).ok_or_else(outside)?,
                            gather,
                            rows: count * rows,
                            pad: zero_point.clamp(0, 255) as u8,
                        };
                        one(lhs, rhs, *group, first * rows)?;
                    }
                }
            }
        }
        Ok(())
    }
}
