//! QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear. The arithmetic is that of `tq_qtypes`.

use super::cast::float_to;
use super::{CHUNK, Context, Inputs, tensor_of_f64};
use crate::number::{Number, with_real};
use crate::shape::{axis_index, numel};
use crate::{OpError, Precision, parallel};
use tq_graph::{Element, Tensor};
use tq_qtypes::affine::{self, ParamIndex};
use tq_qtypes::{DType, DynamicFormula, Granularity, Rounding, float8};

/// Attributes that say which elements share parameters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes {
    pub(crate) axis: i64,
    pub(crate) block_size: usize,
}

/// Which parameter an element uses.
enum Layout {
    Tensor,
    Axis { inner: usize, len: usize },
    Blocks(ParamIndex),
}

impl Layout {
    /// The layout of parameters of shape `scale` on a tensor of shape `x`.
    fn new(x: &[usize], scale: &[usize], attrs: Attributes) -> Result<Self, OpError> {
        let Attributes { axis, block_size } = attrs;
        let bad = |why: &str| {
            OpError::Shape(format!(
                "{why}: scale {scale:?}, tensor {x:?}, axis {axis}, block size {block_size}"
            ))
        };
        if block_size > 0 {
            let axis = axis_index(axis, x.len())?;
            let fits = scale.len() == x.len()
                && (0..x.len()).all(|i| scale[i] == if i == axis { x[i].div_ceil(block_size) } else { x[i] });
            if !fits {
                return Err(bad("scales do not form the grid of blocks"));
            }
            let granularity = Granularity::PerGroup { axis, group_size: block_size };
            return Ok(Layout::Blocks(ParamIndex::new(granularity, x)?));
        }
        match scale {
            [] | [1] => Ok(Layout::Tensor),
            [n] => {
                // On a tensor of rank 1 there is one axis, whatever the attribute says.
                let axis = if x.len() == 1 { 0 } else { axis_index(axis, x.len())? };
                if x[axis] != *n {
                    return Err(bad("one scale an index of the axis expected"));
                }
                Ok(Layout::Axis { inner: numel(&x[axis + 1..]), len: *n })
            }
            _ => Err(bad("scale must be a scalar or of rank 1")),
        }
    }

    /// A tensor of shape `dims` of `f(element, parameter)`.
    fn map<X: Element, Y: Element>(
        &self,
        ctx: &Context,
        dtype: DType,
        dims: &[usize],
        x: &[X],
        f: impl Fn(X, usize) -> Y + Sync,
    ) -> Result<Tensor, OpError> {
        let mut out = ctx.zeros::<Y>(dims)?;
        parallel::chunks(&mut out, CHUNK, 1, &|task, out| {
            let start = task * CHUNK;
            let x = &x[start..][..out.len()];
            match self {
                Layout::Tensor => out.iter_mut().zip(x).for_each(|(o, v)| *o = f(*v, 0)),
                Layout::Axis { inner, len } => {
                    let mut at = 0;
                    while at < out.len() {
                        let row = (start + at) / inner;
                        let until = ((row + 1) * inner - start).min(out.len());
                        let run = out[at..until].iter_mut().zip(&x[at..until]);
                        run.for_each(|(o, v)| *o = f(*v, row % len));
                        at = until;
                    }
                }
                Layout::Blocks(index) => {
                    for (i, (o, v)) in out.iter_mut().zip(x).enumerate() {
                        *o = f(*v, index.of(start + i));
                    }
                }
            }
        });
        Ok(Tensor::with_dtype(dtype, dims, out)?)
    }
}

/// How integer codes are kept.
trait Code: Element {
    fn of_code(code: i32) -> Self;
    fn code(self) -> i32;
}

macro_rules! codes {
    ($($t:ty),*) => {$(
        impl Code for $t {
            fn of_code(code: i32) -> Self {
                code as $t
            }
            fn code(self) -> i32 {
                self.into()
            }
        }
    )*};
}
codes!(i8, u8, i16, u16, i32);

/// Runs `$body` with `$t` naming how the integer codes of `$dtype` are kept.
macro_rules! with_code {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            DType::I2 | DType::I4 | DType::I8 => {
                type $t = i8;
                $body
            }
            DType::U2 | DType::U4 | DType::U8 => {
                type $t = u8;
                $body
            }
            DType::I16 => {
                type $t = i16;
                $body
            }
            DType::U16 => {
                type $t = u16;
                $body
            }
            DType::I32 => {
                type $t = i32;
                $body
            }
            got => Err(OpError::DType { what: "the codes", got, expected: "a type of codes".into() }),
        }
    };
}

/// Zero points as integers, one a scale.
fn zero_points(zero_point: Option<&Tensor>, scale: &Tensor) -> Result<Vec<i32>, OpError> {
    let Some(z) = zero_point else { return Ok(vec![0; scale.len()]) };
    check_zero_point(z, scale)?;
    let values = z.to_i64_vec().unwrap_or_default();
    values
        .into_iter()
        .map(|v| i32::try_from(v).map_err(|_| OpError::Attribute(format!("zero point {v}"))))
        .collect()
}

fn check_zero_point(z: &Tensor, scale: &Tensor) -> Result<(), OpError> {
    if z.dims() == scale.dims() || (z.len() == 1 && scale.len() == 1) {
        return Ok(());
    }
    Err(OpError::Shape(format!("zero point of shape {:?}, scale of shape {:?}", z.dims(), scale.dims())))
}

/// Zero points of 8-bit floats as values, one a scale.
fn float8_zero_points(z: Option<&Tensor>, scale: &Tensor, dtype: DType) -> Result<Vec<f64>, OpError> {
    let Some(z) = z else { return Ok(vec![0.0; scale.len()]) };
    check_zero_point(z, scale)?;
    Ok(z.as_slice::<u8>()?.iter().map(|c| float8::decode(*c, dtype).unwrap_or_default()).collect())
}

fn need_float(t: &Tensor, what: &'static str) -> Result<(), OpError> {
    if t.dtype().is_float() {
        return Ok(());
    }
    Err(OpError::DType { what, got: t.dtype(), expected: "a float".into() })
}

/// Codes of a tensor of floats (or of i32, whose quotients are taken in f64).
pub(crate) fn quantize(
    ctx: &Context,
    inputs: Inputs,
    attrs: Attributes,
    output_dtype: Option<DType>,
    saturate: bool,
) -> Result<Tensor, OpError> {
    let (x, scale, zero_point) = (inputs.need(0)?, inputs.need(1)?, inputs.get(2));
    need_float(scale, "the scale")?;
    let dtype = match (zero_point.map(Tensor::dtype), output_dtype) {
        (Some(z), Some(asked)) if z != asked => {
            return Err(OpError::DType { what: "the zero point", got: z, expected: asked.name().into() });
        }
        (Some(d), _) | (None, Some(d)) => d,
        (None, None) => DType::U8,
    };
    let layout = Layout::new(x.dims(), scale.dims(), attrs)?;
    // i32 and f64 values are divided in f64, every other float in f32.
    let wide = match x.dtype() {
        DType::I32 => float_of_integers(x)?,
        d if d.is_float() => {
            let compute =
                if d == DType::F64 || scale.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
            float_to(ctx, x, compute)?
        }
        got => return Err(OpError::DType { what: "input 0", got, expected: "a float or i32".into() }),
    };
    if dtype.is_float8() {
        let z = float8_zero_points(zero_point, scale, dtype)?;
        return quantize_float8(ctx, &layout, &wide, scale, &z, dtype, saturate);
    }
    let z = zero_points(zero_point, scale)?;
    let (lo, hi) = dtype.quant_range().ok_or(tq_qtypes::QTypeError::NotQuantized(dtype))?;
    with_code!(dtype, Q => {
        if wide.dtype() == DType::F64 {
            let s = scale.to_f64_vec().unwrap_or_default();
            let x = wide.as_slice::<f64>()?;
            layout.map(ctx, dtype, wide.dims(), x, |v, p| {
                Q::of_code(affine::quantize_f64(v, s[p], z[p], lo, hi))
            })
        } else {
            let s = scale.to_f32_vec().unwrap_or_default();
            let x = wide.as_slice::<f32>()?;
            layout.map(ctx, dtype, wide.dims(), x, |v, p| {
                Q::of_code(affine::quantize_f32(v, s[p], z[p], lo, hi, Rounding::Divide))
            })
        }
    })
}

fn float_of_integers(x: &Tensor) -> Result<Tensor, OpError> {
    let values = x.as_slice::<i32>()?.iter().map(|v| f64::from(*v)).collect();
    Ok(Tensor::new(x.dims(), values)?)
}

fn quantize_float8(
    ctx: &Context,
    layout: &Layout,
    x: &Tensor,
    scale: &Tensor,
    z: &[f64],
    dtype: DType,
    saturate: bool,
) -> Result<Tensor, OpError> {
    if x.dtype() == DType::F64 {
        let s = scale.to_f64_vec().unwrap_or_default();
        return layout.map(ctx, dtype, x.dims(), x.as_slice::<f64>()?, |v, p| {
            float8::quantize_f64(v, s[p], z[p], dtype, saturate).unwrap_or_default()
        });
    }
    let s = scale.to_f32_vec().unwrap_or_default();
    layout.map(ctx, dtype, x.dims(), x.as_slice::<f32>()?, |v, p| {
        float8::quantize_f32(v, s[p], z[p] as f32, dtype, saturate).unwrap_or_default()
    })
}

/// Real values of codes, in the type of the scale.
pub(crate) fn dequantize(ctx: &Context, inputs: Inputs, attrs: Attributes) -> Result<Tensor, OpError> {
    let (x, scale, zero_point) = (inputs.need(0)?, inputs.need(1)?, inputs.get(2));
    need_float(scale, "the scale")?;
    if let Some(z) = zero_point {
        super::same_dtype(x, z, "the zero point")?;
    }
    let layout = Layout::new(x.dims(), scale.dims(), attrs)?;
    let (dtype, dims) = (x.dtype(), x.dims());
    let exact = scale.dtype() == DType::F64;
    let (s32, s64) = (scale.to_f32_vec().unwrap_or_default(), scale.to_f64_vec().unwrap_or_default());
    let wide = if dtype.is_float8() {
        let z = float8_zero_points(zero_point, scale, dtype)?;
        let codes = x.as_slice::<u8>()?;
        if exact {
            layout.map(ctx, DType::F64, dims, codes, |q, p| {
                float8::dequantize_f64(q, s64[p], z[p], dtype).unwrap_or_default()
            })?
        } else {
            layout.map(ctx, DType::F32, dims, codes, |q, p| {
                float8::dequantize_f32(q, s32[p], z[p] as f32, dtype).unwrap_or_default()
            })?
        }
    } else {
        let z = zero_points(zero_point, scale)?;
        with_code!(dtype, Q => {
            let codes = x.as_slice::<Q>()?;
            if exact {
                layout.map(ctx, DType::F64, dims, codes, |q, p| affine::dequantize_f64(q.code(), s64[p], z[p]))
            } else {
                layout.map(ctx, DType::F32, dims, codes, |q, p| affine::dequantize_f32(q.code(), s32[p], z[p]))
            }
        })?
    };
    float_to(ctx, &wide, scale.dtype())
}

/// Codes, scale and zero point from the range of the tensor itself.
pub(crate) fn dynamic_quantize(
    ctx: &Context,
    x: &Tensor,
    formula: DynamicFormula,
) -> Result<Vec<Tensor>, OpError> {
    let wide = match x.dtype() {
        DType::F64 => x.clone(),
        _ => {
            need_float(x, "input 0")?;
            float_to(ctx, x, DType::F32)?
        }
    };
    let (min, max) = with_real!(wide.dtype(), T => {
        // `min` and `max` pass over NaN.
        let ends = wide.as_slice::<T>()?.iter().fold((0.0, 0.0), |(lo, hi): (T, T), v| (lo.min(*v), hi.max(*v)));
        Ok::<_, OpError>((Number::to_f64(ends.0) as f32, Number::to_f64(ends.1) as f32))
    })?;
    let (scale, zero_point) = formula.qparams(min, max)?;
    let scale_dtype = if ctx.precision == Precision::F64 { DType::F64 } else { DType::F32 };
    let scale32 = scale;
    let scale = tensor_of_f64(scale_dtype, &[], vec![f64::from(scale)])?;
    let zero = Tensor::scalar(zero_point as u8);
    let codes = if let (Ok(x), Precision::F32) = (wide.as_slice::<f32>(), ctx.precision) {
        super::map(ctx, x, wide.dims(), |v| formula.code(v, scale32, zero_point))?
    } else {
        // The judge divides, whatever the formula.
        let inputs = [Some(&wide), Some(&scale), Some(&zero)];
        quantize(ctx, Inputs(&inputs), Attributes { axis: 0, block_size: 0 }, None, true)?
    };
    Ok(vec![codes, scale, zero])
}
