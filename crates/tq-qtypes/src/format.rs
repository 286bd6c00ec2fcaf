//! What is asked of a quantizer, whatever its scheme.

use crate::block_float::{BlockFloatParams, BlockFormat};
use crate::codebook::{Codebook, CodebookParams};
use crate::narrow_float::FloatParams;
use crate::{AffineParams, DType, Granularity, QParams, QTypeError, QuantSpec};
use serde::{Deserialize, Serialize};

/// A quantized format without its scales, which [`QuantFormat::params_for`] finds in data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum QuantFormat {
    /// Integers with scales and zero points.
    Affine(QuantSpec),
    /// f16, bf16 or an 8-bit float.
    Float {
        /// The type of the codes.
        dtype: DType,
        /// What shares a scale; `None` for a cast without scales.
        scaled: Option<Granularity>,
    },
    /// Entries of a table, with the largest magnitude of each block as its scale.
    Codebook {
        /// The table.
        codebook: Codebook,
        /// What shares a scale.
        granularity: Granularity,
    },
    /// MX blocks.
    BlockFloat {
        /// What the elements are.
        format: BlockFormat,
        /// The axis that is cut into blocks.
        axis: usize,
    },
}

impl QuantFormat {
    /// NF4 in blocks of `block_size` along `axis`, the last of which may be shorter.
    #[must_use]
    pub const fn nf4(axis: usize, block_size: usize) -> Self {
        let granularity = Granularity::PerGroup { axis, group_size: block_size };
        QuantFormat::Codebook { codebook: Codebook::Nf4, granularity }
    }

    /// The parameters for this data, a row-major tensor of shape `dims`.
    ///
    /// # Errors
    /// Those of the `from_data` function of the parameters.
    pub fn params_for(&self, x: &[f32], dims: &[usize]) -> Result<QParams, QTypeError> {
        Ok(match *self {
            QuantFormat::Affine(spec) => AffineParams::from_data(x, dims, &spec)?.into(),
            QuantFormat::Float { dtype, scaled: None } => FloatParams::cast(dtype)?.into(),
            QuantFormat::Float { dtype, scaled: Some(granularity) } => {
                FloatParams::from_data(x, dims, dtype, granularity)?.into()
            }
            QuantFormat::Codebook { codebook, granularity } => {
                CodebookParams::from_data(x, dims, codebook, granularity)?.into()
            }
            QuantFormat::BlockFloat { format, axis } => {
                BlockFloatParams::from_data(x, dims, format, axis)?.into()
            }
        })
    }
}

impl From<QuantSpec> for QuantFormat {
    fn from(spec: QuantSpec) -> Self {
        QuantFormat::Affine(spec)
    }
}
