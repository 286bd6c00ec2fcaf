//! Cast.
//!
//! * Float to integer truncates towards zero; NaN becomes 0 and values outside the type saturate
//!   (ONNX leaves both undefined).
//! * Integer to integer keeps the low bits, sign-extended for signed types.
//! * Float to `i2`, `u2`, `i4` and `u4` rounds half to even and saturates, as ONNX's own cases do.
//! * Float to a narrower float rounds once, to nearest even. 8-bit floats follow `saturate`.
//! * Anything but zero is true, NaN included.

use super::Context;
use crate::number::{f64_to_bf16, f64_to_f16, with_storage};
use crate::{OpError, Precision};
use half::{bf16, f16};
use tq_graph::{Element, Tensor};
use tq_qtypes::{DType, float8};

/// The element types of storage, seen as sources and targets of conversions.
trait Castable: Element {
    /// The value: as f64 for floats, exactly; as i128 for integers and bool.
    fn wide(self) -> Wide;
    /// A float value, rounded once or truncated and saturated.
    fn of_float(value: f64) -> Self;
    /// An integer value: its low bits, or the nearest float.
    fn of_integer(value: i128) -> Self;
}

/// A value of any type.
#[derive(Clone, Copy)]
enum Wide {
    Float(f64),
    Integer(i128),
}

macro_rules! castable {
    ($($t:ident: $wide:expr, $of_float:expr, $of_integer:expr;)*) => {$(
        impl Castable for $t {
            fn wide(self) -> Wide {
                let wide: fn($t) -> Wide = $wide;
                wide(self)
            }
            fn of_float(value: f64) -> Self {
                let convert: fn(f64) -> $t = $of_float;
                convert(value)
            }
            fn of_integer(value: i128) -> Self {
                let convert: fn(i128) -> $t = $of_integer;
                convert(value)
            }
        }
    )*};
}
castable! {
    f16: |v| Wide::Float(v.to_f64()), f64_to_f16, |v| f64_to_f16(sticky_f64(v));
    bf16: |v| Wide::Float(v.to_f64()), f64_to_bf16, |v| f64_to_bf16(sticky_f64(v));
    f32: |v| Wide::Float(f64::from(v)), |v| v as f32, |v| v as f32;
    f64: Wide::Float, |v| v, |v| v as f64;
    i8: |v| Wide::Integer(v.into()), |v| v as i8, |v| v as i8;
    u8: |v| Wide::Integer(v.into()), |v| v as u8, |v| v as u8;
    i16: |v| Wide::Integer(v.into()), |v| v as i16, |v| v as i16;
    u16: |v| Wide::Integer(v.into()), |v| v as u16, |v| v as u16;
    i32: |v| Wide::Integer(v.into()), |v| v as i32, |v| v as i32;
    u32: |v| Wide::Integer(v.into()), |v| v as u32, |v| v as u32;
    i64: |v| Wide::Integer(v.into()), |v| v as i64, |v| v as i64;
    u64: |v| Wide::Integer(v.into()), |v| v as u64, |v| v as u64;
    bool: |v| Wide::Integer(v.into()), |v| v != 0.0, |v| v != 0;
}

/// An integer of up to 64 bits as f64 whose last bit tells that something was lost, so that rounding it further
/// to 16 bits rounds only once.
fn sticky_f64(v: i128) -> f64 {
    if v.unsigned_abs() >> 53 == 0 {
        return v as f64;
    }
    let lost = v & 0xFFF != 0;
    ((v & !0xFFF) | (i128::from(lost) << 12)) as f64
}

/// The tensor with its elements converted; in the judge's precision every float target is f64.
pub(crate) fn cast(ctx: &Context, x: &Tensor, to: DType, saturate: bool) -> Result<Tensor, OpError> {
    let to = if ctx.precision == Precision::F64 && to.is_float() { DType::F64 } else { to };
    convert(ctx, x, to, saturate)
}

/// A float tensor as the float type `to`.
pub(crate) fn float_to(ctx: &Context, x: &Tensor, to: DType) -> Result<Tensor, OpError> {
    match (x.dtype(), to) {
        // The two conversions that every judged run and every f16 model makes often.
        (DType::F32, DType::F64) => {
            let mut out = ctx.zeros::<f64>(x.dims())?;
            out.iter_mut().zip(x.as_slice::<f32>()?).for_each(|(o, v)| *o = f64::from(*v));
            Ok(Tensor::new(x.dims(), out)?)
        }
        (DType::F16, DType::F32) => {
            let mut out = ctx.zeros::<f32>(x.dims())?;
            out.iter_mut().zip(x.as_slice::<f16>()?).for_each(|(o, v)| *o = v.to_f32());
            Ok(Tensor::new(x.dims(), out)?)
        }
        _ => convert(ctx, x, to, true),
    }
}

fn convert(ctx: &Context, x: &Tensor, to: DType, saturate: bool) -> Result<Tensor, OpError> {
    if x.dtype() == to {
        return Ok(x.clone());
    }
    with_storage!(x.dtype(), S => {
        let data = x.as_slice::<S>()?;
        let wide = |v: S| match x.dtype() {
            // Codes of 8-bit floats are kept as u8, which says nothing about their value.
            d if d.is_float8() => match v.wide() {
                Wide::Integer(code) => Wide::Float(float8::decode(code as u8, d).unwrap_or(f64::NAN)),
                float => float,
            },
            _ => v.wide(),
        };
        into(ctx, x.dims(), data, wide, to, saturate)
    })
}

fn into<S: Copy>(
    ctx: &Context,
    dims: &[usize],
    data: &[S],
    wide: impl Fn(S) -> Wide,
    to: DType,
    saturate: bool,
) -> Result<Tensor, OpError> {
    match to {
        DType::I2 | DType::I4 => {
            let unused = 8 - to.bits();
            let code = |v| match v {
                Wide::Float(v) => round_clamped(v, to) as i8,
                Wide::Integer(v) => ((v as i8) << unused) >> unused,
            };
            store::<S, i8>(ctx, dims, data, |v| code(wide(v)), to)
        }
        DType::U2 | DType::U4 => {
            let unused = 8 - to.bits();
            let code = |v| match v {
                Wide::Float(v) => round_clamped(v, to) as u8,
                Wide::Integer(v) => ((v as u8) << unused) >> unused,
            };
            store::<S, u8>(ctx, dims, data, |v| code(wide(v)), to)
        }
        d if d.is_float8() => {
            let code = |v| {
                let v = match v {
                    Wide::Float(v) => v,
                    Wide::Integer(v) => sticky_f64(v),
                };
                float8::encode(v, d, saturate).unwrap_or_default()
            };
            store::<S, u8>(ctx, dims, data, |v| code(wide(v)), to)
        }
        _ => with_storage!(to, T => {
            let one = |v| match v {
                Wide::Float(v) => T::of_float(v),
                Wide::Integer(v) => T::of_integer(v),
            };
            store::<S, T>(ctx, dims, data, |v| one(wide(v)), to)
        }),
    }
}

/// The nearest code of a type narrower than a byte.
fn round_clamped(v: f64, to: DType) -> i32 {
    let (lo, hi) = to.quant_range().unwrap_or((0, 0));
    // With unit scale this is quantization, NaN included.
    tq_qtypes::affine::quantize_f64(v, 1.0, 0, lo, hi)
}

fn store<S: Copy, T: Element>(
    ctx: &Context,
    dims: &[usize],
    data: &[S],
    f: impl Fn(S) -> T,
    to: DType,
) -> Result<Tensor, OpError> {
    let mut out = ctx.zeros::<T>(dims)?;
    out.iter_mut().zip(data).for_each(|(o, v)| *o = f(*v));
    Ok(Tensor::with_dtype(to, dims, out)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CTX: Context = Context { precision: Precision::F32, max_tensor_bytes: 1 << 20 };

    fn cast_f32(values: &[f32], to: DType) -> Tensor {
        cast(&CTX, &Tensor::vector(values.to_vec()), to, true).unwrap()
    }

    #[test]
    fn floats_truncate_saturate_and_nan_is_zero() {
        let x = [1.9, -1.9, 300.0, -300.0, f32::NAN, f32::INFINITY];
        assert_eq!(cast_f32(&x, DType::I8).as_slice::<i8>().unwrap(), [1, -1, 127, -128, 0, 127]);
        assert_eq!(cast_f32(&x, DType::U8).as_slice::<u8>().unwrap(), [1, 0, 255, 0, 0, 255]);
        assert_eq!(
            cast_f32(&[0.0, -0.0, f32::NAN, 0.5], DType::Bool).as_slice::<bool>().unwrap(),
            [false, false, true, true]
        );
    }

    #[test]
    fn floats_round_half_to_even_on_the_way_to_two_bits() {
        let x = [0.5, 1.5, -0.5, -1.5, 9.0, -9.0, f32::NAN];
        assert_eq!(cast_f32(&x, DType::I2).as_slice::<i8>().unwrap(), [0, 1, 0, -2, 1, -2, -2]);
        assert_eq!(cast_f32(&x, DType::U2).as_slice::<u8>().unwrap(), [0, 2, 0, 0, 3, 0, 0]);
    }

    #[test]
    fn integers_keep_their_low_bits() {
        let x = Tensor::vector(vec![-1i64, 300, 24, 8]);
        let to = |d| cast(&CTX, &x, d, true).unwrap();
        assert_eq!(to(DType::U8).as_slice::<u8>().unwrap(), [255, 44, 24, 8]);
        assert_eq!(to(DType::I4).as_slice::<i8>().unwrap(), [-1, -4, -8, -8]);
        assert_eq!(to(DType::U4).as_slice::<u8>().unwrap(), [15, 12, 8, 8]);
        assert_eq!(to(DType::I2).as_slice::<i8>().unwrap(), [-1, 0, 0, 0]);
        assert_eq!(to(DType::U2).as_slice::<u8>().unwrap(), [3, 0, 0, 0]);
        let big = Tensor::vector(vec![u64::MAX]);
        assert_eq!(cast(&CTX, &big, DType::I64, true).unwrap().as_slice::<i64>().unwrap(), [-1]);
    }

    #[test]
    fn integers_round_once_on_the_way_to_sixteen_bits() {
        // Just above the tie between 2^60 and the next bf16.
        let x = Tensor::vector(vec![(1i64 << 60) + (1 << 52) + 1]);
        let y = cast(&CTX, &x, DType::BF16, true).unwrap();
        assert_eq!(y.as_slice::<bf16>().unwrap()[0].to_f64(), 2f64.powi(60) + 2f64.powi(53));
        let x = Tensor::vector(vec![(1i64 << 24) + 1, i64::MIN]);
        let y = cast(&CTX, &x, DType::F32, true).unwrap();
        assert_eq!(y.as_slice::<f32>().unwrap(), [16_777_216.0, -9.223_372e18]);
    }

    #[test]
    fn the_judge_keeps_f64() {
        let ctx = Context { precision: Precision::F64, ..CTX };
        let x = Tensor::vector(vec![0.1f64]);
        for to in [DType::F16, DType::BF16, DType::F32, DType::F64] {
            let y = cast(&ctx, &x, to, true).unwrap();
            assert_eq!(y.as_slice::<f64>().unwrap(), [0.1]);
        }
    }
}
