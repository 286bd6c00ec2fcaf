//! `MatMulNBits`: weights of 2, 4 or 8 bits with one scale for each block of a column.

use crate::attributes::Attributes;
use crate::import::around::{Surroundings, has};
use crate::import::operator::{Result, malformed, unsupported};
use crate::import::plan::{Plan, Source};
use crate::proto::NodeProto;
use tq_graph::Tensor;
use tq_graph::op::{BinaryOp, Op};
use tq_qtypes::DType;

/// What the attributes say of the weights.
struct Weights {
    rows: usize,
    columns: usize,
    blocks: usize,
    block_size: usize,
    bits: usize,
}

/// `A, B, scales[, zero_points[, g_idx[, bias]]]`: `A` times the transpose of `B`, whose codes stand in the file as
/// `[N, blocks of K, bytes of a block]`, the first code in the lowest bits. The graph has them as `[K, N]`, behind a
/// Dequantize node with blocks along the first axis.
pub(super) fn matmul(attributes: &Attributes, node: &NodeProto, around: &Surroundings) -> Result<Plan> {
    let size = |name: &str| match attributes.int_opt(name)?.map(usize::try_from) {
        Some(Ok(n)) if n > 0 => Ok(n),
        other => malformed(format!("{name} is {other:?}, expected a number above 0")),
    };
    let (rows, columns, block_size) = (size("K")?, size("N")?, size("block_size")?);
    // What the result is at least computed in; here that is more.
    attributes.int("accuracy_level", 0)?;
    if attributes.int("weight_prepacked", 0)? != 0 {
        return unsupported("weights that were packed for one processor");
    }
    let (bits, dtype) = match attributes.int("bits", 4)? {
        2 => (2, DType::U2),
        4 => (4, DType::U4),
        8 => (8, DType::U8),
        n => return unsupported(format!("{n} bits")),
    };
    if has(node, 4) {
        return unsupported("rows of the weights in another order (g_idx)");
    }
    let weights = Weights { rows, columns, blocks: rows.div_ceil(block_size), block_size, bits };
    let (Some(packed), Some(scales)) = (around.constant(1), around.constant(2)) else {
        return unsupported("weights that are not constant");
    };
    let codes = weights.codes(packed)?.with_type(dtype)?;
    let scales = weights.scales(scales)?;
    let zeros = match around.constant(3) {
        Some(zeros) => weights.zero_points(zeros)?,
        None if has(node, 3) => return unsupported("zero points that are not constant"),
        None => Matrix::filled(weights.blocks, columns, 1 << (bits - 1))?,
    };
    let mut plan = Plan::new();
    let operands = vec![
        Source::Constant("codes", codes),
        Source::Constant("scales", scales),
        Source::Constant("zero_points", zeros.with_type(dtype)?),
    ];
    // One block is one scale a column.
    let w = plan.step("w", Op::DequantizeLinear { axis: 0, block_size }, operands);
    if has(node, 5) {
        let y = plan.step("", Op::MatMul, vec![Source::Input(0), w]);
        plan.give(0, "biased", Op::Binary(BinaryOp::Add), vec![y, Source::Input(5)]);
    } else {
        plan.all(Op::MatMul, vec![Source::Input(0), w]);
    }
    Ok(plan)
}

/// Codes of `rows` rows and `columns` columns, one a byte.
struct Matrix {
    rows: usize,
    columns: usize,
    codes: Vec<u8>,
}

impl Matrix {
    fn filled(rows: usize, columns: usize, code: u8) -> Result<Self> {
        // No more than the scales, which are in the file.
        tq_graph::tensor::checked_numel(&[rows, columns], DType::U8)
            .map(|n| Self { rows, columns, codes: vec![code; n] })
            .map_err(Into::into)
    }

    fn with_type(self, dtype: DType) -> Result<Tensor> {
        Ok(Tensor::with_dtype(dtype, &[self.rows, self.columns], self.codes)?)
    }
}

impl Weights {
    /// The `i`-th code of a run of packed bytes.
    fn code(&self, bytes: &[u8], i: usize) -> u8 {
        let bit = i * self.bits;
        let mask = u8::MAX >> (8 - self.bits);
        bytes.get(bit / 8).map_or(0, |b| (b >> (bit % 8)) & mask)
    }

    /// Bytes that `n` codes take.
    fn packed(&self, n: usize) -> Option<usize> {
        Some(n.checked_mul(self.bits)?.div_ceil(8))
    }

    /// The codes transposed, those that only fill the last block left out.
    fn codes(&self, packed: &Tensor) -> Result<Matrix> {
        let bytes = packed.as_slice::<u8>()?;
        let of_block = self.packed(self.block_size);
        let expected = of_block.and_then(|n| n.checked_mul(self.blocks)?.checked_mul(self.columns));
        if Some(bytes.len()) != expected || bytes.is_empty() {
            return malformed(format!(
                "{} bytes of weights, expected those of {} columns of {} blocks of {} codes of {} bits",
                bytes.len(),
                self.columns,
                self.blocks,
                self.block_size,
                self.bits
            ));
        }
        let of_block = of_block.unwrap_or(1);
        let mut matrix = Matrix::filled(self.rows, self.columns, 0)?;
        for (column, bytes) in bytes.chunks_exact(of_block * self.blocks).enumerate() {
            for row in 0..self.rows {
                let block = &bytes[row / self.block_size * of_block..];
                matrix.codes[row * self.columns + column] = self.code(block, row % self.block_size);
            }
        }
        Ok(matrix)
    }

    /// The zero points transposed. In the file those of a column fill whole bytes.
    fn zero_points(&self, packed: &Tensor) -> Result<Matrix> {
        let Ok(bytes) = packed.as_slice::<u8>() else {
            return unsupported(format!("zero points of type {}", packed.dtype()));
        };
        let of_column = self.packed(self.blocks);
        if Some(bytes.len()) != of_column.and_then(|n| n.checked_mul(self.columns)) {
            return malformed(format!(
                "{} bytes of zero points for {} columns of {} blocks",
                bytes.len(),
                self.columns,
                self.blocks
            ));
        }
        let mut matrix = Matrix::filled(self.blocks, self.columns, 0)?;
        for (column, bytes) in bytes.chunks_exact(of_column.unwrap_or(1)).enumerate() {
            for block in 0..self.blocks {
                matrix.codes[block * self.columns + column] = self.code(bytes, block);
            }
        }
        Ok(matrix)
    }

    /// The scales transposed.
    fn scales(&self, scales: &Tensor) -> Result<Tensor> {
        if Some(scales.len()) != self.blocks.checked_mul(self.columns) {
            return malformed(format!(
                "{} scales for {} columns of {} blocks",
                scales.len(),
                self.columns,
                self.blocks
            ));
        }
        let order = (0..self.blocks).flat_map(|b| (0..self.columns).map(move |c| c * self.blocks + b));
        let dims = [self.blocks, self.columns];
        match scales.dtype() {
            DType::F32 => {
                let s = scales.as_slice::<f32>()?;
                Ok(Tensor::new(&dims, order.map(|i| s[i]).collect())?)
            }
            DType::F16 => {
                let s = scales.as_slice::<half::f16>()?;
                Ok(Tensor::new(&dims, order.map(|i| s[i]).collect())?)
            }
            DType::BF16 => {
                let s = scales.as_slice::<half::bf16>()?;
                Ok(Tensor::new(&dims, order.map(|i| s[i]).collect())?)
            }
            other => malformed(format!("scales are {other}")),
        }
    }
}
