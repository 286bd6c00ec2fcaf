//! Products whose left-hand side is quantized while the network runs.

use crate::error::StepError;
use crate::frame::{Frame, Step};
use crate::slots::BufferId;
use crate::weights::{Form, Packed};
use std::sync::Arc;
use tq_graph::ValueId;
use tq_kernels::{Addend, AffineU8, Epilogue, GemmOut, Kernels, Lhs, OutputStage, PackedRhs};
use tq_qtypes::DynamicFormula;

/// Codes of `x` by `formula`. What the vector kernels do not take (they divide, by a normal number) is done one by one.
pub(crate) fn quantize(
    kernels: &Kernels,
    formula: DynamicFormula,
    x: &[f32],
    (scale, zero_point): (f32, i32),
    codes: &mut [u8],
) -> Result<(), StepError> {
    if formula == DynamicFormula::Onnx && scale.is_normal() {
        return Ok(kernels.convert().quantize(x, AffineU8 { scale, zero_point }, (0, 255), codes)?);
    }
    for (code, x) in codes.iter_mut().zip(x) {
        *code = formula.code(*x, scale, zero_point);
    }
    Ok(())
}

/// Codes of this run, row after row.
pub(crate) struct Codes<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) rows: usize,
    pub(crate) scale: f32,
    pub(crate) zero_point: i32,
}

impl Codes<'_> {
    /// Exact sums of products with weights of these scales, each rounded once to f32: times the product of both scales, then plus
    /// `addend`, as a graph writes it. Rows of `out` are `pitch` apart.
    pub(crate) fn times(
        &self,
        kernels: &Kernels,
        weights: &PackedRhs,
        scale: &[f32],
        addend: Addend,
        (out, pitch): (&mut [f32], usize),
    ) -> Result<(), StepError> {
        let lhs = Lhs::Dense { data: self.data, rows: self.rows, row_stride: weights.k() };
        let stage = OutputStage::Dequantize { scale, lhs_scale: self.scale, addend };
        let epilogue = Epilogue { lhs_zero_point: self.zero_point, stage };
        Ok(kernels.gemm().run(lhs, weights, &epilogue, GemmOut::F32 { data: out, row_stride: pitch })?)
    }
}

/// Scale and zero point of this run.
pub(crate) fn parameters(
    frame: &Frame<'_>,
    scale: ValueId,
    zero_point: ValueId,
) -> Result<(f32, i32), StepError> {
    let none = || StepError::Shape("parameters without elements".into());
    let scale = *frame.tensor(scale)?.as_slice::<f32>()?.first().ok_or_else(none)?;
    let zero_point = *frame.tensor(zero_point)?.as_slice::<u8>()?.first().ok_or_else(none)?;
    Ok((scale, i32::from(zero_point)))
}

/// A DynamicQuantizeLinear node.
#[derive(Debug)]
pub(crate) struct DynamicQuantize {
    pub(crate) from: ValueId,
    pub(crate) formula: DynamicFormula,
    pub(crate) to: BufferId,
    pub(crate) scale: ValueId,
    pub(crate) zero_point: ValueId,
}

impl Step for DynamicQuantize {
    fn run(&self, frame: &mut Frame<'_>) -> Result<(), StepError> {
        let (min, max) = frame.kernels.convert().range(frame.tensor(self.from)?.as_slice::<f32>()?);
        let params = self.formula.qparams(min, max)?;
        frame.write_codes(self.to, |frame, out| {
            let x = frame.tensor(self.from)?.as_slice::<f32>()?;
            if x.len() != out.len() {
                return Err(StepError::Shape(format!("{} elements, expected {}", x.len(), out.len())));
            }
            quantize(frame.kernels, self.formula, x, params, out)
        })?;
        frame.write_tensor::<f32>(self.scale, &[], |_, out| {
            out.fill(params.0);
            Ok(())
        })?;
        frame.write_tensor::<u8>(self.zero_point, &[], |_, out| {
            out.fill(params.1.clamp(0, 255) as u8);
            Ok(())
        })
    }
}

/// A product of such codes with constant weights, scaled, with its bias: a tensor of shape `dims`.
#[derive(Debug)]
pub(crate) struct DynamicProduct {
    pub(crate) from: BufferId,
    pub(crate) scale: ValueId,
    pub(crate) zero_point: ValueId,
    pub(crate) weights: Arc<Packed>,
    pub(crate) bias: Option<Vec<f32>>,
    pub(crate) rows: usize,
    pub(crate) to: ValueId,
    pub(crate) dims: Vec<usize>,
}

impl Step for DynamicProduct {
    fn run(&self, frame: &mut Frame<'_>) -> Result<(), StepError> {
        let (scale, zero_point) = parameters(frame, self.scale, self.zero_point)?;
        let Form::Matrices(packed) = &self.weights.form else {
            return Err(StepError::Shape("weights of another operator".into()));
        };
        let [packed] = packed.as_slice() else { return Err(StepError::Shape("weights in groups".into())) };
        frame.write_tensor::<f32>(self.to, &self.dims, |frame, out| {
            let codes = Codes { data: frame.codes(self.from)?, rows: self.rows, scale, zero_point };
            let addend = self.bias.as_deref().map_or(Addend::None, Addend::Columns);
            codes.times(frame.kernels, packed, &self.weights.scale, addend, (out, packed.n()))
        })
    }
}
