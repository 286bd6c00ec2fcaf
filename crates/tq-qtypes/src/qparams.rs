//! What a quantizer decided.

use crate::block_float::BlockFloatParams;
use crate::codebook::CodebookParams;
use crate::index::ParamIndex;
use crate::narrow_float::FloatParams;
use crate::packing::CodeWidth;
use crate::{DType, Granularity, QTypeError, Rounding, affine};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Parameters of a quantized tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum QParams {
    /// `real = scale * (code - zero_point)`.
    Affine(AffineParams),
    /// `real = scale * value(code)`, codes being narrow floats.
    Float(FloatParams),
    /// `real = scale * table[code]`.
    Codebook(CodebookParams),
    /// `real = scale * element(code)`, in MX blocks that share a power of two.
    BlockFloat(BlockFloatParams),
}

impl QParams {
    /// The affine parameters, if these are affine.
    #[must_use]
    pub fn as_affine(&self) -> Option<&AffineParams> {
        match self {
            QParams::Affine(p) => Some(p),
            _ => None,
        }
    }

    /// What shares a scale.
    #[must_use]
    pub fn granularity(&self) -> Granularity {
        match self {
            QParams::Affine(p) => p.granularity,
            QParams::Float(p) => p.granularity,
            QParams::Codebook(p) => p.granularity,
            QParams::BlockFloat(p) => p.granularity(),
        }
    }

    /// Number of scales.
    #[must_use]
    pub fn param_count(&self) -> usize {
        match self {
            QParams::Affine(p) => p.scale.len(),
            QParams::Float(p) => p.scale.len(),
            QParams::Codebook(p) => p.scale.len(),
            QParams::BlockFloat(p) => p.scale.len(),
        }
    }

    /// How codes are packed: affine ones in the narrowest width that holds `quant_min..=quant_max`.
    #[must_use]
    pub fn code_width(&self) -> CodeWidth {
        match self {
            QParams::Affine(p) => CodeWidth::holding(p.quant_min, p.quant_max),
            QParams::Float(p) => p.width(),
            QParams::Codebook(p) => p.width(),
            QParams::BlockFloat(p) => p.width(),
        }
    }

    /// Checks scales and zero points and their number (as far as it does not depend on a shape).
    ///
    /// # Errors
    /// As the `validate` function of the parameters it holds.
    pub fn validate(&self) -> Result<(), QTypeError> {
        match self {
            QParams::Affine(p) => p.validate(),
            QParams::Float(p) => p.validate(),
            QParams::Codebook(p) => p.validate(),
            // Every byte is a scale.
            QParams::BlockFloat(_) => Ok(()),
        }
    }

    /// The parameters of indices `range` of `axis` of a tensor of shape `dims`.
    ///
    /// # Errors
    /// [`QTypeError::BadAxis`], [`QTypeError::BadSlice`]; [`QTypeError::CutsGroup`] when the slice begins inside a
    /// group and goes on into the next one; [`QTypeError::Length`] when the parameters are not those of `dims`; those of
    /// [`QParams::validate`].
    pub fn slice(&self, dims: &[usize], axis: usize, range: Range<usize>) -> Result<Self, QTypeError> {
        self.validate()?;
        let cut = GridSlice::new(self.granularity(), self.param_count(), dims, axis, range)?;
        Ok(match self {
            QParams::Affine(p) => QParams::Affine(AffineParams {
                scale: cut.of(&p.scale),
                zero_point: cut.of(&p.zero_point),
                ..*p
            }),
            QParams::Float(p) => QParams::Float(FloatParams { scale: cut.of(&p.scale), ..*p }),
            QParams::Codebook(p) => QParams::Codebook(CodebookParams { scale: cut.of(&p.scale), ..*p }),
            QParams::BlockFloat(p) => QParams::BlockFloat(BlockFloatParams { scale: cut.of(&p.scale), ..*p }),
        })
    }

    /// Which parameters each of the `len` elements of a tensor of shape `dims` uses, after all checks.
    pub(crate) fn index(&self, dims: &[usize], len: usize) -> Result<ParamIndex, QTypeError> {
        self.validate()?;
        affine::checked_index(self.granularity(), self.param_count(), dims, len)
    }

    /// Codes of elements `first..` of a tensor with this index. `rounding` is for affine codes; the others divide.
    pub(crate) fn encode(
        &self,
        index: &ParamIndex,
        first: usize,
        x: &[f32],
        rounding: Rounding,
        codes: &mut [i32],
    ) {
        match self {
            QParams::Affine(p) => p.encode(index, first, x, rounding, codes),
            QParams::Float(p) => p.encode(index, first, x, codes),
            QParams::Codebook(p) => p.encode(index, first, x, codes),
            QParams::BlockFloat(p) => p.encode(index, first, x, codes),
        }
    }

    /// Values of codes `first..` of a tensor with this index.
    pub(crate) fn decode(&self, index: &ParamIndex, first: usize, codes: &[i32], x: &mut [f32]) {
        match self {
            QParams::Affine(p) => p.decode(index, first, codes, x),
            QParams::Float(p) => p.decode(index, first, codes, x),
            QParams::Codebook(p) => p.decode(index, first, codes, x),
            QParams::BlockFloat(p) => p.decode(index, first, codes, x),
        }
    }
}

impl From<AffineParams> for QParams {
    fn from(params: AffineParams) -> Self {
        QParams::Affine(params)
    }
}

impl From<FloatParams> for QParams {
    fn from(params: FloatParams) -> Self {
        QParams::Float(params)
    }
}

impl From<CodebookParams> for QParams {
    fn from(params: CodebookParams) -> Self {
        QParams::Codebook(params)
    }
}

impl From<BlockFloatParams> for QParams {
    fn from(params: BlockFloatParams) -> Self {
        QParams::BlockFloat(params)
    }
}

/// What a slice of a tensor keeps of its grid of parameters.
struct GridSlice {
    /// Positions of the grid before the axis.
    outer: usize,
    /// Length of the grid's axis.
    len: usize,
    /// Positions of the grid below the axis.
    inner: usize,
    kept: Range<usize>,
}

impl GridSlice {
    fn new(
        granularity: Granularity,
        params: usize,
        dims: &[usize],
        axis: usize,
        range: Range<usize>,
    ) -> Result<Self, QTypeError> {
        let Range { start, end } = range;
        let len = dims.get(axis).copied().ok_or(QTypeError::BadAxis { axis, rank: dims.len() })?;
        if start > end || end > len {
            return Err(QTypeError::BadSlice { axis, start, end, len });
        }
        let expected = granularity.param_count(dims)?;
        if params != expected {
            return Err(QTypeError::Length { what: "scales", expected, got: params });
        }
        // The grid of parameters has the tensor's rank; axes along which they do not change have length 1 there.
        let mut grid: Vec<usize> = vec![1; dims.len()];
        let mut kept = start..end;
        match granularity {
            Granularity::PerTensor => kept = 0..1,
            Granularity::PerChannel { axis: along } => {
                grid[along] = dims[along];
                if along != axis {
                    kept = 0..1;
                }
            }
            Granularity::PerGroup { axis: along, group_size } => {
                grid.copy_from_slice(dims);
                grid[along] = dims[along].div_ceil(group_size);
                if along == axis {
                    let first = start / group_size;
                    let one_group = end <= (first + 1).saturating_mul(group_size);
                    if start % group_size != 0 && !one_group {
                        return Err(QTypeError::CutsGroup { axis, start, end, group_size });
                    }
                    kept = if start == end { 0..0 } else { first..end.div_ceil(group_size) };
                }
            }
        }
        Ok(Self {
            outer: grid[..axis].iter().product(),
            len: grid[axis],
            inner: grid[axis + 1..].iter().product(),
            kept,
        })
    }

    fn of<T: Copy>(&self, values: &[T]) -> Vec<T> {
        let width = self.kept.len() * self.inner;
        if width == 0 || self.outer == 0 {
            return Vec::new();
        }
        let rows = values.chunks_exact(self.len * self.inner);
        let from = self.kept.start * self.inner;
        rows.take(self.outer).flat_map(|row| &row[from..from + width]).copied().collect()
    }
}

/// Affine parameters: `real = scale * (code - zero_point)`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AffineParams {
    /// Type of the codes.
    pub dtype: DType,
    /// Smallest code used.
    pub quant_min: i32,
    /// Largest code used.
    pub quant_max: i32,
    /// What shares a scale.
    pub granularity: Granularity,
    /// One scale per tensor, channel or group (groups in row-major order of the block grid).
    pub scale: Vec<f32>,
    /// One zero point per scale.
    pub zero_point: Vec<i32>,
}

impl AffineParams {
    /// Per-tensor parameters over the full range of `dtype`.
    ///
    /// # Errors
    /// As [`AffineParams::validate`].
    pub fn per_tensor(dtype: DType, scale: f32, zero_point: i32) -> Result<Self, QTypeError> {
        let (quant_min, quant_max) = dtype.quant_range().ok_or(QTypeError::NotQuantized(dtype))?;
        let params = Self {
            dtype,
            quant_min,
            quant_max,
            granularity: Granularity::PerTensor,
            scale: vec![scale],
            zero_point: vec![zero_point],
        };
        params.validate()?;
        Ok(params)
    }

    /// Checks scales, zero points and their number (as far as it does not depend on a shape).
    ///
    /// # Errors
    /// The first of [`QTypeError::NotQuantized`], [`QTypeError::BadRange`], [`QTypeError::Length`],
    /// [`QTypeError::BadScale`] and [`QTypeError::BadZeroPoint`] that holds.
    pub fn validate(&self) -> Result<(), QTypeError> {
        let (lo, hi) = self.dtype.quant_range().ok_or(QTypeError::NotQuantized(self.dtype))?;
        if self.quant_min >= self.quant_max || self.quant_min < lo || self.quant_max > hi {
            return Err(QTypeError::BadRange {
                dtype: self.dtype,
                quant_min: self.quant_min,
                quant_max: self.quant_max,
            });
        }
        if self.scale.len() != self.zero_point.len() {
            return Err(QTypeError::Length {
                what: "zero points",
                expected: self.scale.len(),
                got: self.zero_point.len(),
            });
        }
        if self.granularity == Granularity::PerTensor && self.scale.len() != 1 {
            return Err(QTypeError::Length {
                what: "scales of a per-tensor quantization",
                expected: 1,
                got: self.scale.len(),
            });
        }
        for (index, &scale) in self.scale.iter().enumerate() {
            if !(scale.is_finite() && scale > 0.0) {
                return Err(QTypeError::BadScale { index, scale });
            }
        }
        for (index, &zero_point) in self.zero_point.iter().enumerate() {
            if zero_point < lo || zero_point > hi {
                return Err(QTypeError::BadZeroPoint { index, zero_point, quant_min: lo, quant_max: hi });
            }
        }
        Ok(())
    }

    /// Scale and zero point when one pair serves the whole tensor.
    #[must_use]
    pub fn uniform(&self) -> Option<(f32, i32)> {
        match (self.granularity, self.scale.as_slice(), self.zero_point.as_slice()) {
            (Granularity::PerTensor, [s], [z]) => Some((*s, *z)),
            _ => None,
        }
    }
}
