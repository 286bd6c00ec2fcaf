//! MatMulInteger, ConvInteger, QLinearMatMul, QLinearConv.
//!
//! Sums are exact: codes less their zero points are integers below 2^9, so that f64 holds every partial sum of up to
//! 2^35 products exactly, and the matrix product of floats serves.

use super::conv::{ConvShape, check_bias};
use super::matmul::Batches;
use super::{Context, Inputs, same_dtype};
use crate::OpError;
use crate::shape::{broadcast_strides, broadcasts_to, numel};
use tq_graph::Tensor;
use tq_graph::op::ConvAttrs;
use tq_qtypes::DType;
use tq_qtypes::requantize::{multiplier, requantize_wide};

/// Which axis of a matrix product's operand has zero points and scales of its own.
#[derive(Clone, Copy)]
enum Along {
    Rows,
    Columns,
}

fn codes(t: &Tensor, what: &'static str) -> Result<Vec<i64>, OpError> {
    match t.dtype() {
        DType::U8 | DType::I8 => Ok(t.to_i64_vec().unwrap_or_default()),
        got => Err(OpError::DType { what, got, expected: "u8 or i8".into() }),
    }
}

/// The shape that makes a parameter (scalar, one a row or column, or of full rank) broadcast over `dims`.
fn parameter_dims(parameter: &Tensor, dims: &[usize], along: Along) -> Result<Vec<usize>, OpError> {
    let own = parameter.dims();
    let shape = match (own, along) {
        _ if parameter.len() == 1 => vec![],
        ([n], Along::Rows) => vec![*n, 1],
        _ => own.to_vec(),
    };
    let varies_elsewhere = match along {
        Along::Rows => shape.last().is_some_and(|d| *d != 1),
        Along::Columns => shape.len() > 1 && shape[shape.len() - 2] != 1,
    };
    if varies_elsewhere || !broadcasts_to(&shape, dims) {
        return Err(OpError::Shape(format!("a parameter of shape {own:?} for a tensor of shape {dims:?}")));
    }
    Ok(shape)
}

/// For every element of `dims` in row-major order, the index of its parameter of shape `parameter`.
fn parameter_indices<'a>(parameter: &[usize], dims: &'a [usize]) -> impl Iterator<Item = usize> + 'a {
    let steps = broadcast_strides(parameter, dims);
    (0..numel(dims)).map(move |index| {
        let mut rest = index;
        let mut at = 0;
        for (len, step) in dims.iter().zip(&steps).rev() {
            at += rest % len * step;
            rest /= len;
        }
        at
    })
}

/// Codes less their zero points.
fn centred(
    ctx: &Context,
    t: &Tensor,
    zero_point: Option<&Tensor>,
    along: Along,
    what: &'static str,
) -> Result<Vec<f64>, OpError> {
    let values = codes(t, what)?;
    ctx.numel::<f64>(t.dims())?;
    let Some(z) = zero_point else { return Ok(values.into_iter().map(|v| v as f64).collect()) };
    same_dtype(t, z, "a zero point")?;
    let shape = parameter_dims(z, t.dims(), along)?;
    let z = codes(z, "a zero point")?;
    if let [z] = z[..] {
        return Ok(values.into_iter().map(|v| (v - z) as f64).collect());
    }
    Ok(values.into_iter().zip(parameter_indices(&shape, t.dims())).map(|(v, p)| (v - z[p]) as f64).collect())
}

/// Exact sums of products of two code tensors.
fn products(
    ctx: &Context,
    (a, a_zero_point): (&Tensor, Option<&Tensor>),
    (b, b_zero_point): (&Tensor, Option<&Tensor>),
) -> Result<(Batches, Vec<f64>), OpError> {
    let batches = Batches::new(a.dims(), b.dims())?;
    // A vector is one row on the left and one column on the right: only scalars make sense there.
    let x = centred(ctx, a, a_zero_point, Along::Rows, "a")?;
    let y = centred(ctx, b, b_zero_point, Along::Columns, "b")?;
    let sums = batches.multiply::<f64>(ctx, &x, &y)?;
    Ok((batches, sums))
}

/// Exact integers as i32, wrapped as the i32 accumulator of ONNX would.
fn wrapped(dims: &[usize], sums: &[f64]) -> Result<Tensor, OpError> {
    Ok(Tensor::new(dims, sums.iter().map(|v| *v as i64 as i32).collect())?)
}

/// Matrix product of codes in i32.
pub(crate) fn matmul_integer(ctx: &Context, inputs: Inputs) -> Result<Tensor, OpError> {
    let (a, b) = (inputs.need(0)?, inputs.need(1)?);
    let (batches, sums) = products(ctx, (a, inputs.get(2)), (b, inputs.get(3)))?;
    wrapped(&batches.dims, &sums)
}

/// Matrix product of codes, requantized.
pub(crate) fn qlinear_matmul(ctx: &Context, inputs: Inputs) -> Result<Tensor, OpError> {
    let (a, b) = (inputs.need(0)?, inputs.need(3)?);
    let (a_scale, b_scale, y_scale) = (inputs.need(1)?, inputs.need(4)?, inputs.need(6)?);
    let y_zero_point = inputs.need(7)?;
    let (batches, sums) = products(ctx, (a, inputs.get(2)), (b, inputs.get(5)))?;
    let dims = batches.dims.clone();
    // Parameters are laid over the product as over a matrix, also where an operand is a vector.
    let mut full = dims.clone();
    if a.rank() == 1 {
        full.insert(full.len() - usize::from(b.rank() > 1), 1);
    }
    if b.rank() == 1 {
        full.push(1);
    }
    let table = |t: &Tensor, along: Along| -> Result<(Vec<f32>, Vec<usize>), OpError> {
        let shape = parameter_dims(t, &full, along)?;
        Ok((scales(t)?, parameter_indices(&shape, &full).collect()))
    };
    let (sa, ia) = table(a_scale, Along::Rows)?;
    let (sb, ib) = table(b_scale, Along::Columns)?;
    let (sy, iy) = table(y_scale, Along::Rows)?;
    let z = codes(y_zero_point, "the output zero point")?;
    let z_shape = parameter_dims(y_zero_point, &full, Along::Rows)?;
    let iz = parameter_indices(&z_shape, &full);
    let output = iz.enumerate().zip(&sums).map(|((i, p), sum)| {
        let m = multiplier(sa[ia[i]], sb[ib[i]], sy[iy[i]]);
        (*sum as i64, m, z[p])
    });
    requantized(&dims, y_zero_point.dtype(), output)
}

fn scales(t: &Tensor) -> Result<Vec<f32>, OpError> {
    t.to_f32_vec().ok_or_else(|| OpError::DType {
        what: "a scale",
        got: t.dtype(),
        expected: "a float".into(),
    })
}

/// Output codes of sums, with the multiplier and zero point of each.
fn requantized(
    dims: &[usize],
    dtype: DType,
    sums: impl Iterator<Item = (i64, f32, i64)>,
) -> Result<Tensor, OpError> {
    let (lo, hi) = dtype.quant_range().ok_or(tq_qtypes::QTypeError::NotQuantized(dtype))?;
    let codes = sums.map(|(sum, m, z)| requantize_wide(sum, m, z as i32, lo, hi));
    Ok(match dtype {
        DType::I8 => Tensor::new(dims, codes.map(|q| q as i8).collect())?,
        _ => Tensor::new(dims, codes.map(|q| q as u8).collect())?,
    })
}

/// Exact sums of a convolution of codes; the padding holds the zero point of the input.
fn convolved(
    ctx: &Context,
    (x, x_zero_point): (&Tensor, Option<&Tensor>),
    (w, w_zero_point): (&Tensor, Option<&Tensor>),
    bias: Option<&[f64]>,
    attrs: &ConvAttrs,
) -> Result<(ConvShape, Vec<f64>), OpError> {
    let shape = ConvShape::new(x.dims(), w.dims(), attrs)?;
    let scalar = |z: &Tensor| match z.len() {
        1 => Ok(()),
        n => Err(OpError::Shape(format!("the input has {n} zero points, expected one"))),
    };
    x_zero_point.map_or(Ok(()), scalar)?;
    let input = centred(ctx, x, x_zero_point, Along::Columns, "the input")?;
    let filters = w.dims()[0];
    let mut weights: Vec<f64> = codes(w, "the weights")?.into_iter().map(|v| v as f64).collect();
    if let Some(z) = w_zero_point {
        same_dtype(w, z, "the zero point of the weights")?;
        if z.len() != 1 && z.dims() != [filters] {
            return Err(OpError::Shape(format!("zero points {:?} for weights {:?}", z.dims(), w.dims())));
        }
        let z = codes(z, "the zero point of the weights")?;
        let taps = numel(&w.dims()[1..]).max(1);
        for (m, filter) in weights.chunks_mut(taps).enumerate() {
            let z = z[m % z.len()] as f64;
            filter.iter_mut().for_each(|v| *v -= z);
        }
    }
    let sums = shape.convolve::<f64>(ctx, &input, &weights, bias)?;
    Ok((shape, sums))
}

/// Convolution of codes in i32.
pub(crate) fn conv_integer(ctx: &Context, inputs: Inputs, attrs: &ConvAttrs) -> Result<Tensor, OpError> {
    let (x, w) = (inputs.need(0)?, inputs.need(1)?);
    let (shape, sums) = convolved(ctx, (x, inputs.get(2)), (w, inputs.get(3)), None, attrs)?;
    wrapped(&shape.dims, &sums)
}

/// Convolution of codes with an i32 bias, requantized.
pub(crate) fn qlinear_conv(ctx: &Context, inputs: Inputs, attrs: &ConvAttrs) -> Result<Tensor, OpError> {
    let (x, w, y_zero_point) = (inputs.need(0)?, inputs.need(3)?, inputs.need(7)?);
    let bias = match inputs.get(8) {
        Some(b) if b.dtype() == DType::I32 => {
            check_bias(b, w)?;
            Some(b.as_slice::<i32>()?.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>())
        }
        Some(b) => return Err(OpError::DType { what: "the bias", got: b.dtype(), expected: "i32".into() }),
        None => None,
    };
    let lhs = (x, inputs.get(2));
    let (shape, sums) = convolved(ctx, lhs, (w, inputs.get(5)), bias.as_deref(), attrs)?;
    let scalar = |i: usize, what: &str| match scales(inputs.need(i)?)?[..] {
        [s] => Ok(s),
        ref s => Err(OpError::Shape(format!("{} scales of the {what}, expected one", s.len()))),
    };
    let (sx, sy) = (scalar(1, "input")?, scalar(6, "output")?);
    let filters = w.dims()[0];
    let sw = scales(inputs.need(4)?)?;
    if sw.len() != 1 && sw.len() != filters {
        return Err(OpError::Shape(format!("{} scales for {filters} filters", sw.len())));
    }
    let [z] = codes(y_zero_point, "the output zero point")?[..] else {
        return Err(OpError::Shape(format!("output zero point of shape {:?}", y_zero_point.dims())));
    };
    let factors: Vec<f32> = sw.iter().map(|s| multiplier(sx, *s, sy)).collect();
    let plane = shape.window.output_len().max(1);
    let output = sums.iter().enumerate().map(|(i, sum)| {
        let m = (i / plane) % filters;
        (*sum as i64, factors[m % factors.len()], z)
    });
    requantized(&shape.dims, y_zero_point.dtype(), output)
}
