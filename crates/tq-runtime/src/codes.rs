//! Codes as the kernels hold them: always u8; i8 codes shifted by 128.

use tq_qtypes::Rounding;
use tq_qtypes::{AffineParams, DType, affine};

/// Per-tensor parameters of codes held as u8.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Held {
    /// Real value of one step.
    pub(crate) scale: f32,
    /// Code of real zero, as held.
    pub(crate) zero_point: i32,
    /// Smallest and largest code, as held.
    pub(crate) range: (i32, i32),
    /// True when the codes are i8 in the graph.
    pub(crate) signed: bool,
}

/// What i8 codes are shifted by.
const SHIFT: i32 = 128;

impl Held {
    /// The parameters of 8-bit codes with one scale; `None` for all others.
    pub(crate) fn of(params: &AffineParams) -> Option<Self> {
        let (scale, zero_point) = params.uniform()?;
        let shift = match params.dtype {
            DType::U8 => 0,
            DType::I8 => SHIFT,
            _ => return None,
        };
        Some(Self {
            scale,
            zero_point: zero_point + shift,
            range: (params.quant_min + shift, params.quant_max + shift),
            signed: shift != 0,
        })
    }

    /// The codes that real numbers within `bounds` have: quantization never decreases, so clamping codes is
    /// clamping real numbers.
    pub(crate) fn clamp(&self, bounds: Option<(f32, f32)>) -> (i32, i32) {
        let (lo, hi) = bounds.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
        let code = |x: f32| {
            affine::quantize_f32(x, self.scale, self.zero_point, self.range.0, self.range.1, Rounding::Divide)
        };
        (code(lo), code(hi))
    }

    /// True when codes of both stand for the same real numbers.
    pub(crate) fn same_codes(&self, other: &Self) -> bool {
        self.scale == other.scale && self.zero_point == other.zero_point
    }

    /// The held code of zero.
    pub(crate) fn zero(&self) -> u8 {
        self.zero_point.clamp(0, 255) as u8
    }
}

/// i8 codes as held, and back: adding 128 and taking it off is the same flip of one bit.
pub(crate) const FLIP: u8 = 0x80;
