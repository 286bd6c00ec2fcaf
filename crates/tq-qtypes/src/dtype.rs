//! Element types of tensors.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Element type of a tensor, named as in Rust, or as in ONNX for the 8-bit floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DType {
    /// IEEE 754 binary16.
    F16,
    /// bfloat16: the upper half of binary32.
    BF16,
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
    /// Signed 2-bit integer, -2..=1.
    I2,
    /// Unsigned 2-bit integer, 0..=3.
    U2,
    /// Signed 4-bit integer, -8..=7.
    I4,
    /// Unsigned 4-bit integer, 0..=15.
    U4,
    /// Signed 8-bit integer.
    I8,
    /// Unsigned 8-bit integer.
    U8,
    /// Signed 16-bit integer.
    I16,
    /// Unsigned 16-bit integer.
    U16,
    /// Signed 32-bit integer.
    I32,
    /// Unsigned 32-bit integer.
    U32,
    /// Signed 64-bit integer.
    I64,
    /// Unsigned 64-bit integer.
    U64,
    /// Truth value.
    Bool,
    /// ONNX FLOAT8E4M3FN: no infinity, one NaN per sign.
    F8E4M3FN,
    /// ONNX FLOAT8E4M3FNUZ: no infinity, one NaN, no negative zero.
    F8E4M3FNUZ,
    /// ONNX FLOAT8E5M2: IEEE-like, with infinities.
    F8E5M2,
    /// ONNX FLOAT8E5M2FNUZ: no infinity, one NaN, no negative zero.
    F8E5M2FNUZ,
}

impl DType {
    /// Every type.
    pub const ALL: [DType; 21] = [
        DType::F16,
        DType::BF16,
        DType::F32,
        DType::F64,
        DType::I2,
        DType::U2,
        DType::I4,
        DType::U4,
        DType::I8,
        DType::U8,
        DType::I16,
        DType::U16,
        DType::I32,
        DType::U32,
        DType::I64,
        DType::U64,
        DType::Bool,
        DType::F8E4M3FN,
        DType::F8E4M3FNUZ,
        DType::F8E5M2,
        DType::F8E5M2FNUZ,
    ];

    /// The type of this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|d| d.name() == name)
    }

    /// Width of one element in bits.
    #[must_use]
    pub const fn bits(self) -> usize {
        match self {
            DType::I2 | DType::U2 => 2,
            DType::I4 | DType::U4 => 4,
            DType::I8
            | DType::U8
            | DType::Bool
            | DType::F8E4M3FN
            | DType::F8E4M3FNUZ
            | DType::F8E5M2
            | DType::F8E5M2FNUZ => 8,
            DType::F16 | DType::BF16 | DType::I16 | DType::U16 => 16,
            DType::F32 | DType::I32 | DType::U32 => 32,
            DType::F64 | DType::I64 | DType::U64 => 64,
        }
    }

    /// Bytes that `numel` packed elements take.
    ///
    /// Two-bit elements are packed four a byte and 4-bit ones two a byte; the last byte may be partly used.
    #[must_use]
    pub const fn packed_bytes(self, numel: usize) -> usize {
        match self.bits() {
            2 => numel.div_ceil(4),
            4 => numel.div_ceil(2),
            bits => numel.saturating_mul(bits / 8),
        }
    }

    /// Number of elements of a shape; `None` when a tensor of it cannot be held in memory: when the product of the
    /// dimensions that are not zero, times the bytes of an element (at least one), exceeds `isize::MAX`.
    ///
    /// Zero-sized dimensions do not hide an overflow of the others.
    #[must_use]
    pub fn checked_numel(self, dims: &[usize]) -> Option<usize> {
        let non_zero = dims.iter().filter(|d| **d != 0).try_fold(1usize, |n, d| n.checked_mul(*d))?;
        isize::try_from(non_zero.checked_mul(self.bits().div_ceil(8))?).ok()?;
        Some(if dims.contains(&0) { 0 } else { non_zero })
    }

    /// True for f16, bf16, f32 and f64 (not for the 8-bit floats, which are storage formats).
    #[must_use]
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F16 | DType::BF16 | DType::F32 | DType::F64)
    }

    /// True for the four 8-bit floating-point formats.
    #[must_use]
    pub const fn is_float8(self) -> bool {
        matches!(self, DType::F8E4M3FN | DType::F8E4M3FNUZ | DType::F8E5M2 | DType::F8E5M2FNUZ)
    }

    /// True for every integer type, not for bool.
    #[must_use]
    pub const fn is_integer(self) -> bool {
        !self.is_float() && !self.is_float8() && !matches!(self, DType::Bool)
    }

    /// True for integers of at most 8 bits: those whose codes 8-bit kernels take as weights.
    #[must_use]
    pub const fn fits_8_bits(self) -> bool {
        self.is_integer() && self.bits() <= 8
    }

    /// True for integers of at most 4 bits: those that the kernels for weights in groups take.
    #[must_use]
    pub const fn fits_4_bits(self) -> bool {
        self.is_integer() && self.bits() <= 4
    }

    /// Smallest and largest code of an integer type of at most 32 bits, signed or unsigned below 32;
    /// `None` for all others, which do not hold quantized codes.
    #[must_use]
    pub const fn quant_range(self) -> Option<(i32, i32)> {
        match self {
            DType::I2 => Some((-2, 1)),
            DType::U2 => Some((0, 3)),
            DType::I4 => Some((-8, 7)),
            DType::U4 => Some((0, 15)),
            DType::I8 => Some((-128, 127)),
            DType::U8 => Some((0, 255)),
            DType::I16 => Some((-32_768, 32_767)),
            DType::U16 => Some((0, 65_535)),
            DType::I32 => Some((i32::MIN, i32::MAX)),
            _ => None,
        }
    }

    /// The name used in messages, files and configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::I2 => "i2",
            DType::U2 => "u2",
            DType::I4 => "i4",
            DType::U4 => "u4",
            DType::I8 => "i8",
            DType::U8 => "u8",
            DType::I16 => "i16",
            DType::U16 => "u16",
            DType::I32 => "i32",
            DType::U32 => "u32",
            DType::I64 => "i64",
            DType::U64 => "u64",
            DType::Bool => "bool",
            DType::F8E4M3FN => "f8e4m3fn",
            DType::F8E4M3FNUZ => "f8e4m3fnuz",
            DType::F8E5M2 => "f8e5m2",
            DType::F8E5M2FNUZ => "f8e5m2fnuz",
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Has to be told of a new type, which then has to be in [`DType::ALL`] too.
    fn place(dtype: DType) -> usize {
        match dtype {
            DType::F16
            | DType::BF16
            | DType::F32
            | DType::F64
            | DType::I2
            | DType::U2
            | DType::I4
            | DType::U4
            | DType::I8
            | DType::U8
            | DType::I16
            | DType::U16
            | DType::I32
            | DType::U32
            | DType::I64
            | DType::U64
            | DType::Bool
            | DType::F8E4M3FN
            | DType::F8E4M3FNUZ
            | DType::F8E5M2
            | DType::F8E5M2FNUZ => dtype as usize,
        }
    }

    #[test]
    fn every_type_is_found_by_its_name() {
        for (i, dtype) in DType::ALL.into_iter().enumerate() {
            assert_eq!(place(dtype), i);
            assert_eq!(DType::by_name(dtype.name()), Some(dtype));
        }
        assert_eq!(DType::by_name("f33"), None);
    }
}
