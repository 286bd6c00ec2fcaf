//! Rows of a constant table of codes.

use crate::error::StepError;
use crate::frame::{Frame, Step};
use tq_eval::OpError;
use tq_graph::{Tensor, ValueId};
use tq_qtypes::affine::dequantize_f32;
use tq_qtypes::index::ParamIndex;
use tq_qtypes::{AffineParams, DType};

/// Picks rows of a table and dequantizes what it has picked: the table stays codes.
#[derive(Debug)]
pub(crate) struct GatherRows {
    /// The constant table.
    pub(crate) table: ValueId,
    pub(crate) params: AffineParams,
    pub(crate) places: ParamIndex,
    pub(crate) indices: ValueId,
    pub(crate) to: ValueId,
}

impl Step for GatherRows {
    fn run(&self, frame: &mut Frame<'_>) -> Result<(), StepError> {
        let indices = frame.tensor(self.indices)?;
        let (table, graph) = (frame.tensor(self.table)?, frame.graph);
        let (rows, row) = match table.dims() {
            [rows, rest @ ..] => (*rows, rest.iter().product::<usize>()),
            [] => {
                return Err(StepError::Shape(format!(
                    "a table {} without rows",
                    graph.value(self.table).name
                )));
            }
        };
        let dims: Vec<usize> = indices.dims().iter().chain(&table.dims()[1..]).copied().collect();
        let picked = indices
            .to_i64_vec()
            .ok_or_else(|| OpError::DType {
                what: "indices",
                got: indices.dtype(),
                expected: "integers".into(),
            })?
            .into_iter()
            .map(|index| {
                let place = if index < 0 { index.saturating_add(rows as i64) } else { index };
                let place = usize::try_from(place).ok().filter(|p| *p < rows);
                place.ok_or(OpError::Index { index, axis: 0, len: rows })
            })
            .collect::<Result<Vec<_>, _>>()?;
        frame.write_tensor::<f32>(self.to, &dims, |frame, out| {
            let table = frame.tensor(self.table)?;
            match table.dtype() {
                DType::I8 | DType::I4 | DType::I2 => self.fill(table.as_slice::<i8>()?, &picked, row, out),
                _ => self.fill(table.as_slice::<u8>()?, &picked, row, out),
            }
        })
    }
}

impl GatherRows {
    /// True for tables whose elements this step can read.
    pub(crate) fn reads(table: &Tensor) -> bool {
        use DType::{I2, I4, I8, U2, U4, U8};
        table.rank() > 0 && !table.is_empty() && matches!(table.dtype(), I8 | U8 | I4 | U4 | I2 | U2)
    }

    fn fill<T: Copy + Into<i32>>(
        &self,
        codes: &[T],
        picked: &[usize],
        row: usize,
        out: &mut [f32],
    ) -> Result<(), StepError> {
        let outside = || StepError::Shape("a row that is not in its table".into());
        let AffineParams { scale, zero_point, .. } = &self.params;
        for (place, out) in picked.iter().zip(out.chunks_exact_mut(row.max(1))) {
            let start = place * row;
            for run in self.places.runs(start..start + row) {
                let from = codes.get(run.elements.clone()).ok_or_else(outside)?;
                let out =
                    out.get_mut(run.elements.start - start..run.elements.end - start).ok_or_else(outside)?;
                for (i, (out, code)) in out.iter_mut().zip(from).enumerate() {
                    let p = if run.shared { run.param } else { run.param + i };
                    let (Some(scale), Some(zero_point)) = (scale.get(p), zero_point.get(p)) else {
                        return Err(outside());
                    };
                    *out = dequantize_f32((*code).into(), *scale, *zero_point);
                }
            }
        }
        Ok(())
    }
}
