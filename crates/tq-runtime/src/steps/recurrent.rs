//! Recurrent layers on codes.
//!
//! The order of the steps, gates and states is the evaluator's ([`tq_eval::recurrent`]); the products are integer ones
//! here: of the whole data with the input weights, and of the state with the recurrence weights step by step.

use super::run_time::{Codes, quantize};
use crate::error::StepError;
use crate::frame::{Frame, Step};
use crate::requantize::of_channels;
use crate::weights::{Form, Packed, RecurrentPacked};
use std::sync::Arc;
use tq_eval::OpError;
use tq_eval::recurrent::{Operand, Part, Products, Target, recurrent_with};
use tq_graph::{NodeId, Op};
use tq_kernels::{Addend, Kernels, PackedRhs};
use tq_qtypes::DynamicFormula;

/// A recurrent node whose weights are packed. Its results are new tensors in every run.
#[derive(Debug)]
pub(crate) struct Recurrent {
    pub(crate) node: NodeId,
    pub(crate) formula: DynamicFormula,
    pub(crate) weights: Arc<Packed>,
}

impl Step for Recurrent {
    fn run(&self, frame: &mut Frame<'_>) -> Result<(), StepError> {
        let other = || StepError::Shape("weights of another operator".into());
        let node = frame.graph.nodes.get(self.node.0).ok_or_else(other)?;
        let (Op::Recurrent { kind, attrs }, Form::Recurrent(weights)) = (&node.op, &self.weights.form) else {
            return Err(other());
        };
        let outs = {
            let inputs = node
                .inputs
                .iter()
                .enumerate()
                // The weights are in the products.
                .map(|(i, v)| match v {
                    Some(v) if i != 1 && i != 2 => frame.tensor(*v).map(Some),
                    _ => Ok(None),
                })
                .collect::<Result<Vec<_>, _>>()?;
            let products = IntegerProducts { kernels: frame.kernels, formula: self.formula, weights };
            recurrent_with(&inputs, *kind, attrs, node.outputs.len(), &products)?
        };
        for (v, tensor) in node.outputs.iter().zip(outs) {
            if let Some(v) = v {
                frame.set_tensor(*v, tensor);
            }
        }
        Ok(())
    }
}

struct IntegerProducts<'a> {
    kernels: &'a Kernels,
    formula: DynamicFormula,
    weights: &'a RecurrentPacked,
}

/// Weights of one direction with their scales: one for all directions, or one a row.
struct Rows<'a> {
    packed: &'a PackedRhs,
    scale: &'a [f32],
}

impl IntegerProducts<'_> {
    /// Writes the products of the codes of `x` with `rows`, plus `addend`, to `out`.
    fn write(
        &self,
        x: Operand<'_, f32>,
        rows: &Rows<'_>,
        addend: Addend<'_>,
        out: Target<'_, f32>,
    ) -> Result<(), OpError> {
        let count = x.data.len() / rows.packed.k().max(1);
        let params = self.formula.qparams(x.range.0, x.range.1)?;
        let mut codes = vec![0u8; x.data.len()];
        let Target { data, pitch, first } = out;
        quantize(self.kernels, self.formula, x.data, params, &mut codes)
            .and_then(|()| {
                let codes = Codes { data: &codes, rows: count, scale: params.0, zero_point: params.1 };
                let out = (data.get_mut(first..).unwrap_or_default(), pitch);
                codes.times(self.kernels, rows.packed, rows.scale, addend, out)
            })
            .map_err(|e| OpError::Attribute(e.to_string()))
    }
}

impl Products<f32> for IntegerProducts<'_> {
    fn project(
        &self,
        direction: usize,
        x: Operand<'_, f32>,
        bias: &[f32],
        out: &mut [f32],
    ) -> Result<(), OpError> {
        let w = self.weights;
        let packed = w.input.get(direction).ok_or(OpError::MissingInput { index: 1 })?;
        let scale = of_channels(&w.input_scale, direction * w.rows, w.rows);
        let out = Target { data: out, pitch: w.rows, first: 0 };
        self.write(x, &Rows { packed, scale }, Addend::Columns(bias), out)
    }

    fn recur(
        &self,
        direction: usize,
        part: Part,
        h: Operand<'_, f32>,
        out: Target<'_, f32>,
    ) -> Result<(), OpError> {
        let w = self.weights;
        let at = usize::from(part == Part::Candidate);
        let parts = w.recurrence.get(direction);
        let packed = parts.and_then(|p| p.get(at)).ok_or(OpError::MissingInput { index: 2 })?;
        let rows = part.rows(packed.k(), w.rows);
        let scale = of_channels(&w.recurrence_scale, direction * w.rows + rows.start, rows.len());
        self.write(h, &Rows { packed, scale }, Addend::Output, out)
    }
}
