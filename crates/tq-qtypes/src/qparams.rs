//! What a quantizer decided.

use crate::{DType, Granularity, QTypeError};
use serde::{Deserialize, Serialize};

/// Parameters of a quantized tensor.
///
/// An enum from the start, because codebooks (NF4) and block floats (MX) are not affine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum QParams {
    /// `real = scale * (code - zero_point)`.
    Affine(AffineParams),
}

impl QParams {
    /// The affine parameters, if these are affine.
    #[must_use]
    pub fn as_affine(&self) -> Option<&AffineParams> {
        match self {
            QParams::Affine(p) => Some(p),
        }
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
