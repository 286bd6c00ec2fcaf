//! Resize, axis by axis.
//!
//! Which elements are picked, and with which weights, depends neither on the type of the data nor on the precision.
//! Weights and sums are f64, and the result is rounded once. Axes that shrink come first, so that nothing in between is
//! larger than input and output.

mod adjoint;
mod axis;

pub use adjoint::resize_input;

use super::{Context, Inputs, integers};
use crate::OpError;
use crate::number::{Number, with_number, with_storage};
use crate::parallel;
use crate::shape::{axis_indices, numel};
use axis::{Axis, Taps};
use tq_graph::op::{Coordinates, ResizeAttrs, ResizeMode, fitted_lens, scaled_len};
use tq_graph::{Element, Tensor};

/// The list at input `i`, if that is there and not empty.
fn list<'a>(inputs: Inputs<'a>, i: usize) -> Option<&'a Tensor> {
    inputs.get(i).filter(|t| !t.is_empty())
}

/// The numbers of a list of `n`.
fn floats(t: &Tensor, name: &'static str, n: usize) -> Result<Vec<f64>, OpError> {
    let values = if t.dtype().is_float() { t.to_f64_vec() } else { None };
    let Some(values) = values else {
        return Err(OpError::DType { what: name, got: t.dtype(), expected: "a float".into() });
    };
    if values.len() == n && t.rank() == 1 {
        return Ok(values);
    }
    Err(OpError::Shape(format!("{name} has shape {:?}, expected [{n}]", t.dims())))
}

/// Lengths of the output axes, what they were before they were rounded to whole elements, and the scales.
fn lengths(inputs: Inputs, dims: &[usize], attrs: &ResizeAttrs) -> Result<Vec<(usize, f64, f32)>, OpError> {
    match (list(inputs, 2), list(inputs, 3)) {
        (Some(scales), None) => {
            let scales = floats(scales, "scales", dims.len())?;
            let one = |(len, scale): (&usize, &f64)| match scaled_len(*len, *scale as f32) {
                Some(n) => Ok((n, *scale * *len as f64, *scale as f32)),
                None => Err(OpError::Attribute(format!("{len} elements do not scale by {scale}"))),
            };
            dims.iter().zip(&scales).map(one).collect()
        }
        (None, Some(sizes)) => {
            let size = |n: i64| usize::try_from(n).map_err(|_| OpError::Attribute(format!("a size is {n}")));
            let sizes = integers(sizes, "sizes")?.into_iter().map(size).collect::<Result<Vec<_>, _>>()?;
            let bad = || OpError::Shape(format!("{} sizes for {} axes", sizes.len(), dims.len()));
            let fitted = fitted_lens(dims, &sizes, attrs.policy).ok_or_else(bad)?;
            let scaled = |(len, (n, width)): (&usize, (usize, f64))| (n, width, width as f32 / *len as f32);
            Ok(dims.iter().zip(fitted).map(scaled).collect())
        }
        (None, None) if dims.is_empty() => Ok(Vec::new()),
        (None, None) => Err(OpError::Attribute("neither scales nor sizes are given".into())),
        (Some(_), Some(_)) => Err(OpError::Attribute("both scales and sizes are given".into())),
    }
}

/// The axes that change, those that shrink first.
fn axes(inputs: Inputs, attrs: &ResizeAttrs) -> Result<Vec<Axis>, OpError> {
    let x = inputs.need(0)?;
    let places = match &attrs.axes {
        None => (0..x.rank()).collect(),
        Some(axes) => axis_indices(axes, x.rank())?,
    };
    let dims: Vec<usize> = places.iter().map(|a| x.dims()[*a]).collect();
    let lens = lengths(inputs, &dims, attrs)?;
    let roi = match attrs.coordinates {
        Coordinates::TfCropAndResize { .. } => {
            let roi = list(inputs, 1).ok_or(OpError::MissingInput { index: 1 })?;
            Some(floats(roi, "roi", 2 * dims.len())?)
        }
        _ => None,
    };
    let mut axes = Vec::with_capacity(places.len());
    for (i, (place, (output, width, scale))) in places.into_iter().zip(lens).enumerate() {
        let roi = roi.as_ref().map(|r| (r[i] as f32, r[dims.len() + i] as f32));
        let axis = Axis { place, input: dims[i], output, scale, width, roi };
        if axis.input == 0 && output > 0 {
            return Err(OpError::Shape(format!("{output} elements out of none on axis {place}")));
        }
        if !axis.is_identity() {
            axes.push(axis);
        }
    }
    axes.sort_by_key(|a| (a.output > a.input, std::cmp::Reverse(a.place)));
    Ok(axes)
}

/// Resize: `x[, roi[, scales[, sizes]]]`.
pub(crate) fn resize(ctx: &Context, inputs: Inputs, attrs: &ResizeAttrs) -> Result<Tensor, OpError> {
    let x = inputs.need(0)?;
    let axes = axes(inputs, attrs)?;
    let mut dims = x.dims().to_vec();
    axes.iter().for_each(|a| dims[a.place] = a.output);
    let picks = matches!(attrs.mode, ResizeMode::Nearest(_));
    if picks && attrs.antialias {
        return Err(OpError::Attribute("antialias with mode nearest".into()));
    }
    let outside = match attrs.coordinates {
        Coordinates::TfCropAndResize { extrapolation_value } => Some(extrapolation_value),
        _ => None,
    };
    match attrs.mode {
        ResizeMode::Nearest(rounding) if outside.is_none() => with_storage!(x.dtype(), T => {
            let lines = |axis: &Axis| axis.nearest(attrs.coordinates, rounding);
            let data = along::<T, _>(ctx, x.as_slice::<T>()?, x.dims(), &dims, &axes, lines, pick)?;
            Ok(Tensor::with_dtype(x.dtype(), &dims, data)?)
        }),
        _ => with_number!(x.dtype(), T => {
            let wide: Vec<f64> = x.as_slice::<T>()?.iter().map(|v| v.to_f64()).collect();
            let mut data = match attrs.mode {
                ResizeMode::Nearest(rounding) => {
                    let lines = |axis: &Axis| axis.nearest(attrs.coordinates, rounding);
                    along::<f64, _>(ctx, &wide, x.dims(), &dims, &axes, lines, pick)?
                }
                _ => along::<f64, _>(ctx, &wide, x.dims(), &dims, &axes, |axis| axis.taps(attrs), mix)?,
            };
            if let Some(value) = outside {
                fill_outside(&mut data, &dims, &axes, attrs.coordinates, f64::from(value));
            }
            Ok(Tensor::new(&dims, data.into_iter().map(T::of_f64).collect())?)
        }),
    }
}

/// Makes `dims` of `from`, one axis after the other. `plan` tells what an axis needs, and `line` makes the lines of
/// one output block, `inner` elements each, out of those of an input block.
fn along<T: Element, P: Sync>(
    ctx: &Context,
    x: &[T],
    from: &[usize],
    dims: &[usize],
    axes: &[Axis],
    plan: impl Fn(&Axis) -> P,
    line: impl Fn(&[T], usize, &P, &mut [T]) + Sync,
) -> Result<Vec<T>, OpError> {
    ctx.numel::<T>(dims)?;
    if dims.contains(&0) {
        return Ok(Vec::new());
    }
    let mut now = from.to_vec();
    let mut data = x.to_vec();
    for axis in axes {
        now[axis.place] = axis.output;
        let inner = numel(&now[axis.place + 1..]);
        let mut out = ctx.zeros::<T>(&now)?;
        let plan = plan(axis);
        let (block, source) = (axis.output * inner, axis.input * inner);
        parallel::chunks(&mut out, block, (1 << 12) / block, &|i, out| {
            line(&data[i * source..][..source], inner, &plan, out);
        });
        data = out;
    }
    Ok(data)
}

/// Copies the lines that `places` name.
fn pick<T: Element>(x: &[T], inner: usize, places: &Vec<usize>, out: &mut [T]) {
    for (out, place) in out.chunks_mut(inner).zip(places) {
        out.copy_from_slice(&x[place * inner..][..inner]);
    }
}

/// Sums weighted lines.
fn mix(x: &[f64], inner: usize, taps: &Taps, out: &mut [f64]) {
    for (i, out) in out.chunks_mut(inner).enumerate() {
        for (place, weight) in taps.of(i) {
            let from = &x[place * inner..][..inner];
            out.iter_mut().zip(from).for_each(|(o, v)| *o += weight * v);
        }
    }
}

/// Replaces what lies outside the input.
fn fill_outside(data: &mut [f64], dims: &[usize], axes: &[Axis], coordinates: Coordinates, value: f64) {
    if data.is_empty() {
        return;
    }
    for axis in axes {
        let inner = numel(&dims[axis.place + 1..]);
        let lines: Vec<usize> = (0..axis.output).filter(|o| axis.is_outside(*o, coordinates)).collect();
        for block in data.chunks_mut(axis.output * inner) {
            lines.iter().for_each(|o| block[o * inner..][..inner].fill(value));
        }
    }
}
