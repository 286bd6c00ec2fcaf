//! Products of two activations.

use crate::codes::FLIP;
use crate::error::StepError;
use crate::frame::{Frame, Step};
use crate::requantize::Requantizer;
use crate::slots::BufferId;
use tq_graph::ValueId;
use tq_kernels::{Epilogue, GemmOut, Lhs, OutputStage, PackedRhs, RhsMatrix};

/// Memory for right-hand sides, which are packed anew in every run.
#[derive(Debug, Default)]
pub(crate) struct ProductSpace {
    packed: PackedRhs,
    /// A right-hand side with its columns as rows.
    columns: Vec<i8>,
}

/// What becomes of the products.
#[derive(Debug)]
pub(crate) enum Finish {
    /// They become codes.
    Codes { to: BufferId, requantizer: Requantizer },
    /// They become real numbers: a tensor of shape `dims`.
    Reals { to: ValueId, dims: Vec<usize>, scale: f32 },
}

/// Products of matrices of codes, one after the other.
#[derive(Debug)]
pub(crate) struct MatMul {
    pub(crate) lhs: BufferId,
    pub(crate) rhs: BufferId,
    /// For each product the first code of its left and of its right side.
    pub(crate) pairs: Vec<(usize, usize)>,
    /// Rows of a left side, the length of its rows, columns of a right side.
    pub(crate) rows: usize,
    pub(crate) depth: usize,
    pub(crate) columns: usize,
    /// Zero points of both sides, as held.
    pub(crate) zero_points: (i32, i32),
    pub(crate) finish: Finish,
}

impl Step for MatMul {
    fn run(&self, frame: &mut Frame<'_>) -> Result<(), StepError> {
        let mut space = std::mem::take(&mut frame.workspace.product);
        let result = match &self.finish {
            Finish::Codes { to, requantizer } => frame.write_codes(*to, |frame, out| {
                let stage = requantizer.stage(0, self.columns);
                self.multiply(frame, &mut space, stage, out, |data, row_stride| GemmOut::U8 {
                    data,
                    row_stride,
                })
            }),
            Finish::Reals { to, dims, scale } => frame.write_tensor::<f32>(*to, dims, |frame, out| {
                let stage = OutputStage::dequantize(std::slice::from_ref(scale));
                self.multiply(frame, &mut space, stage, out, |data, row_stride| GemmOut::F32 {
                    data,
                    row_stride,
                })
            }),
        };
        frame.workspace.product = space;
        result
    }
}

impl MatMul {
    fn multiply<T>(
        &self,
        frame: &Frame<'_>,
        space: &mut ProductSpace,
        stage: OutputStage<'_>,
        out: &mut [T],
        wrap: fn(&mut [T], usize) -> GemmOut<'_>,
    ) -> Result<(), StepError> {
        let outside = || StepError::Shape("a product leaves its operands".into());
        let (lhs, rhs) = (frame.codes(self.lhs)?, frame.codes(self.rhs)?);
        let gemm = frame.kernels.gemm();
        let epilogue = Epilogue { lhs_zero_point: self.zero_points.0, stage };
        // Kernels take i8 on this side: both the codes and their zero point move by 128.
        let zero_point = [self.zero_points.1 - 128];
        let size = self.depth * self.columns;
        let mut packed = None;
        for (i, (a, b)) in self.pairs.iter().enumerate() {
            if packed != Some(*b) {
                let matrix = rhs.get(*b..*b + size).ok_or_else(outside)?;
                space.columns.resize(size, 0);
                transpose(matrix, self.depth, self.columns, &mut space.columns);
                let matrix = RhsMatrix::new(&space.columns, self.columns, self.depth);
                gemm.pack_into(&RhsMatrix { zero_point: &zero_point, ..matrix }, &mut space.packed)?;
                packed = Some(*b);
            }
            let data = lhs.get(*a..).ok_or_else(outside)?;
            let lhs = Lhs::Dense { data, rows: self.rows, row_stride: self.depth };
            let each = self.rows * self.columns;
            let out = out.get_mut(i * each..(i + 1) * each).ok_or_else(outside)?;
            gemm.run(lhs, &space.packed, &epilogue, wrap(out, self.columns))?;
        }
        Ok(())
    }
}

/// Side of the square blocks in which matrices are transposed: both sides of a block stay in the cache.
const BLOCK: usize = 32;

/// The columns of a matrix as rows, codes moved by 128.
fn transpose(from: &[u8], rows: usize, columns: usize, out: &mut [i8]) {
    for r0 in (0..rows).step_by(BLOCK) {
        let r1 = (r0 + BLOCK).min(rows);
        for c0 in (0..columns).step_by(BLOCK) {
            for c in c0..(c0 + BLOCK).min(columns) {
                let line = &mut out[c * rows + r0..c * rows + r1];
                for (r, code) in (r0..).zip(line) {
                    *code = (from[r * columns + c] ^ FLIP) as i8;
                }
            }
        }
    }
}
