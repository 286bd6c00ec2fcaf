//! The four 8-bit floating-point formats of ONNX.
//!
//! Formats and conversion rules: the ONNX operator documents "Float stored in 8 bits".
//! Rounding is to nearest, ties to even. With `saturate`, values beyond the largest finite one become it;
//! without, they become NaN, or infinity where the format has one.

use crate::DType;

struct Format {
    mantissa_bits: i32,
    bias: i32,
    max_code: u8,
    nan: u8,
    infinity: Option<u8>,
    /// FNUZ formats: one NaN (0x80) and no negative zero.
    unsigned_zero: bool,
}

const fn format(dtype: DType) -> Option<Format> {
    Some(match dtype {
        DType::F8E4M3FN => Format {
            mantissa_bits: 3,
            bias: 7,
            max_code: 0x7E,
            nan: 0x7F,
            infinity: None,
            unsigned_zero: false,
        },
        DType::F8E4M3FNUZ => Format {
            mantissa_bits: 3,
            bias: 8,
            max_code: 0x7F,
            nan: 0x80,
            infinity: None,
            unsigned_zero: true,
        },
        DType::F8E5M2 => Format {
            mantissa_bits: 2,
            bias: 15,
            max_code: 0x7B,
            nan: 0x7F,
            infinity: Some(0x7C),
            unsigned_zero: false,
        },
        DType::F8E5M2FNUZ => Format {
            mantissa_bits: 2,
            bias: 16,
            max_code: 0x7F,
            nan: 0x80,
            infinity: None,
            unsigned_zero: true,
        },
        _ => return None,
    })
}

/// Code of `x` in the format `dtype`; `None` when `dtype` is not an 8-bit float.
#[must_use]
pub fn encode(x: f64, dtype: DType, saturate: bool) -> Option<u8> {
    let f = format(dtype)?;
    let sign: u8 = if x.is_sign_negative() { 0x80 } else { 0 };
    // FNUZ formats have their only NaN at 0x80: no sign to add.
    let nan = if f.unsigned_zero { f.nan } else { f.nan | sign };
    if x.is_nan() {
        return Some(nan);
    }
    let a = x.abs();
    let overflow = match (saturate, f.infinity) {
        (true, _) => sign | f.max_code,
        (false, Some(inf)) => sign | inf,
        (false, None) => nan,
    };
    if a.is_infinite() {
        return Some(overflow);
    }
    // In units of the last place of the binade of `a`, or of the subnormal range; dividing by a power of two is exact.
    let exponent = exponent_of(a).max(1 - f.bias);
    let units = round_ties_even(a * exp2(f.mantissa_bits - exponent));
    // Codes count in steps of one unit, so that rounding up to the next binade carries into the exponent.
    let code = ((exponent + f.bias - 1) << f.mantissa_bits) + units;
    if code > i32::from(f.max_code) {
        return Some(overflow);
    }
    if code == 0 && f.unsigned_zero {
        return Some(0);
    }
    Some(sign | code as u8)
}

/// Value of a code of the format `dtype`; `None` when `dtype` is not an 8-bit float.
#[must_use]
pub fn decode(code: u8, dtype: DType) -> Option<f64> {
    let f = format(dtype)?;
    let negative = code & 0x80 != 0;
    let magnitude = code & 0x7F;
    if f.unsigned_zero {
        if code == f.nan {
            return Some(f64::NAN);
        }
    } else if let Some(inf) = f.infinity {
        if magnitude == inf {
            return Some(if negative { f64::NEG_INFINITY } else { f64::INFINITY });
        }
        if magnitude > inf {
            return Some(f64::NAN);
        }
    } else if magnitude == f.nan {
        return Some(f64::NAN);
    }
    let hidden = 1i32 << f.mantissa_bits;
    let mantissa = i32::from(magnitude) & (hidden - 1);
    let exponent = i32::from(magnitude) >> f.mantissa_bits;
    let value = if exponent == 0 {
        f64::from(mantissa) * exp2(1 - f.bias - f.mantissa_bits)
    } else {
        f64::from(hidden + mantissa) * exp2(exponent - f.bias - f.mantissa_bits)
    };
    Some(if negative { -value } else { value })
}

/// Code of `x / scale + zero_point`, in f32 arithmetic up to the encoding; `None` when `dtype` is not an 8-bit float.
///
/// A zero point of 0 keeps the sign of a negative zero.
#[must_use]
pub fn quantize_f32(x: f32, scale: f32, zero_point: f32, dtype: DType, saturate: bool) -> Option<u8> {
    let scaled = x / scale;
    encode(f64::from(if zero_point == 0.0 { scaled } else { scaled + zero_point }), dtype, saturate)
}

/// [`quantize_f32`] in f64 arithmetic, rounding only in the encoding.
#[must_use]
pub fn quantize_f64(x: f64, scale: f64, zero_point: f64, dtype: DType, saturate: bool) -> Option<u8> {
    let scaled = x / scale;
    encode(if zero_point == 0.0 { scaled } else { scaled + zero_point }, dtype, saturate)
}

/// `scale * (code - zero_point)` in f32 arithmetic; `None` when `dtype` is not an 8-bit float.
#[must_use]
pub fn dequantize_f32(code: u8, scale: f32, zero_point: f32, dtype: DType) -> Option<f32> {
    decode(code, dtype).map(|v| (v as f32 - zero_point) * scale)
}

/// [`dequantize_f32`] in f64 arithmetic.
#[must_use]
pub fn dequantize_f64(code: u8, scale: f64, zero_point: f64, dtype: DType) -> Option<f64> {
    decode(code, dtype).map(|v| (v - zero_point) * scale)
}

fn exp2(e: i32) -> f64 {
    // Exact: every exponent used here is far inside the range of normal f64 numbers.
    f64::from_bits(((e + 1023) as u64) << 52)
}

/// The integer nearest to `x`, half to even, for `x` from 0 up to far more than any mantissa has.
fn round_ties_even(x: f64) -> i32 {
    // Near 2^52 the f64 numbers are the integers, so that adding it rounds; its lowest bits count from there.
    const SHIFT: f64 = (1u64 << 52) as f64;
    (x + SHIFT).to_bits() as i32
}

/// Binary exponent of a positive finite value; f64 subnormals are below every format's range.
fn exponent_of(a: f64) -> i32 {
    ((a.to_bits() >> 52) & 0x7FF) as i32 - 1023
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [DType; 4] = [DType::F8E4M3FN, DType::F8E4M3FNUZ, DType::F8E5M2, DType::F8E5M2FNUZ];

    #[test]
    fn every_code_survives_a_round_trip() {
        for dtype in ALL {
            for code in 0..=255u8 {
                let x = decode(code, dtype).unwrap();
                let back = encode(x, dtype, false).unwrap();
                let again = decode(back, dtype).unwrap();
                assert!(x.is_nan() && again.is_nan() || back == code, "{dtype} {code:#x} {x} {back:#x}");
            }
        }
    }

    #[test]
    fn rounding_is_to_the_nearest_code_and_ties_go_to_even() {
        for dtype in ALL {
            let mut codes: Vec<(f64, u8)> = (0..=255u8)
                .map(|c| (decode(c, dtype).unwrap(), c))
                .filter(|(x, _)| x.is_finite() && *x >= 0.0 && x.is_sign_positive())
                .collect();
            codes.sort_by(|a, b| a.0.total_cmp(&b.0));
            for pair in codes.windows(2) {
                let ((lo, lo_code), (hi, hi_code)) = (pair[0], pair[1]);
                let mid = (lo + hi) / 2.0;
                let even = if lo_code % 2 == 0 { lo_code } else { hi_code };
                assert_eq!(encode(mid, dtype, true), Some(even), "{dtype} tie at {mid}");
                assert_eq!(encode(mid * (1.0 - 1e-9), dtype, true), Some(lo_code));
                assert_eq!(encode(mid * (1.0 + 1e-9), dtype, true), Some(hi_code));
            }
        }
    }

    #[test]
    fn overflow_saturates_or_not_as_asked() {
        assert_eq!(encode(1e9, DType::F8E4M3FN, true), Some(0x7E));
        assert_eq!(encode(1e9, DType::F8E4M3FN, false), Some(0x7F));
        assert_eq!(encode(-1e9, DType::F8E5M2, false), Some(0xFC));
        assert_eq!(encode(-1e9, DType::F8E5M2FNUZ, false), Some(0x80));
        assert_eq!(encode(f64::INFINITY, DType::F8E5M2, true), Some(0x7B));
        assert_eq!(encode(1.0, DType::F32, true), None);
    }
}
